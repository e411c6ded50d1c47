"""Numbers in one dtype as the dtype that a model declares, by the rules of JSON's numbers.

Fractions round to a float's precision; nothing else about a value may change.
"""

from __future__ import annotations

import numpy as np
from modelport.errors import TensorError
from modelport.signature import TensorSpec

from functions.runtime.tensors import DTYPES, Array, describe

#: Largest whole number up to which every float64 is the number that was meant.
_EXACT = 2**53


def as_declared(spec: TensorSpec, array: Array) -> Array:
    """Numbers as the declared dtype, or `TensorError` for one that has no such form."""
    want = DTYPES[spec.datatype]
    if np.can_cast(array.dtype, want, "safe") or not array.size:
        return array.astype(want, copy=False)
    if want.kind == "f":
        with np.errstate(over="ignore"):
            narrowed = array.astype(want)
        if not np.array_equal(np.isfinite(narrowed), np.isfinite(array)):
            raise TensorError(spec.name, str(spec), f"{describe(array)} beyond its range")
        return narrowed
    if array.dtype.kind == "f" and not (np.trunc(array) == array).all():
        raise TensorError(spec.name, str(spec), f"{describe(array)}, not all of it whole numbers")
    if array.dtype.kind == "f" and np.abs(array).max() > _EXACT:
        raise TensorError(spec.name, str(spec), f"{describe(array)}, which has lost digits")
    limits = np.iinfo(want)
    if int(array.min()) < limits.min or int(array.max()) > limits.max:
        raise TensorError(spec.name, str(spec), f"{describe(array)} beyond its range")
    return array.astype(want)
