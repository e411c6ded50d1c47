"""Every tensor an ONNX model stores, wherever it stands, and where its bytes lie.

Walks graphs, their subgraphs and functions. It reads what a tensor says of itself, never its
weights, and touches no file beside the model.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from modelport.onnx_wire import BYTES, DamagedError, Field, Wire

__all__ = ["DATA_FIELDS", "Stored", "stored_tensors"]

_MAX_DEPTH = 100  # protobuf's own limit on nested messages
# TensorProto.DataType → bits per element, where a tensor's size can be told from its shape.
_BITS = {
    1: 32, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64, 9: 8, 10: 16, 11: 64, 12: 32, 13: 64, 14: 64,
    15: 128, 16: 16, 17: 8, 18: 8, 19: 8, 20: 8, 21: 4, 22: 4, 23: 4, 24: 8, 25: 2, 26: 2,
}  # fmt: skip
#: TensorProto's fields that may hold values: one per element type, and raw bytes.
DATA_FIELDS = frozenset({4, 5, 6, 7, 9, 10, 11})
# Of these, the ones whose packed form is byte for byte what raw_data would be: field → DataType.
_AS_RAW = {4: 1, 10: 11}


@dataclass(frozen=True, slots=True)
class Stored:
    """One tensor. ``raw`` is where its values lie as plain bytes in the model, if they do.

    ``initializer`` says that it is a graph's dense initializer, not part of a node or of a sparse
    tensor. ``external`` are the entries that say where else its values are, None when they are not.
    """

    field: Field
    name: str
    nbytes: int
    initializer: bool
    raw: tuple[int, int] | None
    external: dict[str, str] | None

    @property
    def location(self) -> str:
        """The file it has its values in; "" when it names none."""
        return (self.external or {}).get("location", "")

    @property
    def offset(self) -> int:
        """Where in that file they begin."""
        return self._count("offset", 0)

    @property
    def length(self) -> int:
        """How many bytes of that file they are."""
        return self._count("length", self.nbytes)

    def _count(self, key: str, default: int) -> int:
        text = (self.external or {}).get(key) or str(default)
        if not (text.isascii() and text.isdigit() and len(text) < 24):
            raise DamagedError(f"external data has {key} {text[:40]!r}, which is no count of bytes")
        return int(text)


def stored_tensors(
    wire: Wire, graphs: Iterable[Field], functions: Iterable[Field]
) -> Iterator[Stored]:
    """All tensors in file order."""
    for graph in graphs:
        yield from _graph(wire, graph, 1)
    for function in functions:
        for node in wire.parts(function, 7):
            yield from _node(wire, node, 2)


def _graph(wire: Wire, graph: Field, depth: int) -> Iterator[Stored]:
    if depth > _MAX_DEPTH:
        raise DamagedError(f"graphs nested over {_MAX_DEPTH} deep at offset {graph.start}")
    for field in wire.parts(graph, 1, 5, 15):
        if field.number == 1:
            yield from _node(wire, field, depth + 1)
        elif field.number == 5:
            yield _stored(wire, field, initializer=True)
        else:
            yield from _sparse(wire, field)


def _node(wire: Wire, node: Field, depth: int) -> Iterator[Stored]:
    for attribute in wire.parts(node, 5):
        for field in wire.parts(attribute, 5, 6, 10, 11, 22, 23):
            if field.number in (6, 11):
                yield from _graph(wire, field, depth + 1)
            elif field.number in (5, 10):
                yield _stored(wire, field, initializer=False)
            else:
                yield from _sparse(wire, field)


def _sparse(wire: Wire, sparse: Field) -> Iterator[Stored]:
    for tensor in wire.parts(sparse, 1, 2):  # values, indices
        yield _stored(wire, tensor, initializer=False)


def _stored(wire: Wire, tensor: Field, *, initializer: bool) -> Stored:
    dims: list[int] = []
    element = 0
    external = False
    values: list[Field] = []
    for field in wire.fields(tensor):
        if field.number == 1:
            dims.extend(wire.packed(field) if field.kind == BYTES else [field.value])
        elif field.is_varint(2):
            element = field.value
        elif field.is_varint(14):
            external = field.value == 1
        elif field.number in DATA_FIELDS:
            values.append(field)
    text = wire.text
    entries = {text(e, 1): text(e, 2) for e in wire.parts(tensor, 13)} if external else None
    nbytes = _nbytes(dims, element)
    raw = None if external else _raw(values, element, nbytes)
    return Stored(tensor, text(tensor, 8), nbytes, initializer, raw, entries)


def _raw(values: list[Field], element: int, nbytes: int) -> tuple[int, int] | None:
    """Where the values lie as plain bytes of the right length; None when they do not."""
    if len(values) != 1 or element not in _BITS:
        return None
    (field,) = values
    plain = field.is_bytes(9) or (field.kind == BYTES and _AS_RAW.get(field.number) == element)
    return (field.start, field.end) if plain and field.end - field.start == nbytes else None


def _nbytes(dims: list[int], element: int) -> int:
    count = 1
    for dim in dims:
        count = min(count * dim, 2**64)  # a damaged shape must not cost time
    return (count * _BITS.get(element, 0) + 7) // 8
