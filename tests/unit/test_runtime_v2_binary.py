"""V2's raw tensors, both ways and mixed with JSON, and everything that can be wrong with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from modelport.envelope import Response
from modelport.errors import InvalidBundleError
from onnx import TensorProto

from tests.support import runtime_bundles as bundles
from tests.support.runtime_planes import SAGEMAKER, V2, Plane, open_plane, v2_tensor

LENGTH = "inference-header-content-length"
TRITON_TYPE = "application/vnd.sagemaker-triton.binary+json;json-header-size="
ALL_BINARY = {"parameters": {"binary_data_output": True}}
X = np.array([[1, 2]], np.float32)


def raw_tensor(name: str, array: Any, datatype: str = "FP32") -> dict[str, Any]:
    size = {"binary_data_size": array.nbytes}
    return {"name": name, "shape": list(array.shape), "datatype": datatype, "parameters": size}


def send(plane: Plane, document: Any, *raws: bytes, **more: str) -> Response:
    head = json.dumps(document).encode()
    headers = {LENGTH: str(len(head)), "content-type": "application/octet-stream"} | more
    return plane.post(V2, head + b"".join(raws), headers)


def refused(response: Response) -> str:
    assert response.status == 400, response.body
    return str(json.loads(response.body)["error"])


def read(response: Response) -> tuple[dict[str, Any], bytes]:
    assert response.status == 200, response.body
    size = int(response.headers[LENGTH])
    assert response.headers["content-type"] == "application/octet-stream"
    return json.loads(response.body[:size]), response.body[size:]


def identity(kind: int, shape: list[Any]) -> bytes:
    return bundles.model(
        [bundles.node("Identity", ["x"], ["y"])], [("x", kind, shape)], [("y", kind, shape)]
    )


@pytest.fixture(scope="module")
def double(tmp_path_factory: pytest.TempPathFactory) -> Plane:
    return open_plane(tmp_path_factory.mktemp("double"), bundles.DOUBLE)


@pytest.fixture(scope="module")
def adding(tmp_path_factory: pytest.TempPathFactory) -> Plane:
    return open_plane(tmp_path_factory.mktemp("sum"), bundles.SUM)


def test_raw_in_and_raw_out(double: Plane) -> None:
    answer, tail = read(
        send(double, {"inputs": [raw_tensor("x", X)], "id": "é", **ALL_BINARY}, X.tobytes())
    )
    assert answer == {
        "model_name": "demo",
        "model_version": "3",
        "id": "é",
        "outputs": [raw_tensor("y", X)],
    }
    assert tail == (X * 2).tobytes()


def test_raw_in_and_json_out_has_no_length(double: Plane) -> None:
    response = send(double, {"inputs": [raw_tensor("x", X)]}, X.tobytes())
    assert LENGTH not in response.headers
    assert response.headers["content-type"] == "application/json"
    assert json.loads(response.body)["outputs"] == [v2_tensor("y", [2, 4], [1, 2])]


def test_json_in_and_raw_out(double: Plane) -> None:
    response = double.post(V2, {"inputs": [v2_tensor("x", [1, 2], [1, 2])], **ALL_BINARY})
    assert read(response)[1] == (X * 2).tobytes()


@pytest.mark.parametrize("order", [["a:0", "b:0"], ["b:0", "a:0"]])
def test_raw_tensors_come_in_the_order_of_the_inputs(adding: Plane, order: list[str]) -> None:
    values = {"a:0": X, "b:0": X * 10}
    document = {"inputs": [raw_tensor(name, values[name]) for name in order]}
    response = send(adding, document, *(values[name].tobytes() for name in order))
    assert json.loads(response.body)["outputs"][1] == v2_tensor("diff:0", [-9, -18], [1, 2])


def test_inputs_and_outputs_may_be_mixed(adding: Plane) -> None:
    document = {
        "inputs": [v2_tensor("b:0", [1, 1], [1, 2]), raw_tensor("a:0", X)],
        "outputs": [{"name": "diff:0"}, {"name": "sum:0", "parameters": {"binary_data": False}}],
        **ALL_BINARY,
    }
    answer, tail = read(send(adding, document, X.tobytes()))
    assert answer["outputs"] == [raw_tensor("diff:0", X), v2_tensor("sum:0", [2, 3], [1, 2])]
    assert tail == (X - 1).tobytes()


def test_the_header_decides_and_not_the_content_type(double: Plane) -> None:
    document = {"inputs": [raw_tensor("x", X)]}
    for media in ("application/json", "text/plain", ""):
        assert send(double, document, X.tobytes(), **{"content-type": media}).status == 200


def test_tritons_content_type_is_answered_in_kind(double: Plane) -> None:
    head = json.dumps({"inputs": [raw_tensor("x", X)], **ALL_BINARY}).encode()
    headers = {"content-type": TRITON_TYPE + str(len(head))}
    response = double.post(V2, head + X.tobytes(), headers)
    assert response.status == 200
    assert LENGTH not in response.headers
    size = int(response.headers["content-type"].removeprefix(TRITON_TYPE))
    assert response.body[size:] == (X * 2).tobytes()


def test_nan_goes_through_in_binary(tmp_path: Path) -> None:
    plane = open_plane(tmp_path, bundles.LOG)
    value = np.array([-1], np.float32)
    _, tail = read(send(plane, {"inputs": [raw_tensor("x", value)], **ALL_BINARY}, value.tobytes()))
    assert np.isnan(np.frombuffer(tail, np.float32)).all()


@pytest.mark.parametrize(
    ("kind", "datatype", "array"),
    [
        (TensorProto.FLOAT16, "FP16", np.array([1.5, -2], np.float16)),
        (TensorProto.BFLOAT16, "BF16", np.array([1.5, -2], ml_dtypes.bfloat16)),
        (TensorProto.BFLOAT16, "BF16", np.array([], ml_dtypes.bfloat16)),
        (TensorProto.BOOL, "BOOL", np.array([True, False])),
        (TensorProto.UINT64, "UINT64", np.array([2**64 - 1], np.uint64)),
        (TensorProto.INT8, "INT8", np.array([-128], np.int8)),
        (TensorProto.DOUBLE, "FP64", np.array([], np.float64)),
    ],
)
def test_every_datatype_goes_through(tmp_path: Path, kind: int, datatype: str, array: Any) -> None:
    plane = open_plane(tmp_path, identity(kind, ["N"]))
    document = {"inputs": [raw_tensor("x", array, datatype)], **ALL_BINARY}
    for padding in ("", " "):  # any address
        head = json.dumps(document).encode() + padding.encode()
        response = plane.post(V2, head + array.tobytes(), {LENGTH: str(len(head))})
        answer, tail = read(response)
        assert answer["outputs"] == [raw_tensor("y", array, datatype)]
        assert tail == array.tobytes()


def test_brain_floats_beside_others(tmp_path: Path) -> None:
    kind = TensorProto.BFLOAT16
    nodes = [
        bundles.node("Cast", ["x"], ["f"], to=1),
        bundles.node("Add", ["f", "w"], ["sum"]),
        bundles.node("Cast", ["sum"], ["y"], to=kind),
        bundles.node("Cast", ["w"], ["u"], to=TensorProto.STRING),
    ]
    inputs = [("x", kind, ["N"]), ("w", bundles.FLOAT, ["N"])]
    outputs = [("sum", bundles.FLOAT, ["N"]), ("y", kind, ["N"]), ("u", bundles.STRING, ["N"])]
    plane = open_plane(tmp_path, bundles.model(nodes, inputs, outputs))
    x, w = np.array([1, 2], ml_dtypes.bfloat16), v2_tensor("w", [0.5, 0.5], [2])
    wanted = [{"name": "y", "parameters": {"binary_data": True}}, {"name": "sum"}, {"name": "u"}]
    document = {"inputs": [raw_tensor("x", x, "BF16"), w], "outputs": wanted}
    answer, tail = read(send(plane, document, x.tobytes()))
    assert np.frombuffer(tail, ml_dtypes.bfloat16).tolist() == [1.5, 2.5]
    data = [output.get("data") for output in answer["outputs"]]
    assert data == [None, [1.5, 2.5], ["0.5", "0.5"]]


def test_text_beside_brain_floats_is_refused_at_load(tmp_path: Path) -> None:
    kind = TensorProto.BFLOAT16
    nodes = [bundles.node("Identity", ["x"], ["y"]), bundles.node("Identity", ["t"], ["u"])]
    inputs = [("x", kind, ["N"]), ("t", bundles.STRING, ["N"])]
    outputs = [("y", kind, ["N"]), ("u", bundles.STRING, ["N"])]
    with pytest.raises(InvalidBundleError, match="takes text and has BF16 tensors"):
        open_plane(tmp_path, bundles.model(nodes, inputs, outputs))


def test_half_precision_as_json_names_the_way_out(tmp_path: Path) -> None:
    plane = open_plane(tmp_path, bundles.HALF)
    one = np.ones(1, np.float16)
    message = refused(plane.post(V2, {"inputs": [v2_tensor("h", [1], [1], "FP16")]}))
    assert message.endswith("no JSON form; send it in binary ('binary_data_size')")
    message = refused(send(plane, {"inputs": [raw_tensor("h", one, "FP16")]}, one.tobytes()))
    assert message.endswith('ask for it in binary ("parameters": {"binary_data_output": true})')


def test_text_scalars_and_no_elements(tmp_path: Path) -> None:
    text = open_plane(tmp_path / "text", bundles.TEXT)
    raw = b"\x02\0\0\0\xc3\xa9\0\0\0\0"
    entry = {
        "name": "text",
        "shape": [2],
        "datatype": "BYTES",
        "parameters": {"binary_data_size": 10},
    }
    answer, tail = read(send(text, {"inputs": [entry], **ALL_BINARY}, raw))
    assert tail == raw * 2
    assert json.loads(send(text, {"inputs": [entry]}, raw).body)["outputs"][0]["data"] == ["é", ""]
    scale = open_plane(tmp_path / "scale", bundles.SCALE)
    factor = np.array(3, np.float32)
    document = {"inputs": [raw_tensor("x", X), raw_tensor("factor", factor)]}
    response = send(scale, document, X.tobytes(), factor.tobytes())
    assert json.loads(response.body)["outputs"][0]["data"] == [3.0, 6.0]
    none = np.empty((0, 2), np.float32)
    answer, tail = read(
        send(
            scale,
            {"inputs": [raw_tensor("x", none), raw_tensor("factor", factor)], **ALL_BINARY},
            factor.tobytes(),
        )
    )
    assert (answer["outputs"], tail) == ([raw_tensor("y", none)], b"")


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_a_raw_request_is_the_only_input(double: Plane, rows: int) -> None:
    values = np.ones((rows, 2), np.float32)
    answer, tail = read(double.post(V2, values.tobytes(), {LENGTH: "0"}))
    assert answer["outputs"] == [raw_tensor("y", values)]
    assert tail == (values * 2).tobytes()


def test_raw_requests_of_text_and_of_two_free_dimensions(tmp_path: Path) -> None:
    text = open_plane(tmp_path / "text", bundles.TEXT)
    _, tail = read(text.post(V2, "é".encode(), {LENGTH: "0"}))
    assert tail == b"\x02\0\0\0\xc3\xa9" * 2
    wide = open_plane(tmp_path / "wide", identity(bundles.FLOAT, ["N", "M"]))
    answer, _ = read(wide.post(V2, X.tobytes(), {LENGTH: "0"}))
    assert answer["outputs"][0]["shape"] == [1, 2]


def test_raw_requests_that_cannot_be(tmp_path: Path, double: Plane, adding: Plane) -> None:
    assert "4 bytes, where the shape needs 0" in refused(double.post(V2, b"1234", {LENGTH: "0"}))
    assert "for models with one input; this one has 2" in refused(
        adding.post(V2, b"", {LENGTH: "0"})
    )
    cube = open_plane(tmp_path, identity(bundles.FLOAT, ["N", "M", "K"]))
    assert "can leave one dimension open" in refused(cube.post(V2, b"1234", {LENGTH: "0"}))


@pytest.mark.parametrize(
    ("length", "message"),
    [
        ("1000", f"{LENGTH} is 1000, but the whole body has"),
        ("-1", f"{LENGTH} is '-1'; it must be a whole number of bytes"),
        ("x", "must be a whole number of bytes"),
        ("9" * 5000, "must be a whole number of bytes"),
        ("3", "JSON Parse error"),
    ],
)
def test_lengths_that_cannot_be(double: Plane, length: str, message: str) -> None:
    assert message in refused(send(double, {"inputs": [raw_tensor("x", X)]}, **{LENGTH: length}))


def test_tritons_content_type_needs_its_length(double: Plane) -> None:
    headers = {"content-type": "application/vnd.sagemaker-triton.binary+json"}
    assert "json-header-size=<bytes" in refused(double.post(V2, b"{}", headers))


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (-1, "must be a whole number of bytes"),
        (True, "must be a whole number of bytes"),
        (8.0, "must be a whole number of bytes"),
        (2**70, "must be a whole number of bytes"),
        ("8", "must be a whole number of bytes"),
        (2**60, f"is {2**60}, but 8 bytes of raw tensors are left"),
        (9, "is 9, but 8 bytes of raw tensors are left"),
        (4, "got raw data: 4 bytes, where the shape needs 8"),
        ({"a": [1]}, "must be a string, a number or a boolean"),
    ],
)
def test_sizes_that_lie(double: Plane, size: Any, message: str) -> None:
    entry = raw_tensor("x", X) | {"parameters": {"binary_data_size": size}}
    assert message in refused(send(double, {"inputs": [entry]}, X.tobytes()))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"shape": [2**62, 4]}, f"expected FP32 [-1,2], got FP32 [{2**62},4]"),
        ({"shape": [2**62, 2]}, f"where the shape needs {2**65}"),
        ({"data": [1, 2]}, "has both 'data' and 'binary_data_size'"),
        ({"datatype": "FP64"}, "expected FP32 [-1,2], got FP64 [1,2]"),
    ],
)
def test_tensors_that_do_not_fit(double: Plane, changed: dict[str, Any], message: str) -> None:
    entry = raw_tensor("x", X) | changed
    assert message in refused(send(double, {"inputs": [entry]}, X.tobytes()))


def test_what_is_left_over_is_told(double: Plane) -> None:
    response = send(double, {"inputs": [raw_tensor("x", X)]}, X.tobytes(), b"more")
    assert "4 bytes follow the last input's raw tensor" in refused(response)
    response = double.post(V2, {"inputs": [raw_tensor("x", X)]})
    assert "no Inference-Header-Content-Length says where the JSON ends" in refused(response)


def test_a_million_inputs_are_refused_at_the_second(double: Plane) -> None:
    entry = b'{"name":"%d"}'
    body = b'{"inputs":[' + b",".join(entry % n for n in range(1_000_000)) + b"]}"
    assert "an unknown name" in refused(double.post(V2, body))


@given(
    st.binary(max_size=60),
    st.integers(-1, 400),
    st.dictionaries(
        st.sampled_from(["binary_data_size", "binary_data_output"]),
        st.integers() | st.booleans() | st.floats() | st.none() | st.text(max_size=3),
    ),
    st.lists(st.integers(0, 2**65), max_size=3),
)
@settings(max_examples=150, suppress_health_check=list(HealthCheck), deadline=None)
def test_whatever_comes_is_answered_or_refused(
    double: Plane, tail: bytes, length: int, parameters: dict[str, Any], shape: list[int]
) -> None:
    entry = {"name": "x", "datatype": "FP32", "shape": shape, "parameters": parameters}
    head = json.dumps({"inputs": [entry], "parameters": parameters}).encode()
    for said in (length, len(head)):
        response = double.post(V2, head + tail, {LENGTH: str(said)})
        assert response.status in (200, 400), response.body
        assert response.body


def test_invocations_take_tritons_content_type(double: Plane) -> None:
    head = json.dumps({"inputs": [raw_tensor("x", X)], **ALL_BINARY}).encode()
    headers = {"content-type": TRITON_TYPE + str(len(head))}
    response = double.post(SAGEMAKER, head + X.tobytes(), headers)
    assert response.status == 200, response.body
    assert response.body.endswith((X * 2).tobytes())
