"""One deployed version: what runs it, and the registration that ends the deploy.

The registration depends on everything else: it is created last, after the goldens agreed, and
deleted first, so that a version in use keeps what it runs on. Deploy is by image digest.
"""

from __future__ import annotations

from collections.abc import Callable

from aws_cdk import CfnOutput, CustomResource, Duration, Fn, Stack, Tags
from constructs import Construct
from modelport.deployments import DeploymentEntry, version_stack

from infra import naming
from infra.deployed_version import DeployedVersion, Running
from infra.lambda_version import lambda_version
from infra.sagemaker_version import sagemaker_version

#: Longer than the registrar itself can take: its own answer always comes first.
_REGISTRATION_LIMIT = Duration.minutes(16)


class VersionStack(Stack):
    """One per deployed version; ``shadow`` is the version that its endpoint also asks, if any."""

    def __init__(
        self, scope: Construct, *, version: DeployedVersion, shadow: DeployedVersion | None = None
    ) -> None:
        entry, environment = version.entry, version.environment
        super().__init__(
            scope,
            version_stack(environment.name, entry.model, entry.version),
            description=f"modelport {environment.name}: {entry.model} version {entry.version}",
        )
        homes: dict[str, Callable[[], Running]] = {
            "lambda": lambda: lambda_version(self, version),
            "sagemaker": lambda: sagemaker_version(self, version, shadow),
        }
        running = homes[entry.target]()
        registration = self._registration(version, running)
        registration.node.add_dependency(*running.needs)
        # What `modelport deploy` tells of it.
        CfnOutput(self, "Verified", value=registration.get_att_string("Verified"))
        Tags.of(self).add("modelport:model", entry.model)
        Tags.of(self).add("modelport:version", str(entry.version))

    def _registration(self, version: DeployedVersion, running: Running) -> CustomResource:
        entry, environment = version.entry, version.environment
        return CustomResource(
            self,
            "Registration",
            resource_type="Custom::ModelVersion",
            service_token=Fn.import_value(naming.export(environment.name, naming.REGISTRAR_ARN)),
            service_timeout=_REGISTRATION_LIMIT,
            properties={
                "Model": entry.model,
                "Version": entry.version,
                "Digest": entry.digest,
                "Target": entry.target,
                "Resource": running.resource,
                **running.settings,
                "Configuration": running.fingerprint,
                **{name: said for name, said in _reasons(entry).items() if said},
            },
        )


def _reasons(entry: DeploymentEntry) -> dict[str, str | None]:
    """What the model's log shall say of this deployment."""
    return {"By": entry.by, "Commit": entry.commit, "Why": entry.why}
