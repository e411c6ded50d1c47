"""The message in which a call that was answered travels to a shadow version.

A JSON text that a queue takes (Amazon SQS: at most 1,048,576 bytes, and few control characters, so
that everything but ASCII is escaped or in base64). It carries the caller's request without what
says who the caller is, and the answer it got: whole where that fits, else its digest and what the
version told of its prediction. Pure; whoever reads it must not trust it.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from modelport import grammar
from modelport.envelope import Request, Response
from modelport.errors import MalformedRequestError, ModelportError
from modelport.refs import check_name, check_version
from modelport.telemetry import PREDICTED_HEADER

KIND = "shadow"
SCHEMA = 1
#: What a queue of Amazon SQS takes in one message, in bytes; all of a message is ASCII.
LIMIT = 1_048_576
#: What a shadow version needs of a request's headers. No key, no credentials, no caller.
REQUEST_HEADERS = frozenset(
    {
        "accept",
        "content-encoding",
        "content-type",
        "inference-header-content-length",
        "x-amzn-sagemaker-custom-attributes",
    }
)
#: What reading an answer takes.
ANSWER_HEADERS = frozenset(
    {"content-encoding", "content-type", "inference-header-content-length", PREDICTED_HEADER}
)
#: Verbs whose answers can be compared: the same question has the same answer.
VERBS = frozenset({"predict", "classify", "regress", "infer", "invocations"})
_LONGEST_HEADER = 2048
_LONGEST_ID = 256


@dataclass(frozen=True, slots=True)
class Answered:
    """What the caller got; ``body`` is None where only its digest travelled."""

    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    digest: str = ""

    @classmethod
    def of(cls, response: Response) -> Answered:
        """An answer with its body."""
        return cls(_kept(response.headers, ANSWER_HEADERS), response.body)


@dataclass(frozen=True, slots=True)
class ShadowCall:
    """A call that version ``live`` of a model answered, for version ``shadow``.

    ``request`` has a path without a version; ``at`` is when it was answered, ISO 8601 in UTC.
    """

    model: str
    live: int
    shadow: int
    request: Request
    answered: Answered
    at: str

    @classmethod
    def of(
        cls, model: str, live: int, shadow: int, asked: Request, response: Response, at: str
    ) -> ShadowCall:
        """The call of a version's request and answer, without what names the caller."""
        headers = _kept(asked.headers, REQUEST_HEADERS)
        request = Request(asked.method, asked.path, headers, asked.body, asked.request_id)
        return cls(model, live, shadow, request, Answered.of(response), at)

    def to_text(self, limit: int = LIMIT) -> str | None:
        """The message, with the answer's body if all fits; None where not even the request does."""
        room = limit - len(self.request.body)
        if room <= 0:
            return None
        body = self.answered.body
        if body is not None and len(body) <= room and len(text := self._text(body)) <= limit:
            return text
        text = self._text(None)
        return text if len(text) <= limit else None

    @classmethod
    def from_json(cls, data: Any) -> ShadowCall:
        """Read a message's JSON; raises `MalformedRequestError` for whatever is none."""
        data = _object(data, "it")
        if data.get("kind") != KIND or data.get("schema") != SCHEMA:
            raise _malformed(f"it is none of kind {KIND!r}, schema {SCHEMA}")
        try:
            model = check_name(_string(data, "model"))
            live, shadow = (check_version(_number(data, key)) for key in ("live", "shadow"))
        except ModelportError:
            raise _malformed("its model is none, or one of its versions") from None
        asked = _object(data.get("request"), "its request")
        path = _string(asked, "path")
        _check_asks(path, model)
        request_id = _string(data, "request_id")[:_LONGEST_ID]
        headers = _headers(asked, REQUEST_HEADERS)
        request = Request("POST", path, headers, _unpacked(asked), request_id)
        given = _object(data.get("answer"), "its answer")
        answered = Answered(
            _headers(given, ANSWER_HEADERS),
            _unpacked(given) if "body" in given else None,
            _string(given, "digest") if "digest" in given else "",
        )
        at = _string(data, "at")
        _moment(at)
        return cls(model, live, shadow, request, answered, at)

    @property
    def answered_at(self) -> datetime:
        """When the caller was answered."""
        return _moment(self.at)

    def _text(self, body: bytes | None) -> str:
        answer: dict[str, Any] = {"headers": dict(self.answered.headers)}
        if body is not None:
            answer |= _packed(body)
        else:
            answer["digest"] = self.answered.digest or digest_of(self.answered.body or b"")
        return json.dumps(
            {
                "kind": KIND,
                "schema": SCHEMA,
                "model": self.model,
                "live": self.live,
                "shadow": self.shadow,
                "request_id": self.request.request_id,
                "at": self.at,
                "request": {
                    "method": self.request.method,
                    "path": self.request.path,
                    "headers": self.request.headers,
                    **_packed(self.request.body),
                },
                "answer": answer,
            },
            separators=(",", ":"),
        )


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise _malformed("its at is no time") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def digest_of(body: bytes) -> str:
    """The digest of an answer that is too large to travel."""
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


def _kept(headers: Mapping[str, str], names: frozenset[str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name in names}


def _packed(body: bytes) -> dict[str, Any]:
    # Text beyond ASCII would be escaped, which takes more room than base64.
    if body.isascii():
        return {"body": body.decode("ascii")}
    return {"body": base64.b64encode(body).decode("ascii"), "base64": True}


def _unpacked(data: Mapping[str, Any]) -> bytes:
    text = _string(data, "body")
    try:
        return (
            base64.b64decode(text, validate=True) if data.get("base64") is True else text.encode()
        )
    except ValueError:  # half a surrogate pair is one, too
        raise _malformed("a body in it cannot be read") from None


def _check_asks(path: str, model: str) -> None:
    try:
        call = grammar.parse("POST", path)
    except ModelportError:
        raise _malformed("its path is none of a prediction") from None
    if call.verb not in VERBS or call.model != model or call.version or call.alias:
        raise _malformed("its path is none of a prediction of the model")


def _headers(data: Mapping[str, Any], names: frozenset[str]) -> dict[str, str]:
    found = _object(data.get("headers"), "its headers")
    for name, value in found.items():
        if name in names and not (isinstance(value, str) and _plain(value)):
            raise _malformed("a header in it cannot be sent")
    return _kept(found, names)


def _plain(value: str) -> bool:
    return value.isascii() and value.isprintable() and len(value) <= _LONGEST_HEADER


def _object(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _malformed(f"{what} is not an object")
    return value


def _string(data: Mapping[str, Any], key: str) -> str:
    value = data.get(key)
    if not isinstance(value, str):
        raise _malformed(f"its {key} is not text")
    return value


def _number(data: Mapping[str, Any], key: str) -> int:
    value = data.get(key)
    if type(value) is not int:
        raise _malformed(f"its {key} is not a number")
    return value


def _malformed(problem: str) -> MalformedRequestError:
    return MalformedRequestError(f"the message is no shadow's call: {problem}")
