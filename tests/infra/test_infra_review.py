"""Other people's rules: cdk-nag's AwsSolutions, the CDK's own, and cfn-lint."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from aws_cdk import App, CfnResource, Stack, Validations
from aws_cdk import aws_s3 as s3
from cdk_nag import AwsSolutionsChecks
from modelport.deployments import Deployments

from infra.app import add_stacks, new_app
from infra.assets import Assets
from tests.support.synthesis import ENDPOINTS, ENVIRONMENTS, VERSIONS, Synthesiser


def review(app: App) -> None:
    """Synthesise under cdk-nag and the CDK's rules; raises when a finding is not accepted."""
    Validations.of(app).add_plugins(AwsSolutionsChecks(app, verbose=True))
    app.synth()


@pytest.mark.parametrize("environment", list(ENVIRONMENTS))
def test_every_finding_is_fixed_or_accepted_with_a_reason(
    environment: str, assets: Assets, tmp_path: Path
) -> None:
    app = new_app(str(tmp_path), validates=True)
    text = ENVIRONMENTS[environment] + VERSIONS + ENDPOINTS
    add_stacks(app, Deployments.parse(text, Path("deployments.toml")), assets)
    review(app)


def test_the_review_refuses_an_unprotected_bucket(tmp_path: Path) -> None:
    app = new_app(str(tmp_path))
    s3.Bucket(Stack(app, "careless"), "Bucket")
    with pytest.raises(RuntimeError, match="Validation"):
        review(app)


def test_the_review_refuses_a_template_that_cloudformation_would(tmp_path: Path) -> None:
    app = new_app(str(tmp_path), validates=True)
    CfnResource(Stack(app, "wrong"), "Queue", type="AWS::SQS::Queue", properties={"Fifo": 1})
    with pytest.raises(RuntimeError, match="Validation"):
        review(app)


def test_cfn_lint_finds_nothing(synthesise: Synthesiser) -> None:
    templates = [
        str(stack.path) for name in ENVIRONMENTS for stack in synthesise(name).stacks.values()
    ]
    # W3005: the CDK's own function construct names its role twice.
    done = subprocess.run(
        [
            str(Path(sys.executable).parent / "cfn-lint"),
            "--ignore-checks",
            "W3005",
            "--",
            *templates,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
