"""Bodies and answers that go past the API: uploaded before the call, fetched after it.

The URLs are the API's own, signed and good for one object, so nothing of the caller's is sent with
them: no credentials, no headers. It must not know models or tensors.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

from modelport.client.conversation import Reply, Send, Steps
from modelport.client.errors import AnswerError, UnreadableAnswerError
from modelport.client.retries import Terms, persistent

#: A larger body goes another way: as base64 in an event of a gateway, it would be too large.
CARRIED = 4_000_000
BODY_HEADER = "x-modelport-body"
SEE_OTHER = 303
#: What a server without uploads answers; it may well take the body as it is.
_NO_UPLOADS = frozenset({404, 405, 501})
#: What an answer is, as told by where it lies; the API's own answer says all else.
_OF_THE_BODY = frozenset({"content-type", "content-length", "content-encoding"})


@dataclass(frozen=True)
class Upload:
    """A place for one body."""

    id: str
    url: str
    headers: dict[str, str]


def uploaded(body: bytes, terms: Terms, timeout_s: float) -> Steps[str | None]:
    """The id of the upload that ``body`` has become; None where the server has no uploads.

    Raises as `persistent` does, `CallRefusedError` for a body over the server's limit.
    """
    deadline = terms.retries.clock() + timeout_s
    asked = json.dumps({"content_length": len(body)}).encode()
    headers = {"content-type": "application/json", "accept-encoding": "identity"}
    send = Send("POST", f"{terms.endpoint}/uploads", headers, asked, timeout_s)
    try:
        reply = yield from persistent(send, terms)
    except AnswerError as error:
        if error.status in _NO_UPLOADS:
            return None
        raise
    place = _place(reply, terms.endpoint)
    left = deadline - terms.retries.clock()
    yield from persistent(Send("PUT", place.url, place.headers, body, left), _unsigned(terms))
    return place.id


def fetched(reply: Reply, terms: Terms, timeout_s: float) -> Steps[Reply]:
    """The answer that ``reply`` says lies elsewhere, with what ``reply`` says of it."""
    url = _checked(reply.headers.get("location", ""), terms.endpoint)
    send = Send("GET", url, {"accept-encoding": "identity"}, b"", timeout_s)
    found = yield from persistent(send, _unsigned(terms))
    said = {name: text for name, text in reply.headers.items() if name not in _OF_THE_BODY}
    headers = {**dict(found.headers.items()), **said}
    return replace(found, headers=headers, attempts=reply.attempts)


def _unsigned(terms: Terms) -> Terms:
    return replace(terms, sign=None)


def _place(reply: Reply, endpoint: str) -> Upload:
    try:
        found: Any = reply.json()
        headers = {str(name): str(text) for name, text in found["headers"].items()}
        return Upload(str(found["upload"]), _checked(found["url"], endpoint), headers)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UnreadableAnswerError(endpoint, "it says no place for an upload") from None


def _checked(url: str, endpoint: str) -> str:
    """A URL that is no less safe than the endpoint."""
    if url.startswith("https://") or (url.startswith("http://") and endpoint.startswith("http://")):
        return url
    raise UnreadableAnswerError(endpoint, f"it points to {url[:100]!r}")
