"""From columns of values to the tensors a model takes: which column is what, and its dtype.

Knows no file format; places in messages are the caller's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from modelport.evaluation.errors import DataSetError
from modelport.raw_tensors import DTYPES, Array, narrowed
from modelport.signature import Signature, TensorSpec

#: How text spells booleans.
_BOOLEANS = {"true": 1, "false": 0}
_FORM = (
    "columns are the features of one input [N,K], or are called like the inputs, each [N] or [N,1];"
    " inputs of other shapes come by name in .jsonl or .npz"
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What the columns of a table become: one matrix of all ``features``, or an input each."""

    features: tuple[str, ...]
    inputs: tuple[TensorSpec, ...]
    matrix: bool

    def tensors(
        self, columns: dict[str, list[Any]], place: Callable[[int], str]
    ) -> dict[str, Array]:
        """The inputs, from values by column; ``place`` says where a row stands."""
        if not self.matrix:
            return {
                spec.name: values_of(spec, columns[spec.name], spec.name, place).reshape(
                    (-1, *[1] * (len(spec.shape) - 1))
                )
                for spec in self.inputs
            }
        spec = self.inputs[0]
        found = [values_of(spec, columns[name], name, place) for name in self.features]
        return {spec.name: np.stack(found, 1)}


def plan(where: object, columns: Sequence[str], label: str | None, signature: Signature) -> Plan:
    """What columns become for a model; raises `DataSetError` where they cannot be its inputs."""
    features = tuple(name for name in columns if name != label)
    if len(set(columns)) < len(columns):
        raise DataSetError(where, "two columns have the same name")
    specs = signature.inputs
    if all(spec.name in features and _is_column(spec) for spec in specs):
        return Plan(features, specs, False)
    takes = ", ".join(f"{spec.name} {spec}" for spec in specs)
    if len(specs) != 1 or len(specs[0].shape) != 2:
        raise DataSetError(where, f"columns cannot be the model's inputs ({takes})", _FORM)
    wanted = specs[0].shape[1]
    if wanted not in (-1, len(features)):
        listed = ", ".join(features[:20]) + (" …" if len(features) > 20 else "")
        raise DataSetError(
            where,
            f"{len(features)} columns of features ({listed}), where the model takes {takes}",
            "leave out what is no feature" if len(features) > wanted else _FORM,
        )
    return Plan(features, specs, True)


def _is_column(spec: TensorSpec) -> bool:
    return len(spec.shape) == 1 or (len(spec.shape) == 2 and spec.shape[1] in (1, -1))


def values_of(
    spec: TensorSpec, values: list[Any], column: str, place: Callable[[int], str]
) -> Array:
    """A column [N] in an input's dtype; raises `DataSetError` for the first value that is none."""
    if spec.datatype == "BYTES":
        texts = np.empty(len(values), object)
        texts[:] = [str(value) for value in values]
        return texts
    whole = _whole(spec, values)
    if whole is not None:
        return whole
    try:
        found = np.array(values, dtype=np.float64)
        if found.ndim != 1 or any(value is None for value in values):
            raise ValueError
        return fitted(spec, found)
    except (ValueError, TypeError, OverflowError):
        for row, value in enumerate(values):
            number = _number(value)
            try:
                if number is None:
                    raise ValueError
                fitted(spec, np.array([number], np.float64))
            except (ValueError, OverflowError):
                shown = repr(value)[:60]
                raise DataSetError(
                    place(row), f"column {column!r}: {shown} is no {spec.datatype}"
                ) from None
    return fitted(spec, np.array([_number(value) for value in values], np.float64))


def _whole(spec: TensorSpec, values: list[Any]) -> Array | None:
    """Whole numbers, read as such: FP64 has no room for all of 64 bits. None for other values."""
    want = DTYPES.get(spec.datatype)
    if want is None or want.kind not in "iu" or {type(value) for value in values} - {int, str}:
        return None
    try:
        return np.array([int(value) for value in values], dtype=want)
    except (ValueError, OverflowError):  # the way over FP64 says which value it is
        return None


def _number(value: Any) -> float | None:
    if isinstance(value, str) and value.strip().lower() in _BOOLEANS:
        return float(_BOOLEANS[value.strip().lower()])
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def fitted(spec: TensorSpec, array: Array) -> Array:
    """Numbers in an input's dtype; raises ValueError where a value does not fit into it."""
    if spec.datatype == "BF16":
        return narrowed(array)
    want = DTYPES.get(spec.datatype)
    if want is None or want.hasobject or array.dtype.kind not in "fiub":
        raise ValueError(f"no {spec.datatype}")
    if want.kind == "f":
        with np.errstate(over="ignore"):
            found = array.astype(want)
        if (np.isinf(found) & ~np.isinf(array)).any():
            raise ValueError(f"beyond {spec.datatype}")
        return found
    if array.dtype.kind == "f" and not (np.isfinite(array) & (array == np.floor(array))).all():
        raise ValueError("no whole number")
    low, high = (0, 1) if want.kind == "b" else (np.iinfo(want).min, np.iinfo(want).max)
    if array.size and (array.min() < low or array.max() > high):
        raise ValueError(f"beyond {spec.datatype}")
    return array.astype(want)
