"""A version as a Lambda function: the function, a published version of it, its log and alarms.

Callers reach the published version, never the function as it is just now. So a changed image or
size meets no caller before the registrar has asked it the goldens, and a change that fails them was
never seen. Earlier published versions stay until the function goes: routers still call them for a
few seconds after the routes have moved.
"""

from __future__ import annotations

from collections.abc import Mapping

from aws_cdk import Duration, Fn, RemovalPolicy, Stack
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from modelport.errors import InvalidSettingError

from infra import alarms, naming, permissions
from infra.deployed_version import DeployedVersion, Running, fingerprint
from infra.function_logs import version_logs
from infra.payloads import payloads_url

#: Share of its limit at which a version's p99 is alarming.
_SLOW = 0.8
#: Bytes of a function's variables, names and values together.
_MAX_VARIABLES = 4_096


def lambda_version(stack: Stack, version: DeployedVersion) -> Running:
    """Put the version's function into its stack."""
    entry = version.entry
    function = _function(stack, version)
    published = _published(stack, version, function)
    watch = alarms.FunctionAlarms(
        stack,
        "Alarms",
        function=version.name,
        slow=Duration.millis(int(entry.timeout_s * 1000 * _SLOW)),
        topic=version.environment.alarm_topic,
    )
    return Running(
        resource=Fn.join(":", [version.name, published.attr_version]),
        settings={"MemoryMb": entry.memory_mb, "TimeoutS": entry.timeout_s},
        needs=(function, published, watch),
        fingerprint=fingerprint(version.image, version.known_variables),
    )


def _function(stack: Stack, version: DeployedVersion) -> lambda_.CfnFunction:
    entry, environment = version.entry, version.environment
    variables = version.variables(payloads_url(stack, environment))
    _check_variables(variables)
    key_arn = Fn.import_value(naming.export(environment.name, naming.KEY_ARN))
    key = kms.Key.from_key_arn(stack, "Key", key_arn)
    group = version_logs(stack, "Logs", version.name, environment, key)
    role = permissions.function_role(stack, "Role", group)
    snapshot = lambda_.CfnFunction.SnapStartProperty(apply_on="PublishedVersions")
    return lambda_.CfnFunction(
        stack,
        "Function",
        function_name=version.name,
        description=f"{entry.model} version {entry.version} {entry.digest}"[:256],
        package_type="Image",
        code=lambda_.CfnFunction.CodeProperty(image_uri=version.image),
        # onnxruntime on arm64 Lambda has crashed on the CPU list it finds there.
        architectures=["x86_64"],
        role=role.role_arn,
        memory_size=entry.memory_mb,
        timeout=entry.timeout_s,
        reserved_concurrent_executions=entry.reserved_concurrency,
        environment=lambda_.CfnFunction.EnvironmentProperty(variables=variables),
        logging_config=lambda_.CfnFunction.LoggingConfigProperty(log_group=group.log_group_name),
        snap_start=snapshot if entry.snapstart else None,
    )


def _published(
    stack: Stack, version: DeployedVersion, function: lambda_.CfnFunction
) -> lambda_.CfnVersion:
    """A resource of its own for every configuration: Lambda refuses to publish the same twice."""
    entry = version.entry
    # The name of its log, which it keeps, depends on whether logs are kept.
    log = version.environment.retain
    sizes = (entry.memory_mb, entry.timeout_s, entry.snapstart)
    facts = (version.image, version.known_variables, *sizes, log)
    published = lambda_.CfnVersion(
        stack, f"Published{fingerprint(*facts)}", function_name=function.ref
    )
    # What a failed deploy published goes with it: the next try publishes the same again.
    published.apply_removal_policy(RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE)
    return published


def _check_variables(variables: Mapping[str, str]) -> None:
    """Refuse an environment that Lambda would refuse; raises `InvalidSettingError`."""
    total = sum(len(text.encode()) for pair in variables.items() for text in pair)
    if total > _MAX_VARIABLES:
        problem = f"Lambda takes {_MAX_VARIABLES:,} bytes of variables, these are {total:,}"
        raise InvalidSettingError("function_environment", "…", problem)
