"""MLflow's two JSON forms of a pandas data frame, ``dataframe_split`` and ``dataframe_records``.

As pandas has them: columns in order, cells that are values or lists, null for a missing number.
"""

from __future__ import annotations

import math
from typing import Any

from modelport.errors import MalformedRequestError, TensorError
from modelport.signature import Signature, TensorSpec

from functions.runtime.codecs.codec import is_list
from functions.runtime.codecs.tables import as_column, as_input, columns_of
from functions.runtime.tensors import Array, Tensors, check_shape, from_json

_SPLIT_KEYS = {"columns", "data", "index"}


def read_split(frame: Any, signature: Signature) -> Tensors:
    """The inputs in ``{"columns": […], "index": […], "data": [[…]]}``."""
    if not isinstance(frame, dict):
        raise _invalid(f"Dataframe split format must be a dictionary. Got {_kind(frame)}.")
    if "data" not in frame or frame.keys() - _SPLIT_KEYS:
        keys = ", ".join(map(repr, sorted(frame)[:20]))
        raise _invalid(
            "Dataframe split format must have 'data' field and optionally 'columns' and 'index'"
            f" fields. Got {keys or 'none'}."
        )
    data, columns = frame["data"], frame.get("columns")
    if not is_list(data):
        raise _invalid("'data' of a dataframe_split must be a list of rows")
    names = None if columns is None else _names(columns)
    index = frame.get("index")
    if index is not None and (not is_list(index) or _length(index) != _length(data)):
        raise _invalid(f"'index' of a dataframe_split must be a list of {_length(data)} labels")
    if len(signature.inputs) == 1:
        return _one(signature.inputs[0], data, names)
    if names is None:
        raise _invalid("a dataframe_split for a model of several inputs must have 'columns'")
    return _several(signature, _checked_rows(data, len(names)), names)


def read_records(records: Any, signature: Signature) -> Tensors:
    """The inputs in ``[{"column": cell, …}, …]``."""
    if not isinstance(records, list):
        got = _kind(records)
        raise _invalid(f"Dataframe records format must be a list of records. Got {got}.")
    first = records[0] if records else {}
    for position, record in enumerate(records):
        if not isinstance(record, dict):
            raise _invalid(f"record {position} of dataframe_records is not an object")
        if record.keys() != first.keys():
            raise _invalid(f"record {position} of dataframe_records has other keys than the first")
    names = list(first)
    rows = [[record[name] for name in names] for record in records]
    if len(signature.inputs) == 1:
        return _one(signature.inputs[0], rows, names)
    return _several(signature, rows, names)


def _one(spec: TensorSpec, rows: Any, names: list[str] | None) -> Tensors:
    """The whole table, or the one column where its cells are lists."""
    if isinstance(rows, list) and spec.datatype.startswith(("FP", "BF")):
        rows = [_without_nulls(row) if isinstance(row, list) else row for row in rows]
    table = from_json(spec, rows, b64=True)
    if table.ndim == 1:  # pandas takes a list of values as a column, and no rows as no cells
        table = table.reshape(-1, 1) if table.size else table.reshape(0, len(names or ()))
    if names is not None and table.shape[1] != len(names):
        raise _invalid(f"{len(names)} columns passed, passed data had {table.shape[1]} columns")
    if table.ndim == 2:
        return {spec.name: as_input(spec, table)}
    if table.shape[1] != 1:
        raise TensorError(spec.name, str(spec), f"{table.shape[1]} columns of lists, not one")
    return {spec.name: check_shape(spec, table.reshape(table.shape[0], *table.shape[2:]))}


def _several(signature: Signature, rows: list[list[Any]], names: list[str]) -> Tensors:
    places = columns_of(signature, names)
    return {
        spec.name: as_column(spec, _column(spec, [row[places[spec.name]] for row in rows]))
        for spec in signature.inputs
    }


def _column(spec: TensorSpec, cells: list[Any]) -> Array:
    if spec.datatype.startswith(("FP", "BF")):
        cells = _without_nulls(cells)
    return from_json(spec, cells, b64=True)


def _without_nulls(cells: list[Any]) -> list[Any]:
    return [math.nan if cell is None else cell for cell in cells] if None in cells else cells


def _checked_rows(data: Any, width: int) -> list[list[Any]]:
    rows = [_plain(row) for row in _plain(data)]
    for position, row in enumerate(rows):
        if not isinstance(row, list):
            raise _invalid(f"row {position} of 'data' is not a list")
        if len(row) != width:
            raise _invalid(f"{width} columns passed, row {position} of 'data' has {len(row)} cells")
    return rows


def _names(columns: Any) -> list[str]:
    names = _plain(columns)
    if not isinstance(names, list) or {type(name) for name in names} - {str, int, float, bool}:
        raise _invalid("'columns' of a dataframe_split must be a list of names")
    return [str(name) for name in names]


def _length(value: Any) -> int:
    return len(value) if isinstance(value, list) else int(value.shape[0])


def _plain(value: Any) -> Any:
    return value.tolist() if not isinstance(value, list) and is_list(value) else value


def _kind(value: Any) -> str:
    if isinstance(value, dict):
        return "dictionary"
    return "list" if is_list(value) else f"type {type(value).__name__}"


def _invalid(problem: str) -> MalformedRequestError:
    return MalformedRequestError(f"Invalid input. {problem}")
