"""Rows and columns as a model's inputs: what CSV and MLflow's data frames have in common.

A model with one input takes the whole table: all columns in order are its matrix, or, where the
input has more dimensions, each row its flattened values. A model with several inputs takes a
column each, by name; what else the table has is left out, as MLflow leaves it out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from modelport.errors import MalformedRequestError, TensorError
from modelport.signature import Signature, TensorSpec

from functions.runtime.tensors import Array, check_shape


def as_input(spec: TensorSpec, table: Array) -> Array:
    """A table of scalar cells, rank 2, as the one input of a model."""
    rows, width = table.shape
    trailing = spec.shape[1:]
    if len(spec.shape) == 1 and width == 1:
        return check_shape(spec, table.reshape(rows))
    if len(spec.shape) > 2 and -1 not in trailing and math.prod(trailing) == width:
        return check_shape(spec, table.reshape(rows, *trailing))
    if len(spec.shape) != 2:
        got = f"a table of {rows} rows and {width} columns"
        raise TensorError(spec.name, str(spec), got)
    return check_shape(spec, table)


def as_column(spec: TensorSpec, column: Array) -> Array:
    """A column, one cell a row, as one of a model's inputs; a scalar may be a row of one."""
    if column.ndim == 1 and len(spec.shape) == 2 and spec.shape[1] in (-1, 1):
        column = column.reshape(-1, 1)
    return check_shape(spec, column)


def columns_of(signature: Signature, names: Sequence[str]) -> dict[str, int]:
    """Where each input's column is; raises `MalformedRequestError` for one missing or twice."""
    places: dict[str, int] = {}
    for spec in signature.inputs:
        count = names.count(spec.name)
        if count != 1:
            listed = ", ".join(names[:20]) + (", …" if len(names) > 20 else "")
            raise MalformedRequestError(
                f"a table for a model of several inputs has one column called as each:"
                f" {spec.name!r} is there {count or 'no'} times; columns: {listed}"
            )
        places[spec.name] = list(names).index(spec.name)
    return places
