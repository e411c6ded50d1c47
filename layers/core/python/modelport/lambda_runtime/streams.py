"""How a function sends an answer in pieces: to its Runtime API in chunks, failures in trailers.

On a connection of its own, because who reads the stream may leave in the middle of it.
"""

from __future__ import annotations

import base64
import json
import logging
import socket
from collections.abc import Iterator

from modelport.envelope import Response, Stream
from modelport.lambda_stream import head_of

logger = logging.getLogger(__name__)

CONTENT_TYPE = "application/vnd.awslambda.http-integration-response"
_MODE = "Lambda-Runtime-Function-Response-Mode: streaming"
_TRAILERS = ("Lambda-Runtime-Function-Error-Type", "Lambda-Runtime-Function-Error-Body")


def send(api: str, request_id: str, answer: Response) -> None:
    """Post the answer to one invocation, each piece when it is made, and close it.

    What fails while it is made ends it with an error; a caller who has left just ends it.
    """
    pieces = answer.pieces if isinstance(answer, Stream) else None
    host, _, port = api.partition(":")
    try:
        with socket.create_connection((host, int(port or 80))) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.sendall(_request(api, request_id) + _chunk(head_of(answer) + answer.body))
            trailers = _send_all(connection, pieces) if pieces else b""
            connection.sendall(b"0\r\n" + trailers + b"\r\n")
            _check_accepted(connection, request_id)
    except ConnectionError as error:
        logger.warning("request %s: its stream broke off: %s", request_id, error)
    finally:
        if pieces:
            pieces.close()


def _request(api: str, request_id: str) -> bytes:
    lines = (
        f"POST /2018-06-01/runtime/invocation/{request_id}/response HTTP/1.1",
        f"Host: {api}",
        f"Content-Type: {CONTENT_TYPE}",
        _MODE,
        "Transfer-Encoding: chunked",
        f"Trailer: {', '.join(_TRAILERS)}",
        "Connection: close",
    )
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"


def _send_all(connection: socket.socket, pieces: Iterator[bytes]) -> bytes:
    """Send every piece; the trailers, if one could not be made."""
    while True:
        try:
            piece = next(pieces, None)
        except (Exception, SystemExit) as error:
            logger.exception("a stream failed")
            kind = type(error).__name__
            report = {"errorType": kind, "errorMessage": "the stream failed; see the log"}
            body = base64.b64encode(json.dumps(report).encode()).decode()
            pairs = zip(_TRAILERS, (f"Function.{kind}", body), strict=True)
            return "".join(f"{name}: {value}\r\n" for name, value in pairs).encode("latin-1")
        if piece is None:
            return b""
        if piece:  # an empty chunk would be the end
            connection.sendall(_chunk(piece))


def _chunk(piece: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(piece), piece)


def _check_accepted(connection: socket.socket, request_id: str) -> None:
    with connection.makefile("rb") as answer:
        line = answer.readline(1024)
    if not line.startswith(b"HTTP/1.1 202"):
        logger.error("request %s: Lambda did not take its stream: %r", request_id, line)
