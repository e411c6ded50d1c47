"""Log groups: encrypted with the environment's key, kept as long as its settings say, then gone.

Created before what writes to them, so that Lambda never makes one of its own without a limit. A
log that is kept must never stand in the way of the next deploy: it has no fixed name, or it is kept
only once its stack stood.
"""

from __future__ import annotations

from aws_cdk import CustomResource, Fn, RemovalPolicy
from aws_cdk import aws_kms as kms
from aws_cdk import aws_logs as logs
from constructs import Construct, IDependable
from modelport.deployments import Environment

from infra import naming

_RETENTION = {
    1: logs.RetentionDays.ONE_DAY,
    3: logs.RetentionDays.THREE_DAYS,
    7: logs.RetentionDays.ONE_WEEK,
    14: logs.RetentionDays.TWO_WEEKS,
    30: logs.RetentionDays.ONE_MONTH,
    60: logs.RetentionDays.TWO_MONTHS,
    90: logs.RetentionDays.THREE_MONTHS,
    180: logs.RetentionDays.SIX_MONTHS,
    365: logs.RetentionDays.ONE_YEAR,
    731: logs.RetentionDays.TWO_YEARS,
    1827: logs.RetentionDays.FIVE_YEARS,
    3653: logs.RetentionDays.TEN_YEARS,
}


def function_logs(
    scope: Construct, id: str, function: str, environment: Environment, key: kms.IKey
) -> logs.LogGroup:
    """The log group of a function of the platform."""
    return log_group(scope, id, f"/aws/lambda/{function}", environment, key)


def version_logs(
    scope: Construct, id: str, function: str, environment: Environment, key: kms.IKey
) -> logs.LogGroup:
    """The log group of a model function: versions come and go, and may come again.

    Kept, it gets a name of CloudFormation's making (which begins with the stack's), so that the
    logs of an undeployed or failed version stay readable and its next deploy makes a new group.
    """
    return logs.LogGroup(
        scope,
        id,
        log_group_name=None if environment.retain else f"/aws/lambda/{function}",
        encryption_key=key,
        retention=_RETENTION[environment.log_retention_days],
        removal_policy=RemovalPolicy.RETAIN if environment.retain else RemovalPolicy.DESTROY,
    )


def endpoint_logs(
    scope: Construct, id: str, endpoint: str, environment: Environment, key: kms.IKey
) -> tuple[logs.ILogGroup, IDependable]:
    """The log group of an endpoint, and what makes it.

    SageMaker fixes its name. So one that is kept is the registrar's to make, which takes a group
    as it finds it; one that goes with its stack is CloudFormation's.
    """
    name = f"/aws/sagemaker/Endpoints/{endpoint}"
    if not environment.retain:
        group = logs.LogGroup(
            scope,
            id,
            log_group_name=name,
            encryption_key=key,
            retention=_RETENTION[environment.log_retention_days],
            removal_policy=RemovalPolicy.DESTROY,
        )
        return group, group
    made = CustomResource(
        scope,
        f"Kept{id}",
        resource_type="Custom::EndpointLogs",
        service_token=Fn.import_value(naming.export(environment.name, naming.REGISTRAR_ARN)),
        properties={
            "LogGroup": name,
            "RetentionDays": environment.log_retention_days,
            "KeyArn": key.key_arn,
        },
    )
    return logs.LogGroup.from_log_group_name(scope, id, name), made


def log_group(
    scope: Construct, id: str, name: str, environment: Environment, key: kms.IKey
) -> logs.LogGroup:
    """A log group of the platform, with the environment's retention."""
    return logs.LogGroup(
        scope,
        id,
        log_group_name=name,
        encryption_key=key,
        retention=_RETENTION[environment.log_retention_days],
        removal_policy=removal(environment),
    )


def removal(environment: Environment) -> RemovalPolicy:
    """What happens to the platform's data with its stack.

    What a failed first create made is empty and goes again: kept, its name would fail the retry.
    """
    kept = RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE
    return kept if environment.retain else RemovalPolicy.DESTROY
