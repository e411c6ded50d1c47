"""The plainest bodies there are: one tensor of floating-point numbers, and nothing asked.

What stands around the numbers of such a request hardly ever differs from one request to the next.
So it is read once, and compared after that: only the numbers are new. A codec here reads a body or
says None, for whatever is odd in any way; the protocol's own codec then says what that means. What
it does read, and what it writes, is to the byte what that codec would. It must not refuse anything.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import orjson
from modelport.signature import TensorSpec

from functions.runtime.codecs.codec import JSON, Headers, Subject
from functions.runtime.tensors import DTYPES, FEW, SAFE, Array, from_json

#: Tensors that need no other words in any protocol.
PLAIN = frozenset({"FP32", "FP64"})
#: As `v2_binary` has them, which those who never send raw tensors need not load.
LENGTH_HEADER, OCTETS = "inference-header-content-length", "application/octet-stream"
#: Bytes of JSON at most, of a whole body or before raw numbers.
_MOST_TEXT = 4096
#: Shapes of answers that are remembered: a caller's rows can be of any number.
_MOST_SHAPES = 64
_V2 = frozenset({"inputs"})
_ENTRY = frozenset({"name", "shape", "datatype"})
_DATA, _ENDS = b'"data":', b"}]}"


class PlainCodec(Protocol):
    """One protocol's plainest spelling, for one version; safe to use from several threads."""

    protocol: str
    verb: str
    #: Bytes of a body at most: reading the numbers of a larger one costs more than all around them.
    most: int

    def read(self, body: bytes, headers: Mapping[str, str]) -> Array | None:
        """The tensor, or None; may raise any of numpy's or orjson's errors instead."""

    def write(self, array: Array) -> tuple[Headers, bytes] | None:
        """Headers and body of the answer, or None where a value has no plain form."""


class PlainV1:
    """``{"instances": [[…]]}`` and ``{"predictions": …}``."""

    protocol, verb, most = "v1", "predict", _MOST_TEXT
    _BEGINS, _ENDS = b'{"instances":', b"}"

    def __init__(self, taken: TensorSpec) -> None:
        """``taken`` is the version's only input."""
        self._input = _Input(taken)
        self._is_table = len(taken.shape) == 2

    def read(self, body: bytes, headers: Mapping[str, str]) -> Array | None:
        """See `PlainCodec`."""
        if not (body.startswith(self._BEGINS) and body.endswith(self._ENDS)):
            return None
        rows = orjson.loads(body[len(self._BEGINS) : -1])
        if type(rows) is not list or not rows:
            return None
        if self._is_table and len(rows) == 1 and type(rows[0]) is list:
            array = self._input.certain(rows[0], rows)
        else:
            array = from_json(self._input.spec, rows)
        return array if array is not None and self._input.fits(array.shape) else None

    def write(self, array: Array) -> tuple[Headers, bytes] | None:
        """See `PlainCodec`."""
        numbers = _numbers(array)
        if numbers is None:
            return None
        return {"content-type": JSON}, b'{"predictions":%b}' % numbers


class PlainV2:
    """``infer`` in JSON, ``data`` last: ``{"inputs":[{"name":…,"shape":…,…,"data":[…]}]}``."""

    protocol, verb, most = "v2", "infer", _MOST_TEXT

    def __init__(self, taken: TensorSpec, given: TensorSpec, subject: Subject) -> None:
        """``taken`` and ``given`` are all of the version's tensors."""
        self._input = _Input(taken)
        self._heads = _Heads(given, subject)
        #: What stood before the last request's numbers, the shape it said, and elements of that.
        self._around: tuple[bytes, tuple[int, ...], int] = (b"", (), 0)

    def read(self, body: bytes, headers: Mapping[str, str]) -> Array | None:
        """See `PlainCodec`."""
        if LENGTH_HEADER in headers or not body.endswith(_ENDS):
            return None
        begins, shape, size = self._around
        if not begins or not body.startswith(begins):
            at = body.rfind(_DATA) + len(_DATA)
            # Without its numbers it is a whole document again.
            found = self._input.declared(orjson.loads(body[:at] + b"0" + _ENDS), "data", 0)
            if found is None:
                return None
            begins = body[:at]
            self._around = _, shape, size = begins, *found
        data = orjson.loads(body[len(begins) : -3])
        if type(data) is not list:
            return None
        if len(data) == size and (array := self._input.certain(data, data)) is not None:
            return array.reshape(shape)
        array = from_json(self._input.spec, data)
        return array if array.shape == shape else None

    def write(self, array: Array) -> tuple[Headers, bytes] | None:
        """See `PlainCodec`."""
        numbers = _numbers(array.reshape(-1))
        if numbers is None:
            return None
        return {"content-type": JSON}, self._heads.of(array.shape, _DATA) + numbers + _ENDS


class PlainV2Binary:
    """``infer`` with raw numbers behind the JSON, asked for and answered."""

    protocol, verb, most = "v2", "infer", sys.maxsize

    def __init__(self, taken: TensorSpec, given: TensorSpec, subject: Subject) -> None:
        """``taken`` and ``given`` are all of the version's tensors."""
        self._input, self._dtype = _Input(taken), DTYPES[taken.datatype]
        self._heads = _Heads(given, subject)
        #: The last request's JSON, its length as the header said it, and the shape it declares.
        self._around: tuple[bytes, str | None, tuple[int, ...]] = (b"", None, ())

    def read(self, body: bytes, headers: Mapping[str, str]) -> Array | None:
        """See `PlainCodec`."""
        said = headers[LENGTH_HEADER]
        begins, length, shape = self._around
        if said != length or not body.startswith(begins):
            size = int(said)
            if str(size) != said or not 0 < size < len(body) or size > _MOST_TEXT:
                return None
            begins = body[:size]
            document = orjson.loads(begins)
            if type(document) is not dict:
                return None
            if not _is(document.pop("parameters", None), {"binary_data_output": True}):
                return None
            left = len(body) - size
            found = self._input.declared(document, "parameters", {"binary_data_size": left})
            if found is None or found[1] * self._dtype.itemsize != left:
                return None
            shape = found[0]
            self._around = begins, said, shape
        # A piece of its own, because numbers that begin anywhere would have to be copied.
        return np.frombuffer(body[len(begins) :], self._dtype).reshape(shape)

    def write(self, array: Array) -> tuple[Headers, bytes] | None:
        """See `PlainCodec`."""
        end = b'"parameters":{"binary_data_size":%d}}]}' % array.nbytes
        head = self._heads.of(array.shape, end)
        body = b"".join((head, array.data))
        return {"content-type": OCTETS, LENGTH_HEADER: str(len(head))}, body


class _Input:
    """What is known of a version's only input before anybody sends it."""

    def __init__(self, spec: TensorSpec) -> None:
        self.spec = spec
        self._dtype, self._types, self._least, self._most = SAFE[spec.datatype]
        self._fitting: set[tuple[int, ...]] = set()

    def certain(self, values: list[Any], nested: list[Any]) -> Array | None:
        """``nested`` as an array, where its ``values`` are few and nothing can go wrong."""
        if not 0 < len(values) <= FEW or not {*map(type, values)} <= self._types:
            return None
        if not (self._least <= min(values) and max(values) <= self._most):
            return None
        return np.array(nested, self._dtype)

    def fits(self, shape: tuple[int, ...]) -> bool:
        """As `TensorSpec.accepts`, which is asked once for each of a few shapes."""
        if shape in self._fitting:
            return True
        if not self.spec.accepts(shape):
            return False
        if len(self._fitting) < _MOST_SHAPES:
            self._fitting.add(shape)
        return True

    def declared(self, document: Any, key: str, value: Any) -> tuple[tuple[int, ...], int] | None:
        """Shape and size that a V2 document says its tensor has; ``key`` is all else it says."""
        if type(document) is not dict or document.keys() != _V2:
            return None
        inputs, spec = document["inputs"], self.spec
        if type(inputs) is not list or len(inputs) != 1 or type(entry := inputs[0]) is not dict:
            return None
        if entry.keys() != _ENTRY | {key} or not _is(entry[key], value):
            return None
        shape = entry["shape"]
        if entry["name"] != spec.name or entry["datatype"] != spec.datatype:
            return None
        if type(shape) is not list or not {*map(type, shape)} <= {int} or min(shape, default=1) < 1:
            return None
        if not spec.accepts(tuple(shape)):
            return None
        return tuple(shape), math.prod(shape)


class _Heads:
    """What V2 writes before an output's numbers, which its shape alone decides."""

    def __init__(self, given: TensorSpec, subject: Subject) -> None:
        about = {"model_name": subject.model, "model_version": str(subject.version), "outputs": []}
        self._begins = orjson.dumps(about)[:-2] + b'{"name":' + orjson.dumps(given.name)
        self._datatype = given.datatype
        self._known: dict[tuple[int, ...], bytes] = {}

    def of(self, shape: tuple[int, ...], end: bytes) -> bytes:
        """All up to the numbers; ``end`` is the same for the same shape."""
        head = self._known.get(shape)
        if head is None:
            listed = ",".join(map(str, shape))
            about = f',"shape":[{listed}],"datatype":"{self._datatype}",'.encode()
            head = self._begins + about + end
            if len(self._known) < _MOST_SHAPES:
                self._known[shape] = head
        return head


def _is(found: Any, wanted: Any) -> bool:
    """Whether two values are the same in JSON, where 1, 1.0 and true are three."""
    return orjson.dumps(found) == orjson.dumps(wanted)


def _numbers(array: Array) -> bytes | None:
    """JSON of an output; None where one of its numbers has none."""
    if not array.ndim or not array.flags.c_contiguous:
        return None
    said = orjson.dumps(array, option=orjson.OPT_SERIALIZE_NUMPY)
    return None if b"n" in said else said  # NaN and Infinity are written as null
