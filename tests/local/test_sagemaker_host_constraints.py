"""Requests are checked against the service model of botocore, whatever a request looks like."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.model import ListShape, MapShape, Shape, StructureShape
from hypothesis import given
from hypothesis import strategies as st
from sagemaker_host.constraints import check, compiled, input_shape
from sagemaker_host.control_plane import ControlPlane
from sagemaker_host.faults import ServiceError

OPERATIONS = (
    "CreateModel",
    "DescribeModel",
    "DeleteModel",
    "ListModels",
    "CreateEndpointConfig",
    "DescribeEndpointConfig",
    "DeleteEndpointConfig",
    "ListEndpointConfigs",
    "CreateEndpoint",
    "UpdateEndpoint",
    "UpdateEndpointWeightsAndCapacities",
    "DescribeEndpoint",
    "DeleteEndpoint",
    "ListEndpoints",
    "AddTags",
    "ListTags",
    "DeleteTags",
)
NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")
documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


def shapes(shape: Shape, seen: set[str]) -> Iterator[Shape]:
    if shape.name in seen:
        return
    seen.add(shape.name)
    yield shape
    parts: list[Shape] = []
    if isinstance(shape, StructureShape):
        parts = list(shape.members.values())
    elif isinstance(shape, ListShape):
        parts = [shape.member]
    elif isinstance(shape, MapShape):
        parts = [shape.key, shape.value]
    for part in parts:
        yield from shapes(part, seen)


SCALING = (
    "RegisterScalableTarget",
    "DeregisterScalableTarget",
    "DescribeScalableTargets",
    "PutScalingPolicy",
    "DeleteScalingPolicy",
    "DescribeScalingPolicies",
)


@pytest.mark.parametrize(
    ("service", "operation"),
    [
        *(("sagemaker", each) for each in OPERATIONS),
        *(("application-autoscaling", each) for each in SCALING),
        ("sagemaker-runtime", "InvokeEndpoint"),
    ],
)
def test_every_pattern_of_the_model_is_understood(service: str, operation: str) -> None:
    for shape in shapes(input_shape(service, operation), set()):
        if "pattern" in shape.metadata:
            compiled(shape.metadata["pattern"])


def test_every_supported_operation_is_in_this_list() -> None:
    public = {name for name in vars(ControlPlane) if name.startswith(tuple("acdlu"))}
    named = {re.sub(r"(?<!^)(?=[A-Z])", "_", each).lower() for each in OPERATIONS}
    assert public == named


@given(st.text(max_size=70))
def test_a_name_passes_exactly_if_it_fits(name: str) -> None:
    fits = len(name) <= 63 and NAME.fullmatch(name) is not None
    shape = input_shape("sagemaker", "DescribeEndpoint")
    if fits:
        check(shape, {"EndpointName": name})
    else:
        with pytest.raises(ServiceError, match="Member must"):
            check(shape, {"EndpointName": name})


@given(documents)
def test_any_document_is_checked_or_refused_never_an_accident(document: Any) -> None:
    for operation in ("CreateEndpointConfig", "AddTags"):
        with pytest.raises(ServiceError) as caught:
            check(input_shape("sagemaker", operation), document)
        assert caught.value.code == "ValidationException"


@given(documents)
def test_any_variant_is_checked_or_refused_never_an_accident(variant: Any) -> None:
    document = {"EndpointConfigName": "name", "ProductionVariants": [variant]}
    with pytest.raises(ServiceError, match="productionVariants"):
        check(input_shape("sagemaker", "CreateEndpointConfig"), document)
