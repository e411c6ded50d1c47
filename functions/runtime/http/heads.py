"""The lines before a body: request line and headers, read strictly, once they are all there.

Whatever two servers could read in two ways is refused, because requests are smuggled through such
gaps: two lengths, a length beside chunks, a folded line, a bare line feed, a blank before a colon.
It must not touch a socket.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

#: Bytes of a head at most: a few times what proxies let through.
MOST_BYTES = 65_536
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]++"
_REQUEST = re.compile(rf"({_TOKEN}) ([\x21-\x7e\x80-\xff]++) HTTP/([0-9])\.([0-9])")
_BEGINNING = re.compile(rf"{_TOKEN}(?: |$)")
_HEADER = re.compile(rf"({_TOKEN}):([^\x00-\x08\x0a-\x1f\x7f]*+)")
_ABSOLUTE = re.compile(r"https?://[^/?#]*", re.IGNORECASE)
#: No body that anybody sends has more digits.
_LENGTH = re.compile(r"[0-9]{1,18}")


class HeadError(Exception):
    """A head that cannot be answered as asked: its status, and words for the caller."""

    def __init__(self, status: int, words: str) -> None:
        """``words`` must not repeat what was sent."""
        super().__init__(words)
        self.status = status


@dataclass(slots=True)
class Head:
    """One request without its body."""

    #: As it came, the empty line included.
    raw: bytes
    method: str
    #: Raw, with its query, without a fragment.
    path: str
    #: Lower-case names; of a repeated one the last value. Shared by all requests of this head.
    headers: dict[str, str]
    #: Bytes of the body; None when it comes in chunks.
    length: int | None
    #: Whether the caller takes another answer on this connection.
    keeps: bool
    #: Whether the caller sends its body only when it is told to.
    expects: bool
    #: HTTP/1.0 knows neither chunks nor, unless it says so, a second request.
    minor: int


def read(raw: bytes) -> Head:
    """The head in these bytes, which end with an empty line; raises `HeadError`."""
    first, *lines = raw[:-4].decode("latin-1").split("\r\n")
    said = _REQUEST.fullmatch(first)
    if said is None:
        raise HeadError(400, "the request line is not one of HTTP/1.1")
    method, target, major, minor = said.groups()
    if major != "1":
        raise HeadError(505, "this server speaks HTTP/1.1, and gRPC over HTTP/2")
    headers = _headers(lines)
    tokens = _tokens(headers.get("connection", ""))
    modern = minor != "0"
    return Head(
        raw,
        method,
        _path(target),
        headers,
        _length(headers, modern),
        keeps="close" not in tokens and (modern or "keep-alive" in tokens),
        expects=_expects(headers) and modern,
        minor=int(minor),
    )


def begins_wrong(data: bytes) -> bool:
    """Whether these bytes, no whole head yet, already are none: a caller need not wait for that."""
    line, ended, _ = data.partition(b"\n")
    if line in (b"", b"\r"):  # half of an empty line
        return bool(ended)
    if ended:
        return _REQUEST.fullmatch(line[:-1].decode("latin-1")) is None or line[-1:] != b"\r"
    return _BEGINNING.match(line.decode("latin-1")) is None


def _headers(lines: list[str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in lines:
        said = _HEADER.fullmatch(line)
        if said is None:
            raise HeadError(400, "a header line is not a name, a colon and a value")
        name, value = said[1].lower(), said[2].strip(" \t")
        if name in headers:
            if name in ("content-length", "transfer-encoding", "host"):
                raise HeadError(400, f"there are two {name} headers")
            if name == "connection":
                value = f"{headers[name]},{value}"
        headers[name] = value
    return headers


def _length(headers: dict[str, str], modern: bool) -> int | None:
    said, coding = headers.get("content-length"), headers.get("transfer-encoding")
    if coding is not None:
        if said is not None or not modern:
            raise HeadError(400, "transfer-encoding where content-length says how long a body is")
        if coding.lower() != "chunked":
            raise HeadError(501, "of the transfer-encodings this server reads chunked alone")
        return None
    if said is None:
        return 0
    if not _LENGTH.fullmatch(said):
        raise HeadError(400, "content-length is not a number of bytes")
    return int(said)


def _expects(headers: dict[str, str]) -> bool:
    said = headers.get("expect")
    if said is None:
        return False
    if said.lower() != "100-continue":
        raise HeadError(417, "of the expectations this server meets 100-continue alone")
    return True


def _tokens(said: str) -> set[str]:
    return {word.strip(" \t") for word in said.lower().split(",")} if said else set()


def _path(target: str) -> str:
    """The path that is asked for, of a target that may name the server before it."""
    if not target.startswith("/") and (server := _ABSOLUTE.match(target)):
        target = target[server.end() :]
        target = target if target.startswith("/") else "/" + target
    path, _, query = target.partition("#")[0].partition("?")
    return f"{path}?{query}" if query else path
