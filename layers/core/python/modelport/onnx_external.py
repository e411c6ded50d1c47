"""The files an ONNX model keeps its weights in, beside the ``.onnx`` file.

Walks every tensor of a graph, of its subgraphs and of its functions, and checks that each file
named is inside the model's folder, is there, and is long enough. It reads no weights.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from modelport.onnx_wire import BYTES, DamagedError, Field, Wire

__all__ = ["external_files"]

_MAX_DEPTH = 100  # protobuf's own limit on nested messages
# TensorProto.DataType → bits per element, where a tensor's size can be told from its shape.
_BITS = {
    1: 32, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64, 9: 8, 10: 16, 11: 64, 12: 32, 13: 64, 14: 64,
    15: 128, 16: 16, 17: 8, 18: 8, 19: 8, 20: 8, 21: 4, 22: 4, 23: 4, 24: 8, 25: 2, 26: 2,
}  # fmt: skip


def external_files(
    wire: Wire, graphs: Iterable[Field], functions: Iterable[Field], folder: Path
) -> tuple[str, ...]:
    """Paths below ``folder`` of all data files, in order of first use."""
    walk = _Walk(wire, folder)
    for graph in graphs:
        walk.graph(graph, 1)
    for function in functions:
        for node in wire.parts(function, 7):
            walk.node(node, 2)
    return tuple(walk.found)


class _Walk:
    """One pass over a model; remembers which files it found."""

    def __init__(self, wire: Wire, folder: Path) -> None:
        self._wire, self._folder = wire, folder
        self.found: dict[str, int] = {}  # location → size, in order of first use

    def graph(self, graph: Field, depth: int) -> None:
        if depth > _MAX_DEPTH:
            raise DamagedError(f"graphs nested over {_MAX_DEPTH} deep at offset {graph.start}")
        for field in self._wire.parts(graph, 1, 5, 15):
            if field.number == 1:
                self.node(field, depth + 1)
            elif field.number == 5:
                self._tensor(field)
            else:
                self._sparse(field)

    def node(self, node: Field, depth: int) -> None:
        for attribute in self._wire.parts(node, 5):
            for field in self._wire.parts(attribute, 5, 6, 10, 11, 22, 23):
                if field.number in (6, 11):
                    self.graph(field, depth + 1)
                elif field.number in (5, 10):
                    self._tensor(field)
                else:
                    self._sparse(field)

    def _sparse(self, sparse: Field) -> None:
        for tensor in self._wire.parts(sparse, 1, 2):  # values, indices
            self._tensor(tensor)

    def _tensor(self, tensor: Field) -> None:
        dims: list[int] = []
        element = 0
        external = False
        for field in self._wire.fields(tensor):
            if field.number == 1:
                dims.extend(self._wire.packed(field) if field.kind == BYTES else [field.value])
            elif field.is_varint(2):
                element = field.value
            elif field.is_varint(14):
                external = field.value == 1
        if external:
            self._check(tensor, _nbytes(dims, element))

    def _check(self, tensor: Field, nbytes: int) -> None:
        text = self._wire.text
        entries = {text(e, 1): text(e, 2) for e in self._wire.parts(tensor, 13)}
        name, location = text(tensor, 8), entries.get("location", "")
        offset, length = _count(entries, "offset", 0), _count(entries, "length", nbytes)
        if location not in self.found:
            self.found[location] = self._size(name, location)
        if offset + length > self.found[location]:
            raise DamagedError(
                f"external data file {location!r} has {self.found[location]:,} bytes; tensor"
                f" {name!r} needs {length:,} from offset {offset:,}",
                "the data file was cut off or belongs to another model; get it again",
            )

    def _size(self, tensor: str, location: str) -> int:
        if not _plain(location):
            raise DamagedError(
                f"tensor {tensor!r} has its data in {location!r}, which is not a plain path below"
                " the model's folder",
                "save the model again with its data file beside it",
            )
        file = self._folder / location
        try:
            info = file.stat()
            inside = file.resolve().is_relative_to(self._folder.resolve())
        except OSError:
            raise DamagedError(
                f"external data file {location!r} (tensor {tensor!r}) is missing",
                "put it beside the model, where its exporter wrote it",
            ) from None
        if not inside or not stat.S_ISREG(info.st_mode):
            raise DamagedError(
                f"external data {location!r} is not a file inside the model's folder",
                "copy the real file there (cp -L follows links)",
            )
        return info.st_size


def _plain(location: str) -> bool:
    """Whether ``location`` is spelled as bundles spell paths: relative, ``/``, nothing clever."""
    return (
        location not in ("", ".")
        and not set(location) & {"\\", "\0"}
        and str(PurePosixPath(location)) == location
        and not location.startswith("/")
        and ".." not in PurePosixPath(location).parts
    )


def _nbytes(dims: list[int], element: int) -> int:
    count = 1
    for dim in dims:
        count = min(count * dim, 2**64)  # a damaged shape must not cost time
    return (count * _BITS.get(element, 0) + 7) // 8


def _count(entries: dict[str, str], key: str, default: int) -> int:
    text = entries.get(key) or str(default)
    if not (text.isascii() and text.isdigit() and len(text) < 24):
        raise DamagedError(f"external data has {key} {text[:40]!r}, which is no count of bytes")
    return int(text)
