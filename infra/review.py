"""Findings of cdk-nag that are accepted, each with its reason, in one place.

A finding is acknowledged on the construct it is about, never on a whole stack, so that the same
finding elsewhere still fails the review.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from aws_cdk import Acknowledgment, Stack, Validations
from aws_cdk import aws_apigateway as rest
from aws_cdk import aws_apigatewayv2 as http
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sqs as sqs
from constructs import IConstruct

#: Statement → why its wildcard cannot be narrower.
_WILDCARDS = {
    "ReadRecords": "Models come and go without a deploy; the models' bytes lie elsewhere.",
    "WriteRoutes": "Records below each model's own prefix, and models come without a deploy.",
    "InvokeModels": "Matches the model functions of this environment and nothing else.",
    "InvokeEndpoints": "Matches the endpoints of this environment and nothing else.",
    "StreamEndpoints": "Matches the endpoints of this environment and nothing else.",
    "WatchModels": "Matches the model functions of this environment and nothing else.",
    "WatchEndpoints": "Matches the endpoints of this environment and nothing else.",
    "KeepEndpointLogs": "Matches the logs of this environment's endpoints and nothing else.",
    "OwnLogs": "The streams of one log group.",
    "LogInToRegistry": "ECR's login knows no resources; what may be pulled is another statement.",
    "MeasureInstances": "Metrics are no resources; the namespace is a condition.",
    "WriteCaptures": "Objects below this endpoint's own prefix, which SageMaker names by the hour.",
    "KeepPayloads": "Uploads and jobs get their names when they come; the folders are named.",
    "ReadUploads": "Uploads get their names when they come; their folder is named.",
    "FinishJobs": "Jobs get their names when they come; their folder is named.",
    "ReadMetrics": "CloudWatch's metrics are no resources.",
    "MakeInterfaces": "An interface has no name before it is made; its subnets are named.",
    "KeepInterfaces": "Interfaces that SageMaker makes have names of its making.",
    "SeeNetwork": "EC2's descriptions know no resources.",
}


def accept_registry_without_access_log(bucket: s3.Bucket) -> None:
    """S1: server access logs."""
    _accept(
        bucket,
        "AwsSolutions-S1",
        "Who changed what stands in the registry's own hash-chained log; whoever also wants reads"
        " turns on CloudTrail data events for the account.",
    )


def accept_payloads_without_access_log(bucket: s3.Bucket) -> None:
    """S1: server access logs."""
    _accept(
        bucket,
        "AwsSolutions-S1",
        "What passes through is gone in days, and each access is by a URL that the router signed"
        " for a call that the API's log has.",
    )


def accept_copies_without_dead_letters(queue: sqs.Queue) -> None:
    """SQS3: no dead letters."""
    _accept(
        queue,
        "AwsSolutions-SQS3",
        "A copy for a shadow version that nobody took in time is worth nothing; it is counted.",
    )


def accept_scoped_wildcards(role: iam.Role, statements: Iterable[iam.PolicyStatement]) -> None:
    """IAM5: wildcards below a fixed prefix, in the statements that have a reason here."""
    for statement in statements:
        if (reason := _WILDCARDS.get(statement.sid or "")) is None:
            continue
        for resource in statement.resources:
            if "*" in (shown := _as_reported(role, resource)):
                _accept(role, f"AwsSolutions-IAM5[Resource::{shown}]", reason)


def accept_python(function: lambda_.Function) -> None:
    """L1: not the newest runtime."""
    _accept(
        function,
        "AwsSolutions-L1",
        "The Python version is a setting, and the locked layer is built and tested for it.",
    )


def accept_open_http_api(api: http.HttpApi) -> None:
    """APIG4: no authorisation."""
    _accept(api, "AwsSolutions-APIG4", "The environment's settings say auth = none.")


def accept_rest_api(api: rest.RestApi, *, open: bool) -> None:
    """APIG2, COG4, APIG3, IAM4, and APIG4 when the environment wants no authorisation."""
    _accept(
        api,
        "AwsSolutions-APIG2",
        "Bodies pass through unparsed; the model's signature is checked where the model runs.",
    )
    _accept(
        api,
        "AwsSolutions-COG4",
        "Callers are authorised by IAM, or by nobody when the settings say auth = none.",
    )
    _accept(
        api,
        "AwsSolutions-APIG3",
        "A web ACL costs money and is the account's choice; a REST API lets it be attached.",
    )
    _accept(
        api,
        "AwsSolutions-IAM4[Policy::arn:<AWS::Partition>:iam::aws:policy/service-role/"
        "AmazonAPIGatewayPushToCloudWatchLogs]",
        "The policy AWS publishes for exactly this role; API Gateway allows one per account.",
    )
    if open:
        _accept(api, "AwsSolutions-APIG4", "The environment's settings say auth = none.")


def _accept(construct: IConstruct, rule: str, reason: str) -> None:
    Validations.of(construct).acknowledge(Acknowledgment(id=rule, reason=reason))


def _as_reported(construct: IConstruct, arn: str) -> str:
    """An ARN as findings show it: ``<Registry1234.Arn>/models/*``."""

    def show(part: Any) -> str:
        if isinstance(part, str):
            return part
        ((function, value),) = part.items()
        if function == "Fn::Join":
            return "".join(show(piece) for piece in value[1])
        if function == "Fn::ImportValue":
            return str(value)
        return f"<{'.'.join(value) if isinstance(value, list) else value}>"

    return show(Stack.of(construct).resolve(arn))
