"""When two answers agree: rankings by their highest, numbers within tolerances, all else equal."""

from __future__ import annotations

import gzip
import io
import json
import math
import struct
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelport.shadows.agreement import Agreement, Terms, compare
from modelport.shadows.message import Answered, digest_of
from modelport.shadows.reading import MOST_BYTES, UnreadableError, read
from modelport.telemetry import PREDICTED_HEADER as PREDICTED

JSON = {"content-type": "application/json"}


def answered(document: Any, **headers: str) -> Answered:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answered(JSON | named, body)


def held(want: Any, got: Any) -> Agreement:
    return compare(answered(want), answered(got))


def v2(data: list[Any], shape: list[int], datatype: str = "FP32", **more: Any) -> dict[str, Any]:
    return {
        "outputs": [{"name": "y", "datatype": datatype, "shape": shape, "data": data}],
        **more,
    }


def raw(values: list[float], shape: list[int], version: str = "3") -> Answered:
    packed = struct.pack(f"<{len(values)}f", *values)
    entry = {
        "name": "y",
        "datatype": "FP32",
        "shape": shape,
        "parameters": {"binary_data_size": len(packed)},
    }
    head = json.dumps({"model_version": version, "outputs": [entry]}).encode()
    headers = {
        "content-type": "application/octet-stream",
        "inference-header-content-length": str(len(head)),
    }
    return Answered(headers, head + packed)


def npy(header: bytes, values: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + values


NO_ARRAYS = (
    b"",
    b"\x93NUMPY",
    b"\x93NUMPY\x01\x00\xff\xff",
    npy(b"{}\n"),
    npy(b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }\n", b"\x80\x04."),
    npy(b"{'descr': '>f4', 'fortran_order': False, 'shape': (1,), }\n", b"1234"),
    npy(b"{'descr': '<f4', 'fortran_order': True, 'shape': (1, 1), }\n", b"1234"),
    npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999,), }\n", b"1234"),
    npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }\n", b"12345"),
    npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': (" + b"1," * 30_000 + b"), }\n"),
)


# --- what agrees ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("want", "got"),
    [
        ({"predictions": [[0.1, 0.9]]}, {"predictions": [[0.3, 0.7]]}),
        ({"outputs": [[0.1, 0.9]]}, {"outputs": [[0.3, 0.7]]}),
        ({"outputs": {"a": [[0.1, 0.9]], "b": [1]}}, {"outputs": {"b": [1], "a": [[0.2, 0.8]]}}),
        (
            {"predictions": [{"label": 1, "scores": [0.1, 0.9]}]},
            {"predictions": [{"scores": [0.2, 0.8], "label": 1}]},
        ),
        ({"predictions": [3.0, 2.0]}, {"predictions": [3.001, 2.0001]}),
        ({"predictions": [[3.0]]}, {"predictions": [[3.001]]}),
        ({"results": [[["cat", 0.1], ["dog", 0.9]]]}, {"results": [[["cat", 0.2], ["dog", 0.8]]]}),
        ({"results": [3.5]}, {"results": [3.501]}),
        (v2([0.1, 0.9], [1, 2], id="a"), v2([0.2, 0.8], [1, 2], id="b", model_version="4")),
        (v2(["0.9:1:dog", "0.1:0"], [1, 2], "BYTES"), v2(["0.8:1:dog", "0.2:0"], [1, 2], "BYTES")),
        (v2(["0.9:1"], [1, 1], "BYTES"), v2(["0.8:1"], [1, 1], "BYTES")),
        ({"label": "cat", "scores": [0.1, 0.9]}, {"label": "cat", "scores": [0.2, 0.8]}),
        ([[0.1, 0.9]], [[0.2, 0.8]]),
        ({"predictions": [[0.5, 0.5000001]]}, {"predictions": [[0.5000001, 0.5]]}),
        ({"predictions": [[math.nan, 0.5]]}, {"predictions": [[math.nan, 0.5]]}),
        ({"predictions": [math.nan, math.inf]}, {"predictions": [math.nan, math.inf]}),
        (3.0, 3.001),
    ],
)
def test_answers_that_say_the_same_agree(want: Any, got: Any) -> None:
    found = held(want, got)
    assert found.agrees is True, found.why
    assert found.rows == found.agreeing >= 1


@pytest.mark.parametrize(
    ("want", "got"),
    [
        ({"predictions": [[0.1, 0.9]]}, {"predictions": [[0.9, 0.1]]}),
        ({"predictions": [[0.1, 0.9]]}, {"predictions": [[0.1, 0.9, 0.0]]}),
        ({"predictions": [3.0, 2.0]}, {"predictions": [3.0, 2.2]}),
        ({"predictions": [3.0, 2.0]}, {"predictions": [3.0]}),
        ({"predictions": [3]}, {"predictions": [4]}),
        ({"predictions": ["cat"]}, {"predictions": ["dog"]}),
        ({"predictions": [True]}, {"predictions": [1]}),
        ({"predictions": [10**400]}, {"predictions": [1.5]}),
        ({"predictions": [math.nan]}, {"predictions": [0.0]}),
        ({"predictions": [math.inf]}, {"predictions": [-math.inf]}),
        ({"predictions": [[math.nan, 0.5]]}, {"predictions": [[0.1, 0.5]]}),
        ({"outputs": {"a": [1.0]}}, {"outputs": {"b": [1.0]}}),
        ({"results": [[["cat", 0.1], ["dog", 0.9]]]}, {"results": [[["cat", 0.9], ["dog", 0.1]]]}),
        (v2([1.0, 2.0], [2]), v2([1.0, 3.0], [2])),
        (v2(["0.9:1", "0.1:0"], [1, 2], "BYTES"), v2(["0.8:0", "0.2:1"], [1, 2], "BYTES")),
        # Amounts are no scores, whichever is the largest.
        ({"predictions": [[2.0, 4.0]]}, {"predictions": [[3.0, 6.0]]}),
        ({"predictions": [[0.1, 0.9]]}, {"predictions": [[0.1, 1.1]]}),
        # Several dimensions a row are no scores: every value counts.
        (v2([1.0, 2.0, 3.0, 9.0], [1, 2, 2]), v2([1.0, 2.5, 3.0, 9.0], [1, 2, 2])),
        ({"label": "cat", "scores": [0.1, 0.9]}, {"label": "dog", "scores": [0.1, 0.9]}),
        ({"predictions": [1.0]}, {"error": "no"}),
    ],
)
def test_answers_that_say_something_else_do_not(want: Any, got: Any) -> None:
    found = held(want, got)
    assert found.agrees is False
    assert found.why
    assert found.agreeing < found.rows


def test_logits_are_scores_where_the_bundle_has_labels() -> None:
    want, got = answered({"outputs": [[-2.0, 4.0]]}), answered({"outputs": [[-9.0, 6.0]]})
    other = answered({"outputs": [[7.0, 6.0]]})
    assert compare(want, got).agrees is False
    assert compare(want, got, Terms(classes=True)).agrees is True
    assert compare(want, other, Terms(classes=True)).agrees is False


def test_rows_are_counted_and_the_first_that_differs_is_named() -> None:
    want = {"outputs": {"scores": [[0.1, 0.9], [0.8, 0.2], [0.7, 0.3]]}}
    got = {"outputs": {"scores": [[0.2, 0.8], [0.2, 0.8], [0.6, 0.4]]}}
    assert held(want, got) == Agreement(False, 3, 2, "output 'scores', row 1")


def test_raw_tensors_are_compared_by_value() -> None:
    assert compare(raw([0.1, 0.9], [1, 2], "3"), raw([0.2, 0.8], [1, 2], "4")).agrees is True
    assert compare(raw([0.1, 0.9], [1, 2]), raw([0.9, 0.1], [1, 2])).agrees is False
    triton = raw([0.2, 0.8], [1, 2])
    size = triton.headers["inference-header-content-length"]
    by_type = f"application/vnd.sagemaker-triton.binary+json;json-header-size={size}"
    assert compare(raw([0.1, 0.9], [1, 2]), Answered({"content-type": by_type}, triton.body)).agrees


@pytest.mark.parametrize(
    ("datatype", "letter", "values"),
    [("FP64", "d", [1.5]), ("FP16", "e", [1.5]), ("INT64", "q", [-7]), ("BOOL", "?", [True])],
)
def test_every_raw_datatype_reads_as_its_json(
    datatype: str, letter: str, values: list[Any]
) -> None:
    packed = struct.pack(f"<{letter}", *values)
    entry = {"name": "y", "datatype": datatype, "shape": [1]}
    head = json.dumps({"outputs": [entry | {"parameters": {"binary_data_size": len(packed)}}]})
    headers = {"inference-header-content-length": str(len(head))}
    assert list(read(headers, head.encode() + packed)["y"]) == values
    assert list(read(JSON, json.dumps(v2(values, [1], datatype)).encode())["y"]) == values


def test_text_and_brain_floats_come_raw_too() -> None:
    texts = b"".join(len(t).to_bytes(4, "little") + t for t in (b"cat", "é".encode()))
    brain = struct.pack("<H", 0x3FC0)
    entries = [
        {"name": "t", "datatype": "BYTES", "shape": [2], "parameters": {"binary_data_size": 13}},
        {"name": "b", "datatype": "BF16", "shape": [1], "parameters": {"binary_data_size": 2}},
    ]
    head = json.dumps({"outputs": entries}).encode()
    found = read({"inference-header-content-length": str(len(head))}, head + texts + brain)
    assert found == {"t": ["cat", "é"], "b": [1.5]}


def test_lines_and_tables_are_rows() -> None:
    lines = {"content-type": "application/jsonlines"}
    want, got = (
        Answered(lines, b"[0.1,0.9]\n[0.8,0.2]\n"),
        Answered(lines, b"[0.2,0.8]\n[0.9,0.1]\n"),
    )
    assert compare(want, got) == Agreement(True, 2, 2)
    table = {"content-type": "text/csv; charset=utf-8"}
    assert compare(Answered(table, b"0.1,0.9\n3,4\n"), Answered(table, b"0.2,0.8\n3,4\n")).agrees
    assert compare(Answered(table, b"3,4\n"), Answered(table, b"3,5\n")).agrees is False


@pytest.mark.parametrize(
    "array",
    [
        np.array([[0.5, 0.25], [0.125, 1.0]], np.float32),
        np.array([1.5, -2.0], np.float16),
        np.array([[3]], np.int64),
        np.array([True, False]),
        np.array(7, np.uint8),
        np.zeros((0, 3), np.float64),
        np.arange(8, dtype=np.float32).reshape(2, 2, 2),
    ],
)
def test_numpys_files_are_read_without_numpy(array: Any) -> None:
    stream = io.BytesIO()
    np.save(stream, array)
    found = read({"content-type": "application/x-npy"}, stream.getvalue())[""]
    rows = np.atleast_1d(array).tolist()
    assert list(found) == (rows if array.ndim < 3 else [[sum(row, [])] for row in rows])  # noqa: RUF017


def test_a_compressed_answer_is_read_within_bounds() -> None:
    body = json.dumps({"predictions": [[0.1, 0.9]]}).encode()
    packed = Answered(JSON | {"content-encoding": "gzip"}, gzip.compress(body))
    assert compare(packed, answered({"predictions": [[0.2, 0.8]]})).agrees is True
    bomb = Answered(JSON | {"content-encoding": "gzip"}, gzip.compress(b" " * 64_000_000))
    assert compare(bomb, answered({})).agrees is None


@pytest.mark.parametrize(
    "live",
    [
        answered(b"not json"),
        answered(b"[" * 200_000),
        answered(b'{"outputs":[' * 50_000),
        answered(b"\xff\xfe"),
        answered(b"[" + b"1" * 10_000 + b"]"),
        answered(b" " * (MOST_BYTES + 1)),
        answered({}, content_encoding="br"),
        answered(b"no gzip", content_encoding="gzip"),
        *(Answered({"content-type": "application/x-npy"}, body) for body in NO_ARRAYS),
        Answered({}, b"anything"),
        Answered({"inference-header-content-length": "-1"}, b"{}"),
        Answered({"inference-header-content-length": "x"}, b"{}"),
        answered(v2([1.0], [3])),
        answered(v2([1.0], [-1])),
        answered(v2([1.0], ["1"])),  # type: ignore[list-item]
        answered(v2([None], [1])),
        answered(v2([1.0], [2**40, 2**40])),
    ],
)
def test_what_cannot_be_read_is_not_compared(live: Answered) -> None:
    found = compare(live, answered({"predictions": [1.0]}))
    assert found.agrees is None
    assert found.why
    assert len(found.why) < 200


@pytest.mark.parametrize("size", [-1, 10**9, "4", 1.5, True, 3])
def test_raw_sizes_that_lie_are_refused(size: Any) -> None:
    entry = {"name": "y", "datatype": "FP32", "shape": [1]}
    head = json.dumps({"outputs": [entry | {"parameters": {"binary_data_size": size}}]}).encode()
    with pytest.raises(UnreadableError):
        read({"inference-header-content-length": str(len(head))}, head + b"1234")


def test_equal_bytes_of_any_kind_agree() -> None:
    image = Answered({"content-type": "image/png"}, b"\x89PNG")
    assert compare(image, image).agrees is True
    assert compare(image, Answered({"content-type": "image/jpeg"}, b"\x89PNG")).agrees is None


# --- answers that stayed behind -------------------------------------------------------------------


def test_a_large_answer_is_compared_by_digest_and_then_by_summary() -> None:
    shadow = answered({"predictions": [[0.1, 0.9]]}, x_modelport_predicted="1=1")
    whole = Answered(JSON, None, digest_of(shadow.body or b""))
    assert compare(whole, shadow).agrees is True
    told = Answered(JSON | {PREDICTED: "1=1"}, None, "sha256:other")
    assert compare(told, shadow).agrees is True
    other = Answered(JSON | {PREDICTED: "0=1"}, None, "sha256:other")
    assert compare(other, shadow).agrees is False
    silent = Answered(JSON, None, "sha256:other")
    assert compare(silent, shadow).agrees is None


# --- properties -----------------------------------------------------------------------------------

numbers = st.floats(allow_nan=True, allow_infinity=True, width=32)
scalars = st.none() | st.booleans() | st.integers() | numbers | st.text(max_size=8)
documents = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=20,
)


def permuted(value: Any) -> Any:
    """The same JSON with the keys of every object in another order."""
    if isinstance(value, dict):
        return {key: permuted(each) for key, each in reversed(value.items())}
    return [permuted(each) for each in value] if isinstance(value, list) else value


@given(documents)
def test_a_document_agrees_with_itself_however_its_keys_lie(document: Any) -> None:
    text = json.dumps(document, ensure_ascii=True).encode()
    spaced = json.dumps(permuted(document), indent=1).encode()
    found = compare(answered(text), answered(spaced))
    assert found.agrees in (True, None)
    if found.agrees is None:  # only what says it is a tensor and is none cannot be read
        assert b'"outputs"' in text


@given(
    st.lists(st.lists(st.floats(0, 1, width=32), min_size=3, max_size=3), min_size=1, max_size=5),
    st.data(),
)
def test_a_changed_highest_disagrees(rows: list[list[float]], data: st.DataObject) -> None:
    changed = deepcopy(rows)
    at = data.draw(st.integers(0, len(rows) - 1))
    best = max(range(3), key=rows[at].__getitem__)
    changed[at][(best + 1) % 3] = rows[at][best] + 2.0
    found = held({"predictions": rows}, {"predictions": changed})
    assert (found.agrees, found.agreeing) == (False, len(rows) - 1)
    flat, other = ([value for row in table for value in row] for table in (rows, changed))
    shape = [len(rows), 3]
    assert held(v2(flat, shape), v2(other, shape)).agrees is False


@given(
    st.binary(max_size=200),
    st.dictionaries(
        st.sampled_from(
            ["content-type", "content-encoding", "inference-header-content-length", PREDICTED]
        ),
        st.sampled_from(
            [
                "application/json",
                "gzip",
                "deflate",
                "text/csv",
                "12",
                "application/jsonl",
                "application/vnd.sagemaker-triton.binary+json;json-header-size=9",
            ]
        ),
    ),
)
def test_no_answer_makes_it_fail(body: bytes, headers: dict[str, str]) -> None:
    for live in (Answered(headers, body), Answered(headers, None, "sha256:x")):
        assert compare(live, answered({"predictions": [1.0]})).agrees in (True, False, None)


@given(documents, documents)
def test_agreement_of_any_two_documents_is_an_answer(one: Any, other: Any) -> None:
    found = held(one, other)
    assert found.agreeing <= found.rows
    assert (found.agrees is True) == (found.rows > 0 and found.rows == found.agreeing) or (
        found.agrees and found.rows == 0  # two answers without any rows
    )
