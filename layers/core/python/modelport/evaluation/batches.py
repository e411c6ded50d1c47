"""What every format of data sets gives: batches of rows, and the column that has their labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from modelport.evaluation.errors import DataSetError
from modelport.raw_tensors import Array

#: What a column, key or array of labels is called where nobody says.
LABEL_NAMES = ("label", "labels", "target")
#: What is said about a label that is not where it must be.
_MISSING = "--labels names the column, or a file with a label a line"


@dataclass(frozen=True, slots=True)
class Batch:
    """Some rows: inputs by name, one label a row, and how many bytes of the file are done."""

    inputs: dict[str, Array]
    labels: list[Any]
    done: int


class Format(Protocol):
    """One format of files: `modelport.evaluation.tables` and `.arrays` have them."""

    def batches(self, size: int) -> Iterator[Batch]:
        """The rows in order, ``size`` at a time; without labels where a file of their own has them.

        May be called again.
        """
        ...

    @property
    def size(self) -> int:
        """Bytes in all, of the kind that `Batch.done` counts."""
        ...


def label_column(where: object, columns: Sequence[str], labels: str | None) -> str:
    """Which column has the labels; raises `DataSetError` naming those there are."""
    wanted = (labels,) if labels is not None else LABEL_NAMES
    found = [name for name in wanted if name in columns]
    if found:
        return found[0]
    listed = ", ".join(list(columns)[:20])
    named = f"no column {labels!r}" if labels is not None else "no column of labels"
    raise DataSetError(where, f"there is {named}; columns: {listed}", _MISSING)
