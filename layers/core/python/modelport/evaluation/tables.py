"""Data sets that are text: CSV with a header, and JSON lines. Read once, a line at a time."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from functools import cached_property
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from modelport.evaluation.batches import Batch, label_column
from modelport.evaluation.columns import Plan, fitted, plan
from modelport.evaluation.errors import DataSetError
from modelport.raw_tensors import Array
from modelport.signature import Signature, TensorSpec

#: Characters of one line; whoever has more in a row has arrays, which go as .npz.
LONGEST_LINE = 16 << 20


class CommaSeparated:
    """A CSV file (RFC 4180, UTF-8) whose first line names the columns."""

    def __init__(
        self, path: Path, signature: Signature, labels: str | None, elsewhere: bool
    ) -> None:
        """Reads the header; ``labels`` names a column, unless they are ``elsewhere``."""
        self.path, self.size = path, path.stat().st_size
        with closing(self._lines()) as lines:
            _, columns, _ = next(lines, (1, [], 0))
        if not columns:
            raise DataSetError(path, "it is empty; its first line must name the columns")
        self.columns = columns
        self.label = "" if elsewhere else label_column(path, columns, labels)
        self._plan = plan(path, columns, self.label or None, signature)

    def batches(self, size: int) -> Iterator[Batch]:
        """The rows, ``size`` at a time."""
        with closing(self._lines()) as lines:
            next(lines)
            rows: list[list[str]] = []
            places: list[int] = []
            for line, row, done in lines:
                if len(row) != len(self.columns):
                    problem = f"{len(row)} values, where the header has {len(self.columns)}"
                    raise DataSetError(f"{self.path}:{line}", problem)
                rows.append(row)
                places.append(line)
                if len(rows) == size:
                    yield self._batch(rows, places, done)
                    rows, places = [], []
            if rows:
                yield self._batch(rows, places, self.size)

    def _batch(self, rows: list[list[str]], places: list[int], done: int) -> Batch:
        columns = {
            name: list(values)
            for name, values in zip(self.columns, zip(*rows, strict=True), strict=True)
        }
        labels = columns[self.label] if self.label else []
        return Batch(self._plan.tensors(columns, _places(self.path, places)), labels, done)

    def _lines(self) -> Generator[tuple[int, list[str], int]]:
        """Line numbers, cells, and bytes read so far; empty lines are none."""
        previous = csv.field_size_limit(LONGEST_LINE)
        with (
            self.path.open("rb") as raw,
            io.TextIOWrapper(raw, encoding="utf-8-sig", newline="") as text,
        ):
            reader = csv.reader(_bounded(text))
            try:
                for row in reader:
                    if row:
                        yield reader.line_num, row, raw.tell()
            except (csv.Error, UnicodeDecodeError) as error:
                raise DataSetError(f"{self.path}:{reader.line_num + 1}", str(error)) from None
            finally:
                csv.field_size_limit(previous)


def _bounded(text: TextIO) -> Iterator[str]:
    """Lines, none of them longer than may be."""
    while line := text.readline(LONGEST_LINE):
        if len(line) == LONGEST_LINE:
            raise csv.Error("the line is too long; write .npz")
        yield line


class JsonLines:
    """An object a line: inputs by name, or features, each with a label."""

    def __init__(
        self, path: Path, signature: Signature, labels: str | None, elsewhere: bool
    ) -> None:
        """Reads the first line; ``labels`` names a key, unless they are ``elsewhere``."""
        self.path, self.size, self._signature = path, path.stat().st_size, signature
        with path.open("rb") as file:
            _, first = next(self._objects(file), (1, None))
        if first is None:
            raise DataSetError(path, "it is empty")
        self._keys = list(first)
        self.label = "" if elsewhere else label_column(path, self._keys, labels)

    @cached_property
    def _table(self) -> Plan | None:
        """What keys become that are no inputs by name."""
        names = [spec.name for spec in self._signature.inputs]
        if all(name in self._keys for name in names):
            return None
        return plan(self.path, self._keys, self.label or None, self._signature)

    def batches(self, size: int) -> Iterator[Batch]:
        """The rows, ``size`` at a time."""
        with self.path.open("rb") as file:
            rows: list[dict[str, Any]] = []
            places: list[int] = []
            for line, row in self._objects(file):
                if row.keys() != set(self._keys):
                    problem = f"its keys are {_few(row)}, those of the first {_few(self._keys)}"
                    raise DataSetError(f"{self.path}:{line}", problem)
                rows.append(row)
                places.append(line)
                if len(rows) == size:
                    yield self._batch(rows, places, file.tell())
                    rows, places = [], []
            if rows:
                yield self._batch(rows, places, self.size)

    def _batch(self, rows: list[dict[str, Any]], places: list[int], done: int) -> Batch:
        labels = [row[self.label] for row in rows] if self.label else []
        place = _places(self.path, places)
        if self._table is not None:
            columns = {name: [row[name] for row in rows] for name in self._table.features}
            return Batch(self._table.tensors(columns, place), labels, done)
        inputs = {
            spec.name: _nested(spec, [row[spec.name] for row in rows], place)
            for spec in self._signature.inputs
        }
        return Batch(inputs, labels, done)

    def _objects(self, file: Any) -> Iterator[tuple[int, dict[str, Any]]]:
        line = 0
        while raw := file.readline(LONGEST_LINE):
            line += 1
            if not raw.strip():
                continue
            if len(raw) == LONGEST_LINE:
                raise DataSetError(f"{self.path}:{line}", "the line is too long; write .npz")
            try:
                row = json.loads(raw)
            except (ValueError, RecursionError) as error:
                raise DataSetError(f"{self.path}:{line}", f"not JSON: {error}") from None
            if not isinstance(row, dict):
                raise DataSetError(f"{self.path}:{line}", "it is no JSON object")
            yield line, row


def _nested(spec: TensorSpec, values: list[Any], place: Callable[[int], str]) -> Array:
    """Nested lists as an input [N, …]; the shape is for the model to judge."""
    if spec.datatype == "BYTES":
        texts = np.array(values, dtype=object)
        if all(isinstance(value, str) for value in texts.reshape(-1).tolist()):
            return texts
        raise DataSetError(place(0), f"input {spec.name!r}: not all of it is text")
    try:
        array = np.array(values)
        return fitted(spec, array)
    except (ValueError, OverflowError):
        for row, value in enumerate(values):
            try:
                fitted(spec, np.array(value))
            except (ValueError, OverflowError):
                problem = f"input {spec.name!r} is no array of {spec.datatype}"
                raise DataSetError(place(row), problem) from None
        problem = f"input {spec.name!r} has rows of different shapes in one batch"
        raise DataSetError(place(0), problem, "--batch 1 sends each alone") from None


def _places(path: Path, lines: Sequence[int]) -> Callable[[int], str]:
    return lambda row: f"{path}:{lines[row]}"


def _few(keys: Any) -> str:
    listed = list(keys)
    return ", ".join(map(str, listed[:10])) + (" …" if len(listed) > 10 else "")
