"""What every protocol has in common: the codec seam, JSON in, JSON out.

A codec turns bytes into canonical tensors and tensors back into bytes, and describes the model in
its protocol's words. It must not run a model, choose a version or know a transport.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import orjson
from modelport.envelope import Request, Response
from modelport.errors import MalformedRequestError, NotEncodableError
from modelport.grammar import Call
from modelport.manifest import Manifest
from modelport.records import record
from modelport.signature import Signature

from functions.runtime.json_numbers import Numbers, is_worth, read
from functions.runtime.statistics import Statistics
from functions.runtime.tensors import Array, Tensors, all_finite

Headers = dict[str, str]
JSON = "application/json"
#: Bodies from this size on are worth a look for numbers that need not become Python objects.
_LARGE = 8 * 1024
JSON_HEADERS: Mapping[str, str] = {"content-type": JSON}
_LISTS = (list, Numbers)


@record(frozen=True)
class Subject:
    """The model version an answer is about."""

    model: str
    version: int
    digest: str
    signature: Signature
    #: What class i of a classifier is called; empty when the bundle does not say.
    labels: tuple[str, ...] = ()
    #: Reads the version's whole record, which may be large and few ask for.
    record: Callable[[], Manifest] | None = None
    statistics: Statistics = field(default_factory=Statistics, compare=False, repr=False)


@dataclass(slots=True, eq=False)  # frozen would be slower to make, and every request makes one
class Parsed:
    """A request as tensors, with what its answer needs to know. Nobody changes one.

    ``outputs`` names the wanted outputs in order; ``form`` is the codec's own note to itself
    (row or columnar, the request's id, the accepted media type).
    """

    tensors: Tensors
    outputs: tuple[str, ...]
    form: Mapping[str, Any] = field(default_factory=dict)


class Describer(Protocol):
    """What answers questions about a model version."""

    def describe(
        self, call: Call, request: Request, subject: Subject
    ) -> Mapping[str, Any] | Response | None:
        """The answer to a question about the model: JSON, a whole answer, or None for no body.

        The body, which hardly any question has, is no longer compressed.
        """
        ...


class Codec(Describer, Protocol):
    """One protocol.

    Adding one is one file with one of these, its line in `CODECS` and its rows in
    `modelport.grammar`; a verb that runs the model also stands in `grammar.PREDICTIONS`.
    """

    def parse(self, call: Call, request: Request, subject: Subject) -> Parsed:
        """Read a request for a prediction; its body is no longer compressed."""
        ...

    def format(self, outputs: Tensors, parsed: Parsed, subject: Subject) -> tuple[Headers, bytes]:
        """Write the answer to ``parsed``."""
        ...


def output_names(signature: Signature) -> tuple[str, ...]:
    """Every output, in the model's order."""
    return tuple([spec.name for spec in signature.outputs])  # a list is made quicker


def read_json(body: bytes) -> dict[str, Any]:
    """The JSON object in ``body``, read as `read_value` reads; raises for any other value too."""
    return as_object(read_value(body))


def as_object(value: Any) -> dict[str, Any]:
    """``value``, out of `read_value`, where it is a JSON object; else `MalformedRequestError`."""
    if not isinstance(value, dict):
        raise MalformedRequestError("the JSON document is not an object")
    return value


def read_value(body: bytes) -> Any:
    """The JSON in ``body``; bare NaN and Infinity are let in, as real clients send them.

    Long (nested) lists of numbers may be `Numbers`, which `from_json` takes: ask `is_list`.
    Raises `MalformedRequestError` in TensorFlow Serving's words, with the offset.
    """
    if not body:
        raise MalformedRequestError("JSON Parse error: The document is empty at offset: 0")
    if len(body) >= _LARGE and is_worth(body) and (data := read(body)) is not None:
        return data
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        # orjson is strict; the standard library is slow but knows NaN. Only then is it asked.
        if b"NaN" not in body and b"Infinity" not in body:
            raise _unreadable(error.msg, error.pos) from None
        return _read_lenient(body)


def is_list(value: Any) -> bool:
    """Whether ``value``, out of `read_value`, was a list."""
    return type(value) in _LISTS


def _read_lenient(body: bytes) -> Any:
    try:
        text = body.decode()  # the standard library would guess, and take halves of surrogates
        data = json.loads(text)
        if "\\u" in text:
            json.dumps(data, ensure_ascii=False).encode()  # half a surrogate pair is no text
        return data
    except json.JSONDecodeError as error:
        raise _unreadable(error.msg, error.pos) from None
    except UnicodeDecodeError as error:
        raise _unreadable("not UTF-8", error.start) from None
    except UnicodeEncodeError:
        raise MalformedRequestError("JSON Parse error: no low surrogate in string") from None
    except RecursionError:
        raise MalformedRequestError("JSON Parse error: nested too deep") from None
    except ValueError:
        raise MalformedRequestError("JSON Parse error: a number of too many digits") from None


def _unreadable(problem: str, offset: int) -> MalformedRequestError:
    return MalformedRequestError(f"JSON Parse error: {problem} at offset: {offset}")


def write_json(data: Any) -> bytes:
    """JSON of plain values and numpy arrays. Arrays must be finite: orjson writes NaN as null."""
    return orjson.dumps(data, default=_plain, option=orjson.OPT_SERIALIZE_NUMPY)


def write_bare(array: Array) -> Array | orjson.Fragment:
    """What `write_json` writes with NaN, Infinity and -Infinity as bare tokens, as V1 does."""
    if all_finite(array):
        return array
    # orjson puts null exactly where a value is not finite, in row-major order.
    tokens = [_token(value) for value in array[~np.isfinite(array)].tolist()]
    pieces = write_json(array).split(b"null")
    bare = b"".join(piece + token for piece, token in zip(pieces, [*tokens, b""], strict=True))
    return orjson.Fragment(bare)


def _token(value: float) -> bytes:
    return b"NaN" if value != value else b"Infinity" if value > 0 else b"-Infinity"


def _native(array: Array) -> Any:
    """What orjson can write of an array it refused: a scalar, a contiguous copy, or a list."""
    if array.dtype.kind in "OSU":
        return array.tolist()
    if not array.ndim:
        return array[()]
    return np.ascontiguousarray(array)


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return _native(value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, bytes):
        return value.decode()
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _listed(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else _plain(value)


def write_strict(name: str, data: Any) -> bytes:
    """JSON of any answer, or `NotEncodableError` where it holds what JSON has no form for."""
    text = b""
    with suppress(TypeError):
        text = write_json(data)
        if b"null" not in text:
            return text
    # A null may be a None, or a NaN that orjson hid; the standard library tells them apart. It also
    # takes what orjson refuses, such as whole numbers beyond 64 bits.
    try:
        lenient = json.dumps(data, allow_nan=False, default=_listed, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise NotEncodableError(name, str(error)) from None
    return text or lenient.encode()
