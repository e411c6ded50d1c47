"""One deployed version: its function, log group, alarms, and the registration that ends the deploy.

The registration depends on everything else: it is created last, after the goldens agreed, and
deleted first, so that a version in use keeps its function. Deploy is by image digest.
"""

from __future__ import annotations

import hashlib
import json
import re

from aws_cdk import CustomResource, Duration, Fn, Stack
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from constructs import Construct
from modelport.deployments import (
    DeploymentEntry,
    Environment,
    function_name,
    version_stack,
)
from modelport.errors import InvalidSettingError
from modelport.settings import RuntimeSettings

from infra import alarms, naming, permissions
from infra.function_logs import version_logs

_BY_DIGEST = re.compile(r"[^@\s]+@sha256:[0-9a-f]{64}")
#: Share of its limit at which a version's p99 is alarming.
_SLOW = 0.8
#: Longer than the registrar itself can take: its own answer always comes first.
_REGISTRATION_LIMIT = Duration.minutes(16)


class VersionStack(Stack):
    """One per deployed version."""

    def __init__(
        self, scope: Construct, *, environment: Environment, entry: DeploymentEntry
    ) -> None:
        super().__init__(
            scope,
            version_stack(environment.name, entry.model, entry.version),
            description=f"modelport {environment.name}: {entry.model} version {entry.version}",
        )
        name = function_name(environment.name, entry.model, entry.version)
        variables = {
            **environment.function_environment,
            **RuntimeSettings(entry.model, entry.version, entry.digest).to_env(),
        }
        image = _image(environment, entry)
        function = self._function(name, environment, entry, image, variables)
        watch = alarms.FunctionAlarms(
            self,
            "Alarms",
            function=name,
            slow=Duration.millis(int(entry.timeout_s * 1000 * _SLOW)),
            topic=environment.alarm_topic,
        )
        registration = self._registration(name, environment, entry, image, variables)
        registration.node.add_dependency(function, watch)

    def _function(
        self,
        name: str,
        environment: Environment,
        entry: DeploymentEntry,
        image: str,
        variables: dict[str, str],
    ) -> lambda_.CfnFunction:
        key_arn = Fn.import_value(naming.export(environment.name, naming.KEY_ARN))
        key = kms.Key.from_key_arn(self, "Key", key_arn)
        group = version_logs(self, "Logs", name, environment, key)
        role = permissions.function_role(self, "Role", group)
        function = lambda_.CfnFunction(
            self,
            "Function",
            function_name=name,
            description=f"{entry.model} version {entry.version} {entry.digest}"[:256],
            package_type="Image",
            code=lambda_.CfnFunction.CodeProperty(image_uri=image),
            # onnxruntime on arm64 Lambda has crashed on the CPU list it finds there.
            architectures=["x86_64"],
            role=role.role_arn,
            memory_size=entry.memory_mb,
            timeout=entry.timeout_s,
            reserved_concurrent_executions=entry.reserved_concurrency,
            environment=lambda_.CfnFunction.EnvironmentProperty(variables=variables),
            logging_config=lambda_.CfnFunction.LoggingConfigProperty(
                log_group=group.log_group_name
            ),
        )
        return function

    def _registration(
        self,
        name: str,
        environment: Environment,
        entry: DeploymentEntry,
        image: str,
        variables: dict[str, str],
    ) -> CustomResource:
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
                "Resource": name,
                "MemoryMb": entry.memory_mb,
                "TimeoutS": entry.timeout_s,
                # Whatever changes the function's answers verifies it again.
                "Configuration": _fingerprint(image, variables),
            },
        )


def _image(environment: Environment, entry: DeploymentEntry) -> str:
    what = f"{entry.model}:{entry.version} image"
    if entry.image is not None:
        if not _BY_DIGEST.fullmatch(entry.image):
            raise InvalidSettingError(what, entry.image, "name it by digest: …@sha256:<64 hex>")
        return entry.image
    if environment.image is None:
        problem = "give this deployment the URI of an image in ECR by digest: image = …@sha256:…"
        raise InvalidSettingError(what, None, problem)
    return environment.image


def _fingerprint(image: str, variables: dict[str, str]) -> str:
    text = json.dumps([image, variables], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
