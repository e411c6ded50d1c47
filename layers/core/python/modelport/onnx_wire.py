"""The protobuf wire format over a memory map: where the fields of a message lie.

Steps from field to field and touches nothing in between, so gigabytes of weights cost no memory.
It knows no message types and copies only short texts; every fault is a `DamagedError` with the
offset of the field it was found at.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["BYTES", "VARINT", "DamagedError", "Field", "Wire", "signed", "tagged", "varint"]

VARINT, BYTES = 0, 2
_FIXED = {1: 8, 5: 4}
_MAX_TEXT = 1 << 20  # names and paths; nothing longer is worth reading into memory


class DamagedError(Exception):
    """What is wrong with the bytes, and the way out; the reader of the file adds its path."""

    def __init__(self, problem: str, hint: str = "") -> None:
        super().__init__(problem)
        self.problem, self.hint = problem, hint


@dataclass(frozen=True, slots=True)
class Field:
    """One field: a varint's value, or where the bytes of a length-delimited one lie.

    ``head`` is where the field itself begins, its tag before anything else.
    """

    number: int
    kind: int
    value: int
    start: int
    end: int
    head: int

    def is_bytes(self, number: int) -> bool:
        return self.number == number and self.kind == BYTES

    def is_varint(self, number: int) -> bool:
        return self.number == number and self.kind == VARINT


class Wire:
    """The fields of one memory-mapped file."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self.size = len(data)

    def starts_with(self, magic: bytes, offset: int = 0) -> bool:
        return self._data[offset : offset + len(magic)] == magic

    def whole(self) -> Field:
        """The file itself as a message."""
        return Field(0, BYTES, 0, 0, self.size, 0)

    def fields(self, message: Field) -> Iterator[Field]:
        """The fields of ``message`` in file order."""
        at, end = message.start, message.end
        while at < end:
            tag_at = at
            tag, at = self._varint(at, end)
            number, kind = tag >> 3, tag & 7
            if number == 0 or number >= 2**29:
                raise DamagedError(f"damaged: no field can start at offset {tag_at}")
            if kind == VARINT:
                value, at = self._varint(at, end)
                yield Field(number, kind, value, tag_at, at, tag_at)
                continue
            if kind == BYTES:
                length, at = self._varint(at, end)
            elif kind in _FIXED:
                length = _FIXED[kind]
            else:
                raise DamagedError(f"damaged: unknown wire type {kind} at offset {tag_at}")
            if length > end - at:
                raise self._cut(tag_at, end, f"needs {length:,} bytes")
            yield Field(number, kind, 0, at, at + length, tag_at)
            at += length

    def parts(self, message: Field, *numbers: int) -> Iterator[Field]:
        """The length-delimited fields of ``message`` with one of ``numbers``."""
        return (f for f in self.fields(message) if f.kind == BYTES and f.number in numbers)

    def packed(self, field: Field) -> Iterator[int]:
        """The varints of a packed repeated field."""
        at = field.start
        while at < field.end:
            value, at = self._varint(at, field.end)
            yield value

    def text(self, message: Field, number: int) -> str:
        """The last text called ``number`` in ``message``; "" when there is none."""
        text = ""
        for field in self.parts(message, number):
            text = self._decoded(field)
        return text

    def _decoded(self, field: Field) -> str:
        if field.end - field.start > _MAX_TEXT:
            raise DamagedError(f"damaged: a name of over {_MAX_TEXT:,} bytes at {field.start}")
        try:
            return str(self._data[field.start : field.end], "utf-8")
        except UnicodeDecodeError:
            raise DamagedError(f"damaged: the text at offset {field.start} is not UTF-8") from None

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        value = shift = 0
        for position in range(at, min(end, at + 10)):
            byte = self._data[position]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value & 0xFFFF_FFFF_FFFF_FFFF, position + 1
            shift += 7
        if end - at < 10:
            raise self._cut(at, end, "is a number without an end")
        raise DamagedError(f"damaged: no number can be read at offset {at}")

    def _cut(self, at: int, end: int, problem: str) -> DamagedError:
        if end == self.size:
            return DamagedError(
                f"truncated: the field at offset {at} {problem}, the file ends at {end}",
                "the download or copy was cut off; get the file again",
            )
        return DamagedError(
            f"damaged: the field at offset {at} {problem}, its parent ends at {end}"
        )


def signed(value: int) -> int:
    """A varint as the int64 it stands for."""
    return value - 2**64 if value >= 2**63 else value


def varint(value: int) -> bytes:
    """An unsigned number as the wire writes it."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def tagged(number: int, payload: bytes) -> bytes:
    """A length-delimited field."""
    return varint(number << 3 | BYTES) + varint(len(payload)) + payload
