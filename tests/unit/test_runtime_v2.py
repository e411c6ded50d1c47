"""V2 in JSON: declared dtypes and shapes, ids, chosen outputs, and what has no form."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from modelport import metadata
from modelport.envelope import Request
from onnx import TensorProto

from functions.runtime.codecs.v2_classes import best_classes
from functions.runtime.data_plane import DataPlane
from tests.support import runtime_bundles as bundles
from tests.support.runtime_planes import V2, Plane, open_plane, v2_tensor


def infer(*inputs: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"inputs": list(inputs), **more}


X = v2_tensor("x", [1, 2], [1, 2])


@pytest.mark.parametrize("data", [[1, 2, 3, 4], [[1, 2], [3, 4]]])
def test_data_is_flat_or_nested(tmp_path: Path, data: Any) -> None:
    answer = open_plane(tmp_path, bundles.DOUBLE).answer(V2, infer(v2_tensor("x", data, [2, 2])))
    assert answer == {
        "model_name": "demo",
        "model_version": "3",
        "outputs": [v2_tensor("y", [2, 4, 6, 8], [2, 2])],
    }


def test_rank_0_and_empty_tensors(tmp_path: Path) -> None:
    scale = open_plane(tmp_path / "scale", bundles.SCALE)
    for factor in (3, [3]):
        answer = scale.answer(V2, infer(X, v2_tensor("factor", factor, [])))
        assert answer["outputs"] == [v2_tensor("y", [3, 6], [1, 2])]
    total = open_plane(tmp_path / "total", bundles.TOTAL).answer(V2, infer(X))
    assert total["outputs"] == [v2_tensor("total", [3], [])]
    empty = open_plane(tmp_path / "double", bundles.DOUBLE)
    answer = empty.answer(V2, infer(v2_tensor("x", [], [0, 2])))
    assert answer["outputs"] == [v2_tensor("y", [], [0, 2])]


def test_text_and_whole_numbers(tmp_path: Path) -> None:
    text = open_plane(tmp_path / "text", bundles.TEXT)
    answer = text.answer(V2, infer(v2_tensor("text", ["é"], [1], "BYTES")))
    assert answer["outputs"][0] == v2_tensor("same", ["é"], [1], "BYTES")
    count = open_plane(tmp_path / "count", bundles.COUNT)
    answer = count.answer(V2, infer(v2_tensor("n", [2**62 - 1, 0, -1], [1, 3], "INT64")))
    assert answer["outputs"] == [v2_tensor("twice", [2**63 - 2, 0, -2], [1, 3], "INT64")]


def test_the_id_is_echoed_and_outputs_come_as_asked(tmp_path: Path) -> None:
    plane = open_plane(tmp_path, bundles.SUM)
    inputs = [v2_tensor("a:0", [1, 2], [1, 2]), v2_tensor("b:0", [1, 2], [1, 2])]
    answer = plane.answer(
        V2,
        infer(
            *inputs,
            id="é",
            parameters={"binary_data_output": False},
            outputs=[{"name": "diff:0", "parameters": {"binary_data": False}}, {"name": "sum:0"}],
        ),
    )
    assert answer["id"] == "é"
    assert [output["name"] for output in answer["outputs"]] == ["diff:0", "sum:0"]


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({}, "'inputs' must be a list of tensors"),
        (infer(1), "'inputs'[0] must be an object with a 'name'"),  # type: ignore[arg-type]
        (infer({"name": 1}), "'inputs'[0] must be an object with a 'name'"),
        (infer(X, X), "'inputs' names 'x' twice"),
        (infer(), "input 'x': expected FP32 [-1,2], got nothing"),
        (infer(X | {"parameters": 1}), "the parameters of 'x' must be an object"),
        (infer(X, id=5), "'id' must be a string"),
        (
            infer(X | {"parameters": {"shared_memory_region": "r"}}),
            "parameter 'shared_memory_region' of 'x' is not supported: callers share no memory"
            " with this server; send the tensor in binary",
        ),
        (
            infer(X, parameters={"deep": {"er": 1}}),
            "parameter 'deep' of the request must be a string, a number or a boolean",
        ),
        (
            infer(X, parameters={"binary_data_output": 1}),
            "parameter 'binary_data_output' of the request must be true or false",
        ),
        (
            infer(X, outputs=[{"name": "y", "parameters": {"binary_data": "yes"}}]),
            "parameter 'binary_data' of 'y' must be true or false",
        ),
        (
            infer(X, outputs=[{"name": "y", "parameters": {"classification": -1}}]),
            "parameter 'classification' of 'y' must be a number of classes",
        ),
        (
            infer(X, v2_tensor("z", [1], [1])),
            "input 'z': expected one of the model's inputs (x), got an unknown name",
        ),
        (
            infer(v2_tensor("x", [1, 2, 3], [1, 3], "FP64")),
            "input 'x': expected FP32 [-1,2], got FP64 [1,3]",
        ),
        (
            infer(v2_tensor("x", [1, 2], [2])),
            "input 'x': expected FP32 [-1,2], got FP32 [2]",
        ),
        (
            infer(v2_tensor("x", [1, 2, 3], [1, 2])),
            "input 'x': expected FP32 [1,2], got data of shape [3], 3 values",
        ),
        (
            infer(v2_tensor("x", [[1], [2]], [1, 2])),
            "input 'x': expected FP32 [1,2], got data of shape [2,1], 2 values",
        ),
        (
            infer(v2_tensor("x", [1, "2"], [1, 2])),
            "input 'x': expected FP32 [-1,2], got a string at [1]",
        ),
        (
            infer({"name": "x", "datatype": "FP32", "shape": [1, 2]}),
            "input 'x': expected FP32 [-1,2], got no 'data'",
        ),
        (
            infer(v2_tensor("x", [1, 2], [-1, 2])),
            "input 'x': expected FP32 [-1,2], got a 'shape' that is not a list of whole numbers",
        ),
        (
            infer(X, outputs=[{"name": "z"}]),
            "output 'z' is not an output of the model; outputs: y",
        ),
        (
            infer(v2_tensor("x", [], [0, 2]) | {"shape": [2**62, 2]}),
            f"input 'x': expected FP32 [{2**62},2], got data of shape [0], 0 values",
        ),
        (infer(X, outputs={"name": "y"}), "'outputs' must be a list of tensors"),
    ],
)
def test_bad_requests_say_what_is_wrong(tmp_path: Path, document: Any, message: str) -> None:
    assert open_plane(tmp_path, bundles.DOUBLE).refusal(V2, document) == message


def test_no_elements_and_a_dimension_beyond_all_memory(tmp_path: Path) -> None:
    free = bundles.model(
        [bundles.node("Identity", ["x"], ["y"])],
        [("x", bundles.FLOAT, ["N", "M"])],
        [("y", bundles.FLOAT, ["N", "M"])],
    )
    plane = open_plane(tmp_path, free)
    message = plane.refusal(V2, infer(v2_tensor("x", [], [0, 2**62])))
    assert message == f"input 'x': expected FP32 [-1,-1], got FP32 [0,{2**62}]"


def test_nan_out_names_the_output_and_the_way_out(tmp_path: Path) -> None:
    plane = open_plane(tmp_path, bundles.LOG)
    response = plane.post(V2, infer(v2_tensor("x", [1, -1], [2])))
    assert response.status == 400
    assert response.headers["x-modelport-error"] == "not-encodable"
    assert json.loads(response.body)["error"] == (
        "output 'log' cannot be encoded: JSON has no NaN or Infinity;"
        ' ask for it in binary ("parameters": {"binary_data_output": true})'
    )


def test_half_precision_is_refused_with_the_reason(tmp_path: Path) -> None:
    plane = open_plane(tmp_path, bundles.HALF)
    message = plane.refusal(V2, infer(v2_tensor("h", [1], [1], "FP16")))
    assert message.startswith("input 'h': expected FP16 [-1], got JSON: the protocol gives FP16")


@pytest.mark.parametrize("kind", [TensorProto.FLOAT16, TensorProto.BFLOAT16])
def test_half_precision_outputs_are_refused_before_the_model_runs(
    tmp_path: Path, kind: int
) -> None:
    cast = bundles.model(
        [bundles.node("Cast", ["x"], ["half"], to=kind), bundles.node("Neg", ["x"], ["full"])],
        [("x", bundles.FLOAT, ["N"])],
        [("half", kind, ["N"]), ("full", bundles.FLOAT, ["N"])],
    )
    plane = open_plane(tmp_path, cast)
    one = v2_tensor("x", [1], [1])
    assert plane.refusal(V2, infer(one)).startswith("output 'half' cannot be encoded: the protocol")
    chosen = plane.answer(V2, infer(one, outputs=[{"name": "full"}]))
    assert chosen["outputs"] == [v2_tensor("full", [-1], [1])]
    best = [{"name": "half", "parameters": {"classification": 1}}]
    chosen = plane.answer(V2, infer(one, outputs=best))
    assert chosen["outputs"] == [v2_tensor("half", ["1.000000:0"], [1], "BYTES")]


def test_bf16_has_no_form_in_v1_but_a_way_out(tmp_path: Path) -> None:
    kind = TensorProto.BFLOAT16
    cast = bundles.model(
        [bundles.node("Cast", ["x"], ["y"], to=kind)],
        [("x", bundles.FLOAT, ["N"])],
        [("y", kind, ["N"])],
    )
    message = open_plane(tmp_path, cast).refusal("/v1/models/demo:predict", {"instances": [1]})
    assert "send it as raw tensors to /v2" in message


def test_parameters_of_no_concern_are_let_in(tmp_path: Path) -> None:
    known = {"sequence_id": 5, "sequence_start": True, "priority": 1, "timeout": 2.5, "x": "y"}
    plane = open_plane(tmp_path, bundles.DOUBLE)
    answer = plane.answer(V2, infer(X | {"parameters": known}, parameters=known, id=None))
    assert answer["outputs"] == [v2_tensor("y", [2, 4], [1, 2])]


def classes_of(plane: Plane, rows: list[list[float]], wanted: int) -> dict[str, Any]:
    outputs = [{"name": "y", "parameters": {"classification": wanted}}]
    x = v2_tensor("x", rows, [len(rows), len(rows[0])])
    output: dict[str, Any] = plane.answer(V2, infer(x, outputs=outputs))["outputs"][0]
    return output


def test_classification_gives_each_rows_best_as_triton_writes_them(tmp_path: Path) -> None:
    plane = open_plane(tmp_path, bundles.DOUBLE)
    assert classes_of(plane, [[0.1, 0.05], [-1, 3]], 1) == v2_tensor(
        "y", ["0.200000:0", "6.000000:1"], [2, 1], "BYTES"
    )
    labelled = Plane(
        DataPlane(replace(plane.plane.subject, labels=("no", "yes")), plane.plane.model)
    )
    more_than_there_are = classes_of(labelled, [[1, 2]], 10)
    assert more_than_there_are["data"] == ["4.000000:1:yes", "2.000000:0:no"]
    assert more_than_there_are["shape"] == [1, 2]
    one = Plane(DataPlane(replace(plane.plane.subject, labels=("no",)), plane.plane.model))
    assert classes_of(one, [[1, 2]], 2)["data"] == ["4.000000:1", "2.000000:0:no"]


def test_classification_of_numbers_that_are_none_and_of_equals() -> None:
    values = np.array([1, np.nan, 3, 3, -np.inf], np.float32)
    assert best_classes(values, 5, ()).tolist() == [
        "3.000000:2", "3.000000:3", "1.000000:0", "nan:1", "-inf:4"
    ]  # fmt: skip
    assert best_classes(np.array([[0, 255]], np.uint8), 2, ()).tolist() == [["255:1", "0:0"]]
    assert best_classes(np.empty((0, 3), np.int64), 2, ()).shape == (0, 2)
    assert best_classes(np.array(2, np.float32), 2, ()).tolist() == ["2.000000:0"]


def test_classification_needs_numbers(tmp_path: Path) -> None:
    plane = open_plane(tmp_path, bundles.TEXT)
    outputs = [{"name": "same", "parameters": {"classification": 1}}]
    text = v2_tensor("text", ["a"], [1], "BYTES")
    message = plane.refusal(V2, infer(text, outputs=outputs))
    assert message.endswith("classification needs numbers, not BYTES")


def test_the_repository_has_this_version_and_stays_as_it_is(tmp_path: Path) -> None:
    plane = open_plane(tmp_path, bundles.DOUBLE)
    for body in (b"", b'{"ready":true}'):
        answer = plane.plane.handle(Request("POST", "/v2/repository/index", {}, body))
        assert json.loads(answer.body) == [
            {"name": "demo", "version": "3", "state": "READY", "reason": ""}
        ]
    packed = Request(
        "POST", "/v2/repository/index", {"content-encoding": "gzip"}, gzip.compress(b"{}")
    )
    assert plane.plane.handle(packed).status == 200
    for verb, way in (("load", "modelport deploy demo"), ("unload", "modelport route demo")):
        assert way in plane.refusal(f"/v2/repository/models/demo/{verb}", {}, status=501)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", "the body is not JSON"),
        (b"[true]", "the body is not an object"),
        (b'{"ready": 1}', "'ready' is true or false"),
    ],
)
def test_a_repository_index_asks_for_the_ready_or_all(
    tmp_path: Path, body: bytes, message: str
) -> None:
    plane = open_plane(tmp_path, bundles.DOUBLE)
    assert message in plane.refusal("/v2/repository/index", body)


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/v2/health/live", {"live": True}),
        ("/v2/health/ready", {"ready": True, "live": True}),
        ("/v2/models/demo/ready", {"name": "demo", "ready": True}),
        ("/v2", {"name": "modelport", "version": "2", "extensions": list(metadata.V2_EXTENSIONS)}),
    ],
)
def test_health_and_server_metadata(tmp_path: Path, path: str, answer: dict[str, Any]) -> None:
    response = open_plane(tmp_path, bundles.DOUBLE).plane.handle(Request("GET", path))
    assert json.loads(response.body) == answer
