"""Tensors as raw bytes, the way Open Inference Protocol V2 and its gRPC form carry them.

Also the home of the datatypes: which numpy dtype each is, and how brain floats round and widen.

Little-endian, row-major; a boolean takes one byte, text its length in four bytes and then UTF-8.
Shared by the runtime and the Python client, so it needs numpy and nothing else; the router and the
registrar, which have no numpy, must not import it. Nothing is copied that need not be: what comes
out of `unpack` may lie in the caller's buffer, misaligned and read-only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

#: Brain floats are 16 raw bits: numpy has no such number, and as UINT16 they would be mistaken.
BF16 = np.dtype([("bf16", "<u2")])
#: V2 datatype → numpy dtype. Text is an object array of ``str``.
DTYPES: Mapping[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_), "UINT8": np.dtype(np.uint8), "UINT16": np.dtype(np.uint16),
    "UINT32": np.dtype(np.uint32), "UINT64": np.dtype(np.uint64), "INT8": np.dtype(np.int8),
    "INT16": np.dtype(np.int16), "INT32": np.dtype(np.int32), "INT64": np.dtype(np.int64),
    "FP16": np.dtype(np.float16), "BF16": BF16, "FP32": np.dtype(np.float32),
    "FP64": np.dtype(np.float64), "BYTES": np.dtype(object),
}  # fmt: skip
_DATATYPES = {dtype: name for name, dtype in DTYPES.items()}
#: Datatype → dtype of its raw form, for all that have one size.
_RAW = {
    name: dtype if dtype.itemsize == 1 else dtype.newbyteorder("<")
    for name, dtype in DTYPES.items()
    if name != "BYTES"
}
#: The dtypes whose arrays, where they are contiguous, are their raw form as they lie.
_AS_THEY_LIE = set(_RAW.values())
#: Bytes up to which a copy is quicker than a view of an array's memory.
_SMALL = 4096

#: Dimensions that a numpy array may have.
MAX_RANK = 64
#: Bytes of the length before each text.
_LENGTH = 4


def datatype_of(array: Array) -> str:
    """The V2 name of an array's dtype; text of any kind is ``BYTES``, an unknown dtype its own."""
    if (known := _DATATYPES.get(array.dtype)) is not None:
        return known
    if array.dtype.kind in "SUT":
        return "BYTES"
    if array.dtype.name == "bfloat16":  # ml_dtypes' own, where somebody has it
        return "BF16"
    return _DATATYPES.get(array.dtype.newbyteorder("=")) or str(array.dtype)


def widened(array: Array) -> Array:
    """Brain floats as FP32, which holds each of them exactly; any other array as it is."""
    if array.dtype != BF16:
        return array
    return (array.view(np.uint16).astype(np.uint32) << 16).view(np.float32)


def narrowed(array: Array) -> Array:
    """Numbers as brain floats: to FP32, then to the nearest, of two to the even one."""
    bits = array.astype(np.float32, copy=False).reshape(-1).view(np.uint32)
    rounded = (bits + (0x7FFF + ((bits >> 16) & 1))) >> 16
    # NaN keeps a bit, or it would round to infinity.
    rounded = np.where(np.isnan(array.reshape(-1)), (bits >> 16) | 0x40, rounded)
    return rounded.astype("<u2").view(BF16).reshape(array.shape)


def pack(array: Array) -> bytes | memoryview:
    """The raw form of an array; of a large contiguous one of numbers its own memory.

    Raises ValueError for a dtype without a raw form, and for text that UTF-8 cannot write.
    """
    if array.nbytes <= _SMALL and array.dtype in _AS_THEY_LIE:
        return array.tobytes()
    if array.dtype.kind in "OSUT":
        return _pack_texts(array)
    if datatype_of(array) not in DTYPES:
        raise ValueError(f"{array.dtype} has no raw form")
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return little.reshape(-1).view(np.uint8).data


def unpack(datatype: str, shape: Sequence[int], buffer: bytes | memoryview) -> Array:
    """The array of this V2 datatype and shape whose raw form is ``buffer``, all of it.

    Raises ValueError, with a reason for people, where bytes and shape do not fit each other.
    """
    if datatype not in DTYPES:
        raise ValueError(f"{datatype} has no raw form")
    count = _count(shape)
    if datatype == "BYTES":
        return _shaped(_unpack_texts(count, buffer), shape)
    dtype, size = _RAW[datatype], len(buffer)
    if size != count * dtype.itemsize:
        raise ValueError(f"{size} bytes, where the shape needs {count * dtype.itemsize}")
    if not count:
        return _shaped(np.empty(0, DTYPES[datatype]), shape)
    raw = np.frombuffer(buffer, dtype)
    if datatype == "BOOL" and raw.view(np.uint8).max() > 1:
        raw = raw.view(np.uint8) != 0  # a boolean of another byte breaks what computes with it
    return raw.reshape(shape)


def _count(shape: Sequence[int]) -> int:
    if len(shape) > MAX_RANK:
        raise ValueError(f"a shape of more than {MAX_RANK} dimensions")
    if min(shape, default=0) < 0:
        raise ValueError("a negative dimension")
    return math.prod(shape)


def _shaped(flat: Array, shape: Sequence[int]) -> Array:
    try:
        return flat.reshape(shape)
    except (ValueError, OverflowError):  # no elements, and yet a dimension beyond all memory
        raise ValueError("a dimension that is too large") from None


def _pack_texts(array: Array) -> bytes:
    pieces: list[bytes] = []
    for value in array.reshape(-1).tolist():
        raw = _encoded(value)
        pieces.append(len(raw).to_bytes(_LENGTH, "little"))
        pieces.append(raw)
    return b"".join(pieces)


def _encoded(value: object) -> bytes:
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        raise ValueError(f"{type(value).__name__} among text")
    try:
        return value.encode()
    except UnicodeEncodeError:
        raise ValueError("text with half a surrogate pair, which UTF-8 cannot write") from None


def _unpack_texts(count: int, buffer: bytes | memoryview) -> Array:
    raw = bytes(buffer)
    if count * _LENGTH > len(raw):  # before anything is made for so many
        raise ValueError(f"{len(raw)} bytes, too few for {count} texts with their lengths")
    texts: list[str] = []
    at = 0
    try:
        for _ in range(count):
            start = at + _LENGTH
            at = start + int.from_bytes(raw[at:start], "little")
            texts.append(raw[start:at].decode())
            if at > len(raw):
                break
    except UnicodeDecodeError:
        raise ValueError(f"text {len(texts)} is not UTF-8") from None
    if at > len(raw) or len(texts) < count:
        raise ValueError(f"text {max(0, len(texts) - 1)} ends beyond the {len(raw)} bytes")
    if at < len(raw):
        raise ValueError(f"{len(raw) - at} bytes after the last of {count} texts")
    array = np.empty(count, object)
    array[:] = texts
    return array
