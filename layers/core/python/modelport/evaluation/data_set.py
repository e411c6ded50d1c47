"""A labelled data set, read a batch at a time: which formats there are, and what a row is.

    CSV (.csv)          a header; one column for each feature, and one for the labels
    JSON lines (.jsonl) an object a line: the model's inputs by name, or features, and a label
    NumPy (.npz)        an array for each input by name, and one for the labels, first axis rows

Features become one tensor input [N,K], in the order of the columns, or, where columns are called
like the inputs, one input [N] or [N,1] each. Labels are a column, or a file of their own: .npy, or
text with a label a line. Nothing but the labels is kept; what does not fit is a `DataSetError` that
says where.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from modelport.evaluation.batches import Batch, Format
from modelport.evaluation.errors import DataSetError
from modelport.evaluation.report import Task
from modelport.manifest import canonical, digest_of
from modelport.signature import Signature

FORMATS = ".csv, .jsonl (or .ndjson), .npz"
_CHUNK = 1 << 20


@dataclass(frozen=True)
class DataSet:
    """A data set for a model and a task."""

    name: str
    path: Path
    task: Task
    rows_of: Format
    #: The labels' own file, or the column they are in.
    labels: Path | str

    @property
    def size(self) -> int:
        """Bytes in all."""
        return self.rows_of.size

    def batches(self, size: int) -> Iterator[Batch]:
        """The rows in order, ``size`` at a time, with labels that fit the task."""
        seen = 0
        for batch in self.rows_of.batches(size):
            count = _rows(batch)
            labels = batch.labels
            if isinstance(self.labels, Path):
                labels = self._own[seen : seen + count]
                if len(labels) < count:
                    raise DataSetError(self.labels, f"{len(self._own)} labels, and more rows")
            checked = [_label(self.path, self.task, seen + i, x) for i, x in enumerate(labels)]
            seen += count
            yield Batch(batch.inputs, checked, batch.done)
        if not seen:
            raise DataSetError(self.path, "there is no row")
        if isinstance(self.labels, Path) and seen < len(self._own):
            raise DataSetError(self.labels, f"{len(self._own)} labels for {seen} rows")

    @cached_property
    def _own(self) -> list[Any]:
        assert isinstance(self.labels, Path)
        return own_labels(self.labels)

    @cached_property
    def digest(self) -> str:
        """``sha256:<hex>`` of everything that decides the metrics: both files, column and task."""
        own = isinstance(self.labels, Path)
        said = {
            "data": _hashed(self.path),
            "labels": _hashed(Path(self.labels)) if own else None,
            "column": None if own else self.labels,
            "task": self.task,
        }
        return digest_of(canonical(said))


def open_data_set(
    path: Path, task: Task, signature: Signature, labels: str | None, folder: Path, name: str = ""
) -> DataSet:
    """The data set in a file, for a model's inputs.

    ``labels`` is a column's name, or a file's, in ``folder``; ``name`` what the set is called.
    """
    from modelport.evaluation.arrays import Arrays
    from modelport.evaluation.tables import CommaSeparated, JsonLines

    kinds: dict[str, Any] = {
        ".csv": CommaSeparated,
        ".jsonl": JsonLines,
        ".ndjson": JsonLines,
        ".npz": Arrays,
    }
    kind = kinds.get(path.suffix.lower())
    if kind is None:
        raise DataSetError(name or path, f"its format is not known; it may be {FORMATS}")
    if not path.is_file():
        raise DataSetError(name or path, "there is no such file")
    own = _own_file(labels, folder)
    rows = kind(path, signature, None if own else labels, own is not None)
    return DataSet(name or path.name, path, task, rows, own or rows.label)


def _own_file(labels: str | None, folder: Path) -> Path | None:
    if labels is None:
        return None
    path, there = folder / labels, False
    with suppress(OSError):  # a column's name may be longer than any file's
        there = path.is_file()
    looks_like_one = path.suffix.lower() in (".npy", ".txt", ".csv") or "/" in labels
    if looks_like_one and not there:
        raise DataSetError(labels, "there is no such file of labels")
    return path if there else None


def own_labels(path: Path) -> list[Any]:
    """The labels in a file of their own: .npy, or text with one a line."""
    try:
        if path.suffix.lower() == ".npy":
            array = np.load(path, allow_pickle=False)
            if array.ndim != 1:
                raise DataSetError(path, f"labels of shape {list(array.shape)}, not one a row")
            found: list[Any] = array.tolist()
            return found
        return path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError, EOFError) as error:
        raise DataSetError(path, f"it cannot be read: {error}") from None


def _rows(batch: Batch) -> int:
    return len(next(iter(batch.inputs.values())))


def _label(path: Path, task: Task, row: int, label: Any) -> Any:
    if task == "classification":
        if label is None or isinstance(label, list | dict) or label == "" or label != label:
            raise DataSetError(path, f"row {row + 1} has no label")
        return label
    try:
        value = float(label)
    except (TypeError, ValueError, OverflowError):
        value = np.nan
    if not np.isfinite(value):
        raise DataSetError(path, f"row {row + 1}: label {str(label)[:60]!r} is no finite number")
    return value


def _hashed(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            found.update(chunk)
    return found.hexdigest()
