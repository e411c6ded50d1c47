"""SageMaker ``/invocations`` without a script: JSON, CSV, npy in and, by ``Accept``, out."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support import runtime_bundles as bundles
from tests.support.runtime_planes import SAGEMAKER, Plane, open_plane

JSON, CSV, NPY = "application/json", "text/csv", "application/x-npy"


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
def test_json_has_the_shape_of_v1(double: Plane, content_type: str) -> None:
    headers = as_type(content_type)
    rows = double.answer(SAGEMAKER, {"instances": [[1, 2]]}, headers)
    assert rows == {"predictions": [[2, 4]]}
    assert double.answer(SAGEMAKER, {"inputs": [[1, 2]]}, headers) == {"outputs": [[2, 4]]}


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
    assert "CSV row 1: invalid literal" in count.refusal(SAGEMAKER, b"1.5,0,0", as_type(CSV))


@pytest.mark.parametrize(
    ("body", "content_type", "message"),
    [
        (b"1,2\n3,x", CSV, "CSV row 2: could not convert string to float: 'x'"),
        (b"1,2\n3", CSV, "a ragged list: at depth 2 lengths 1 and 2"),
        (b"\n", CSV, "the CSV body has no rows"),
        (b"1,\xff", CSV, "the CSV body is not UTF-8 at offset 2"),
        (b"1," + b"2" * 200_000, CSV, "the CSV body cannot be read: field larger than"),
        (b"1,2,3", CSV, "input 'x': expected FP32 [-1,2], got FP32 [1,3]"),
        (npy(np.ones((1, 2))), NPY, "input 'x': expected FP32 [-1,2], got FP64 [1,2]"),
        (npy(np.array([[None, 1]], object)), NPY, "a pickled array, which is never opened"),
        (npy(np.ones((1, 2), "f4"))[:-1], NPY, "the body is not an npy array"),
        (b"1,2", NPY, "the body is not an npy array"),
        (npy_header("(4611686018427387904, 4)"), NPY, "the body is not an npy array"),
        (npy_header("(-1, 2)"), NPY, "the body is not an npy array"),
        (npy_header("(0, 1180591620717411303424)"), NPY, "the body is not an npy array"),
        (b"", NPY, "the body is not an npy array"),
        (b"{}", JSON, "Missing 'inputs' or 'instances' key"),
    ],
)
def test_bad_bodies_say_what_is_wrong(
    double: Plane, body: bytes, content_type: str, message: str
) -> None:
    assert message in double.refusal(SAGEMAKER, body, as_type(content_type))


@pytest.mark.parametrize(
    ("content_type", "accept"), [("application/octet-stream", ""), (JSON, "image/png")]
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
    assert "several inputs" in several.refusal(SAGEMAKER, b"1,2", as_type(CSV), status=415)
    row = {"instances": [{"a:0": [1, 2], "b:0": [1, 2]}]}
    assert "carries one tensor" in several.refusal(SAGEMAKER, row, as_type(JSON, CSV))
    flat = open_plane(tmp_path / "log", bundles.LOG)
    assert "input of shape" in flat.refusal(SAGEMAKER, b"1", as_type(CSV), status=415)
    deep = open_plane(tmp_path / "total", bundles.TOTAL)
    message = deep.refusal(SAGEMAKER, {"inputs": [[1, 2]]}, as_type(JSON, CSV))
    assert "carries one or two dimensions" in message
