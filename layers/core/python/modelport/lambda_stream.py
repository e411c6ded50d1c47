"""An answer in pieces over Lambda: how it is framed.

The frame is the one API Gateway reads: a JSON head, eight zero bytes, the body. Between router and
model function the same frame travels; `lambda_runtime.streams` is how a function sends it. It must
not know events, models or protocols.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator

from modelport.envelope import Response, Stream
from modelport.errors import MalformedRequestError

SEPARATOR = bytes(8)
#: API Gateway looks no further for the separator.
MAX_HEAD = 16 * 1024


def head_of(response: Response) -> bytes:
    """What goes before the body."""
    head = {"statusCode": response.status, "headers": response.headers}
    return json.dumps(head, separators=(",", ":")).encode() + SEPARATOR


def opened(chunks: Iterator[bytes]) -> Response:
    """What a model function answered: a `Stream` if it is framed, else the envelope it is.

    Raises `MalformedRequestError`; takes no more of ``chunks`` than the head, of a framed one.
    """
    begun = b""
    for chunk in chunks:
        begun += chunk
        before, found, body = begun.partition(SEPARATOR)
        if found:
            return _streamed(before, body, chunks)
        if len(begun) > MAX_HEAD:
            break
    # An envelope may be megabytes: it is not searched again with every chunk.
    return Response.from_event(b"".join([begun, *chunks]))


def _streamed(head: bytes, body: bytes, chunks: Iterator[bytes]) -> Stream:
    try:
        known = json.loads(head)
        status, headers = known["statusCode"], known["headers"]
    except (ValueError, KeyError, TypeError):
        raise MalformedRequestError("the head of the function's stream cannot be read") from None
    return Stream(status, headers, pieces=_pieces(body, chunks))


def _pieces(body: bytes, chunks: Iterator[bytes]) -> Generator[bytes]:
    if body:
        yield body
    yield from chunks
