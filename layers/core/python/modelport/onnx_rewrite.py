"""Writes an ONNX model again with the values of some tensors elsewhere, and nothing else changed.

The new file is a list of pieces: bytes as they lie in the old one, and what is new between them. So
neither file is ever in memory, and what is not a tensor to be changed is not even looked at.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from modelport.errors import InvalidBundleError
from modelport.onnx_tensors import DATA_FIELDS, Stored
from modelport.onnx_wire import BYTES, Field, Wire, tagged, varint

__all__ = ["Place", "Rewriter", "Source", "read", "values_of", "write"]

_CHUNK = 1 << 20
_RAW, _EXTERNAL, _WHERE = 9, 13, 14  # TensorProto: raw_data, external_data, data_location


@dataclass(frozen=True, slots=True)
class Source:
    """Plain bytes of a file."""

    path: Path
    start: int
    size: int


@dataclass(frozen=True, slots=True)
class Place:
    """Where values lie: a data file beside the model, as the model names it."""

    location: str
    offset: int
    length: int


Piece = bytes | Source


def values_of(model: Path, tensor: Stored) -> Source:
    """Where the values of a tensor lie now, inside the model or beside it."""
    if tensor.raw is not None:
        return Source(model, tensor.raw[0], tensor.raw[1] - tensor.raw[0])
    return Source(model.parent / tensor.location, tensor.offset, tensor.length)


class Rewriter:
    """One model: tensors that get a place outside, by where their field begins, or come inside."""

    def __init__(
        self, wire: Wire, model: Path, placed: Mapping[int, Place], inside: Collection[Stored] = ()
    ) -> None:
        self._wire, self._model, self._placed = wire, model, placed
        self._inside = {tensor.field.head: tensor for tensor in inside}
        self._heads = sorted({*placed, *self._inside})

    def message(self, message: Field) -> list[Piece]:
        """The message with every tensor in it changed that is to be changed."""
        pieces: list[Piece] = []
        for part in self._wire.fields(message):
            if part.head in self._placed or part.head in self._inside:
                _enclose(pieces, part.number, self._tensor(part))
            elif part.kind == BYTES and self._changes(part):
                _enclose(pieces, part.number, self.message(part))
            else:
                self._keep(pieces, part)
        return pieces

    def _changes(self, message: Field) -> bool:
        at = bisect_left(self._heads, message.start)
        return at < len(self._heads) and self._heads[at] < message.end

    def _keep(self, pieces: list[Piece], part: Field) -> None:
        """The field as it lies; joined with what was kept right before it."""
        last = pieces[-1] if pieces else None
        if (
            isinstance(last, Source)
            and last.path == self._model
            and last.start + last.size == part.head
        ):
            pieces[-1] = Source(self._model, last.start, part.end - last.start)
        else:
            pieces.append(Source(self._model, part.head, part.end - part.head))

    def _tensor(self, tensor: Field) -> list[Piece]:
        pieces: list[Piece] = []
        for part in self._wire.fields(tensor):
            if part.number not in DATA_FIELDS and part.number not in (_EXTERNAL, _WHERE):
                self._keep(pieces, part)
        place = self._placed.get(tensor.head)
        if place is not None:
            pieces.append(_reference(place))
        else:
            values = values_of(self._model, self._inside[tensor.head])
            pieces += [varint(_RAW << 3 | BYTES) + varint(values.size), values]
        return pieces


def _reference(place: Place) -> bytes:
    entries = {
        "location": place.location,
        "offset": str(place.offset),
        "length": str(place.length),
    }
    body = b"".join(
        tagged(_EXTERNAL, tagged(1, key.encode()) + tagged(2, value.encode()))
        for key, value in entries.items()
    )
    return body + varint(_WHERE << 3) + varint(1)


def _enclose(pieces: list[Piece], number: int, inner: list[Piece]) -> None:
    size = sum(len(piece) if isinstance(piece, bytes) else piece.size for piece in inner)
    pieces.append(varint(number << 3 | BYTES) + varint(size))
    pieces += inner


def read(source: Source) -> Iterator[bytes]:
    """The bytes in chunks."""
    # Unbuffered reads and not the memory map: pages of a map count as this process's memory.
    with source.path.open("rb", buffering=0) as file:
        file.seek(source.start)
        left = source.size
        while left and (chunk := file.read(min(left, _CHUNK))):
            left -= len(chunk)
            yield chunk
    if left:
        raise InvalidBundleError(source.path, "was cut off while it was read", "try again")


def write(target: Path, pieces: Iterable[Piece], model: Path) -> None:
    """Write the pieces one after the other."""
    with target.open("wb") as out, model.open("rb") as source:
        for piece in pieces:
            if isinstance(piece, bytes):
                out.write(piece)
            elif piece.path == model and piece.size <= _CHUNK:  # thousands of them: one open file
                source.seek(piece.start)
                out.write(source.read(piece.size))
            else:
                out.writelines(read(piece))
