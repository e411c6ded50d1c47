"""Numbers out of large JSON bodies without a Python object for each of them.

`read` walks what simdjson parsed and leaves every large, regular list of numbers where it is, as
`Numbers`; `fitted` takes them over as an array of a dtype. Both only ever speed up: wherever
another reader might see anything else they answer None, and the exact path decides. Must not be
asked about small bodies, which orjson reads sooner than this imports.
"""

from __future__ import annotations

import math
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:  # imported by the first large body
    import simdjson

Array = np.ndarray[Any, Any]

#: Lists with fewer numbers than this are lists: what codecs read themselves is among them.
LEAST = 1024
#: What a parser may find deeper than this, the exact path refuses or reads.
_DEEPEST = 64
#: Bytes of a body for each list of numbers, and for each object or other list, that it takes for
#: the walk to be cheaper than making Python objects of everything.
_PER_ROW, _PER_CONTAINER = 64, 512
#: simdjson counts no further, and looks keys up one by one.
_MOST_VALUES, _MOST_KEYS = 0xFFFFFF, 64
_BOM = b"\xef\xbb\xbf"
_CHUNK = 1 << 16
#: Up to here whole numbers pass through a double unchanged.
_EXACT = 2.0**53


#: Bytes of a body from which on what this saves is more than what importing simdjson costs, 4 ms.
_PAYS_AT_ONCE = 2 * 2**20


class _Asked:
    """How many bodies came that are large enough to be read here, up to the second."""

    count = 0


def is_worth(body: bytes) -> bool:
    """Whether `read` is the quicker way for a large body: not for one that may remain the only one.

    The first is the one that a cold start waits for; whoever sends another may send many.
    """
    if _Asked.count < 2:
        _Asked.count += 1
    return _Asked.count > 1 or len(body) >= _PAYS_AT_ONCE


class Numbers:
    """A (nested) list of numbers with at least `LEAST` values, rectangular, still as parsed."""

    __slots__ = ("_parsed", "shape")

    def __init__(self, parsed: simdjson.Array, shape: tuple[int, ...]) -> None:
        self._parsed = parsed
        self.shape = shape

    def __len__(self) -> int:
        return self.shape[0]

    def flat(self, kind: Literal["d", "i", "u"]) -> Array | None:
        """All values as float64 ("d"), int64 ("i") or uint64 ("u"), or None if one is not such."""
        try:
            return np.frombuffer(self._parsed.as_buffer(of_type=kind), _BUFFERS[kind])
        except (TypeError, ValueError):
            return None

    def tolist(self) -> list[Any]:
        """The very lists that a plain parser makes."""
        return self._parsed.as_list()


_BUFFERS = {"d": np.float64, "i": np.int64, "u": np.uint64}


def read(body: bytes) -> Any:
    """The JSON document in ``body`` with `Numbers` in it, or None: read it plainly.

    A list that holds `Numbers` holds nothing else but objects that do.
    """
    if body.startswith(_BOM) or _is_busy(body):
        return None
    import simdjson

    try:
        # A parser keeps several times the largest body it saw; a new one costs as little.
        return _Walk(simdjson, body).document(simdjson.Parser().parse(body))
    except (_OddError, ValueError, RuntimeError, MemoryError):
        return None


def _is_busy(body: bytes) -> bool:
    """Whether so much of it is text or short rows that a plain reader is quicker: a guess."""
    middle = len(body) // 2
    sample = body[middle : middle + _PER_ROW * 64]
    return sample.count(b'"') + sample.count(b"[") > 64


def has_numbers(data: Any) -> bool:
    """Whether this is `Numbers` or a list with such, for `fitted` and, if it declines, `plain`."""
    if type(data) is not list:
        return type(data) is Numbers
    return bool(data) and type(data[0]) in (list, Numbers) and Numbers in map(type, data)


def fitted(data: Any, want: np.dtype[Any] | None) -> Array | None:
    """What `has_numbers` as an array of the dtype; None if not all of it fits exactly."""
    if want is None or want.kind not in "fiu":
        return None
    if type(data) is Numbers:
        flat = _fit(data, want)
        return None if flat is None else flat.reshape(data.shape)
    if set(map(type, data)) != {Numbers}:
        return None
    if len({part.shape for part in data}) > 1 or len(data[0].shape) >= _DEEPEST:
        return None
    parts = []
    for part in data:
        if (flat := _fit(part, want)) is None:
            return None
        parts.append(flat)
    return np.concatenate(parts).reshape((len(data), *data[0].shape))


def plain(data: Any) -> Any:
    """What `has_numbers` with lists in place of `Numbers`."""
    if type(data) is Numbers:
        return data.tolist()
    return [part.tolist() if type(part) is Numbers else part for part in data]


def _fit(numbers: Numbers, want: np.dtype[Any]) -> Array | None:
    return _floats(numbers, want) if want.kind == "f" else _integers(numbers, want)


def _floats(numbers: Numbers, want: np.dtype[Any]) -> Array | None:
    doubles = numbers.flat("d")
    if doubles is None or want == doubles.dtype:
        return doubles
    try:
        with np.errstate(over="raise"):
            values = doubles.astype(want)
    except FloatingPointError:
        return None
    # Large whole numbers would be rounded twice: to a double, and to the dtype.
    if max(float(values.max()), -float(values.min())) >= _EXACT and _all_whole(numbers):
        return None
    return values


def _all_whole(numbers: Numbers) -> bool:
    return numbers.flat("i") is not None or numbers.flat("u") is not None


def _integers(numbers: Numbers, want: np.dtype[Any]) -> Array | None:
    exact = numbers.flat("u" if want == np.uint64 else "i")
    if exact is None:
        return None
    limits = np.iinfo(want)
    if int(exact.min()) < limits.min or int(exact.max()) > limits.max:
        return None
    return exact.astype(want, copy=False)


class _OddError(Exception):
    """What the walk leaves to the exact path."""


class _Walk:
    """One pass over the containers of a document; never over its numbers."""

    def __init__(self, simdjson: Any, body: bytes) -> None:
        self._array, self._object = simdjson.Array, simdjson.Object
        self._body = body
        self._lists = 0
        self._containers = len(body) // _PER_CONTAINER

    def document(self, parsed: Any) -> Any:
        data = self._value(parsed, 0)
        # Every list that the walk knows of, and not one bracket more: no number is a list.
        if not _has_brackets(self._body, self._lists):
            raise _OddError
        return data

    def _value(self, parsed: Any, depth: int) -> Any:
        kind = type(parsed)
        if kind is not self._array and kind is not self._object:
            return parsed
        self._containers -= 1
        if self._containers < 0 or depth > _DEEPEST:
            raise _OddError
        if kind is self._object:
            return self._members(parsed, depth)
        return self._elements(parsed, depth)

    def _members(self, parsed: Any, depth: int) -> dict[str, Any]:
        keys = list(parsed) if len(parsed) <= _MOST_KEYS else []
        # The first of two equal keys would win here, and a zero byte ends a key.
        if len(set(keys)) != len(parsed) or any("\0" in key for key in keys):
            raise _OddError
        return {key: self._value(parsed[key], depth + 1) for key in keys}

    def _elements(self, parsed: Any, depth: int) -> list[Any] | Numbers:
        shape, leaf = self._first_path(parsed)
        if type(leaf) in (int, float) and math.prod(shape) >= LEAST:
            return self._numbers(parsed, shape)
        self._lists += 1
        if not len(parsed):
            return []
        if type(parsed[0]) in (self._array, self._object):
            children = [self._value(child, depth + 1) for child in parsed]
            if Numbers in set(map(type, children)):
                raise _OddError
            return children
        values: list[Any] = parsed.as_list()
        if not {list, dict}.isdisjoint(set(map(type, values))):
            raise _OddError
        return values

    def _first_path(self, parsed: Any) -> tuple[tuple[int, ...], Any]:
        """The lengths of a list, of its first element, and so on, and what is there at the end."""
        shape = []
        while type(parsed) is self._array:
            shape.append(len(parsed))
            if shape[-1] >= _MOST_VALUES or len(shape) > _DEEPEST:
                raise _OddError
            if not shape[-1]:
                return tuple(shape), None
            parsed = parsed[0]
        return tuple(shape), parsed

    def _numbers(self, parsed: Any, shape: tuple[int, ...]) -> Numbers:
        if math.prod(shape[:-1]) * _PER_ROW > len(self._body):
            raise _OddError
        level = [parsed]
        for depth, size in enumerate(shape):
            if depth:
                level = list(chain.from_iterable(level))
            if set(map(type, level)) != {self._array} or set(map(len, level)) != {size}:
                raise _OddError
            self._lists += len(level)
        return Numbers(parsed, shape)


def _has_brackets(body: bytes, count: int) -> bool:
    """Whether ``[`` occurs exactly so often; several times as fast as `bytes.count`."""
    if count * _PER_CONTAINER < len(body):  # so few that searching for each is quicker still
        at = -1
        for _ in range(count):
            at = body.find(b"[", at + 1)
            if at < 0:
                return False
        return body.find(b"[", at + 1) < 0
    text = np.frombuffer(body, np.uint8)
    hits = np.empty(_CHUNK, np.bool_)
    for start in range(0, len(text), _CHUNK):
        chunk = text[start : start + _CHUNK]
        count -= int(np.count_nonzero(np.equal(chunk, ord("["), out=hits[: len(chunk)])))
    return count == 0
