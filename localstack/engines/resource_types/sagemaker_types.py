"""AWS::SageMaker::Model, EndpointConfig and Endpoint, by the control plane of the SageMaker host.

Ref gives the ARN and GetAtt the name, as on AWS. An endpoint is complete when it is in service,
and fails with the service's own reason; what failed is deleted, as a rollback would.
"""

import os
import time
import uuid
from functools import cache
from typing import Any

from botocore.exceptions import ClientError

from .resource_type import Made, Properties, ResourceType, client, parameters

POLL_S = 0.1
BUSY = ("Creating", "Updating", "RollingBack", "SystemUpdating", "Deleting")
MISSING = "Could not find"
_MODEL = (
    *("Containers", "EnableNetworkIsolation", "ExecutionRoleArn", "InferenceExecutionConfig"),
    *("ModelName", "PrimaryContainer", "VpcConfig"),
)
_CONFIG = (
    *("AsyncInferenceConfig", "DataCaptureConfig", "EnableNetworkIsolation", "EndpointConfigName"),
    *("ExecutionRoleArn", "ExplainerConfig", "KmsKeyId", "ProductionVariants"),
    *("ShadowProductionVariants", "VpcConfig"),
)
_UPDATES = (
    *("EndpointConfigName", "DeploymentConfig", "RetainAllVariantProperties"),
    *("RetainDeploymentConfig", "ExcludeRetainedVariantProperties"),
)


class FailedError(Exception):
    """The service did not do it; the message is its reason."""


@cache
def sagemaker() -> Any:
    """The control plane, where the engine was told it is."""
    return client("sagemaker", os.environ["AWS_ENDPOINT_URL_SAGEMAKER"])


def _named(properties: Properties, member: str, logical_id: str) -> dict[str, Any]:
    """The properties with a name: the template's, else one that nobody else has."""
    name = properties.get(member) or f"{logical_id[:50]}-{uuid.uuid4().hex[:12]}"
    return {**properties, member: name}


def create_model(logical_id: str, properties: Properties, stack: str) -> Made:
    """Create a model."""
    named = _named(properties, "ModelName", logical_id)
    made = sagemaker().create_model(**parameters(sagemaker(), "CreateModel", named))
    return made["ModelArn"], {"ModelName": named["ModelName"]}


def create_config(logical_id: str, properties: Properties, stack: str) -> Made:
    """Create an endpoint configuration."""
    named = _named(properties, "EndpointConfigName", logical_id)
    asked = parameters(sagemaker(), "CreateEndpointConfig", named)
    made = sagemaker().create_endpoint_config(**asked)
    return made["EndpointConfigArn"], {"EndpointConfigName": named["EndpointConfigName"]}


def create_endpoint(logical_id: str, properties: Properties, stack: str) -> Made:
    """Create an endpoint and wait until it is in service."""
    named = _named(properties, "EndpointName", logical_id)
    name = named["EndpointName"]
    asked = parameters(sagemaker(), "CreateEndpoint", named)
    made = sagemaker().create_endpoint(**asked)
    found = _settled(name)
    if found["EndpointStatus"] != "InService":
        _delete_endpoint(name)
        raise FailedError(found.get("FailureReason", f"endpoint {name} failed"))
    return made["EndpointArn"], {"EndpointName": name}


def update_endpoint(arn: str, old: Properties, new: Properties, stack: str) -> Made:
    """Move an endpoint to another configuration and wait until it has moved."""
    name = _name(arn)
    _retag(arn, old, new)
    if any(old.get(each) != new.get(each) for each in _UPDATES):
        asked = {**new, "EndpointName": name}
        sagemaker().update_endpoint(**parameters(sagemaker(), "UpdateEndpoint", asked))
        found = _settled(name)
        if found["EndpointConfigName"] != new["EndpointConfigName"]:
            raise FailedError(found.get("FailureReason", f"endpoint {name} was rolled back"))
    return arn, {"EndpointName": name}


def update_tags(arn: str, old: Properties, new: Properties, attribute: str) -> Made:
    """Nothing but the tags of a model or configuration can change without a new one."""
    _retag(arn, old, new)
    return arn, {attribute: _name(arn)}


def _retag(arn: str, old: Properties, new: Properties) -> None:
    before, after = (
        {each["Key"]: each["Value"] for each in properties.get("Tags") or ()}
        for properties in (old, new)
    )
    if gone := sorted(before.keys() - after.keys()):
        sagemaker().delete_tags(ResourceArn=arn, TagKeys=gone)
    if changed := [{"Key": key, "Value": after[key]} for key in after.keys() - gone]:
        sagemaker().add_tags(ResourceArn=arn, Tags=changed)


def delete_endpoint(arn: str, properties: Properties) -> None:
    """Delete an endpoint and wait until nothing of it runs."""
    _delete_endpoint(_name(arn))


def _delete_endpoint(name: str) -> None:
    try:
        _settled(name)
        sagemaker().delete_endpoint(EndpointName=name)
        _settled(name)
    except ClientError as error:
        _unless_missing(error)


def delete_model(arn: str, properties: Properties) -> None:
    """Delete a model."""
    try:
        sagemaker().delete_model(ModelName=_name(arn))
    except ClientError as error:
        _unless_missing(error)


def delete_config(arn: str, properties: Properties) -> None:
    """Delete an endpoint configuration."""
    try:
        sagemaker().delete_endpoint_config(EndpointConfigName=_name(arn))
    except ClientError as error:
        _unless_missing(error)


def _unless_missing(error: ClientError) -> None:
    if MISSING not in error.response["Error"]["Message"]:
        raise error


def _settled(name: str) -> Any:
    while True:
        found = sagemaker().describe_endpoint(EndpointName=name)
        if found["EndpointStatus"] not in BUSY:
            return found
        time.sleep(POLL_S)


def _name(arn: str) -> str:
    return arn.rpartition("/")[2]


TYPES = {
    "AWS::SageMaker::Model": ResourceType(
        create_model,
        delete_model,
        _MODEL,
        update=lambda arn, old, new, stack: update_tags(arn, old, new, "ModelName"),
        name_property="ModelName",
        tagged=True,
    ),
    "AWS::SageMaker::EndpointConfig": ResourceType(
        create_config,
        delete_config,
        _CONFIG,
        update=lambda arn, old, new, stack: update_tags(arn, old, new, "EndpointConfigName"),
        name_property="EndpointConfigName",
        tagged=True,
    ),
    "AWS::SageMaker::Endpoint": ResourceType(
        create_endpoint,
        delete_endpoint,
        ("EndpointName",),
        update=update_endpoint,
        name_property="EndpointName",
        tagged=True,
    ),
}
