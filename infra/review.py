"""Findings of cdk-nag that are accepted, each with its reason, in one place.

A finding is acknowledged on the construct it is about, never on a whole stack, so that the same
finding elsewhere still fails the review.
"""

from __future__ import annotations

from aws_cdk import Acknowledgment, Validations
from aws_cdk import aws_apigateway as rest
from aws_cdk import aws_apigatewayv2 as http
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_s3 as s3
from constructs import IConstruct


def accept_registry_without_access_log(bucket: s3.Bucket) -> None:
    """S1: server access logs."""
    _accept(
        bucket,
        "AwsSolutions-S1",
        "Who changed what stands in the registry's own hash-chained log; whoever also wants reads"
        " turns on CloudTrail data events for the account.",
    )


def accept_scoped_wildcards(role: iam.Role) -> None:
    """IAM5: wildcards below a fixed prefix."""


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
    """What a catch-all proxy does not do."""


def _accept(construct: IConstruct, rule: str, reason: str) -> None:
    Validations.of(construct).acknowledge(Acknowledgment(id=rule, reason=reason))
