"""MLflow scoring at ``/invocations``: its four keys in, predictions in the same layout out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import modelport
import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelport.envelope import Request
from modelport.errors import ModelportError
from modelport.signature import Signature, TensorSpec

from functions.runtime.codecs.mlflow import parse_scoring
from tests.support import runtime_bundles as bundles
from tests.support.runtime_planes import SAGEMAKER, Plane, open_plane

#: Two inputs of one value a row, two outputs.
PAIR = bundles.model(
    [
        bundles.node("Add", ["a", "b"], ["sum"]),
        bundles.node("Sub", ["a", "b"], ["less"]),
    ],
    [("a", bundles.FLOAT, ["N", 1]), ("b", bundles.FLOAT, ["N", 1])],
    [("sum", bundles.FLOAT, ["N", 1]), ("less", bundles.FLOAT, ["N", 1])],
)


@pytest.fixture
def double(tmp_path: Path) -> Plane:
    return open_plane(tmp_path / "double", bundles.DOUBLE)


@pytest.fixture
def pair(tmp_path: Path) -> Plane:
    return open_plane(tmp_path / "pair", PAIR)


def split(columns: Any, data: Any, **more: Any) -> dict[str, Any]:
    return {"dataframe_split": {"columns": columns, "data": data, **more}}


@pytest.mark.parametrize(
    "document",
    [
        split(["p", "q"], [[1, 2], [3, 4]]),
        split(["p", "q"], [[1, 2], [3, 4]], index=[7, "b"]),
        split([0, 1], [[1, 2], [3, 4]]),
        split(["p", "p"], [[1, 2], [3, 4]]),
        split(["x"], [[[1, 2]], [[3, 4]]]),
        {"dataframe_split": {"data": [[1, 2], [3, 4]]}},
        {"dataframe_records": [{"p": 1, "q": 2}, {"q": 4, "p": 3}]},
        {"dataframe_records": [{"x": [1, 2]}, {"x": [3, 4]}], "params": {"top_k": 3}},
    ],
)
def test_a_data_frame_is_the_one_inputs_matrix(double: Plane, document: Any) -> None:
    answer = double.answer(SAGEMAKER, document)
    assert answer == {"predictions": [{"y": [2, 4]}, {"y": [6, 8]}]}


@pytest.mark.parametrize(
    "document",
    [
        split(["b", "a"], [[1, 5], [2, 6]]),
        split(["b", "other", "a"], [[1, "x", 5], [2, None, 6]]),
        split(["b", "a"], [[[1], [5]], [[2], [6]]]),
        {"dataframe_records": [{"a": 5, "b": 1}, {"b": 2, "a": 6}]},
    ],
)
def test_columns_are_inputs_by_name(pair: Plane, document: Any) -> None:
    answer = pair.answer(SAGEMAKER, document)
    assert answer == {"predictions": [{"sum": 6, "less": 4}, {"sum": 8, "less": 4}]}


def test_instances_are_rows_and_inputs_are_columns(pair: Plane, double: Plane) -> None:
    rows = {"instances": [{"a": [5], "b": [1]}, {"a": [6], "b": [2]}]}
    assert pair.answer(SAGEMAKER, rows) == {
        "predictions": [{"sum": [6], "less": [4]}, {"sum": [8], "less": [4]}]
    }
    columns = {"inputs": {"a": [[5], [6]], "b": [[1], [2]]}, "params": None}
    assert pair.answer(SAGEMAKER, columns) == {
        "predictions": {"sum": [[6], [8]], "less": [[4], [4]]}
    }
    for one in ({"inputs": [[1, 2]]}, {"inputs": {"x": [[1, 2]]}}, {"instances": [[1, 2]]}):
        assert double.answer(SAGEMAKER, one) == {"predictions": [[2, 4]]}


def test_values_per_row_stay_together(tmp_path: Path) -> None:
    flat = open_plane(tmp_path / "flat", bundles.LOG)
    assert flat.answer(SAGEMAKER, split(["x"], [[1], [1]])) == {
        "predictions": [{"log": 0}, {"log": 0}]
    }
    assert flat.answer(SAGEMAKER, split(["x"], [1, 1]))["predictions"][1] == {"log": 0}
    text = open_plane(tmp_path / "text", bundles.TEXT)
    assert text.answer(SAGEMAKER, {"dataframe_records": [{"t": "é"}]}) == {
        "predictions": [{"same": "é", "raw_bytes": "é"}]
    }


def test_nan_is_a_bare_token_both_ways_and_null_is_missing(pair: Plane, tmp_path: Path) -> None:
    body = b'{"dataframe_split": {"columns": ["a", "b"], "data": [[NaN, 1], [null, 2], [1, 2]]}}'
    response = pair.post(SAGEMAKER, body)
    assert response.body == (
        b'{"predictions":[{"sum":NaN,"less":NaN},{"sum":NaN,"less":NaN},{"sum":3.0,"less":-1.0}]}'
    )
    flat = open_plane(tmp_path, bundles.LOG)
    body = b'{"dataframe_records": [{"x": null}, {"x": 0}]}'
    assert flat.post(SAGEMAKER, body).body == b'{"predictions":[{"log":NaN},{"log":-Infinity}]}'
    assert flat.post(SAGEMAKER, {"inputs": [0]}).body == b'{"predictions":[-Infinity]}'


def test_large_frames_are_read_alike(pair: Plane, double: Plane) -> None:
    rows = [[float(i), i + 0.5] for i in range(2000)]
    records = pair.answer(SAGEMAKER, split(["a", "b"], rows))["predictions"]
    assert records[1999] == {"sum": 3998.5, "less": -0.5}
    matrix = double.answer(SAGEMAKER, split(["p", "q"], rows, index=list(range(2000))))
    assert matrix["predictions"][1999] == {"y": [3998, 3999]}
    message = double.refusal(SAGEMAKER, split(["p"], rows))
    assert message == "Invalid input. 1 columns passed, passed data had 2 columns"
    wide = split([str(i) for i in range(1500)], [[0.5] * 1500] * 2)
    assert "expected FP32 [-1,2], got FP32 [2,1500]" in double.refusal(SAGEMAKER, wide)
    assert "'a' is there no times" in pair.refusal(SAGEMAKER, wide)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({}, "exactly one of the input fields {'dataframe_split', 'dataframe_records',"),
        (b" [1]", "input 'x': expected FP32 [-1,2], got FP32 [1,1]"),
        (b"3", "the JSON document is not an object"),
        (b"", "JSON Parse error"),
        ({}, "Received dictionary with input fields: none"),
        ({"a": 1, "b": 2}, "Received dictionary with input fields: 'a', 'b'"),
        ({"inputs": [[1, 2]], "instances": [[1, 2]]}, "input fields: 'inputs', 'instances'"),
        ({"inputs": [[1, 2]], "params": [1]}, "'params' must be a dictionary"),
        ({"dataframe_split": [[1]]}, "Dataframe split format must be a dictionary. Got list."),
        ({"dataframe_split": {"columns": ["a"]}}, "must have 'data' field"),
        (split(["a"], [[1]], extra=1), "Got 'columns', 'data', 'extra'."),
        (split(["a"], {"a": 1}), "'data' of a dataframe_split must be a list"),
        (split("ab", [[1, 2]]), "'columns' of a dataframe_split must be a list of names"),
        (split([["a", "b"]], [[1, 2]]), "'columns' of a dataframe_split must be a list of names"),
        (split(["p"], [[1, 2]]), "1 columns passed, passed data had 2 columns"),
        (split(["p", "q"], [[1, 2]], index=[1, 2]), "must be a list of 1 labels"),
        (split(["p", "q"], [[1, 2], [3]]), "ragged list"),
        (split(["p", "q"], [[1, "x"]]), "a string at [0][1]"),
        (split(["p", "q"], [[[1], [2]]]), "2 columns of lists, not one"),
        ({"dataframe_records": {"p": 1}}, "must be a list of records. Got dictionary."),
        ({"dataframe_records": 5}, "must be a list of records. Got type int."),
        ({"dataframe_records": [{"p": 1, "q": 2}, {"p": 1}]}, "record 1 of dataframe_records has"),
        ({"dataframe_records": [{"p": 1, "q": 2}, 3]}, "record 1 of dataframe_records is not an"),
        ({"dataframe_records": [{}]}, "input 'x'"),
        ({"inputs": [[1, 2]], "signature_name": "other"}, 'Serving signature name: "other"'),
    ],
)
def test_bad_documents_say_what_is_wrong(double: Plane, document: Any, message: str) -> None:
    response = double.post(SAGEMAKER, document)
    body = json.loads(response.body)
    assert response.status == 400
    assert message in body["message"]
    assert body["error"] == body["message"]
    assert body["error_code"] == "BAD_REQUEST"


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (split(["a", "b"], [[1]]), "2 columns passed, row 0 of 'data' has 1 cells"),
        (split(["a", "b"], [[1, 2], 3]), "row 1 of 'data' is not a list"),
        (split(["a", "b", "a"], [[1, 2, 3]]), "'a' is there 2 times; columns: a, b, a"),
        (split(["a"], [[1]]), "'b' is there no times; columns: a"),
        (split(["a", "b"], [[[1, 2], 2]]), "input 'a': expected FP32 [-1,1], got FP32 [1,2]"),
        ({"dataframe_split": {"data": [[1, 2]]}}, "must have 'columns'"),
        ({"dataframe_records": []}, "'a' is there no times; columns: "),
    ],
)
def test_bad_columns_say_what_is_wrong(pair: Plane, document: Any, message: str) -> None:
    assert message in pair.refusal(SAGEMAKER, document)


def test_an_empty_frame_is_no_rows(double: Plane) -> None:
    assert double.answer(SAGEMAKER, split(["p", "q"], [])) == {"predictions": []}


def test_parquet_is_refused_with_what_is_read(double: Plane) -> None:
    kind = {"content-type": "application/vnd.apache.parquet"}
    message = double.refusal(SAGEMAKER, b"PAR1", kind, status=415)
    assert "allowed: application/json, text/csv" in message


@pytest.mark.parametrize(("path", "body"), [("/health", "\n"), ("/version", modelport.__version__)])
def test_health_and_version_are_mlflows(double: Plane, path: str, body: str) -> None:
    response = double.plane.handle(Request("GET", path))
    assert (response.status, response.body.decode()) == (200, body)
    assert response.headers["content-type"] == "application/json"


_LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
_VALUES = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=12,
)
_FRAMES = st.fixed_dictionaries(
    {"data": _VALUES | st.lists(st.lists(_LEAVES, max_size=3), max_size=3)},
    optional={
        "columns": _VALUES | st.lists(st.sampled_from(["a", "b", "c"]), max_size=3),
        "index": _VALUES,
    },
)
_SIGNATURES = (
    Signature((TensorSpec("x", "FP32", (-1, 2)),), (TensorSpec("y", "FP32", (-1, 2)),)),
    Signature(
        (TensorSpec("a", "INT64", (-1,)), TensorSpec("b", "BYTES", (-1, 1))),
        (TensorSpec("y", "FP32", (-1, 2)),),
    ),
)


@given(
    st.fixed_dictionaries({"dataframe_split": _FRAMES})
    | st.fixed_dictionaries({"dataframe_records": _VALUES})
    | st.dictionaries(st.sampled_from(["inputs", "instances", "params"]), _VALUES),
    st.sampled_from(_SIGNATURES),
)
def test_no_document_is_more_than_a_refusal(document: Any, signature: Signature) -> None:
    try:
        parsed = parse_scoring(document, signature)
    except ModelportError:
        return
    assert all(spec.accepts(parsed.tensors[spec.name].shape) for spec in signature.inputs)
