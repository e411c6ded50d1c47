"""V1 as TensorFlow Serving clients know it: forms, base64, batch rules, exact messages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from modelport.envelope import Request
from onnx import TensorProto

from tests.support import runtime_bundles as bundles
from tests.support.runtime_planes import V1, open_plane


def test_one_input_as_rows_columns_and_named_rows(tmp_path: Path) -> None:
    plane = open_plane(tmp_path, bundles.DOUBLE)
    rows = {"predictions": [[2, 4], [6, 8]]}
    assert plane.answer(V1, {"instances": [[1, 2], [3, 4]]}) == rows
    assert plane.answer(V1, {"instances": [{"x": [1, 2]}, {"x": [3, 4]}]}) == rows
    columns = {"outputs": [[2, 4], [6, 8]]}
    assert plane.answer(V1, {"inputs": [[1, 2], [3, 4]]}) == columns
    assert plane.answer(V1, {"inputs": {"x": [[1, 2], [3, 4]]}}) == columns


def test_the_default_signature_may_be_named(tmp_path: Path) -> None:
    plane = open_plane(tmp_path, bundles.DOUBLE)
    for name in ("", "serving_default"):
        plane.answer(V1, {"signature_name": name, "instances": [[1, 2]]})


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({}, "Missing 'inputs' or 'instances' key"),
        ({"instances": []}, "No values in 'instances' array"),
        ({"instances": 1}, "Excepting 'instances' to be an list/array"),
        (
            {"instances": [[1, 2]], "inputs": [[1, 2]]},
            "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist",
        ),
        (
            {"signature_name": "s", "instances": [[1, 2]]},
            'Serving signature name: "s" not found in signature def',
        ),
        ({"signature_name": 1, "instances": []}, "'signature_name' key must be a string value."),
        (b"", "JSON Parse error: The document is empty at offset: 0"),
        (b'{"instances": [NaN,,]}', "JSON Parse error: Expecting value at offset: 19"),
        (b'{"instances": NaN \xff}', "JSON Parse error: not UTF-8 at offset: 18"),
        (b"[NaN]" + b"[" * 100_000, "JSON Parse error: Extra data at offset: 5"),
        (b"[NaN," + b"[" * 100_000, "JSON Parse error: nested too deep"),
        (b'{"instances": [NaN, "\\ud800"]}', "JSON Parse error: no low surrogate in string"),
        (b'{"instances": [NaN, "\xed\xa0\x80"]}', "JSON Parse error: not UTF-8 at offset: 21"),
        (
            b'{"instances": [NaN, ' + b"1" * 5000 + b"]}",
            "JSON Parse error: a number of too many digits",
        ),
        (b"[1]", "the JSON document is not an object"),
        (
            {"instances": [{"x": [1, 2]}, {"y": [1, 2]}]},
            "Failed to process element: 1 of 'instances' list. JSON object with keys y:"
            " keys must be equal to: x",
        ),
        (
            {"instances": [{"x": [1, 2]}, [1, 2]]},
            "Expecting object but got list at item 1 of input list",
        ),
        ({"inputs": {"y": 1}}, "Missing named input: x in 'inputs' object."),
        (
            {"inputs": {"x": [[1, 2]], "z": 1}},
            "input 'z': expected one of the model's inputs (x), got an unknown name",
        ),
        (
            {"instances": [[1, 2, 3]]},
            "input 'x': expected FP32 [-1,2], got FP32 [1,3]"
            " (row form stacks the instances on axis 0; columnar 'inputs' does not)",
        ),
        ({"inputs": [["a", 2]]}, "input 'x': expected FP32 [-1,2], got a string at [0][0]"),
    ],
)
def test_bad_requests_say_what_is_wrong(tmp_path: Path, document: Any, message: str) -> None:
    assert open_plane(tmp_path, bundles.DOUBLE).refusal(V1, document) == message


@pytest.mark.parametrize(("body", "offset"), [(b'{"instances": [1 2]}', 17), (b"{", 1)])
def test_malformed_json_says_at_which_offset(tmp_path: Path, body: bytes, offset: int) -> None:
    message = open_plane(tmp_path, bundles.DOUBLE).refusal(V1, body)
    assert message.startswith("JSON Parse error: ")
    assert message.endswith(f" at offset: {offset}")


def test_a_plain_list_cannot_feed_several_inputs(tmp_path: Path) -> None:
    plane = open_plane(tmp_path, bundles.SUM)
    assert "instances is a plain list" in plane.refusal(V1, {"instances": [[1, 2]]})
    assert "inputs is a plain value/list" in plane.refusal(V1, {"inputs": [[1, 2]]})


def test_a_rank_0_input_goes_in_columnar_form(tmp_path: Path) -> None:
    plane = open_plane(tmp_path, bundles.SCALE)
    assert plane.answer(V1, {"inputs": {"x": [[1, 2]], "factor": 3}}) == {"outputs": [[3, 6]]}
    message = plane.refusal(V1, {"instances": [{"x": [1, 2], "factor": 3}]})
    assert "input 'factor': expected FP32 [], got FP32 [1]" in message
    assert "columnar" in message


def test_a_rank_0_output_has_no_rows(tmp_path: Path) -> None:
    plane = open_plane(tmp_path, bundles.TOTAL)
    assert plane.answer(V1, {"inputs": [[1, 2], [3, 4]]}) == {"outputs": 10.0}
    message = plane.refusal(V1, {"instances": [[1, 2], [3, 4]]})
    assert message == "Tensor name: total has no shape information "


def test_outputs_of_different_batch_size_have_no_rows(tmp_path: Path) -> None:
    plane = open_plane(tmp_path, bundles.RECURRENT)
    steps = [[[1], [2]], [[3], [4]], [[5], [6]]]
    assert plane.answer(V1, {"inputs": steps})["outputs"]["highest"] == [2, 4, 6]
    message = plane.refusal(V1, {"instances": steps})
    assert message == "Tensor name: highest has inconsistent batch size: 3 expecting: 2"


def test_a_fixed_batch_is_kept(tmp_path: Path) -> None:
    plane = open_plane(tmp_path, bundles.COUNT)
    assert plane.answer(V1, {"instances": [[1, 2, 3]]}) == {"predictions": [[2, 4, 6]]}
    message = plane.refusal(V1, {"instances": [[1, 2, 3], [1, 2, 3]]})
    assert "expected INT64 [1,3], got INT64 [2,3]" in message


def test_large_whole_numbers_stay_whole(tmp_path: Path) -> None:
    plane = open_plane(tmp_path, bundles.COUNT)
    big = 2**62 - 1
    body = plane.post(V1, {"instances": [[big, 1.0, 0]]}).body
    assert json.loads(body) == {"predictions": [[2 * big, 2, 0]]}


def test_outputs_named_bytes_are_base64(tmp_path: Path) -> None:
    plane = open_plane(tmp_path, bundles.TEXT)
    row = {"same": "é", "raw_bytes": {"b64": "w6k="}}
    assert plane.answer(V1, {"instances": ["é"]}) == {"predictions": [row]}
    assert plane.answer(V1, {"instances": [{"b64": "w6k="}]}) == {"predictions": [row]}
    assert plane.answer(V1, {"instances": [{"text": {"b64": "w6k="}}]}) == {"predictions": [row]}
    assert plane.answer(V1, {"inputs": ["é"]}) == {
        "outputs": {"same": ["é"], "raw_bytes": [{"b64": "w6k="}]}
    }
    message = plane.refusal(V1, {"inputs": {"b64": "w6k="}})
    assert message == "input 'text': expected BYTES [-1], got BYTES []"


def test_not_finite_is_written_bare_wherever_it_stands(tmp_path: Path) -> None:
    node, flt = bundles.node, bundles.FLOAT
    two = bundles.model(
        [node("Log", ["x"], ["log"]), node("Neg", ["x"], ["minus"])],
        [("x", flt, ["N"])],
        [("log", flt, ["N"]), ("minus", flt, ["N"])],
    )
    plane = open_plane(tmp_path, two)
    assert plane.post(V1, {"instances": [-1, 0]}).body == (
        b'{"predictions":[{"log":NaN,"minus":1.0},{"log":-Infinity,"minus":-0.0}]}'
    )
    assert plane.post(V1, b'{"inputs":[Infinity]}').body == (
        b'{"outputs":{"log":[Infinity],"minus":[-Infinity]}}'
    )


def test_floats_are_written_in_their_shortest_form(tmp_path: Path) -> None:
    plane = open_plane(tmp_path, bundles.SUM)
    body = plane.post(V1, {"instances": [{"a:0": [0.1, 0], "b:0": [0, 0.2]}]}).body
    assert body == b'{"predictions":[{"sum:0":[0.1,0.2],"diff:0":[0.1,-0.2]}]}'


def test_half_precision_travels_in_v1(tmp_path: Path) -> None:
    plane = open_plane(tmp_path, bundles.HALF)
    assert plane.answer(V1, {"instances": [0.5, 2]}) == {"predictions": [0.5, 2.0]}


def test_a_both_ways_selected_version_is_refused(tmp_path: Path) -> None:
    plane = open_plane(tmp_path, bundles.DOUBLE).plane
    response = plane.handle(Request("POST", "/v1/models/demo/versions/3/labels/l:predict"))
    assert json.loads(response.body)["error"] == (
        "Both model version and model version label cannot be supplied."
    )


def test_kserves_dialect_takes_inputs_for_instances(tmp_path: Path) -> None:
    plane = open_plane(tmp_path, bundles.DOUBLE)
    rows = {"predictions": [[2, 4]]}
    for path in (f"{V1}?dialect=kserve", f"{V1}?x=1&dialect=k%73erve"):
        assert plane.answer(path, {"inputs": [[1, 2]]}) == rows
        assert plane.answer(path, {"instances": [[1, 2]]}) == rows
        assert plane.answer(path, {"inputs": [{"x": [1, 2]}]}) == rows
    assert plane.answer(f"{V1}?dialect=tfs", {"inputs": [[1, 2]]}) == {"outputs": [[2, 4]]}
    message = plane.refusal(f"{V1}?dialect=kserve", {"inputs": {"x": [[1, 2]]}})
    assert message == "Excepting 'inputs' to be an list/array"


def test_an_unknown_dialect_is_refused_with_those_there_are(tmp_path: Path) -> None:
    message = open_plane(tmp_path, bundles.DOUBLE).refusal(f"{V1}?dialect=seldon", {"inputs": 1})
    assert "'seldon'" in message
    assert "allowed: kserve, tfs" in message


def test_explain_is_501_with_the_reason(tmp_path: Path) -> None:
    message = open_plane(tmp_path, bundles.DOUBLE).refusal(
        V1.replace(":predict", ":explain"), {"instances": [[1, 2]]}, status=501
    )
    assert message.startswith(":explain is not supported: ")


def test_an_object_among_plain_rows_is_named_by_its_place(tmp_path: Path) -> None:
    message = open_plane(tmp_path, bundles.DOUBLE).refusal(V1, {"instances": [[1, 2], {"x": [1]}]})
    assert message == "Expecting value/list but got object at item 1 of input list"


@pytest.mark.parametrize(
    ("source", "target", "named"), [("BF16", "FLOAT", "h"), ("FLOAT", "BF16", "g")]
)
def test_brain_floats_are_refused_with_the_way_out(
    tmp_path: Path, source: str, target: str, named: str
) -> None:
    kinds = {"BF16": TensorProto.BFLOAT16, "FLOAT": TensorProto.FLOAT}
    cast = bundles.node("Cast", ["h"], ["g"], to=kinds[target])
    body = bundles.model([cast], [("h", kinds[source], ["N"])], [("g", kinds[target], ["N"])])
    message = open_plane(tmp_path, body).refusal(V1, {"instances": [1]})
    assert f"'{named}'" in message
    assert "no form for BF16" in message
    assert "/v2/models/MODEL/infer" in message


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (TensorProto.UINT64, [2**64 - 1, 2**53 + 1, 0]),
        (TensorProto.INT64, [-(2**63), 2**63 - 1, -(2**53) - 1]),
    ],
)
def test_64_bit_whole_numbers_are_exact_both_ways(
    tmp_path: Path, kind: int, values: list[int]
) -> None:
    same = bundles.node("Identity", ["n"], ["m"])
    plane = open_plane(tmp_path, bundles.model([same], [("n", kind, ["N"])], [("m", kind, ["N"])]))
    assert plane.answer(V1, {"instances": values}) == {"predictions": values}
    assert plane.answer(V1, {"inputs": values}) == {"outputs": values}
    assert "has lost digits as a float" in plane.refusal(V1, {"instances": [2**64]})


def test_empty_tensors_and_nested_base64(tmp_path: Path) -> None:
    same = bundles.node("Identity", ["t"], ["t_bytes"])
    spec = (bundles.STRING, ["N", "M"])
    plane = open_plane(tmp_path, bundles.model([same], [("t", *spec)], [("t_bytes", *spec)]))
    b64 = {"b64": "w6k="}
    assert plane.answer(V1, {"instances": [["a", b64], [b64, "é"]]}) == {
        "predictions": [[{"b64": "YQ=="}, b64], [b64, b64]]
    }
    assert plane.answer(V1, {"instances": [[], []]}) == {"predictions": [[], []]}
    assert plane.answer(V1, {"inputs": {"t": [[b64]]}}) == {"outputs": [[b64]]}


@pytest.mark.parametrize(
    ("method", "path", "status", "message"),
    [
        ("GET", "/v1/models/other", 404, "Could not find any versions of model other"),
        ("GET", "/v1/models/demo/versions/9", 404, "Could not find version 9 of model demo"),
        ("POST", "/v1/models/x:predict", 404, "Servable not found for request: Latest(x)"),
        (
            "POST",
            "/v1/models/demo/versions/9:predict",
            404,
            "Servable not found for request: Specific(demo, 9)",
        ),
        (
            "POST",
            "/v1/models/demo/labels/beta:predict",
            400,
            "Unrecognized servable version label: beta",
        ),
        ("GET", "/v1/models/demo:predict", 405, "/v1/models/demo:predict takes POST"),
    ],
)
def test_a_model_function_words_what_is_not_there_as_the_router_does(
    tmp_path: Path, method: str, path: str, status: int, message: str
) -> None:
    plane = open_plane(tmp_path, bundles.DOUBLE).plane
    response = plane.handle(Request(method, path))
    assert (response.status, json.loads(response.body)["error"]) == (status, message)
