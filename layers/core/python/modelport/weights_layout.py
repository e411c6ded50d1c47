"""Lays a model's weights out for a fast start: out of the ``.onnx`` file, aligned in one file.

onnxruntime maps external data into memory instead of copying and parsing it, so that a session of
90 MB is open in 3 ms where the one-file model takes 80 to 200. What is written is the same model:
only where its values lie changes, on the level of the wire format, so nothing of it is interpreted
that could be got wrong, and nothing is held in memory.

* Initializers of `TENSOR` bytes and more, of the graph and of its subgraphs, move out; smaller ones
  stay in the file, where shape inference finds them. Text, sparse tensors, values inside nodes and
  rare typed encodings stay where they are.
* Data files a model already has become one, aligned file too, unless they are that already.
* A model with less than `WORTH_IT` bytes to move is left as it is: too little is gained.

The same model gives the same bytes, and a model laid out once is left as it is. This writes only
below the folder it is given and must not run the model.
"""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from modelport.beside import Beside
from modelport.errors import InvalidBundleError
from modelport.onnx_rewrite import Place, Rewriter, Source, read, values_of, write
from modelport.onnx_tensors import Stored, stored_tensors
from modelport.onnx_wire import Wire
from modelport.registry import Progress, silent
from modelport.registry.checksums import PartChecksums

__all__ = ["PAGE", "TENSOR", "WORTH_IT", "Layout", "lay_out"]

#: Where tensors begin. onnxruntime maps whole pages; this is a page everywhere but on some arm64
#: kernels with 64 KiB pages, where it maps from the page's beginning: as right and as fast.
PAGE = 4096
#: Tensors this large begin on 64 KiB, which is every system's unit and costs them under 1 %.
LARGE, LARGE_PAGE = 8 << 20, 65536
#: Smaller tensors stay in the model: a map of its own costs more than copying them.
TENSOR = 128 << 10
#: Measured for session and first run of layers of matrices: moving 1 MB saves 0.5 ms of 5.5, or
#: 1.1 of 5.2 without prepacking; 3 MB saves 1.6 of 8.9, or 3.1 of 8.0; 0.25 MB under 0.3 of 4.
WORTH_IT = 1 << 20
#: So much of values that were outside may come into the model; a model file must stay small.
_INLINE = 64 << 20
_WAY_OUT = 'set TMPDIR to a folder with room, or in model.toml: [runtime] layout = "as-is"'


@dataclass(frozen=True, slots=True)
class Layout:
    """The files that take the place of a model and of its ``replaced`` data files."""

    model: Path
    data: Path
    digest: str  #: of the data file, ``sha256:<hex>``
    checksums: PartChecksums  #: of the data file
    replaced: tuple[str, ...]


def lay_out(
    model: Path,
    work: Path,
    entry: str,
    *,
    taken: Collection[str] = (),
    progress: Progress = silent,
) -> Layout | None:
    """Write ``model`` below ``work`` as ``entry`` and its weights beside it; None: it may stay.

    The model must have been read without complaint (`modelport.onnx_file`). ``taken`` are the names
    that the data file must not have, relative to the model's folder.
    """
    with model.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        wire = Wire(data)
        top = list(wire.fields(wire.whole()))
        graphs = [part for part in top if part.is_bytes(7)]
        functions = [part for part in top if part.is_bytes(25)]
        moves = _Moves.of(list(stored_tensors(wire, graphs, functions)))
        if not moves.worth_it:
            return None
        name = _free_name(PurePosixPath(entry).name + ".data", taken)
        target = work / entry
        weights = target.parent / name
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            placed, digest, checksums = _write_data(model, moves.outside, weights, progress)
            rewritten = Rewriter(wire, model, placed, moves.inside).message(wire.whole())
            write(target, rewritten, model)
        except OSError as error:
            weights.unlink(missing_ok=True)
            target.unlink(missing_ok=True)
            problem = f"cannot be laid out in {work}: {error.strerror}"
            raise InvalidBundleError(
                model, f"its weights, {moves.size:,} bytes, {problem}", _WAY_OUT
            ) from None
    return Layout(target, weights, digest, checksums, moves.replaced)


def _free_name(name: str, taken: Collection[str]) -> str:
    tops = {PurePosixPath(path).parts[0] for path in taken}
    free, number = name, 1
    while free in tops:
        number += 1
        free = f"{name}{number}"
    return free


# --- what goes where ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Moves:
    """Which tensors get their values outside, and which get back inside what was outside."""

    outside: list[Stored] = field(default_factory=list)
    inside: list[Stored] = field(default_factory=list)
    worth_it: bool = False

    @classmethod
    def of(cls, tensors: list[Stored]) -> _Moves:
        external = [tensor for tensor in tensors if tensor.external is not None]
        inner = [t for t in tensors if t.initializer and t.raw is not None and t.nbytes >= TENSOR]
        large = [tensor for tensor in external if tensor.length >= TENSOR]
        many = len({tensor.location for tensor in external}) > 1
        moved = sum(tensor.nbytes for tensor in inner)
        moved += sum(t.length for t in large if many or t.offset % PAGE)
        small = [t for t in external if t.length < TENSOR and t.length == t.nbytes]
        if sum(tensor.length for tensor in small) > _INLINE:
            small = []
        within = {tensor.field.head for tensor in small}
        out = {tensor.field.head for tensor in inner}
        out |= {tensor.field.head for tensor in external} - within
        outside = [tensor for tensor in tensors if tensor.field.head in out]
        return cls(outside, small, moved >= WORTH_IT)

    @property
    def replaced(self) -> tuple[str, ...]:
        """The data files that nothing refers to any more."""
        tensors = (*self.outside, *self.inside)
        return tuple(dict.fromkeys(t.location for t in tensors if t.external is not None))

    @property
    def size(self) -> int:
        """Bytes of values to be written."""
        return sum(tensor.length for tensor in self.outside)


# --- the data file --------------------------------------------------------------------------------


def _write_data(
    model: Path, tensors: list[Stored], target: Path, progress: Progress
) -> tuple[dict[int, Place], str, PartChecksums]:
    """Write the values one after the other; their places by where the tensor's field begins.

    Digest and checksums of the file come with them, taken while it is written: it is not read
    again.
    """
    digest, checksums = hashlib.sha256(), PartChecksums()
    placed: dict[int, Place] = {}
    written: dict[Source, Place] = {}
    total = sum(source.size for source in {values_of(model, tensor) for tensor in tensors})
    done = at = 0
    with target.open("wb") as out, Beside(digest.update) as hashing:
        for tensor in tensors:
            source = values_of(model, tensor)
            if source in written:  # tied weights stay tied
                placed[tensor.field.head] = written[source]
                continue
            padding = -at % (LARGE_PAGE if source.size >= LARGE else PAGE)
            if padding:
                hashing.take(bytes(padding))
                checksums.update(bytes(padding))
                out.write(bytes(padding))
                at += padding
            placed[tensor.field.head] = written[source] = Place(target.name, at, source.size)
            for chunk in read(source):
                hashing.take(chunk)
                checksums.update(chunk)
                out.write(chunk)
                done += len(chunk)
                progress(target.name, done, total)
            at += source.size
    return placed, f"sha256:{digest.hexdigest()}", checksums
