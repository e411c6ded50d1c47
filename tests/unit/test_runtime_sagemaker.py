"""``/invocations`` without a script: every media type in and, by ``Accept``, out."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelport.errors import ModelportError
from modelport.signature import TensorSpec
from onnx import TensorProto

from functions.runtime.codecs.media import choose
from functions.runtime.codecs.npy import read_npy
from tests.support import runtime_bundles as bundles
from tests.support.runtime_planes import SAGEMAKER, Plane, open_plane, v2_tensor

JSON, CSV, NPY = "application/json", "text/csv", "application/x-npy"
LINES, OCTETS = "application/jsonlines", "application/octet-stream"
TRITON = "application/vnd.sagemaker-triton.binary+json"


def npy(array: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def npy_header(shape: str) -> bytes:
    """An npy body that claims ``shape`` and holds two values."""
    head = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head + bytes(8)


def as_type(content_type: str, accept: str = "") -> dict[str, str]:
    return {"content-type": content_type} | ({"accept": accept} if accept else {})


@pytest.fixture
def double(tmp_path: Path) -> Plane:
    return open_plane(tmp_path, bundles.DOUBLE)


@pytest.mark.parametrize("content_type", [JSON, "", "Application/JSON; charset=utf-8"])
def test_json_of_any_spelling_of_its_type(double: Plane, content_type: str) -> None:
    headers = as_type(content_type)
    for key in ("instances", "inputs"):
        answer = double.answer(SAGEMAKER, {key: [[1, 2]]}, headers)
        assert answer == {"predictions": [[2, 4]]}


@pytest.mark.parametrize("body", [b"1,2\n3,4", b"1, 2.0\r\n\r\n3,4\r\n", b'"1","2"\n3,4\n'])
def test_csv_rows(double: Plane, body: bytes) -> None:
    answer = double.answer(SAGEMAKER, body, as_type(CSV))
    assert answer == {"predictions": [[2, 4], [6, 8]]}


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f2", "<i2"])
def test_npy_arrays_of_any_order_that_widen(double: Plane, dtype: str, order: Any) -> None:
    array = np.array([[1, 2], [3, 4]], dtype, order=order)
    answer = double.answer(SAGEMAKER, npy(array), as_type(NPY))
    assert answer == {"predictions": [[2, 4], [6, 8]]}


def test_an_empty_npy_array(double: Plane) -> None:
    answer = double.answer(SAGEMAKER, npy(np.zeros((0, 2), "f4")), as_type(NPY))
    assert answer == {"predictions": []}


def test_long_npy_headers_are_read(double: Plane) -> None:
    stream = io.BytesIO()
    array = np.array([[1, 2]], "f4")
    np.lib.format.write_array(stream, array, version=(2, 0))
    assert double.answer(SAGEMAKER, stream.getvalue(), as_type(NPY)) == {"predictions": [[2, 4]]}


def test_answers_come_as_accept_asks(double: Plane) -> None:
    csv = double.post(SAGEMAKER, b"0.1,1", as_type(CSV, "text/csv, */*"))
    assert (csv.headers["content-type"], csv.body) == (CSV, b"0.2,2.0\n")
    array = double.post(SAGEMAKER, b"1,2", as_type(CSV, NPY))
    assert array.headers["content-type"] == NPY
    np.testing.assert_array_equal(np.load(io.BytesIO(array.body)), np.array([[2, 4]], "f4"))
    for accept in ("application/*", "image/png, application/json;q=0.5", "*/*"):
        assert double.answer(SAGEMAKER, b"1,2", as_type(CSV, accept)) == {"predictions": [[2, 4]]}


def test_one_dimensional_answers_are_one_csv_column(tmp_path: Path) -> None:
    plane = open_plane(tmp_path, bundles.LOG)
    response = plane.post(SAGEMAKER, {"instances": [1, 0]}, as_type(JSON, CSV))
    assert response.body == b"0.0\n-inf\n"


def test_csv_of_text_and_of_whole_numbers(tmp_path: Path) -> None:
    flt = bundles.STRING
    upper = bundles.model(
        [bundles.node("Identity", ["t"], ["u"])], [("t", flt, ["N", 2])], [("u", flt, ["N", 2])]
    )
    text = open_plane(tmp_path / "text", upper)
    response = text.post(SAGEMAKER, '"a,b",é'.encode(), as_type(CSV, CSV))
    assert response.body == '"a,b",é\n'.encode()
    assert "carries no text" in text.refusal(SAGEMAKER, b"a,b", as_type(CSV, NPY))
    count = open_plane(tmp_path / "count", bundles.COUNT)
    assert count.answer(SAGEMAKER, b"9007199254740993,0,-1", as_type(CSV)) == {
        "predictions": [[18014398509481986, 0, -2]]
    }
    assert count.answer(SAGEMAKER, b"1.0,2e1,0", as_type(CSV)) == {"predictions": [[2, 40, 0]]}
    for cell in ("1.5", "", "1e30", "inf", "9" * 30):
        message = count.refusal(SAGEMAKER, f"7,{cell},0".encode(), as_type(CSV))
        assert "not a whole number" in message or "out of its range" in message


@pytest.mark.parametrize(
    ("body", "content_type", "message"),
    [
        (b"1,2\n3,x", CSV, "CSV line 2, column 2: 'x' is not a number"),
        (b"1,x\n3,4", CSV, "CSV line 1, column 2: 'x' is not a number"),
        (b"1,1_0", CSV, "CSV line 1, column 2: '1_0' is not a number"),
        (b"1," + b"z" * 99, CSV, "'" + "z" * 40 + "…' is not a number"),
        (b"1,2\n\n3", CSV, "CSV line 3 has 1 cells, the first row has 2"),
        (b"a,b\n", CSV, "the CSV body has a header and no rows"),
        (b'1,"2', CSV, "the CSV body cannot be read: unexpected end of data"),
        (b'1,"2"3', CSV, "the CSV body cannot be read: ',' expected after"),
        (b"1,2\n" * 5000 + b"\xff,2", CSV, "the CSV body is not UTF-8 at offset 20000"),
        (b"\n", CSV, "the CSV body has no rows"),
        (b"1,\xff", CSV, "the CSV body is not UTF-8 at offset 2"),
        (b"1," + b"2" * 200_000, CSV, "the CSV body cannot be read: field larger than"),
        (b"1,2,3", CSV, "input 'x': expected FP32 [-1,2], got FP32 [1,3]"),
        (npy(np.full((1, 2), 1e300)), NPY, "got FP64 [1,2] beyond its range"),
        (npy(np.ones((1, 2), "c8")), NPY, "got complex64 [1,2]"),
        (npy(np.zeros((1, 2), "M8[s]")), NPY, "got datetime64[s] [1,2]"),
        (npy(np.zeros((1, 2), "f4,i4")), NPY, "input 'x': expected FP32 [-1,2]"),
        (npy(np.ones((1, 3), "f4")), NPY, "input 'x': expected FP32 [-1,2], got FP32 [1,3]"),
        (b"\x93NUMPY\x09\x00" + bytes(99), NPY, "the body is not an npy array: version (9, 0)"),
        (npy_header("(" * 300 + "1" + ")" * 300), NPY, "the body is not an npy array"),
        (npy_header("-" * 9000 + "1"), NPY, "the body is not an npy array"),
        (npy_header("[" * 9000), NPY, "the body is not an npy array"),
        (npy(np.array([[None, 1]], object)), NPY, "a pickled array, which is never opened"),
        (npy(np.ones((1, 2), "f4"))[:-1], NPY, "the body is not an npy array"),
        (b"1,2", NPY, "the body is not an npy array"),
        (npy_header("(4611686018427387904, 4)"), NPY, "the body is not an npy array"),
        (npy_header("(-1, 2)"), NPY, "the body is not an npy array"),
        (npy_header("(0, 1180591620717411303424)"), NPY, "the body is not an npy array"),
        (b"", NPY, "the body is not an npy array"),
        (b"{}", JSON, "exactly one of the input fields"),
    ],
)
def test_bad_bodies_say_what_is_wrong(
    double: Plane, body: bytes, content_type: str, message: str
) -> None:
    assert message in double.refusal(SAGEMAKER, body, as_type(content_type))


@pytest.mark.parametrize(
    ("content_type", "accept"),
    [
        ("application/vnd.apache.parquet", ""),
        ("application/x-www-form-urlencoded", ""),
        (JSON, "image/png"),
        (JSON, "application/json;q=0, image/*"),
    ],
)
def test_unsupported_types_list_what_is_allowed(
    double: Plane, content_type: str, accept: str
) -> None:
    message = double.refusal(
        SAGEMAKER, {"instances": [[1, 2]]}, as_type(content_type, accept), status=415
    )
    assert f"allowed: {JSON}, {CSV}, {NPY}" in message


def test_models_that_csv_and_npy_do_not_suit(tmp_path: Path) -> None:
    several = open_plane(tmp_path / "sum", bundles.SUM)
    assert "has no header row" in several.refusal(SAGEMAKER, b"1,2", as_type(CSV))
    array = npy(np.ones((1, 2), "f4"))
    assert "several inputs" in several.refusal(SAGEMAKER, array, as_type(NPY), status=415)
    row = {"instances": [{"a:0": [1, 2], "b:0": [1, 2]}]}
    for accept in (CSV, NPY, OCTETS):
        assert "carries one tensor" in several.refusal(SAGEMAKER, row, as_type(JSON, accept))
    deep = open_plane(tmp_path / "total", bundles.TOTAL)
    message = deep.refusal(SAGEMAKER, {"inputs": [[1, 2]]}, as_type(JSON, CSV))
    assert "in one or two dimensions" in message
    assert "it has no rows" in deep.refusal(SAGEMAKER, {"instances": [[1, 2]]})
    assert deep.answer(SAGEMAKER, b"1,2", as_type(CSV)) == {"predictions": 3}


def test_a_csv_column_is_an_input_of_one_dimension(tmp_path: Path) -> None:
    flat = open_plane(tmp_path, bundles.LOG)
    assert flat.answer(SAGEMAKER, b"1\n1", as_type(CSV)) == {"predictions": [0, 0]}
    message = flat.refusal(SAGEMAKER, b"1,1", as_type(CSV))
    assert message == "input 'x': expected FP32 [-1], got a table of 1 rows and 2 columns"


def test_a_csv_row_is_an_inputs_flattened_values(tmp_path: Path) -> None:
    flt = bundles.FLOAT
    cube = bundles.model(
        [bundles.node("Identity", ["c"], ["d"])],
        [("c", flt, ["N", 2, 2])],
        [("d", flt, ["N", 2, 2])],
    )
    plane = open_plane(tmp_path, cube)
    assert plane.answer(SAGEMAKER, b"1,2,3,4", as_type(CSV)) == {"predictions": [[[1, 2], [3, 4]]]}
    assert "3 columns" in plane.refusal(SAGEMAKER, b"1,2,3", as_type(CSV))


@pytest.mark.parametrize(
    ("body", "kind", "predictions"),
    [
        (b"f1,f2\n1,2\n3,4\n", CSV, [{"y": [2, 4]}, {"y": [6, 8]}]),
        (b"\xef\xbb\xbff1,f2\r\n1,2\r\n", CSV, [{"y": [2, 4]}]),
        (b"0,1\n1,2\n", CSV, [[0, 2], [2, 4]]),
        (b"0,1\n1,2\n", f"{CSV}; header=present", [{"y": [2, 4]}]),
        (b"1,2\n", f"{CSV};header=absent;charset=UTF-8", [[2, 4]]),
        (b"\xef\xbb\xbf1,2\r3,4\r", CSV, [[2, 4], [6, 8]]),
    ],
)
def test_a_header_row_is_known_by_its_looks_or_said(
    double: Plane, body: bytes, kind: str, predictions: Any
) -> None:
    assert double.answer(SAGEMAKER, body, as_type(kind)) == {"predictions": predictions}


@pytest.mark.parametrize("cell", ["", "nan", "NaN", " "])
def test_a_cell_without_a_number_is_nan(double: Plane, cell: str) -> None:
    (row,) = double.answer(SAGEMAKER, f"1,{cell}\n".encode(), as_type(CSV))["predictions"]
    assert row[0] == 2
    assert row[1] != row[1]


def test_csv_of_several_inputs_names_its_columns(tmp_path: Path) -> None:
    flt = bundles.FLOAT
    pair = bundles.model(
        [bundles.node("Add", ["a", "b"], ["sum"])],
        [("a", flt, ["N", 1]), ("b", flt, ["N", 1])],
        [("sum", flt, ["N", 1])],
    )
    plane = open_plane(tmp_path, pair)
    body = b"b,id,a\n1,x,2\n3,y,4\n"
    assert plane.answer(SAGEMAKER, body, as_type(CSV)) == {"predictions": [{"sum": 3}, {"sum": 7}]}
    for body, message in (
        (b"a,c\n1,2\n", "has no header row"),
        (b"a,b,a\n1,2,3\n", "'a' is there 2 times; columns: a, b, a"),
        (b"a,b\n1\n", "CSV line 2 has 1 cells, the first row has 2"),
        (b"a,b\n1,z\n", "CSV line 2, column 2: 'z' is not a number"),
        (b"a,b\n", "a header and no rows"),
    ):
        assert message in plane.refusal(SAGEMAKER, body, as_type(CSV))


def test_csv_of_truths(tmp_path: Path) -> None:
    boolean = TensorProto.BOOL
    body = bundles.model(
        [bundles.node("Not", ["p"], ["q"])],
        [("p", boolean, ["N", 4])],
        [("q", boolean, ["N", 4])],
    )
    plane = open_plane(tmp_path, body)
    assert plane.answer(SAGEMAKER, b"true,False,1,0\n", as_type(CSV)) == {
        "predictions": [[False, True, False, True]]
    }
    message = plane.refusal(SAGEMAKER, b"true,2,1,0\n", as_type(CSV))
    assert message == "CSV line 1, column 2: '2' is neither true nor false"


def test_a_million_columns_are_refused_and_no_more(double: Plane) -> None:
    message = double.refusal(SAGEMAKER, b"1," * 1_000_000 + b"1", as_type(CSV))
    assert message == "input 'x': expected FP32 [-1,2], got FP32 [1,1000001]"


@pytest.mark.parametrize(
    ("content_type", "problem"),
    [
        (f"{CSV}; charset=latin-1", "'text/csv; charset=latin-1' is not supported"),
        (f"{JSON}; charset=utf-16", "allowed: application/json; charset=utf-8"),
        (f"{JSON}; header=present", "'application/json; header=…' is not supported"),
        (f"{CSV}; header=maybe", "allowed: text/csv, text/csv; header=present"),
    ],
)
def test_a_parameter_that_is_not_understood_is_refused(
    double: Plane, content_type: str, problem: str
) -> None:
    assert problem in double.refusal(SAGEMAKER, b"1,2", as_type(content_type), status=415)


@pytest.mark.parametrize("dtype", ["f8", "i8", "u8", "f2", ">f8"])
def test_npy_numbers_narrow_as_json_numbers_do(double: Plane, dtype: str) -> None:
    # What SageMaker's serializer makes of a plain list is float64 or int64.
    answer = double.answer(SAGEMAKER, npy(np.array([[1, 2]], dtype)), as_type(NPY))
    assert answer == {"predictions": [[2, 4]]}


def test_npy_of_whole_numbers(tmp_path: Path) -> None:
    count = open_plane(tmp_path, bundles.COUNT)
    for dtype in ("i1", "u8", "f8"):
        answer = count.answer(SAGEMAKER, npy(np.array([[1, 2, 3]], dtype)), as_type(NPY))
        assert answer == {"predictions": [[2, 4, 6]]}
    for value, dtype, problem in (
        (1.5, "f8", "not all of it whole numbers"),
        (float("nan"), "f8", "not all of it whole numbers"),
        (float("inf"), "f8", "which has lost digits"),
        (2.0**60, "f8", "which has lost digits"),
        (2**63, "u8", "beyond its range"),
    ):
        body = npy(np.full((1, 3), value, dtype))
        assert problem in count.refusal(SAGEMAKER, body, as_type(NPY))


@given(st.binary(max_size=200), st.text(max_size=120))
def test_no_npy_header_is_more_than_a_refusal(tail: bytes, header: str) -> None:
    text = header.encode()
    body = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + tail
    for sent in (tail, b"\x93NUMPY" + tail, body):
        with contextlib.suppress(ModelportError):
            read_npy(sent, TensorSpec("x", "FP32", (-1, 2)))


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("", JSON),
        ("*/*", JSON),
        ("text/*;q=0.9, application/x-npy", NPY),
        ("application/json;q=0.1, text/csv;q=0.2", CSV),
        ("*/*;q=0.5, application/json;q=0.1", CSV),
        ("application/*, text/csv;q=0.9", JSON),
        ("application/jsonlines", LINES),
        ("text/csv;q=nonsense", CSV),
        ("image/png,, text/csv;q=0.1", JSON),
    ],
)
def test_accept_is_weighed(accept: str, chosen: str) -> None:
    assert choose(accept) == chosen


@pytest.mark.parametrize("kind", [LINES, "application/x-jsonlines"])
@pytest.mark.parametrize(
    "body",
    [
        b"[1, 2]\n[3, 4]",
        b'{"features": [1, 2]}\r\n\r\n{"x": [3, 4]}\r\n',
        b"\xef\xbb\xbf[1,2]\n\n  [3,4]  \n\n",
    ],
)
def test_json_lines_are_rows(double: Plane, body: bytes, kind: str) -> None:
    assert double.answer(SAGEMAKER, body, as_type(kind)) == {"predictions": [[2, 4], [6, 8]]}
    response = double.post(SAGEMAKER, body, as_type(kind, kind))
    assert response.headers["content-type"] == kind
    assert response.body == b"[2.0,4.0]\n[6.0,8.0]\n"


def test_json_lines_of_several_inputs_and_outputs(tmp_path: Path) -> None:
    plane = open_plane(tmp_path, bundles.SUM)
    body = b'{"a:0": [1, 2], "b:0": [1, NaN]}\n{"a:0": [3, 4], "b:0": [1, 1]}\n'
    response = plane.post(SAGEMAKER, body, as_type(LINES, LINES))
    assert response.body == (
        b'{"sum:0":[2.0,NaN],"diff:0":[0.0,NaN]}\n{"sum:0":[4.0,5.0],"diff:0":[2.0,3.0]}\n'
    )
    for body, message in (
        (b"[1,2]", "line 1: expected an object with the keys a:0, b:0"),
        (b'{"a:0": [1, 2]}', "line 1: its keys are a:0; expected a:0, b:0"),
    ):
        assert message in plane.refusal(SAGEMAKER, body, as_type(LINES))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "the JSON lines body has no lines"),
        (b"\n\n", "the JSON lines body has no lines"),
        (b"[1,2]\n[1,2", "line 2: JSON Parse error: "),
        (b"[1,2]\n\n[1,2],[3,4]", "line 3: JSON Parse error: "),
        (b'[1,2]\nNaN,"line":1', "line 2: JSON Parse error: Extra data"),
        (b"[1,2]\n[NaN", "line 2: JSON Parse error: "),
        (b"[1,2]\n" * 9 + b"[1,2,3]\n" + b"[1,2]\n" * 9,
         "line 10: input 'x': a row of shape [3] after rows of [2]"),
        (b'[1,2]\n[1,"a"]', "line 2: input 'x': expected FP32 [-1,2], got a string at [1]"),
        (b'[1,2]\n{"y":[1,2]}', "line 2: its keys are y; expected x or features"),
        (b"[1,2]\n\xff", "line 2: JSON Parse error: "),
        (b"[1]\n[2]", "got FP32 [2,1] (each line is a row"),
        (b"[" * 5000, "line 1: JSON Parse error: "),
    ],
)  # fmt: skip
def test_a_bad_line_is_named(double: Plane, body: bytes, message: str) -> None:
    assert message in double.refusal(SAGEMAKER, body, as_type(LINES))


def test_raw_bytes_are_the_one_input_and_the_one_output(double: Plane, tmp_path: Path) -> None:
    body = np.array([[1, 2], [3, 4]], "<f4").tobytes()
    assert double.answer(SAGEMAKER, body, as_type(OCTETS)) == {"predictions": [[2, 4], [6, 8]]}
    response = double.post(SAGEMAKER, body, as_type(OCTETS, OCTETS))
    assert response.headers["content-type"] == OCTETS
    assert response.body == np.array([[2, 4], [6, 8]], "<f4").tobytes()
    text = open_plane(tmp_path / "text", bundles.TEXT)
    answer = text.answer(SAGEMAKER, b'{"inputs": 1}', as_type(OCTETS))
    assert answer == {"predictions": [{"same": '{"inputs": 1}', "raw_bytes": '{"inputs": 1}'}]}
    several = open_plane(tmp_path / "sum", bundles.SUM)
    assert "several inputs" in several.refusal(SAGEMAKER, body, as_type(OCTETS), status=415)


V2_JSON = {"id": "7", "inputs": [v2_tensor("x", [1, 2], [1, 2])]}


@pytest.mark.parametrize("content_type", [JSON, OCTETS])
def test_a_v2_document_gets_v2s_answer(double: Plane, content_type: str) -> None:
    answer = double.answer(SAGEMAKER, V2_JSON, as_type(content_type))
    assert (answer["id"], answer["outputs"][0]["data"]) == ("7", [2, 4])
    csv = double.post(SAGEMAKER, V2_JSON, as_type(content_type, CSV))
    assert csv.body == b"2.0,4.0\n"


def test_tritons_content_type_says_where_the_json_ends(double: Plane) -> None:
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 2],
              "parameters": {"binary_data_size": 8}}  # fmt: skip
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    raw = np.array([1, 2], "<f4").tobytes()
    for headers in (
        as_type(f"{TRITON};json-header-size={len(head)}"),
        as_type(OCTETS) | {"inference-header-content-length": str(len(head))},
        as_type("anything/else") | {"inference-header-content-length": str(len(head))},
    ):
        response = double.post(SAGEMAKER, head + raw, headers)
        assert response.status == 200, response.body
        media, _, size = response.headers["content-type"].partition(";json-header-size=")
        size = size or response.headers["inference-header-content-length"]
        assert media == (TRITON if "triton" in headers["content-type"] else OCTETS)
        assert json.loads(response.body[: int(size)])["model_name"] == "demo"
        assert response.body[int(size) :] == np.array([2, 4], "<f4").tobytes()


def test_whoever_accepts_tritons_type_gets_it(double: Plane) -> None:
    response = double.post(SAGEMAKER, b"1,2", as_type(CSV, TRITON))
    media, _, size = response.headers["content-type"].partition(";json-header-size=")
    assert media == TRITON
    head = json.loads(response.body[: int(size)])
    assert head["outputs"] == [
        {"name": "y", "datatype": "FP32", "shape": [1, 2], "parameters": {"binary_data_size": 8}}
    ]
    assert response.body[int(size) :] == np.array([2, 4], "<f4").tobytes()


def attributed(text: str, content_type: str = JSON) -> dict[str, str]:
    return as_type(content_type) | {"x-amzn-sagemaker-custom-attributes": text}


def test_the_tensorflow_predictor_gets_v1s_answers(double: Plane) -> None:
    headers = attributed("tfs-model-name=demo,tfs-model-version=3")
    assert double.answer(SAGEMAKER, {"inputs": [[1, 2]]}, headers) == {"outputs": [[2, 4]]}
    for body in (b"[[1, 2]]", b" [ [1, 2] ]", b"[1, 2]"):  # as its serializer sends arrays
        assert double.answer(SAGEMAKER, body, headers) == {"predictions": [[2, 4]]}
    csv = attributed("tfs-method=predict", CSV)
    assert double.answer(SAGEMAKER, b"1,2\n", csv) == {"predictions": [[2, 4]]}


@pytest.mark.parametrize("body", [b"[[1, 2]]", b" [ [1, 2] ]", b"[1, 2]", b'[{"x": [1, 2]}]'])
def test_a_list_without_a_key_is_rows_of_input(double: Plane, body: bytes) -> None:
    # What SageMaker's JSONSerializer makes of lists and arrays; values alone are one row.
    assert double.answer(SAGEMAKER, body) == {"predictions": [[2, 4]]}


def test_a_long_list_without_a_key_is_read_as_any(double: Plane) -> None:
    rows = [[float(row), row + 0.5] for row in range(2000)]
    answer = double.answer(SAGEMAKER, json.dumps(rows).encode())
    assert answer["predictions"][1999] == [3998, 3999]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"[]", "expected FP32 [-1,2]"),
        (b"[1, 2, 3]", "got FP32 [1,3]"),
        (b'[1], "params": {}', "JSON Parse error"),
        (b'"text"', "the JSON document is not an object"),
    ],
)
def test_a_list_that_is_no_rows_is_refused(double: Plane, body: bytes, message: str) -> None:
    assert message in double.refusal(SAGEMAKER, body)


def test_a_list_of_texts_is_a_row_each(tmp_path: Path) -> None:
    texts = bundles.model(
        [bundles.node("Identity", ["x"], ["y"])],
        [("x", bundles.STRING, ["N"])],
        [("y", bundles.STRING, ["N"])],
    )
    plane = open_plane(tmp_path, texts)
    assert plane.answer(SAGEMAKER, b'["a", "b"]') == {"predictions": ["a", "b"]}


def test_the_tensorflow_predictors_method_is_honoured(double: Plane) -> None:
    body = {"examples": [{"x": [1, 2]}]}
    headers = attributed("a=b, tfs-method=classify")
    v1 = double.post("/v1/models/demo:classify", body)
    own = double.post(SAGEMAKER, body, headers)
    assert (own.status, json.loads(own.body)["error"] if own.status != 200 else own.body) == (
        v1.status,
        json.loads(v1.body)["error"] if v1.status != 200 else v1.body,
    )
    for attributes, status, message in (
        ("tfs-method=explain", 400, "tfs-method must be one of predict, classify, regress"),
        ("tfs-model-name=other", 404, "model other"),
        ("tfs-model-version=4", 404, "version 4"),
        ("tfs-model-version=x", 400, "must be a number"),
    ):
        refused = double.refusal(SAGEMAKER, body, attributed(attributes), status=status)
        assert message in refused or "Servable not found" in refused
    csv = attributed("tfs-method=classify", CSV)
    assert "for tfs-method=classify" in double.refusal(SAGEMAKER, b"1,2", csv, status=415)


_KINDS = (JSON, CSV, NPY, LINES, OCTETS, TRITON, f"{TRITON};json-header-size=30", f"{CSV};header=x")
_SEEDS = (
    b"1,2\n3,4\n",
    b"p,q\n1,\n",
    b"[1,2]\n[3,4]\n",
    b'{"instances":[[1,2]]}',
    b'{"dataframe_split":{"columns":["p","q"],"data":[[1,2]]}}',
    b'{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[1,2]}]}',
    b'{"features":[1,2]}\n{"x":[NaN,2]}',
    npy(np.ones((1, 2), "f4")),
    npy(np.asfortranarray(np.ones((3, 2), ">f8"))),
)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Plane:
    return open_plane(tmp_path_factory.mktemp("shared"), bundles.DOUBLE)


@given(
    seed=st.sampled_from(_SEEDS),
    kind=st.sampled_from(_KINDS),
    accept=st.sampled_from(["*/*", *_KINDS]),
    attributes=st.sampled_from(["", "tfs-method=classify", "tfs-model-name=demo", "tfs-=,=tfs-a="]),
    changes=st.lists(st.tuples(st.integers(0, 200), st.binary(max_size=3)), max_size=4),
)
def test_no_request_is_more_than_a_refusal(
    shared: Plane,
    seed: bytes,
    kind: str,
    accept: str,
    attributes: str,
    changes: list[tuple[int, bytes]],
) -> None:
    body = seed
    for at, piece in changes:
        body = body[:at] + piece + body[at + 1 :]
    response = shared.post(SAGEMAKER, body, attributed(attributes, kind) | {"accept": accept})
    assert response.status in (200, 400, 415), response.body


@pytest.mark.parametrize("code", [0xD800, 0xDFFF, 0x110000, 0x7FFFFFFF, 0xFFFFFFFF])
@pytest.mark.parametrize("order", "<>")
def test_npy_text_that_is_none_is_refused(tmp_path: Path, code: int, order: str) -> None:
    plane = open_plane(tmp_path, bundles.TEXT)
    text = np.array(["aé€😀", "", "b"]).astype(f"{order}U4")
    right = npy(text)
    got = plane.answer(SAGEMAKER, right, as_type(NPY) | {"accept": JSON})
    assert [row["same"] for row in got["predictions"]] == text.tolist()
    wrong = right[:-4] + code.to_bytes(4, "little" if order == "<" else "big")
    assert plane.refusal(SAGEMAKER, wrong, as_type(NPY)) == (
        "input 'text': expected BYTES [-1], got characters that Unicode does not have"
    )
