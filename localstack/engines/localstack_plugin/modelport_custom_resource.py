"""CloudFormation's custom resources for LocalStack core, which has none of its own.

Follows the documented protocol: the function behind the service token gets an event with a
response URL, and what it PUTs there decides. The URL is an object in a bucket of the emulator.
Runs inside LocalStack; knows nothing of what a custom resource is for.
"""

import json
import os
from typing import Any

from localstack.services.cloudformation.resource_provider import (
    CloudFormationResourceProviderPlugin,
    OperationStatus,
    ProgressEvent,
    ResourceProvider,
    ResourceRequest,
)
from modelport_executor import invoke

BUCKET = "cloudformation-custom-resource-responses"
PHYSICAL_ID = "PhysicalResourceId"


class CustomResourceProvider(ResourceProvider[dict[str, Any]]):
    """Asks the function to create, update or delete."""

    TYPE = "AWS::CloudFormation::CustomResource"
    SCHEMA = {"primaryIdentifier": [f"/properties/{PHYSICAL_ID}"]}  # noqa: RUF012

    def create(self, request: ResourceRequest[dict[str, Any]]) -> ProgressEvent[dict[str, Any]]:
        """Have it created."""
        return _ask(request, "Create", {})

    def update(self, request: ResourceRequest[dict[str, Any]]) -> ProgressEvent[dict[str, Any]]:
        """Have it updated."""
        before = request.previous_state or {}
        known = {
            PHYSICAL_ID: before.get(PHYSICAL_ID) or request.desired_state.get(PHYSICAL_ID, ""),
            "OldResourceProperties": before,
        }
        return _ask(request, "Update", known)

    def delete(self, request: ResourceRequest[dict[str, Any]]) -> ProgressEvent[dict[str, Any]]:
        """Have it deleted."""
        model = request.desired_state or request.previous_state or {}
        return _ask(request, "Delete", {PHYSICAL_ID: model.get(PHYSICAL_ID, "")})

    def read(self, request: ResourceRequest[dict[str, Any]]) -> ProgressEvent[dict[str, Any]]:
        """A custom resource is what was last said of it."""
        return ProgressEvent(OperationStatus.SUCCESS, resource_model=request.desired_state)


class CustomResourcePlugin(CloudFormationResourceProviderPlugin):
    """The entry point."""

    name = "AWS::CloudFormation::CustomResource"

    def __init__(self) -> None:
        self.factory: type[CustomResourceProvider] | None = None

    def load(self) -> None:
        """Make the provider known."""
        self.factory = CustomResourceProvider


def _ask(
    request: ResourceRequest[dict[str, Any]], kind: str, known: dict[str, Any]
) -> ProgressEvent[dict[str, Any]]:
    properties = dict(request.desired_state or {})
    properties.pop(PHYSICAL_ID, None)
    token = properties.get("ServiceToken") or (request.previous_state or {})["ServiceToken"]
    s3 = request.aws_client_factory.s3
    s3.create_bucket(Bucket=BUCKET)
    listens = os.environ["GATEWAY_LISTEN"]
    event = {
        "RequestType": kind,
        "ResponseURL": f"http://{listens}/{BUCKET}/{request.request_token}",
        "StackId": request.stack_id,
        "RequestId": request.request_token,
        "ResourceType": request.resource_type,
        "LogicalResourceId": request.logical_resource_id,
        "ServiceToken": token,
        "ResourceProperties": _as_text(properties),
        **_as_text(known),
    }
    name = token.split(":function:")[1].split(":")[0]
    body, failed = invoke(name, "$LATEST", json.dumps(event).encode(), request.request_token)
    try:
        found = s3.get_object(Bucket=BUCKET, Key=request.request_token)
    except s3.exceptions.NoSuchKey:
        said = body.decode("utf-8", "replace") if failed else "it did not answer"
        return _failed(properties, f"{name}: {said}")
    answer = json.loads(found["Body"].read())
    s3.delete_object(Bucket=BUCKET, Key=request.request_token)
    model = {**properties, **answer.get("Data", {}), PHYSICAL_ID: answer[PHYSICAL_ID]}
    if answer["Status"] != "SUCCESS":
        return _failed(model, answer.get("Reason", "no reason given"))
    return ProgressEvent(OperationStatus.SUCCESS, resource_model=model)


def _failed(model: dict[str, Any], reason: str) -> ProgressEvent[dict[str, Any]]:
    return ProgressEvent(OperationStatus.FAILED, resource_model=model, message=reason)


def _as_text(value: Any) -> Any:
    """Numbers and truth values travel as text in these events, as on AWS."""
    if isinstance(value, dict):
        return {key: _as_text(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_as_text(each) for each in value]
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if value is None else str(value)
