"""Raw tensors as plain Python values: what functions without numpy need to compare them.

`modelport.raw_tensors` in the standard library: little-endian, row-major, a boolean a byte, text
its length in four bytes and then UTF-8; and numpy's file format (NEP 1) with such an array in it.
It must not make more values than there are bytes.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from typing import Any

from modelport.goldens.agreement import bf16_value

#: V2 datatype → the letter of `struct`. BF16 is read as whole numbers first, text by itself.
_LETTERS = {
    "BOOL": "?", "UINT8": "B", "UINT16": "H", "UINT32": "I", "UINT64": "Q",
    "INT8": "b", "INT16": "h", "INT32": "i", "INT64": "q",
    "FP16": "e", "BF16": "H", "FP32": "f", "FP64": "d",
}  # fmt: skip
#: numpy's letter for each of them that it has.
_NUMPY = {
    "b1": "BOOL", "u1": "UINT8", "u2": "UINT16", "u4": "UINT32", "u8": "UINT64",
    "i1": "INT8", "i2": "INT16", "i4": "INT32", "i8": "INT64",
    "f2": "FP16", "f4": "FP32", "f8": "FP64",
}  # fmt: skip
_NPY = re.compile(
    rb"\{'descr': '[<|]([bifu][1248])', 'fortran_order': False,"
    rb" 'shape': \(([0-9, ]{0,400})\), \} *\n"
)


def values_of(datatype: str, raw: bytes) -> Sequence[Any]:
    """The values in ``raw``; raises `ValueError` where it has no whole number of them."""
    if datatype == "BYTES":
        return _texts(raw)
    letter = _LETTERS.get(datatype)
    if letter is None:
        raise ValueError(f"datatype {datatype[:16]!r} is not known")
    size = struct.calcsize(f"<{letter}")
    if len(raw) % size:
        raise ValueError(f"{len(raw)} bytes are no whole number of {datatype}")
    found = struct.unpack(f"<{len(raw) // size}{letter}", raw)
    return [bf16_value(bits) for bits in found] if datatype == "BF16" else found


def npy_of(body: bytes) -> tuple[Sequence[Any], list[int]]:
    """The values and the shape in a file of numpy's; raises `ValueError` for others than above."""
    if body[:6] != b"\x93NUMPY" or len(body) < 12:
        raise ValueError("no file of numpy's")
    width = 2 if body[6] == 1 else 4
    start = 8 + width + int.from_bytes(body[8 : 8 + width], "little")
    match = _NPY.fullmatch(body[8 + width : start])
    if match is None:
        raise ValueError("an array of another layout")
    shape = [int(size) for size in match[2].decode().split(",") if size.strip()]
    return values_of(_NUMPY[match[1].decode()], body[start:]), shape


def _texts(raw: bytes) -> list[str]:
    found, at = [], 0
    while at < len(raw):
        size = int.from_bytes(raw[at : at + 4], "little")
        at += 4 + size
        if at > len(raw):
            raise ValueError("a text in raw bytes is longer than the bytes")
        found.append(raw[at - size : at].decode())
    return found
