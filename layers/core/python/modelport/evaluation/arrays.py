"""Data sets in NumPy's .npz: an array for each input, read from the archive as rows are asked for.

No array is ever whole in memory but the labels; what numpy pickled is not read.
"""

from __future__ import annotations

import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import numpy as np

from modelport.evaluation.batches import Batch, label_column
from modelport.evaluation.columns import fitted
from modelport.evaluation.errors import DataSetError
from modelport.raw_tensors import Array
from modelport.signature import Signature, TensorSpec

_SUFFIX = ".npy"
#: What zipfile and numpy raise for an archive that is torn, locked, packed in an unknown way, or
#: whose headers are no headers.
_UNREADABLE = (
    OSError,
    ValueError,
    EOFError,
    RuntimeError,  # locked with a password, or packed in a way that zipfile cannot unpack
    SyntaxError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)


class Arrays:
    """A .npz file with an array for each input by name, and one for the labels."""

    def __init__(
        self, path: Path, signature: Signature, labels: str | None, elsewhere: bool
    ) -> None:
        """Reads what is in it; ``labels`` names the labels, unless they are ``elsewhere``."""
        self.path, self._signature = path, signature
        names = self._names()
        self.label = "" if elsewhere else label_column(path, names, labels)
        missing = [spec.name for spec in signature.inputs if spec.name not in names]
        if missing:
            problem = f"there is no array {missing[0]!r}; arrays: {', '.join(names[:20])}"
            raise DataSetError(path, problem, "the arrays are called like the model's inputs")
        wanted = [spec.name for spec in signature.inputs] + [self.label] * bool(self.label)
        with ExitStack() as stack:
            found = {name: _Member(stack, path, name) for name in wanted}
        rows = {name: member.rows for name, member in found.items()}
        if len(set(rows.values())) > 1:
            told = ", ".join(f"{name} {count}" for name, count in rows.items())
            raise DataSetError(path, f"the arrays have different numbers of rows: {told}")
        self._rows = next(iter(rows.values()))
        self._row_bytes = max(1, sum(member.row_bytes for member in found.values()))

    @property
    def size(self) -> int:
        """Bytes of all arrays that are read."""
        return self._rows * self._row_bytes

    def batches(self, size: int) -> Iterator[Batch]:
        """The rows, ``size`` at a time."""
        with ExitStack() as stack:
            inputs = [
                (spec, _Member(stack, self.path, spec.name)) for spec in self._signature.inputs
            ]
            labels = _Member(stack, self.path, self.label) if self.label else None
            for start in range(0, self._rows, size):
                count = min(size, self._rows - start)
                found = {spec.name: self._input(spec, member, count) for spec, member in inputs}
                said = labels.take(count).tolist() if labels else []
                yield Batch(found, said, (start + count) * self._row_bytes)

    def _input(self, spec: TensorSpec, member: _Member, count: int) -> Array:
        array = member.take(count)
        if spec.datatype == "BYTES" and array.dtype.kind in "US":
            return array.astype(str).astype(object)
        try:
            return fitted(spec, array)
        except ValueError:
            problem = f"array {spec.name!r} of {array.dtype} is no {spec.datatype}"
            raise DataSetError(self.path, problem) from None

    def _names(self) -> list[str]:
        try:
            with zipfile.ZipFile(self.path) as archive:
                names = archive.namelist()
                return [name.removesuffix(_SUFFIX) for name in names if name.endswith(_SUFFIX)]
        except (OSError, zipfile.BadZipFile) as error:
            raise DataSetError(self.path, f"no .npz file: {error}") from None


class _Member:
    """One array of an archive, taken from its start to its end."""

    def __init__(self, stack: ExitStack, path: Path, name: str) -> None:
        self._where = f"{path}: array {name!r}"
        try:
            archive = stack.enter_context(zipfile.ZipFile(path))
            self._file: IO[bytes] = stack.enter_context(archive.open(name + _SUFFIX))
            shape, by_column, self._dtype = self._header()
        except _UNREADABLE as error:
            raise DataSetError(self._where, str(error)) from None
        if self._dtype.hasobject:
            raise DataSetError(self._where, "objects are not read", "write text as a str array")
        if not shape or (by_column and len(shape) > 1):
            problem = "it has no rows" if not shape else "it is stored column by column"
            raise DataSetError(self._where, problem, "write it with numpy.ascontiguousarray")
        self.rows, self._rest = shape[0], shape[1:]
        self.row_bytes = self._dtype.itemsize * int(np.prod(self._rest, dtype=np.int64))

    def take(self, count: int) -> Array:
        """The next ``count`` rows."""
        wanted = count * self.row_bytes
        try:
            raw = self._file.read(wanted)
        except _UNREADABLE as error:
            raise DataSetError(self._where, f"it is damaged: {error}") from None
        if len(raw) < wanted:
            raise DataSetError(self._where, "it ends before its last row")
        return np.frombuffer(raw, self._dtype).reshape(count, *self._rest)

    def _header(self) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
        version = np.lib.format.read_magic(self._file)
        if version == (1, 0):
            return np.lib.format.read_array_header_1_0(self._file)
        if version == (2, 0):
            return np.lib.format.read_array_header_2_0(self._file)
        raise ValueError(f"version {version} of numpy's format is not known")
