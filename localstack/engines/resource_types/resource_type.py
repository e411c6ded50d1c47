"""What a resource type of ours is made of, and how template properties become API parameters.

Templates carry numbers and truth values as text when they come through parameters; the API's
own model says what they are. Nothing here knows a particular type, nor an emulator: the folder
is imported inside each of them, under a name of its choosing, so it imports itself relatively.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import boto3
from botocore.model import ListShape, MapShape, Shape, StructureShape

Properties = Mapping[str, Any]
Made = tuple[str, dict[str, str]]
"""Physical id and attributes."""


@dataclass(frozen=True)
class ResourceType:
    """One CloudFormation type."""

    create: Callable[[str, Properties, str], Made]
    delete: Callable[[str, Properties], None]
    replacing: tuple[str, ...]
    """Properties whose change needs a new resource."""
    update: Callable[[str, Properties, Properties, str], Made] | None = None
    name_property: str = ""
    """The property that names it: what has a name of its own is not replaced under it."""
    tagged: bool = False

    @property
    def operations(self) -> dict[str, Callable[..., Any]]:
        """The type's operations by name."""
        found: dict[str, Callable[..., Any]] = {"create": self.create, "delete": self.delete}
        return {**found, **({"update": self.update} if self.update else {})}


def client(service: Literal["sagemaker", "application-autoscaling"], endpoint: str) -> Any:
    """A client of a service of this cloud, in the emulator's own region."""
    return boto3.client(
        service,
        endpoint_url=endpoint,
        region_name=os.environ["AWS_DEFAULT_REGION"],
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )


def parameters(client: Any, operation: str, properties: Properties) -> dict[str, Any]:
    """The properties that an operation knows, in the types it wants."""
    shape = client.meta.service_model.operation_model(operation).input_shape
    fitted: dict[str, Any] = _fitted(shape, properties)
    return fitted


def _fitted(shape: Shape, value: Any) -> Any:
    if isinstance(shape, StructureShape) and isinstance(value, Mapping):
        return {
            name: _fitted(shape.members[name], each)
            for name, each in value.items()
            if name in shape.members and each is not None
        }
    if isinstance(shape, ListShape) and isinstance(value, list):
        return [_fitted(shape.member, each) for each in value]
    if isinstance(shape, MapShape) and isinstance(value, list):  # tags, which templates list
        return {each["Key"]: each["Value"] for each in value}
    if isinstance(shape, MapShape) and isinstance(value, Mapping):
        return {str(name): _fitted(shape.value, each) for name, each in value.items()}
    if shape.type_name == "boolean" and isinstance(value, str):
        return value.lower() == "true"
    if shape.type_name in ("integer", "long") and isinstance(value, str):
        return int(value)
    if shape.type_name in ("float", "double") and isinstance(value, str):
        return float(value)
    if shape.type_name == "string" and isinstance(value, int | float):
        return str(value).lower() if isinstance(value, bool) else str(value)
    return value
