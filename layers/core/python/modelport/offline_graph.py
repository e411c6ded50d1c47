"""A graph that onnxruntime optimised beforehand, kept beside the original without its weights.

onnxruntime writes weights that it left alone as references to the original's data file, and others
once more. Those that are the original's after all, byte for byte, become references too, so that
the second graph costs kilobytes; one that needs many weights of its own (folded, transposed) is not
worth its size and is not kept. Streams; must not run the model.
"""

from __future__ import annotations

import mmap
from pathlib import Path

from modelport.onnx_rewrite import Place, Rewriter, read, values_of, write
from modelport.onnx_tensors import Stored, stored_tensors
from modelport.onnx_wire import Wire
from modelport.weights_layout import TENSOR

__all__ = ["OWN_BYTES", "OWN_SHARE", "share_weights"]

#: A second graph may bring this many bytes of its own, or this share of the model if that is more.
OWN_BYTES, OWN_SHARE = 1 << 20, 0.05


def share_weights(optimized: Path, original: Path, target: Path) -> int:
    """Write ``optimized`` as ``target`` beside ``original``'s data; its size, 0 if not worth it."""
    theirs = _initializers(original)
    places = {_place(tensor) for tensor in theirs.values()}
    with (
        optimized.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
    ):
        wire = Wire(data)
        placed: dict[int, Place] = {}
        own = wire.size
        for tensor in _tensors(wire):
            if tensor.external is not None:
                if _place(tensor) not in places:
                    return 0
                continue
            twin = theirs.get(tensor.name) if tensor.raw and tensor.nbytes >= TENSOR else None
            if twin is not None and _same(optimized, tensor, original, twin):
                placed[tensor.field.head] = _place(twin)
                own -= tensor.nbytes
        shared = sum(place.length for place in places)
        if own > max(OWN_BYTES, OWN_SHARE * shared):
            return 0
        write(target, Rewriter(wire, optimized, placed).message(wire.whole()), optimized)
    return target.stat().st_size


def _place(tensor: Stored) -> Place:
    return Place(tensor.location, tensor.offset, tensor.length)


def _tensors(wire: Wire) -> list[Stored]:
    graphs = [part for part in wire.fields(wire.whole()) if part.is_bytes(7)]
    return [tensor for tensor in stored_tensors(wire, graphs, ()) if tensor.initializer]


def _initializers(model: Path) -> dict[str, Stored]:
    """External initializers by name; a name that stands for several is left out."""
    with model.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        tensors = _tensors(Wire(data))
    counted: dict[str, list[Stored]] = {}
    for tensor in tensors:
        counted.setdefault(tensor.name, []).append(tensor)
    return {
        name: found[0]
        for name, found in counted.items()
        if len(found) == 1 and found[0].external is not None
    }


def _same(ours: Path, tensor: Stored, original: Path, twin: Stored) -> bool:
    one, two = values_of(ours, tensor), values_of(original, twin)
    if one.size != two.size:
        return False
    return all(left == right for left, right in zip(read(one), read(two), strict=True))
