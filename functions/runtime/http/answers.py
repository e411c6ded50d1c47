"""Answers as bytes: the status line, the headers, the date, and a body or its chunks.

A header that would break out of its line never leaves: it is our bug, and an error. It must not
touch a socket or know what an answer says.
"""

from __future__ import annotations

import re
from functools import lru_cache
from http import HTTPStatus
from time import gmtime

from modelport.envelope import Response

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"
#: These are said here, whatever an answer's own headers say.
_OURS = frozenset({"content-length", "connection", "transfer-encoding", "date"})
_UNFIT = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_NO_BODY = (204, 304)
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = (
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
)  # fmt: skip


class Clock:
    """The ``date`` line, made anew by `tick` and not by every answer."""

    def __init__(self) -> None:
        """Says the present time until it is told otherwise."""
        self.tick()

    def tick(self) -> None:
        """To be called once a second."""
        now = gmtime()
        day, month = _DAYS[now.tm_wday], _MONTHS[now.tm_mon - 1]
        clock = f"{now.tm_hour:02}:{now.tm_min:02}:{now.tm_sec:02}"
        self.line = f"date: {day}, {now.tm_mday:02} {month} {now.tm_year} {clock} GMT\r\n"


def written(response: Response, date: str, *, ends: str = "", bare: bool = False) -> bytes:
    """An answer with its whole body.

    ``ends`` is the line about the connection, ``bare`` leaves the body out (HEAD). Raises
    ValueError for a header that no line can hold.
    """
    body = response.body
    size = "" if response.status in _NO_BODY else f"content-length: {len(body)}\r\n"
    head = _head(response, f"{size}{date}{ends}\r\n")
    return head if bare or not size else head + body


def begun(response: Response, date: str, *, ends: str = "", chunked: bool = True) -> bytes:
    """The head of an answer whose body comes in pieces: in chunks, or else until the end."""
    coding = "transfer-encoding: chunked\r\n" if chunked else ""
    return _head(response, f"{coding}{date}{ends}\r\n")


def chunk(piece: bytes) -> bytes:
    """One chunk; an empty one would end the body, so there is none."""
    return b"%x\r\n%b\r\n" % (len(piece), piece) if piece else b""


def _head(response: Response, rest: str) -> bytes:
    headers = response.headers
    if not _OURS.isdisjoint(headers):
        headers = {name: value for name, value in headers.items() if name not in _OURS}
    said = "".join([_line(name, value) for name, value in headers.items()])
    return f"{_status_line(response.status)}{said}{rest}".encode("latin-1")


@lru_cache(maxsize=512)  # most of what answers say, answers before them have said
def _line(name: str, value: str) -> str:
    if not value.isprintable() and _UNFIT.search(value):
        raise ValueError(f"the header {name} holds a character that no header can")
    return f"{name}: {value}\r\n"


@lru_cache(maxsize=64)
def _status_line(status: int) -> str:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Unknown"
    return f"HTTP/1.1 {status} {phrase}\r\n"
