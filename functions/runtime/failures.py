"""Errors as HTTP answers: the runtime's own small table. The only place here that knows a status.

Every protocol of this product wants ``{"error": "<message>"}``; code and request id travel in
headers. Tracebacks never leave the process.
"""

from __future__ import annotations

from collections.abc import Mapping

import orjson
from modelport.envelope import Response
from modelport.errors import (
    ConflictError,
    IntegrityError,
    InvalidInputError,
    ModelFailedError,
    ModelportError,
    ModelTimeoutError,
    NotFoundError,
    NotSupportedError,
    PayloadTooLargeError,
    UnsupportedMediaTypeError,
)

#: Most specific class first; the first that matches decides.
STATUSES: Mapping[type[ModelportError], int] = {
    PayloadTooLargeError: 413,
    UnsupportedMediaTypeError: 415,
    NotSupportedError: 501,
    InvalidInputError: 400,
    NotFoundError: 404,
    ConflictError: 409,
    IntegrityError: 500,
    ModelFailedError: 500,
    ModelTimeoutError: 504,
    ModelportError: 500,
}


def status_of(error: ModelportError) -> int:
    """The HTTP status this error becomes."""
    return next(status for kind, status in STATUSES.items() if isinstance(error, kind))


def failure(error: ModelportError, request_id: str) -> Response:
    """The error as an answer."""
    return refusal(status_of(error), error.message, error.code, request_id)


def refusal(status: int, message: str, code: str, request_id: str = "") -> Response:
    """An answer in the error shape of every protocol."""
    headers = {
        "content-type": "application/json",
        "x-modelport-error": code,
        "x-modelport-request-id": request_id,
    }
    # Half a surrogate pair, which JSON can spell and UTF-8 has no form for, is shown as spelled.
    text = message.encode(errors="backslashreplace").decode()
    return Response(status, headers, orjson.dumps({"error": text}))
