"""Raw tensors: every datatype and shape there and back, and lies told from truths."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from modelport.raw_tensors import BF16, DTYPES, Array, datatype_of, pack, unpack

SHAPES = npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
NUMBERS = [name for name in DTYPES if name != "BYTES"]


@st.composite
def tensors(draw: st.DrawFn) -> tuple[str, Array]:
    datatype, shape = draw(st.sampled_from(sorted(DTYPES))), draw(SHAPES)
    count = math.prod(shape)
    if datatype == "BYTES":
        texts = draw(st.lists(st.text(max_size=5), min_size=count, max_size=count))
        array = np.empty(count, object)
        array[:] = texts
        return datatype, array.reshape(shape)
    dtype = DTYPES[datatype]
    size = count * dtype.itemsize
    raw = bytearray(draw(st.binary(min_size=size, max_size=size)))
    if datatype == "BOOL":
        raw = bytearray(byte & 1 for byte in raw)
    flat = np.frombuffer(raw, dtype) if raw else np.empty(0, dtype)
    return datatype, flat.reshape(shape)


@given(tensors(), st.integers(0, 7))
def test_what_is_packed_comes_back_from_any_address(tensor: tuple[str, Array], at: int) -> None:
    datatype, array = tensor
    raw = bytes(pack(array))
    found = unpack(datatype, array.shape, memoryview(bytes(at) + raw)[at:])
    assert (datatype_of(found), found.shape) == (datatype, array.shape)
    assert bytes(pack(found)) == raw
    if datatype == "BYTES":
        assert found.tolist() == array.tolist()
    else:
        assert found.tobytes() == array.tobytes()


@given(tensors())
def test_order_in_memory_does_not_matter(tensor: tuple[str, Array]) -> None:
    datatype, array = tensor
    turned = np.asfortranarray(array)
    assert bytes(pack(turned)) == bytes(pack(array))
    if datatype in ("INT32", "FP64"):
        assert bytes(pack(array.astype(array.dtype.newbyteorder(">")))) == bytes(pack(array))


@given(st.sampled_from(sorted(DTYPES)), st.lists(st.integers(-2, 2**70)), st.binary(max_size=40))
def test_any_bytes_of_any_shape_are_a_tensor_or_a_value_error(
    datatype: str, shape: list[int], raw: bytes
) -> None:
    with suppress(ValueError):
        assert unpack(datatype, shape, raw).shape == tuple(shape)


def test_nothing_is_copied_that_need_not_be() -> None:
    array = np.arange(6000, dtype=np.float32).reshape(2, 3000)
    packed = pack(array)
    assert np.shares_memory(np.frombuffer(packed, np.uint8), array)
    assert np.shares_memory(unpack("FP32", [2, 3000], packed), array)


@pytest.mark.parametrize("count", [3, 3000])
@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<i8", "?", BF16])
def test_small_and_large_arrays_have_one_form(count: int, dtype: Any) -> None:
    values = np.arange(2 * count) % 2
    array = (values.astype("<u2").view(BF16) if dtype is BF16 else values.astype(dtype))[::2]
    little = array if array.dtype == BF16 else array.astype(array.dtype.newbyteorder("<"))
    assert bytes(pack(array)) == little.tobytes()


def test_the_layout_is_the_protocols() -> None:
    assert bytes(pack(np.array([[1, -1]], np.int16))) == b"\x01\x00\xff\xff"
    assert bytes(pack(np.array([True, False]))) == b"\x01\x00"
    assert bytes(pack(np.array(["é", ""], object))) == b"\x02\x00\x00\x00\xc3\xa9\x00\x00\x00\x00"
    assert bytes(pack(np.array([b"ab"]))) == b"\x02\x00\x00\x00ab"
    assert bytes(pack(np.array([1.5], ml_dtypes.bfloat16))) == b"\xc0\x3f"
    assert datatype_of(np.array([1.5], ml_dtypes.bfloat16)) == "BF16"


def test_a_boolean_of_another_byte_is_true() -> None:
    array = unpack("BOOL", [3], b"\x00\x02\xff")
    assert array.view(np.uint8).tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    ("datatype", "shape", "raw", "reason"),
    [
        ("FP32", [2], b"1234", "4 bytes, where the shape needs 8"),
        ("FP32", [1], b"12345678", "8 bytes, where the shape needs 4"),
        ("FP32", [2**62, 4], b"", f"0 bytes, where the shape needs {2**66}"),
        ("FP32", [0, 2**63], b"", "a dimension that is too large"),
        ("BYTES", [0, 2**63], b"", "a dimension that is too large"),
        ("INT8", [-1, -1], b"1", "a negative dimension"),
        ("INT8", [1] * 65, b"1", "more than 64 dimensions"),
        ("BYTES", [2**62], b"1234", f"too few for {2**62} texts"),
        ("BYTES", [1], b"\x05\0\0\0abc", "text 0 ends beyond the 7 bytes"),
        ("BYTES", [2], b"\x04\0\0\0abcd", "text 1 ends beyond the 8 bytes"),
        ("BYTES", [1], b"\x01\0\0\0ab", "1 bytes after the last of 1 texts"),
        ("BYTES", [1], b"\x01\0\0\0\xff", "text 0 is not UTF-8"),
        ("FP8", [1], b"1", "FP8 has no raw form"),
    ],
)
def test_lies_are_refused_in_words(
    datatype: str, shape: list[int], raw: bytes, reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        unpack(datatype, shape, raw)


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.array([1j]), "complex128 has no raw form"),
        (np.array([1, "a"], object), "int among text"),
        (np.array(["\ud800"], object), "half a surrogate pair"),
    ],
)
def test_what_has_no_raw_form_says_so(array: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        pack(array)
