"""The CDK app's entry point: from ``deployments.toml`` to one platform stack and one per version.

From the repository's root, with the package installed (`pip install -e .[infra]`):

    cdk deploy --app "python -m infra.app" --require-approval never \\
        modelport-<environment>-platform modelport-<environment>-<model>-v<version>

or from ``infra/`` with plain ``cdk deploy``, which reads ``cdk.json``. A version stack depends on
the platform stack, so naming the version alone deploys both (``--exclusively`` to leave the
platform out). The file is ``./deployments.toml`` unless the context value ``deployments``
(``-c deployments=PATH``) or the variable ``MODELPORT_DEPLOYMENTS`` says otherwise.

Synthesis reads files only: no AWS call, no account number. The one exception is the first synth
after a change of ``layers/deps/requirements.txt``, which installs the dependency layer with pip.
This module is the composition root: it alone reads the environment.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from aws_cdk import App, Tags
from modelport.deployments import Deployments
from modelport.errors import ModelportError

from infra.assets import Assets, deps_layer, stage
from infra.deployed_version import DeployedVersion
from infra.platform_stack import PlatformStack
from infra.version_stack import VersionStack

REPOSITORY = Path(__file__).resolve().parent.parent
#: Behaviour of the CDK that this app relies on, whatever directory the command runs in.
FLAGS = {
    "@aws-cdk/aws-lambda:recognizeLayerVersion": True,
    "@aws-cdk/aws-lambda:recognizeVersionProps": True,
    "@aws-cdk/core:checkSecretUsage": True,
    "@aws-cdk/core:target-partitions": ["aws", "aws-cn", "aws-us-gov"],
}


def new_app(outdir: str | None = None, *, validates: bool = False) -> App:
    """An app with this project's flags and nothing in it.

    ``validates`` has the CDK refuse templates that break its own rules, which takes longer than all
    else of a synthesis. What `add_stacks` makes is known to pass, from tests; whoever adds stacks
    of their own may want it.
    """
    return App(
        context={**FLAGS, "@aws-cdk/core:validateAgainstDefaultRules": validates},
        analytics_reporting=False,
        outdir=outdir,
        builtin_cloud_formation_validation=validates,
    )


def add_stacks(app: App, deployments: Deployments, assets: Assets) -> None:
    """Put the platform and every deployed version into the app."""
    environment = deployments.environment
    platform = PlatformStack(app, environment=environment, assets=assets)
    for entry in deployments.deployments:
        wanted = entry.sagemaker.shadow
        shadow = deployments.entry(entry.model, wanted.version) if wanted else None
        VersionStack(
            app,
            version=DeployedVersion(environment, entry),
            shadow=DeployedVersion(environment, shadow) if shadow else None,
        ).add_stack_dependency(platform)
    Tags.of(app).add("modelport:environment", environment.name)


def main() -> None:
    """Synthesise what the deployments file asks for."""
    app = new_app()
    named = app.node.try_get_context("deployments") or os.environ.get("MODELPORT_DEPLOYMENTS")
    deployments = Deployments.load(Path(named or "deployments.toml"))
    environment = deployments.environment
    layers = REPOSITORY / "layers/deps"
    deps = deps_layer(
        layers / "requirements.txt",
        layers / "python",
        python=environment.python,
        architecture=environment.architecture,
    )
    with tempfile.TemporaryDirectory(prefix="modelport-assets-") as staging:
        assets = stage(REPOSITORY, Path(staging), deps_layer=deps, python=environment.python)
        add_stacks(app, deployments, assets)
        app.synth()


if __name__ == "__main__":
    try:
        main()
    except ModelportError as error:
        sys.exit(f"{error}\n{error.hint}".rstrip())
