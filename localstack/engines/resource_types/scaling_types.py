"""AWS::ApplicationAutoScaling::ScalableTarget and ScalingPolicy, kept by the SageMaker host.

They are registered and listed there, and nothing is scaled. Targets of other services are
refused: no such service of this cloud could be scaled.
"""

import os
from functools import cache
from typing import Any

from .resource_type import Made, Properties, ResourceType, client, parameters

_TARGET = ("ResourceId", "ScalableDimension", "ServiceNamespace")
_POLICY = ("PolicyName", *_TARGET, "ScalingTargetId")


@cache
def scaling() -> Any:
    """Application Auto Scaling, where the engine was told it is."""
    endpoint = os.environ["AWS_ENDPOINT_URL_APPLICATION_AUTO_SCALING"]
    return client("application-autoscaling", endpoint)


def create_target(logical_id: str, properties: Properties, stack: str) -> Made:
    """Register a target; registering again is how one is changed."""
    asked = parameters(scaling(), "RegisterScalableTarget", properties)
    scaling().register_scalable_target(**asked)
    identifier = "|".join(asked[each] for each in _TARGET)
    return identifier, {"Id": identifier}


def update_target(identifier: str, old: Properties, new: Properties, stack: str) -> Made:
    """Change the bounds of a target."""
    return create_target("", new, stack)


def delete_target(identifier: str, properties: Properties) -> None:
    """Forget a target, and with it its policies."""
    try:
        scaling().deregister_scalable_target(**_identified(identifier))
    except scaling().exceptions.ObjectNotFoundException:
        pass  # its endpoint went first


def create_policy(logical_id: str, properties: Properties, stack: str) -> Made:
    """Put a policy; putting again is how one is changed."""
    target = properties.get("ScalingTargetId")
    known = {**properties, **(_identified(target) if target else {})}
    asked = parameters(scaling(), "PutScalingPolicy", known)
    made = scaling().put_scaling_policy(**asked)
    return made["PolicyARN"], {"Arn": made["PolicyARN"], "PolicyName": asked["PolicyName"]}


def update_policy(arn: str, old: Properties, new: Properties, stack: str) -> Made:
    """Change a policy."""
    return create_policy("", new, stack)


def delete_policy(arn: str, properties: Properties) -> None:
    """Forget a policy."""
    target = properties.get("ScalingTargetId")
    known = _identified(target) if target else {each: properties[each] for each in _TARGET}
    try:
        scaling().delete_scaling_policy(PolicyName=properties["PolicyName"], **known)
    except scaling().exceptions.ObjectNotFoundException:
        pass  # its target went first


def _identified(identifier: str) -> dict[str, str]:
    return dict(zip(_TARGET, identifier.split("|"), strict=True))


TYPES = {
    "AWS::ApplicationAutoScaling::ScalableTarget": ResourceType(
        create_target, delete_target, _TARGET, update=update_target
    ),
    "AWS::ApplicationAutoScaling::ScalingPolicy": ResourceType(
        create_policy, delete_policy, _POLICY, update=update_policy
    ),
}
