"""HTTP/1.1 answers out of a stream of bytes: strict, bounded, and nothing but answers.

Knows no sockets: bytes come from a function that gives some, or none when there will be no more.
Source: RFC 9112, sections 4 to 7.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

#: AWS sends a few hundred bytes of head.
HEAD_LIMIT = 64 << 10
#: Ten times what Lambda and SageMaker carry; documents of a registry are smaller.
BODY_LIMIT = 64 << 20
_INTERIM_LIMIT = 16
_CHUNK_LINE_LIMIT = 1024


class MalformedAnswerError(Exception):
    """What came is no answer; the message names no byte of it."""


class NoAnswerError(Exception):
    """The stream ended before an answer began."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer; header names are lower case, repeated ones joined by a comma."""

    status: int
    headers: dict[str, str] = field(repr=False)
    body: bytes = field(repr=False)


def read_answer(receive: Callable[[], bytes]) -> tuple[Answer, bool]:
    """The next answer, and whether its connection can be used again.

    Raises `NoAnswerError` or `MalformedAnswerError`.
    """
    data = receive()
    if not data:
        raise NoAnswerError
    for _ in range(_INTERIM_LIMIT):
        head, rest = _head(data, receive)
        version, status = _status(head)
        headers = _headers(head)
        if status >= 200:
            body, rest = _body(status, headers, rest, receive)
            lasting = rest == b"" and _lasts(version, status, headers)
            return Answer(status, headers, body), lasting
        data = rest or _more(receive)
    raise MalformedAnswerError("more interim answers than one waits for")


def _more(receive: Callable[[], bytes]) -> bytes:
    data = receive()
    if not data:
        raise MalformedAnswerError("it was cut off")
    return data


def _head(data: bytes, receive: Callable[[], bytes]) -> tuple[list[str], bytes]:
    """The lines of a head, and what is behind it."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        data, end = _collected(data, receive)
    if end > HEAD_LIMIT:
        raise MalformedAnswerError(f"its head is larger than {HEAD_LIMIT:,} bytes")
    return data[:end].decode("latin-1").split("\r\n"), data[end + 4 :]


def _collected(data: bytes, receive: Callable[[], bytes]) -> tuple[bytes, int]:
    # A head in several pieces: looked through once, however small they are.
    so_far, end = bytearray(data), -1
    while end < 0:
        if len(so_far) > HEAD_LIMIT:
            raise MalformedAnswerError(f"its head is larger than {HEAD_LIMIT:,} bytes")
        looked = max(0, len(so_far) - 3)
        so_far += _more(receive)
        end = so_far.find(b"\r\n\r\n", looked)
    return bytes(so_far), end


def _status(head: list[str]) -> tuple[str, int]:
    version, _, rest = head[0].partition(" ")
    code = rest[:3]
    if version not in ("HTTP/1.1", "HTTP/1.0") or rest[3:4] not in ("", " "):
        raise MalformedAnswerError("it does not begin like one of HTTP/1.1")
    # 101 ends HTTP on a connection; nobody asks for that.
    if not (len(code) == 3 and code.isascii() and code.isdigit()) or code < "100" or code == "101":
        raise MalformedAnswerError("it has no status")
    return version, int(code)


def _headers(head: list[str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in head[1:]:
        name, colon, value = line.partition(":")
        if not colon or not name or name[0] in " \t" or name[-1] in " \t":
            raise MalformedAnswerError("it has a line in its head that is no header")
        name, value = name.lower(), value.strip(" \t")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _body(
    status: int, headers: dict[str, str], rest: bytes, receive: Callable[[], bytes]
) -> tuple[bytes, bytes]:
    """The body, and what is behind it."""
    if status in (204, 304):
        return b"", rest
    coding = headers.get("transfer-encoding")
    if coding is not None:
        if coding.lower() != "chunked":
            raise MalformedAnswerError("its transfer coding is unknown")
        return _chunked(rest, receive)
    length = headers.get("content-length")
    if length is None:
        return _until_the_end(rest, receive), b""
    if not (length.isascii() and length.isdigit() and len(length) < 16):
        raise MalformedAnswerError("its length is no number")
    size = int(length)
    _check(size)
    if len(rest) < size:
        rest = _filled(rest, size, receive)
    return (rest, b"") if len(rest) == size else (rest[:size], rest[size:])


def _filled(data: bytes, size: int, receive: Callable[[], bytes]) -> bytes:
    pieces, missing = [data], size - len(data)
    while missing > 0:
        piece = _more(receive)
        pieces.append(piece)
        missing -= len(piece)
    return b"".join(pieces)


def _until_the_end(data: bytes, receive: Callable[[], bytes]) -> bytes:
    pieces, size = [data], len(data)
    while piece := receive():
        pieces.append(piece)
        size += len(piece)
        _check(size)
    return b"".join(pieces)


def _chunked(data: bytes, receive: Callable[[], bytes]) -> tuple[bytes, bytes]:
    pieces: list[bytes] = []
    total = 0
    while True:
        line, data = _line(data, receive)
        digits = line.partition(b";")[0].strip()
        if not digits or len(digits) > 8 or digits.strip(b"0123456789abcdefABCDEF"):
            raise MalformedAnswerError("a chunk of it has no length")
        size = int(digits, 16)
        if size == 0:
            return b"".join(pieces), _behind_trailers(data, receive)
        total += size
        _check(total)
        if len(data) < size + 2:
            data = _filled(data, size + 2, receive)
        if data[size : size + 2] != b"\r\n":
            raise MalformedAnswerError("a chunk of it has another length than it says")
        pieces.append(data[:size])
        data = data[size + 2 :]


def _behind_trailers(data: bytes, receive: Callable[[], bytes]) -> bytes:
    for _ in range(_INTERIM_LIMIT):
        line, data = _line(data, receive)
        if not line:
            return data
    raise MalformedAnswerError("it has more trailers than one reads")


def _line(data: bytes, receive: Callable[[], bytes]) -> tuple[bytes, bytes]:
    while (end := data.find(b"\r\n", 0, _CHUNK_LINE_LIMIT)) < 0:
        if len(data) > _CHUNK_LINE_LIMIT:
            raise MalformedAnswerError("a line between its chunks is too long")
        data += _more(receive)
    return data[:end], data[end + 2 :]


def _check(size: int) -> None:
    if size > BODY_LIMIT:
        raise MalformedAnswerError(f"it is larger than {BODY_LIMIT:,} bytes")


def _lasts(version: str, status: int, headers: dict[str, str]) -> bool:
    said = headers.get("connection", "").lower()
    # With neither length nor coding an answer ends with its connection; both at once is how
    # answers are smuggled: then the answer counts, and its connection does not.
    framed = ("content-length" in headers) != ("transfer-encoding" in headers)
    if "close" in said or not (framed or status in (204, 304)):
        return False
    return version == "HTTP/1.1" or "keep-alive" in said
