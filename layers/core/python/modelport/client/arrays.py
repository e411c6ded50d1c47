"""What a user hands in as tensors, as arrays that can be sent, and back.

An array goes with the dtype it has: nothing is cast behind the caller's back. Plain values (a
number, text, nested lists) have no dtype, so they take the one that the model's signature declares,
if no value changes on the way. Knows neither HTTP nor JSON.

BF16, which numpy lacks, goes as an array of `ml_dtypes` or as what `bfloat16` makes of floats, and
comes back as float32, which holds every value of it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from modelport import raw_tensors
from modelport.client.errors import InvalidValueError
from modelport.raw_tensors import BF16, DTYPES, Array, datatype_of
from modelport.signature import TensorSpec

#: Largest whole number up to which a float is certainly the number that was written.
_EXACT = 2**53


def bfloat16(values: Any) -> Array:
    """An array that is sent as BF16: floats (of any shape) rounded to the nearest brain float.

    >>> bfloat16([1.0, -2.0])["bf16"].tolist()
    [16256, 49152]
    """
    given = np.asarray(values)
    if given.dtype.name == "bfloat16":
        return np.ascontiguousarray(given).view(BF16)
    return raw_tensors.narrowed(given)


def typed(name: str, value: Any) -> Array | None:
    """``value`` as an array that can be sent as it is; None for plain values, which have no dtype.

    Anything that numpy takes as an array (another library's tensor, a series) is one.
    """
    if not isinstance(value, np.ndarray):
        if not hasattr(value, "__array__"):
            return None
        value = np.asarray(value)
    array: Array = value
    if array.dtype.name == "bfloat16":
        return bfloat16(array)
    if datatype_of(array) not in DTYPES:
        raise InvalidValueError(
            f"input {name!r}", f"no protocol carries {array.dtype}", hint="cast it with .astype()"
        )
    return array


def declared(spec: TensorSpec, value: Any) -> Array:
    """Plain values as an array of the declared dtype; `InvalidValueError` says what does not fit.

    The shape is that of the nesting.
    """
    if spec.datatype == "BYTES":
        return _texts(spec, value)
    try:
        raw = np.array(value)
    except (ValueError, OverflowError):
        raise _unfit(spec, "a ragged list, or numbers out of every range") from None
    dtype = DTYPES.get(spec.datatype)
    if dtype is None:
        raise _unfit(spec, "a datatype this client does not know")
    if not raw.size:
        return np.empty(raw.shape, dtype)
    if dtype.kind in "iu" and raw.dtype.kind in "fO":
        # numpy makes floats of whole numbers that fit no one dtype of its own.
        exact = np.array(value, object)
        if set(map(type, exact.reshape(-1).tolist())) == {int}:
            return _whole(spec, exact, dtype)
    if raw.dtype.kind == "O":
        raise _unfit(spec, "a ragged list, or values that are not numbers")
    if dtype == BF16:
        return bfloat16(_numbers(spec, raw, np.dtype(np.float32)))
    if dtype.kind == "b":
        if raw.dtype.kind != "b":
            raise _unfit(spec, "values that are not booleans")
        return raw
    return _numbers(spec, raw, dtype)


def widened(array: Array) -> Array:
    """An array as users get it: their own, writable, and BF16 as float32."""
    if array.dtype == BF16:
        return raw_tensors.widened(array)
    return np.array(array, array.dtype.newbyteorder("="))


def _numbers(spec: TensorSpec, raw: Array, dtype: np.dtype[Any]) -> Array:
    if raw.dtype.kind not in "iuf":
        raise _unfit(spec, "values that are not numbers")
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            cast = raw.astype(dtype)
        if np.isfinite(raw).all() and not np.isfinite(cast).all():
            raise _unfit(spec, "a number out of its range")
        return cast
    if raw.dtype.kind == "f" and not (np.isfinite(raw) & (raw == np.trunc(raw))).all():
        raise _unfit(spec, "a number that is not whole")
    if raw.dtype.kind == "f" and np.abs(raw).max() > _EXACT:
        raise _unfit(spec, "a whole number that has lost digits as a float")
    return _whole(spec, raw, dtype)


def _whole(spec: TensorSpec, raw: Array, dtype: np.dtype[Any]) -> Array:
    limits = np.iinfo(dtype)
    if int(raw.min()) < limits.min or int(raw.max()) > limits.max:
        raise _unfit(spec, "a number out of its range")
    return raw.astype(dtype)


def _texts(spec: TensorSpec, value: Any) -> Array:
    try:
        array = np.array(value, object)
    except ValueError:
        raise _unfit(spec, "a ragged list") from None
    if any(not isinstance(each, str | bytes) for each in array.reshape(-1).tolist()):
        raise _unfit(spec, "a ragged list, or values that are not text")
    return array


def _unfit(spec: TensorSpec, got: str) -> InvalidValueError:
    return InvalidValueError(f"input {spec.name!r}", f"expected {spec}, got {got}")
