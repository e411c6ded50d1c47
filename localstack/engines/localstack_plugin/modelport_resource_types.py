"""SageMaker's resource types for LocalStack core, which has none of them.

Runs inside LocalStack, found by its entry points; what a type does is in ``resource_types``, the
folder beside this one, and the work is the SageMaker host's.
"""

from typing import Any

from localstack.services.cloudformation.resource_provider import (
    CloudFormationResourceProviderPlugin,
    OperationStatus,
    ProgressEvent,
    ResourceProvider,
    ResourceRequest,
)
from resource_types import sagemaker_types, scaling_types
from resource_types.resource_type import ResourceType

ID = "Id"
TYPES = {**sagemaker_types.TYPES, **scaling_types.TYPES}
Model = dict[str, Any]


def provider(name: str, kind: ResourceType) -> type[ResourceProvider[Model]]:
    """A type as LocalStack wants it: a class."""

    class Provider(ResourceProvider[Model]):
        TYPE = name
        SCHEMA = {  # noqa: RUF012
            "primaryIdentifier": [f"/properties/{ID}"],
            "createOnlyProperties": [f"/properties/{each}" for each in kind.replacing],
        }

        def create(self, request: ResourceRequest[Model]) -> ProgressEvent[Model]:
            """Create it; a failure says why."""
            wanted = request.desired_state or {}
            return _told(wanted, kind.create, request.logical_resource_id, wanted)

        def update(self, request: ResourceRequest[Model]) -> ProgressEvent[Model]:
            """Change what can be changed in place."""
            before, wanted = request.previous_state or {}, request.desired_state or {}
            assert kind.update is not None
            return _told({**before, **wanted}, kind.update, before[ID], before, wanted)

        def delete(self, request: ResourceRequest[Model]) -> ProgressEvent[Model]:
            """Delete it."""
            model = request.desired_state or request.previous_state or {}
            if ID in model:
                kind.delete(model[ID], model)
            return ProgressEvent(OperationStatus.SUCCESS, resource_model={})

        def read(self, request: ResourceRequest[Model]) -> ProgressEvent[Model]:
            """What was last said of it."""
            return ProgressEvent(OperationStatus.SUCCESS, resource_model=request.desired_state)

    return Provider


def _told(model: Model, work: Any, *arguments: Any) -> ProgressEvent[Model]:
    try:
        identifier, attributes = work(*arguments, "")
    except Exception as problem:
        return ProgressEvent(OperationStatus.FAILED, resource_model=model, message=str(problem))
    made = {**model, **attributes, ID: identifier}
    return ProgressEvent(OperationStatus.SUCCESS, resource_model=made)


class _TypePlugin(CloudFormationResourceProviderPlugin):
    """An entry point: one type."""

    def __init__(self) -> None:
        self.factory: type[ResourceProvider[Model]] | None = None

    def load(self) -> None:
        """Make the provider known."""
        self.factory = provider(self.name, TYPES[self.name])


class ModelPlugin(_TypePlugin):
    """A SageMaker model."""

    name = "AWS::SageMaker::Model"


class EndpointConfigPlugin(_TypePlugin):
    """An endpoint configuration."""

    name = "AWS::SageMaker::EndpointConfig"


class EndpointPlugin(_TypePlugin):
    """An endpoint."""

    name = "AWS::SageMaker::Endpoint"


class ScalableTargetPlugin(_TypePlugin):
    """What scales."""

    name = "AWS::ApplicationAutoScaling::ScalableTarget"


class ScalingPolicyPlugin(_TypePlugin):
    """How it scales."""

    name = "AWS::ApplicationAutoScaling::ScalingPolicy"
