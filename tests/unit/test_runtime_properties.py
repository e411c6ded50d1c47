"""Whatever is sent, the answer is a prediction or a refusal: never a failure of ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support import runtime_bundles as bundles
from tests.support.runtime_planes import SAGEMAKER, V1, V2, Plane, open_plane

RELAXED = settings(max_examples=150, suppress_health_check=list(HealthCheck), deadline=None)

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["x", "b64"]), inner)
    ),
    max_leaves=8,
)
v1_documents = st.dictionaries(st.sampled_from(["instances", "inputs", "signature_name"]), values)
v2_tensors = st.fixed_dictionaries(
    {"name": st.just("x"), "datatype": st.sampled_from(["FP32", "INT64", "", None])},
    optional={"shape": st.just([1, 2]) | values, "data": values, "parameters": values},
)
v2_documents = st.fixed_dictionaries(
    {"inputs": st.lists(v2_tensors | values, max_size=2)},
    optional={"outputs": st.just([{"name": "y"}]) | values, "id": values},
)


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Plane:
    return open_plane(Path(tmp_path_factory.mktemp("double")), bundles.DOUBLE)


def sensible(plane: Plane, path: str, body: bytes, headers: dict[str, str] | None = None) -> None:
    response = plane.post(path, body, headers)
    assert response.status in (200, 400, 415), response.body
    assert response.body


@given(document=v1_documents | v2_documents | values)
@RELAXED
def test_any_json_in_any_protocol(plane: Plane, document: Any) -> None:
    body = json.dumps(document).encode()
    for path in (V1, V2, SAGEMAKER):
        sensible(plane, path, body)


@given(
    body=st.binary(max_size=200)
    | st.binary(max_size=60).map(lambda tail: b"\x93NUMPY\x01\x00" + tail),
    content_type=st.sampled_from(
        ["application/json", "text/csv", "application/x-npy", "image/png"]
    ),
)
@RELAXED
def test_any_bytes_as_any_type(plane: Plane, body: bytes, content_type: str) -> None:
    for path in (V1, V2, SAGEMAKER):
        sensible(plane, path, body, {"content-type": content_type})


@given(text=st.text(alphabet='0123456789.,-+eE"\n\r nainf', max_size=60))
@RELAXED
def test_any_csv(plane: Plane, text: str) -> None:
    sensible(plane, SAGEMAKER, text.encode(), {"content-type": "text/csv"})
