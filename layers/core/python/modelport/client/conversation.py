"""One call as a conversation without I/O: steps go out, replies come in, a result is at the end.

A call is a generator. It yields `Send` and is given a `Reply` (or `LostError` is thrown into it),
or yields `Wait` and is resumed later. `modelport.client.sync` and `modelport.client.asynchronous`
carry the steps out; everything that decides something is written once, between them. Nothing here
opens a socket, sleeps or knows a tensor.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

from modelport.client.errors import AnswerError, error_class

T = TypeVar("T")

KEY_HEADER = "x-modelport-key"
JSON_TYPE = "application/json"
_LONGEST_PROBLEM = 500


@dataclass(frozen=True, slots=True)
class Send:
    """Send this request now; no byte of its answer may come later than in ``timeout_s``."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Wait:
    """Do nothing for a while."""

    seconds: float


@dataclass(frozen=True, slots=True)
class AnsweredBy:
    """Who answered, as far as the answer says: "" is not said."""

    model: str = ""
    version: str = ""
    digest: str = ""
    route: str = ""
    request_id: str = ""

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> AnsweredBy:
        """Read the ``x-modelport-…`` headers of an answer."""
        names = ("model", "version", "digest", "route", "request-id")
        return cls(*(headers.get(f"x-modelport-{name}", "") for name in names))


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer as it came; header names are in lower case, the body is decompressed."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    duration_s: float = 0.0
    attempts: int = 1

    @property
    def ok(self) -> bool:
        """Whether the status is a success."""
        return 200 <= self.status < 300

    @property
    def content_type(self) -> str:
        """What the body is said to be."""
        return self.headers.get("content-type", "")

    @property
    def answered_by(self) -> AnsweredBy:
        """Model, version, digest and route that answered."""
        return AnsweredBy.of(self.headers)

    def json(self) -> Any:
        """The body as JSON; ValueError when it is none."""
        return json.loads(self.body)


class LostError(Exception):
    """No answer came. ``late``: because time ran out, not because the connection failed."""

    def __init__(self, problem: str, *, late: bool = False) -> None:
        super().__init__(problem)
        self.problem, self.late = problem, late


#: A call: gives steps, takes a reply for each `Send`, ends in its result.
Steps = Generator[Send | Wait, Reply | None, T]


def error_of(reply: Reply) -> AnswerError:
    """The exception that an answer with an error status is."""
    by = reply.answered_by
    return error_class(reply.status)(
        reply.status,
        _problem(reply.body),
        remote_code=reply.headers.get("x-modelport-error", ""),
        request_id=by.request_id,
        version=by.version,
        retry_after_s=retry_after(reply.headers.get("retry-after", "")),
    )


def retry_after(text: str) -> float | None:
    """The seconds that a Retry-After header asks for; None when it says nothing readable.

    >>> retry_after("3"), retry_after("soon")
    (3.0, None)
    """
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        at = parsedate_to_datetime(text)
        left = (at if at.tzinfo else at.replace(tzinfo=UTC)) - datetime.now(UTC)
    except (ValueError, OverflowError):  # no date, or one beyond all calendars
        return None
    return max(0.0, left.total_seconds())


def _problem(body: bytes) -> str:
    """The message of an error answer, in whichever shape it came."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return body.decode(errors="replace").strip()[:_LONGEST_PROBLEM] or "no message"
    if isinstance(document, dict):
        said = document.get("error", document.get("message", document.get("Message")))
        if isinstance(said, dict):
            said = said.get("message")
        if isinstance(said, str):
            return said
    return json.dumps(document)[:_LONGEST_PROBLEM]
