"""Outputs row by row, as JSON-able values: what JSON lines and MLflow's answers have in common."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from modelport.errors import NotEncodableError
from modelport.raw_tensors import widened

from functions.runtime.codecs.codec import write_bare
from functions.runtime.tensors import Array, Tensors


def column_of(array: Array) -> Any:
    """A whole output as JSON, NaN and Infinity as bare tokens."""
    return array.tolist() if array.dtype.kind == "O" else write_bare(widened(array))


def rows_of(outputs: Tensors) -> Iterable[Any]:
    """A value a row where there is one output, else an object a row."""
    _check_rows(outputs)
    if len(outputs) == 1:
        return _cells(next(iter(outputs.values())))
    return _objects(outputs)


def records_of(outputs: Tensors) -> list[dict[str, Any]]:
    """An object a row, each output by its name; a row of one value is that value."""
    _check_rows(outputs)
    return _objects({name: _narrow(array) for name, array in outputs.items()})


def _objects(outputs: Tensors) -> list[dict[str, Any]]:
    rows = zip(*map(_cells, outputs.values()), strict=True)
    return [dict(zip(outputs, row, strict=True)) for row in rows]


def _check_rows(outputs: Tensors) -> None:
    sizes = {name: array.shape[:1] for name, array in outputs.items()}
    for name, size in sizes.items():
        if not size:
            raise NotEncodableError(name, "it has no rows; send 'inputs' to get outputs whole")
        if size != next(iter(sizes.values())):
            raise NotEncodableError(
                name, "outputs differ in their number of rows; send 'inputs' to get them whole"
            )


def _narrow(array: Array) -> Array:
    return array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array


def _cells(array: Array) -> Iterable[Any]:
    """One JSON-able value per row."""
    array = widened(array)
    if array.dtype.kind == "O":
        return array.tolist()  # type: ignore[no-any-return]
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        return [write_bare(array[row, ...]) for row in range(array.shape[0])]
    return array
