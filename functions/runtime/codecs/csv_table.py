"""``text/csv``: rows of cells, with a header row of column names or without one.

SageMaker's clients send none and MLflow's always do, so the first row is looked at: it is a header
when it names the inputs, or when the one input takes numbers and no cell could be one.
``text/csv; header=present`` or ``header=absent`` says so for certain. An empty cell is NaN where
the input is a float, as pandas and numpy read it. Rows are read one by one; no cell is ever
evaluated.
"""

from __future__ import annotations

import csv
import io
import math
from array import array
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from modelport.errors import MalformedRequestError, NotEncodableError, UnsupportedMediaTypeError
from modelport.signature import Signature, TensorSpec

from functions.runtime.codecs.media import CSV
from functions.runtime.codecs.numbers import as_declared
from functions.runtime.codecs.tables import as_column, as_input, columns_of
from functions.runtime.tensors import Array, Tensors, from_json

Cell = Callable[[str], Any]
Column = list[Any] | array  # type: ignore[type-arg]
_FLOATS = ("FP16", "FP32", "FP64")
_HEADER = {None: None, "present": True, "absent": False}
_TRUTHS = {"true": True, "1": True, "false": False, "0": False}
#: Characters of a cell that a message repeats.
_SHOWN = 40


class Row(NamedTuple):
    """The cells of a row and the line it ends on."""

    line: int
    cells: list[str]


def read_csv(body: bytes, signature: Signature, header: str | None = None) -> tuple[Tensors, bool]:
    """The inputs in ``body``, and whether a header row stood above them."""
    if header not in _HEADER:
        allowed = (CSV, f"{CSV}; header=present", f"{CSV}; header=absent")
        raise UnsupportedMediaTypeError(f"{CSV}; header={header}", allowed)
    try:
        return _read(_rows(body), signature, _HEADER[header])
    except csv.Error as error:
        raise MalformedRequestError(f"the CSV body cannot be read: {error}") from None
    except UnicodeDecodeError:
        raise MalformedRequestError(f"the CSV body is not UTF-8 {_offset(body)}") from None


def write_csv(name: str, values: Array) -> bytes:
    """A row of the values a line, without a header."""
    if values.ndim not in (1, 2) or values.dtype.kind == "V":
        raise NotEncodableError(
            name,
            f"{CSV} carries numbers or text in one or two dimensions;"
            " accept application/json or application/x-npy",
        )
    rows = values if values.ndim == 2 else values[:, np.newaxis]
    stream = io.StringIO()
    # str of a numpy scalar is its shortest form; a list of Python floats would show float32 noise.
    csv.writer(stream, lineterminator="\n").writerows(map(str, row) for row in rows)
    return stream.getvalue().encode()


def _rows(body: bytes) -> Iterator[Row]:
    stream = io.TextIOWrapper(io.BytesIO(body), "utf-8-sig", newline="")
    reader = csv.reader(stream, strict=True)
    return (Row(reader.line_num, cells) for cells in reader if cells)


def _offset(body: bytes) -> str:
    try:
        body.decode()
    except UnicodeDecodeError as error:
        return f"at offset {error.start}"
    raise AssertionError("it was not UTF-8 a moment ago")


def _read(rows: Iterator[Row], signature: Signature, header: bool | None) -> tuple[Tensors, bool]:
    first = next(rows, None)
    if first is None:
        raise MalformedRequestError("the CSV body has no rows")
    if header is None:
        header = _is_header(first.cells, signature)
    whole = _with(first, rows) if not header else rows
    if len(signature.inputs) == 1:
        spec = signature.inputs[0]
        return {spec.name: _one(spec, whole, len(first.cells))}, header
    if not header:
        names = ", ".join(spec.name for spec in signature.inputs)
        raise MalformedRequestError(
            f"the CSV body has no header row; the model has several inputs ({names}),"
            " so a header has to name each one's column"
        )
    return _several(signature, whole, first.cells), header


def _with(first: Row, rows: Iterator[Row]) -> Iterator[Row]:
    yield first
    yield from rows


def _is_header(cells: list[str], signature: Signature) -> bool:
    names = [spec.name for spec in signature.inputs]
    if len(names) > 1:
        return set(cells) >= set(names)
    if cells == names:
        return True
    return signature.inputs[0].datatype != "BYTES" and not any(map(_could_be_a_value, cells))


def _could_be_a_value(cell: str) -> bool:
    text = cell.strip().lower()
    if not text or text in _TRUTHS:
        return True
    try:
        float(text)
    except ValueError:
        return False
    return True


def _one(spec: TensorSpec, rows: Iterator[Row], width: int) -> Array:
    convert = _converter(spec)
    values = _column(spec)
    count = 0
    for row in rows:
        _check_width(row, width)
        _gather(values, row, convert)
        count += 1
    if not count:
        raise MalformedRequestError("the CSV body has a header and no rows")
    return as_input(spec, _as_declared(spec, values).reshape(count, width))


def _several(signature: Signature, rows: Iterator[Row], names: list[str]) -> Tensors:
    places = columns_of(signature, names)
    columns = {spec.name: _column(spec) for spec in signature.inputs}
    converters = {spec.name: _converter(spec) for spec in signature.inputs}
    empty = True
    for row in rows:
        _check_width(row, len(names))
        for name, at in places.items():
            cell = Row(row.line, [row.cells[at]])
            _gather(columns[name], cell, converters[name], at)
        empty = False
    if empty:
        raise MalformedRequestError("the CSV body has a header and no rows")
    return {
        spec.name: as_column(spec, _as_declared(spec, columns[spec.name]))
        for spec in signature.inputs
    }


def _check_width(row: Row, width: int) -> None:
    if len(row.cells) != width:
        raise MalformedRequestError(
            f"CSV line {row.line} has {len(row.cells)} cells, the first row has {width}"
        )


def _column(spec: TensorSpec) -> Column:
    """Where the values of an input are gathered; floats take eight bytes each there."""
    return array("d") if spec.datatype in _FLOATS else []


def _as_declared(spec: TensorSpec, values: Column) -> Array:
    if isinstance(values, list):
        return from_json(spec, values)
    return as_declared(spec, np.frombuffer(values))


def _gather(values: Column, row: Row, convert: Cell, first: int = 0) -> None:
    try:
        values.extend(map(convert, row.cells))
    except ValueError:
        for at, cell in enumerate(row.cells, first + 1):
            try:
                convert(cell)
            except ValueError as error:
                shown = cell if len(cell) <= _SHOWN else cell[:_SHOWN] + "…"
                where = f"CSV line {row.line}, column {at}"
                raise MalformedRequestError(f"{where}: {shown!r} is {error}") from None
        raise


def _converter(spec: TensorSpec) -> Cell:
    if spec.datatype == "BYTES":
        return str
    if spec.datatype == "BOOL":
        return _truth
    return _whole if spec.datatype.strip("U").startswith("INT") else _float


def _float(cell: str) -> float:
    try:
        if "_" not in cell:
            return float(cell)
    except ValueError:
        if not cell.strip():
            return math.nan
    raise ValueError("not a number")


def _whole(cell: str) -> int:
    try:
        if "_" not in cell:
            return int(cell)
    except ValueError:
        value = _float(cell)
        if value.is_integer() and abs(value) <= 2**53:  # beyond that digits are lost
            return int(value)
    raise ValueError("not a whole number")


def _truth(cell: str) -> bool:
    truth = _TRUTHS.get(cell.strip().lower())
    if truth is None:
        raise ValueError("neither true nor false")
    return truth
