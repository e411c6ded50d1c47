"""The canonical form of every request and answer: a dict of names to numpy arrays.

Turns parsed JSON and typed arrays into exactly the dtype and shape a model declares, or says which
input was wrong, what was expected and what came. It must not know a protocol or run a model. Text
(BYTES) travels as object arrays of ``str``, because that is what onnxruntime takes and gives.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from itertools import chain
from math import isfinite
from typing import Any

import numpy as np
from modelport.errors import NotEncodableError, TensorError
from modelport.raw_tensors import BF16, DTYPES, MAX_RANK, Array, datatype_of, narrowed
from modelport.signature import Signature, TensorSpec

from functions.runtime.json_numbers import Numbers, fitted, has_numbers, plain

__all__ = ["DTYPES", "Array", "Tensors", "datatype_of"]

Tensors = dict[str, Array]

#: Largest whole number up to which a JSON float is certainly the number that was written.
_EXACT = 2**53
#: Up to so many values, asking each for its type is quicker than asking numpy for all of them.
FEW = 64
#: Datatype → dtype, the types of JSON's values that are it, and between which of them nothing can
#: go wrong on the way: no overflow, and no whole number that is rounded twice.
SAFE: Mapping[str, tuple[np.dtype[Any], set[type], float, float]] = {
    "BOOL": (DTYPES["BOOL"], {bool}, False, True),
    **{
        name: (dtype, {int}, int(np.iinfo(dtype).min), int(np.iinfo(dtype).max))
        for name, dtype in DTYPES.items()
        if dtype.kind in "iu"
    },
    "FP16": (DTYPES["FP16"], {int, float}, -65504, 65504),
    "FP32": (DTYPES["FP32"], {int, float}, -_EXACT, _EXACT),
    "FP64": (DTYPES["FP64"], {int, float}, -_EXACT, _EXACT),
}


def describe(array: Array) -> str:
    """Datatype and shape as error messages spell them: ``FP32 [2,3]``."""
    return f"{datatype_of(array)} [{','.join(map(str, array.shape))}]"


def check_names(signature: Signature, names: Mapping[str, Any]) -> None:
    """Every input is there and nothing else is, or `TensorError` names the one at fault."""
    known = {spec.name: None for spec in signature.inputs}
    if names.keys() == known.keys():
        return
    for name in names:
        if name not in known:
            raise TensorError(
                name, f"one of the model's inputs ({', '.join(known)})", "an unknown name"
            )
    for spec in signature.inputs:
        if spec.name not in names:
            raise TensorError(spec.name, str(spec), "nothing")


def check_shape(spec: TensorSpec, array: Array, note: str = "") -> Array:
    """The array, if its shape fits the declared one."""
    if not spec.accepts(array.shape):
        raise TensorError(spec.name, str(spec), describe(array) + note)
    return array


def from_json(spec: TensorSpec, data: Any, *, b64: bool = False) -> Array:
    """An array of the declared dtype from (nested) JSON lists or one bare value.

    The shape is that of the nesting. With ``b64``, text may also be ``{"b64": "<base64>"}``.
    """
    if has_numbers(data):
        if (array := fitted(data, DTYPES.get(spec.datatype))) is not None:
            return array
        data = plain(data)
    values, shape = _flatten(spec, data)
    if (array := _few(spec, values)) is not None:
        return array.reshape(shape)
    if spec.datatype == "BYTES":
        return _texts(spec, values, shape, b64)
    if spec.datatype not in DTYPES:
        raise TensorError(spec.name, str(spec), f"JSON, which has no form for {spec.datatype}")
    if spec.datatype == "BF16":  # from protocols that write any number; V2's JSON has no form
        return narrowed(_numbers(spec, values, shape, DTYPES["FP32"])).reshape(shape)
    return _numbers(spec, values, shape, DTYPES[spec.datatype]).reshape(shape)


def from_array(spec: TensorSpec, array: Array) -> Array:
    """A typed array as the declared dtype, if no value can change on the way."""
    if spec.datatype == "BYTES":
        if array.dtype.kind not in "US":
            raise TensorError(spec.name, str(spec), describe(array))
        if not _is_unicode(array):
            raise TensorError(spec.name, str(spec), "characters that Unicode does not have")
        texts = [_utf8(spec, value) for value in array.reshape(-1).tolist()]
        return _objects(texts, array.shape)
    want = DTYPES.get(spec.datatype)
    if (
        want is None
        or want == BF16
        or array.dtype.hasobject
        or not np.can_cast(array.dtype, want, "safe")
    ):
        raise TensorError(spec.name, str(spec), describe(array))
    return array.astype(want, copy=False)


def check_finite(name: str, array: Array, way_out: str) -> None:
    """Raise `NotEncodableError` if the array holds what strict JSON has no form for."""
    if not all_finite(array):
        raise NotEncodableError(name, f"JSON has no NaN or Infinity; {way_out}")


def all_finite(array: Array) -> bool:
    """Whether an array holds neither NaN nor Infinity."""
    if array.dtype.kind != "f":
        return True
    # Finite only if everything is: one pass, and no array in between. It may still overflow.
    few = array.size <= FEW
    whole = sum(array.ravel().tolist()) if few else np.vdot(array, array)
    return isfinite(whole) or bool(np.isfinite(array).all())


def _flatten(spec: TensorSpec, data: Any) -> tuple[list[Any], tuple[int, ...]]:
    # Unnesting level by level in C is twice as fast as numpy's own discovery of nested lists.
    level: list[Any] = [data]
    shape: list[int] = []
    while level and type(level[0]) is list:
        if len(shape) == MAX_RANK:
            raise TensorError(spec.name, str(spec), f"a list nested deeper than {MAX_RANK}")
        if len(level) == 1:  # as around a single row: nothing to compare
            level = level[0]
            shape.append(len(level))
            continue
        if set(map(type, level)) != {list}:
            raise TensorError(spec.name, str(spec), "a list where elements differ in depth")
        sizes = set(map(len, level))
        if len(sizes) > 1:
            raise TensorError(
                spec.name,
                str(spec),
                f"a ragged list: at depth {len(shape) + 1} lengths {min(sizes)} and {max(sizes)}",
            )
        shape.append(sizes.pop())
        level = list(chain.from_iterable(level))
    return level, tuple(shape)


def _few(spec: TensorSpec, values: list[Any]) -> Array | None:
    """A few plain values that certainly fit as a flat array; None for those to be looked into."""
    if not 0 < len(values) <= FEW or spec.datatype not in SAFE:
        return None
    want, types, least, most = SAFE[spec.datatype]
    if not {*map(type, values)} <= types:
        return None
    # A NaN that comes first is no more than anything; one that comes later hides nothing.
    if not (least <= min(values) and max(values) <= most):
        return None
    return np.array(values, want)


def _numbers(
    spec: TensorSpec, values: list[Any], shape: tuple[int, ...], want: np.dtype[Any]
) -> Array:
    if not values:
        return np.empty(0, want)
    try:
        raw = np.array(values)
    except (ValueError, OverflowError):
        raise _unfit(spec, values, shape) from None
    if want.kind == "b":
        if raw.dtype.kind != "b" or raw.ndim != 1:
            raise _unfit(spec, values, shape)
        return raw
    if raw.dtype.kind not in "iuf" or _hides_booleans(raw, values):
        raise _unfit(spec, values, shape)
    return _floats(spec, raw, want) if want.kind == "f" else _integers(spec, raw, want, values)


def _hides_booleans(raw: Array, values: list[Any]) -> bool:
    # numpy turns true and false among numbers into 1 and 0; only then is a closer look needed.
    if len(values) <= FEW:
        return bool in map(type, values)
    return bool(((raw == 0) | (raw == 1)).any()) and bool in set(map(type, values))


def _floats(spec: TensorSpec, raw: Array, want: np.dtype[Any]) -> Array:
    if want.itemsize >= raw.itemsize or (raw.dtype.kind != "f" and want.itemsize > 2):
        return raw.astype(want, copy=False)  # no number of these is beyond its range
    try:
        with np.errstate(over="raise"):
            return raw.astype(want, copy=False)
    except FloatingPointError:
        largest = float(np.abs(raw[np.isfinite(raw)]).max())
        got = f"a number out of its range ({largest:g})"
        raise TensorError(spec.name, str(spec), got) from None


def _integers(spec: TensorSpec, raw: Array, want: np.dtype[Any], values: list[Any]) -> Array:
    exact: list[int] | Array = raw
    if raw.dtype.kind == "f":
        exact = [_whole(spec, value) for value in values]
    limits = np.iinfo(want)
    least, most = (min(exact), max(exact)) if isinstance(exact, list) else (raw.min(), raw.max())
    for value in (int(least), int(most)):
        if not limits.min <= value <= limits.max:
            raise TensorError(spec.name, str(spec), f"{value}, which is out of its range")
    return np.array(exact, want) if isinstance(exact, list) else raw.astype(want, copy=False)


def _whole(spec: TensorSpec, value: Any) -> int:
    if isinstance(value, int):
        return value
    if not value.is_integer():
        raise TensorError(spec.name, str(spec), f"{value!r}, which is not a whole number")
    if abs(value) > _EXACT:
        raise TensorError(spec.name, str(spec), f"{value!r}, which has lost digits as a float")
    return int(value)


def _texts(spec: TensorSpec, values: list[Any], shape: tuple[int, ...], b64: bool) -> Array:
    if b64 and dict in set(map(type, values)):
        values = [_from_b64(spec, value) if type(value) is dict else value for value in values]
    if not set(map(type, values)) <= {str}:
        raise _unfit(spec, values, shape)
    return _objects(values, shape)


def _objects(values: list[str], shape: tuple[int, ...]) -> Array:
    array = np.empty(len(values), object)
    array[:] = values
    return array.reshape(shape)


def _from_b64(spec: TensorSpec, value: dict[str, Any]) -> str:
    text = value.get("b64")
    if len(value) != 1 or not isinstance(text, str):
        raise TensorError(spec.name, str(spec), 'an object that is not {"b64": "<base64>"}')
    try:
        return _utf8(spec, base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError):
        raise TensorError(spec.name, str(spec), "text after 'b64' that is not base64") from None


def _is_unicode(array: Array) -> bool:
    """Whether numpy's own text, four bytes a character whatever they say, can be text at all."""
    if array.dtype.kind != "U" or not array.nbytes:
        return True
    flat = array.reshape(-1)
    codes = np.ascontiguousarray(flat, flat.dtype.newbyteorder("=")).view(np.uint32)
    return bool(((codes <= 0x10FFFF) & (codes >> 11 != 0xD800 >> 11)).all())


def _utf8(spec: TensorSpec, value: str | bytes) -> str:
    if isinstance(value, str):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError:
        got = "bytes that are not UTF-8 (ONNX strings are text)"
        raise TensorError(spec.name, str(spec), got) from None


def _unfit(spec: TensorSpec, values: list[Any], shape: tuple[int, ...]) -> TensorError:
    """The error for the first value of the wrong kind, with its place."""
    fitting = {"BYTES": (str,), "BOOL": (bool,)}.get(spec.datatype, (int, float))
    for position, value in enumerate(values):
        if type(value) not in fitting:
            place = "".join(f"[{int(i)}]" for i in np.unravel_index(position, shape or (1,)))
            return TensorError(spec.name, str(spec), f"{_kind(value)} at {place}")
    return TensorError(spec.name, str(spec), "a number out of its range")


def _kind(value: Any) -> str:
    names = {
        str: "a string",
        bool: "a boolean",
        type(None): "null",
        dict: "an object",
        list: "a list of another depth",
        Numbers: "a list of another depth",
        int: "a number",
        float: "a number",
    }
    return names.get(type(value), type(value).__name__)
