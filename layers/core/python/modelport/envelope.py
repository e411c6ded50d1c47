"""The HTTP exchange in miniature that travels between router and model function.

awslambdaric parses an event with the standard library's json, which is slow on nested lists and
fast on one opaque string. So the body travels as a single string: text as it is, anything else
as base64. This module only packs and unpacks; it never looks into a body.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any

from modelport.errors import MalformedRequestError

VERSION = 1
#: The content type of a request whose body lies elsewhere, and of an answer that was put there:
#: `modelport.references`.
REFERENCE = "application/vnd.modelport.reference+json"


@dataclass(frozen=True, slots=True)
class Request:
    """One request: method, raw path with its query, lower-case headers, raw body."""

    method: str
    path: str
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    request_id: str = ""

    def to_event(self, *, streams: bool = False) -> bytes:
        """The Lambda payload for this request, as JSON bytes; ``streams`` asks for a stream."""
        event = {
            "modelport": VERSION,
            **({"streams": True} if streams else {}),
            "method": self.method,
            "path": self.path,
            "headers": self.headers,
            "request_id": self.request_id,
            **_pack(self.body),
        }
        return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()

    @classmethod
    def from_event(cls, event: Any) -> Request:
        """Read a Lambda event; raises `MalformedRequestError` if it is not an envelope."""
        _check(event, {"method": str, "path": str, "headers": dict})
        request_id = event.get("request_id", "")
        if not isinstance(request_id, str):
            raise _not("request_id", str)
        return cls(event["method"], event["path"], event["headers"], _unpack(event), request_id)


@dataclass(frozen=True, slots=True)
class Response:
    """One answer: status, lower-case headers, raw body."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    def to_event(self) -> dict[str, Any]:
        """The answer of a Lambda handler: a JSON-able dict."""
        return {
            "modelport": VERSION,
            "status": self.status,
            "headers": self.headers,
            **_pack(self.body),
        }

    @classmethod
    def from_event(cls, payload: bytes) -> Response:
        """Read what a model function returned; raises `MalformedRequestError` if it is not one."""
        try:
            event = json.loads(payload)
        except (ValueError, RecursionError):
            raise MalformedRequestError("the function's answer is not JSON") from None
        _check(event, {"status": int, "headers": dict})
        return cls(event["status"], event["headers"], _unpack(event))


@dataclass(frozen=True, slots=True)
class Stream(Response):
    """An answer whose body comes in pieces; closing ``pieces`` ends what makes them.

    ``body`` is empty. Who cannot pass pieces on takes the `whole`.
    """

    pieces: Generator[bytes] = field(default_factory=lambda: _no_pieces())

    def whole(self) -> Response:
        """The same answer with its whole body, once everything has been made."""
        return Response(self.status, self.headers, b"".join(self.pieces))


#: What both transports of the runtime call, and what a test double of a model is.
Handler = Callable[[Request], Response]


def _no_pieces() -> Generator[bytes]:
    yield from ()


def _pack(body: bytes) -> dict[str, Any]:
    try:
        return {"body": body.decode(), "base64": False}
    except UnicodeDecodeError:
        return {"body": base64.b64encode(body).decode("ascii"), "base64": True}


def _unpack(event: dict[str, Any]) -> bytes:
    body = event.get("body", "")
    if not isinstance(body, str):
        raise MalformedRequestError("the envelope's body is not a string")
    try:
        return base64.b64decode(body, validate=True) if event.get("base64") else body.encode()
    except UnicodeEncodeError:
        raise MalformedRequestError("the envelope's body has half a surrogate pair") from None
    except ValueError:
        raise MalformedRequestError("the envelope's body is not base64") from None


def _check(event: Any, kinds: dict[str, type]) -> None:
    if not isinstance(event, dict) or event.get("modelport") != VERSION:
        raise MalformedRequestError(f"not a modelport envelope of version {VERSION}")
    missing = [key for key in kinds if key not in event]
    if missing:
        raise MalformedRequestError(f"the envelope lacks {', '.join(missing)}")
    for key, kind in kinds.items():
        if type(event[key]) is not kind:
            raise _not(key, kind)
    for value in event["headers"].values():
        if type(value) is not str:
            raise MalformedRequestError("the envelope has a header that is not a string")


def _not(key: str, kind: type) -> MalformedRequestError:
    names = {str: "a string", dict: "an object", int: "a number"}
    return MalformedRequestError(f"the envelope's {key} is not {names[kind]}")
