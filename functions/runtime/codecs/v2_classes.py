"""V2's classification extension: an output as its best classes, ``value:index[:label]``.

Triton's text, digit for digit: six decimals for fractions, best first, and per row of a batch. It
must not know a model or a request.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from modelport.errors import NotEncodableError
from modelport.raw_tensors import widened
from modelport.signature import TensorSpec

from functions.runtime.tensors import Array


def check_has_classes(spec: TensorSpec) -> None:
    """Raise `NotEncodableError` for an output whose values have no order of better and worse."""
    if spec.datatype in ("BYTES", "BOOL"):
        raise NotEncodableError(spec.name, f"classification needs numbers, not {spec.datatype}")


def best_classes(array: Array, wanted: int, labels: Sequence[str]) -> Array:
    """The ``wanted`` best of each row (all when there are fewer), as text of shape [rows, best].

    The first dimension is the rows, the rest the classes; of one dimension the elements are the
    classes, and the shape is [best].
    """
    array = widened(array)
    count, *classes = (1, array.size) if array.ndim < 2 else array.shape
    rows = array.reshape(count, math.prod(classes))
    best = min(wanted, rows.shape[1])
    texts = np.empty((len(rows), best), object)
    for row, values in enumerate(rows):
        order = _best(values, best)
        for place, (index, value) in enumerate(zip(order, values[order].tolist(), strict=True)):
            number = f"{value:f}" if isinstance(value, float) else str(value)
            label = f":{labels[index]}" if index < len(labels) else ""
            texts[row, place] = f"{number}:{index}{label}"
    return texts if array.ndim > 1 else texts[0]


def _best(values: Array, count: int) -> list[int]:
    """Places of the largest, the first of equals first; what is not a number comes last."""
    if values.dtype.kind == "f":
        values = np.where(np.isnan(values), -np.inf, values)
    ascending = np.argsort(values[::-1], kind="stable")
    order: list[int] = (len(values) - 1 - ascending[::-1])[:count].tolist()
    return order
