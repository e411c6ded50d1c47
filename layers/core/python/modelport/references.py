"""A body named in place of sent: what router, worker and runtime say to each other about it.

A request of content type `modelport.envelope.REFERENCE` has a small JSON object for a body: where
the real one is to be got, what it is, and where an answer may be put that is too large to be
carried. An answer of that type says that it was put there. The URLs are presigned and good for one
object each; the runtime has no rights of its own. Loaded only where there is such a request.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, ClassVar

from modelport.envelope import REFERENCE, Request, Response
from modelport.errors import BackendError, InvalidInputError, MalformedRequestError, NotFoundError

#: Answers of at most so many bytes come back as they are, also where there is a place for them.
SMALL = 4_000_000


class ReferenceRefusedError(InvalidInputError):
    """A request names a body, or a place, that this version does not reach for."""

    code = "reference-refused"

    def __init__(self, problem: str) -> None:
        super().__init__(
            f"the request's body lies where this version may not fetch it: {problem}",
            hint="send the body itself, or upload it: POST /uploads",
        )


class BodyGoneError(NotFoundError):
    """What a reference names is no longer there, or its URL has run out."""

    code = "body-gone"

    def __init__(self) -> None:
        super().__init__(
            "the body that the request names is not there, or no longer",
            hint="upload it again: POST /uploads",
        )


class TransferFailedError(BackendError):
    """A body or an answer got lost on its way from or to where it lies."""

    code = "transfer-failed"

    def __init__(self, what: str, problem: str) -> None:
        super().__init__(f"{what} failed: {problem}", hint="try again")


@dataclass(frozen=True, slots=True)
class Reference:
    """Where a request's body lies, and where its answer may go; ``put`` may be empty."""

    get: str
    put: str
    content_type: str = ""

    _KEYS: ClassVar[tuple[str, ...]] = ("get", "put", "content_type")

    def of(self, request: Request) -> Request:
        """``request`` with this in place of its body."""
        body = json.dumps({"get": self.get, "put": self.put, "content_type": self.content_type})
        headers = {**request.headers, "content-type": REFERENCE}
        return Request(request.method, request.path, headers, body.encode(), request.request_id)

    @classmethod
    def from_body(cls, body: bytes) -> Reference:
        """Read one; raises `MalformedRequestError`."""
        try:
            values: Any = json.loads(body)
            texts = [values[key] for key in cls._KEYS]
        except (ValueError, KeyError, TypeError, RecursionError):
            texts = [None]
        if not all(isinstance(text, str) for text in texts):
            raise MalformedRequestError("the reference to a body cannot be read")
        return cls(*texts)


@dataclass(frozen=True, slots=True)
class Put:
    """An answer that was put where its request said: all of it but the body."""

    status: int
    headers: dict[str, str]
    size: int

    def response(self, identity: dict[str, str]) -> Response:
        """How the runtime says so; ``identity`` are headers of its own."""
        body = json.dumps({"status": self.status, "headers": self.headers, "size": self.size})
        return Response(200, {**identity, "content-type": REFERENCE}, body.encode())

    @classmethod
    def of(cls, response: Response) -> Put | None:
        """What ``response`` says was put; None when it is an answer itself.

        Raises `MalformedRequestError` for one that says so and cannot be read.
        """
        if response.headers.get("content-type") != REFERENCE:
            return None
        try:
            values: Any = json.loads(response.body)
            status, headers, size = values["status"], values["headers"], values["size"]
            texts = [*headers.keys(), *headers.values()]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            status, headers, size, texts = None, {}, None, []
        numbers = type(status) is int and type(size) is int and 200 <= status <= 599
        if not numbers or not all(isinstance(text, str) for text in texts):
            raise MalformedRequestError("what the version says of its answer cannot be read")
        return cls(status, headers, size)
