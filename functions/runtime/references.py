"""Bodies that lie elsewhere: fetched for a request that names one, put for an answer too large.

URLs are taken only below the one base that the environment names, by the standard library, without
following a redirect, and never repeated in what is said. How much is fetched is bounded before it
is read. The runtime has no rights and no credentials: what a URL allows is in the URL. Loaded with
the first request of this kind.
"""

from __future__ import annotations

import http.client
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import SplitResult, unquote, urlsplit

from modelport.envelope import REFERENCE, Request, Response, Stream
from modelport.errors import AnswerTooLargeError, MalformedRequestError, PayloadTooLargeError
from modelport.references import (
    SMALL,
    BodyGoneError,
    Put,
    Reference,
    ReferenceRefusedError,
    TransferFailedError,
)

#: Longest silence of the other side, in seconds; how long it all takes is the function's limit.
SILENCE_S = 20.0
#: What S3 says of an object that is not there, or to whom may not know; of a URL that has run out.
_GONE = frozenset({403, 404, 410})
#: Where a body's own headers go with it; the rest is told in the answer that is carried.
_STORED = {"content-type": "Content-Type", "content-encoding": "Content-Encoding"}
_OCTETS = "application/octet-stream"
#: What is sent at a time, in bytes: a socket's time-out is for all of what it is given at once.
_PIECE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Place:
    """Where the answer to one request may be put."""

    url: SplitResult | None

    def kept(self, response: Response, check: Callable[[Response], None] | None) -> Response:
        """``response``, or word that it was put if the way back does not carry it.

        ``check`` raises for what its transport refuses.
        """
        if isinstance(response, Stream) or self.url is None:
            if check:
                check(response)
            return response
        if len(response.body) <= SMALL and _carried(response, check):
            return response
        _send(self.url, response)
        return Put(response.status, response.headers, len(response.body)).response({})


def fetched(request: Request, base: str | None, most: int) -> tuple[Request, Place]:
    """The request with the body that it names, of at most ``most`` bytes.

    Raises `ReferenceRefusedError` for URLs not below ``base``, `BodyGoneError`,
    `PayloadTooLargeError`, `TransferFailedError`, and `MalformedRequestError` for no reference.
    """
    named = Reference.from_body(request.body)
    if not base:
        raise ReferenceRefusedError("it is set up to fetch nothing")
    if named.content_type == REFERENCE:
        raise MalformedRequestError("a reference to a reference is none")
    place = Place(checked(named.put, base) if named.put else None)
    body = _get(checked(named.get, base), most)
    headers = {name: text for name, text in request.headers.items() if name != "content-type"}
    if named.content_type:
        headers["content-type"] = named.content_type
    return Request(request.method, request.path, headers, body, request.request_id), place


def checked(url: str, base: str) -> SplitResult:
    """The parts of a URL below ``base``.

    Nothing is normalised: what would have to be is refused.
    """
    base = base.rstrip("/") + "/"
    if not url.startswith(base) or len(url) == len(base):
        raise ReferenceRefusedError("its URL is not below the one that is allowed")
    if not url.isascii() or not url.isprintable() or set(url) & set(' \\"<>^`{|}#'):
        raise ReferenceRefusedError("its URL has characters that no URL has")
    parts = urlsplit(url)
    segments = unquote(parts.path).split("/")
    if "." in segments or ".." in segments or "\\" in unquote(parts.path):
        raise ReferenceRefusedError("the path of its URL goes upwards")
    return parts


def _get(url: SplitResult, most: int) -> bytes:
    with _connected(url, "fetching the request's body") as connection:
        connection.request("GET", _target(url), headers={"Accept-Encoding": "identity"})
        answer = connection.getresponse()
        if answer.status in _GONE:
            raise BodyGoneError
        if answer.status != 200:
            raise TransferFailedError("fetching the request's body", f"status {answer.status}")
        size = _declared(answer)
        if size > most:
            hint = "send fewer rows per request, or deploy the version with more --memory"
            raise PayloadTooLargeError(size, most, "the request body", hint)
        # Not more than was declared, whatever comes: that much is known to fit.
        body = answer.read(size)
        if len(body) != size:
            problem = f"{len(body):,} of {size:,} bytes came"
            raise TransferFailedError("fetching the request's body", problem)
        return body


def _declared(answer: http.client.HTTPResponse) -> int:
    said = answer.headers.get("content-length", "")
    if answer.chunked or not (said.isascii() and said.isdigit() and len(said) < 16):
        raise TransferFailedError("fetching the request's body", "its size is not said")
    return int(said)


def _send(url: SplitResult, response: Response) -> None:
    headers = {
        sent: response.headers[name] for name, sent in _STORED.items() if name in response.headers
    }
    headers.setdefault("Content-Type", _OCTETS)
    headers["Content-Length"] = str(len(response.body))  # S3 takes no chunks
    with _connected(url, "putting the answer away") as connection:
        connection.request("PUT", _target(url), pieces(response.body), headers)
        answer = connection.getresponse()
        answer.read(65_536)
        if answer.status not in (200, 201, 204):
            raise TransferFailedError("putting the answer away", f"status {answer.status}")


def pieces(body: bytes) -> Iterator[memoryview]:
    """The body in pieces, each of which may take as long as the other side may be silent."""
    whole = memoryview(body)
    return (whole[start : start + _PIECE] for start in range(0, len(whole), _PIECE))


@contextmanager
def _connected(url: SplitResult, what: str) -> Iterator[http.client.HTTPConnection]:
    kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    connection = kind(url.hostname or "", url.port, timeout=SILENCE_S)
    try:
        yield connection
    except (OSError, http.client.HTTPException) as error:
        raise TransferFailedError(what, type(error).__name__) from error
    finally:
        connection.close()


def _target(url: SplitResult) -> str:
    return f"{url.path}?{url.query}" if url.query else url.path


def _carried(response: Response, check: Callable[[Response], None] | None) -> bool:
    try:
        if check:
            check(response)
    except AnswerTooLargeError:
        return False
    return True
