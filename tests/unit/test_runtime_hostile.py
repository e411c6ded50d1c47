"""The classic attacks on parsers, each refused with its status and in words of bounded length."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from tests.support import runtime_bundles as bundles
from tests.support.runtime_planes import SAGEMAKER, V1, V2, Plane, open_plane, v2_tensor

LENGTH = "inference-header-content-length"
X = "input 'x': expected FP32 [-1,2], got "
NO_SHAPE = X + "a 'shape' that is not a list of whole numbers"
NO_SIZE = "parameter 'binary_data_size' of 'x' must be a whole number of bytes"
MILLION = 10**6
KEYS = json.dumps({f"k{number}": 1 for number in range(MILLION)}).encode()


@pytest.fixture(scope="module")
def double(tmp_path_factory: pytest.TempPathFactory) -> Plane:
    return open_plane(tmp_path_factory.mktemp("double"), bundles.DOUBLE)


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        (V1, b'{"instances":' + b"[" * 100_000, "JSON Parse error: depth limit exceeded"),
        (V2, b'{"inputs":' + b"[" * 100_000, "JSON Parse error: depth limit exceeded"),
        (SAGEMAKER, b'{"inputs":' * 100_000, "JSON Parse error: depth limit exceeded"),
        (V1, b'{"instances":' + b"[" * 900 + b"1" + b"]" * 900 + b"}", X + "a list nested deeper"),
        (V1, b'{"instances":[NaN,' + b"[" * 50_000, "JSON Parse error: nested too deep"),
    ],
)
def test_deep_nesting(double: Plane, path: str, body: bytes, words: str) -> None:
    assert double.refusal(path, body).startswith(words)


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        (
            [10**12, 2],
            "input 'x': expected FP32 [1000000000000,2], got data of shape [2], 2 values",
        ),
        ([2**62, 2], "input 'x': expected FP32 [4611686018427387904,2], got data of shape [2]"),
        ([2**64, 2], NO_SHAPE),
        ([-1, 2], NO_SHAPE),
        ([True, 2], NO_SHAPE),
        ([1.0, 2], NO_SHAPE),
        ("12", NO_SHAPE),
        ([1] * 100_000, NO_SHAPE),
    ],
)
def test_shapes_that_cannot_be(double: Plane, shape: Any, words: str) -> None:
    message = double.refusal(V2, {"inputs": [v2_tensor("x", [1, 2], shape)]})
    assert message.startswith(words)
    assert len(message) <= 2001


@pytest.mark.parametrize(
    ("shape", "size", "tail", "words"),
    [
        ([1, 2], 2**63, 0, "parameter 'binary_data_size' of 'x' is 9223372036854775808, but 0"),
        ([1, 2], -1, 0, NO_SIZE),
        ([1, 2], 8.0, 8, NO_SIZE),
        ([1, 2], True, 1, NO_SIZE),
        ([1, 2], 4, 4, "input 'x': expected FP32 [1,2], got raw data: 4 bytes, where the shape"),
        ([1, 2], 8, 9, "1 bytes follow the last input's raw tensor"),
        ([2**31, 2], 8, 8, "input 'x': expected FP32 [2147483648,2], got raw data: 8 bytes, where"),
        ([2**62, 2], 0, 0, "input 'x': expected FP32 [4611686018427387904,2], got raw data: 0"),
    ],
)
def test_sizes_that_lie(double: Plane, shape: list[int], size: Any, tail: int, words: str) -> None:
    tensor = {"name": "x", "datatype": "FP32", "shape": shape}
    head = json.dumps({"inputs": [tensor | {"parameters": {"binary_data_size": size}}]}).encode()
    message = double.refusal(V2, head + bytes(tail), {LENGTH: str(len(head))})
    assert message.startswith(words)


@pytest.mark.parametrize("length", ["9" * 20, "-1", "1_0", "\u0661", "1e3", "", "3"])
def test_header_lengths_that_lie(double: Plane, length: str) -> None:
    assert LENGTH in double.refusal(V2, b"{}", {LENGTH: length})


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        (V1, KEYS, "Missing 'inputs' or 'instances' key"),
        (V1, b'{"inputs":' + KEYS + b"}", "Missing named input: x in 'inputs' object."),
        (V1, b'{"instances":[' + KEYS + b"]}", "Failed to process element: 0 of 'instances' list."),
        (V1, b'{"inputs":{"x":[],"' + b"n" * MILLION + b'":1}}', "input 'nnn"),
        (V2, KEYS, "'inputs' must be a list of tensors"),
        (V2, b'{"inputs":[' + b'{"name":"x"},' * MILLION + b"{}]}", "'inputs' names 'x' twice"),
        (SAGEMAKER, KEYS, "The input must be a JSON dictionary with exactly one of"),
        (SAGEMAKER, b'{"dataframe_records":[' + KEYS + b"]}", X + "FP32 [1,1000000]"),
    ],
)
def test_a_million_keys(double: Plane, path: str, body: bytes, words: str) -> None:
    message = double.refusal(path, body)
    assert message.startswith(words)
    assert len(message) <= 2001


@pytest.mark.parametrize(
    ("kind", "body", "words"),
    [
        ("text/csv", b"1,\xff", "the CSV body is not UTF-8 at offset 2"),
        ("text/csv", b"1" * 200_000, "the CSV body cannot be read: field larger than field limit"),
        ("text/csv", b"," * MILLION, X + "FP32 [1,1000001]"),
        ("application/jsonlines", b"[1,2]\n[1,\xff]", "line 2: JSON Parse error: "),
        ("application/jsonlines", b"[" * MILLION, "line 1: JSON Parse error: depth limit exceeded"),
        ("application/json", b'{"inputs":"\xff"}', "JSON Parse error: "),
        ("application/json", b'{"inputs":"\\udc00"}', "JSON Parse error: "),
    ],
)
def test_bytes_that_are_no_text_and_rows_without_end(
    double: Plane, kind: str, body: bytes, words: str
) -> None:
    assert double.refusal(SAGEMAKER, body, {"content-type": kind}).startswith(words)


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ("(1000000000000, 2)", "the body is not an npy array: buffer is smaller than requested"),
        ("(-1, 2)", "the body is not an npy array: shape (-1, 2)"),
        ("(0, 4611686018427387904)", "the body is not an npy array: array is too big"),
        ("(2**62, 2)", "the body is not an npy array: malformed node or string on line 1: an exp"),
        ("(1.0, 2)", "the body is not an npy array: shape is not valid"),
    ],
)
def test_npy_headers_that_lie(double: Plane, shape: str, words: str) -> None:
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}".encode()
    body = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(8)
    message = double.refusal(SAGEMAKER, body, {"content-type": "application/x-npy"})
    assert message.startswith(words)
    assert "0x" not in message


def test_bombs_of_bombs_and_of_every_media_type(double: Plane) -> None:
    bomb = gzip.compress(bytes(40_000_000))
    twice = {"content-encoding": "gzip, gzip"}
    assert "is not supported here" in double.refusal(V1, gzip.compress(bomb), twice, status=415)
    for path, kind in (
        (V2, "application/octet-stream"),
        (SAGEMAKER, "text/csv"),
        (SAGEMAKER, "application/x-npy"),
    ):
        headers = {"content-encoding": "gzip", "content-type": kind}
        assert "33,554,432" in double.refusal(path, bomb, headers, status=413)


def test_one_bad_request_leaves_nothing_behind(double: Plane, tmp_path: Path) -> None:
    double.refusal(V1, b'{"instances":' + b"[" * 100_000)
    assert double.answer(V1, {"instances": [[1, 2]]}) == {"predictions": [[2.0, 4.0]]}
