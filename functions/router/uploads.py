"""Bodies that callers upload before they send the request that names them.

An upload lies below its caller's own name, so an id is no use to anybody else whom the gateway
knows. The router signs where the body may go and never touches it. It must not know models.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from modelport.envelope import Request, Response
from modelport.errors import MalformedRequestError, PayloadTooLargeError
from modelport.jobs import keys
from modelport.jobs.errors import UploadNotFoundError
from modelport.jobs.job import moment
from modelport.jobs.payloads import Payloads

#: Names an upload in place of a body.
BODY_HEADER = "x-modelport-body"
#: How long the URL of an upload takes one, in seconds.
OPEN_S = 900
_WAY_OUT = "send fewer rows per request"


class Uploads:
    """Opens places for bodies, and finds what was put there; ``limit`` is in bytes."""

    def __init__(self, payloads: Payloads, limit: int, clock: Callable[[], float]) -> None:
        self._payloads, self._limit, self._clock = payloads, limit, clock

    def open(self, request: Request, owner: str) -> Response:
        """The answer to ``POST /uploads``: where the body is to be PUT, and under which id.

        The URL is signed for as many bytes as were announced: nobody can fill the bucket with it.
        """
        length = _length(request.body)
        if length > self._limit:
            raise PayloadTooLargeError(length, self._limit, "the upload", _WAY_OUT)
        id = keys.new_id()
        document = {
            "upload": id,
            "method": "PUT",
            "url": self._payloads.put_url(keys.upload(owner, id), OPEN_S, length),
            "headers": {"content-length": str(length)},
            "expires": moment(self._clock() + OPEN_S),
            "limit": self._limit,
            "use": f"send the request without a body and with the header {BODY_HEADER}: {id}",
        }
        headers = {"content-type": "application/json", "cache-control": "no-store"}
        return Response(200, headers, json.dumps(document).encode())

    def found(self, request: Request, owner: str) -> tuple[str, int] | None:
        """The key and the size of the upload that ``request`` names; None when it names none.

        Raises `UploadNotFoundError`, `PayloadTooLargeError`, and `MalformedRequestError` for a
        request that has a body as well.
        """
        id = request.headers.get(BODY_HEADER)
        if id is None:
            return None
        if request.body:
            raise MalformedRequestError(f"the request has a body and names one: {BODY_HEADER}")
        size = self._payloads.size(keys.upload(owner, id)) if keys.is_id(id) else None
        if size is None:
            raise UploadNotFoundError(id)
        if size > self._limit:
            raise PayloadTooLargeError(size, self._limit, "the uploaded body", _WAY_OUT)
        return keys.upload(owner, id), size


def _length(body: bytes) -> int:
    """The ``content_length`` of the request; raises `MalformedRequestError`."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    length = document.get("content_length") if isinstance(document, dict) else None
    if type(length) is not int or length < 1:
        raise MalformedRequestError(
            'say how large the upload will be: {"content_length": N}, in bytes, 1 or more'
        )
    return length
