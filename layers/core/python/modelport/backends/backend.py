"""The port behind which model versions run, and its implementation for this process.

An implementation turns the failures of its place into `modelport.errors` and the caller's bytes
into that place's request, and nothing else: it must not know paths, aliases or HTTP statuses, and
never repeats what a model said when it failed (that is in the model's log).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from modelport.envelope import Handler, Request, Response, Stream
from modelport.errors import AnswerTooLargeError, BackendError, BackendGoneError, ModelFailedError
from modelport.routes import Deployment


class Backend(Protocol):
    """A place that runs model versions."""

    def invoke(self, deployment: Deployment, model: str, request: Request) -> Response:
        """Have ``deployment`` of ``model`` answer ``request``; raises `BackendError` and kin."""
        ...


def says_too_large(response: Response) -> bool:
    """Whether a version says that its transport does not carry its answer."""
    if response.status != 413 or isinstance(response, Stream):
        return False
    return response.headers.get("x-modelport-error") == AnswerTooLargeError.code


class CallableBackend:
    """Models as functions of this process, for tests and for embedding the router.

    Handlers are found by the deployment's resource name, then by its version:

    >>> backend = CallableBackend({1: lambda request: Response(200, {}, b"{}")})
    """

    def __init__(self, handlers: Mapping[int | str, Handler]) -> None:
        self._handlers = handlers

    def invoke(self, deployment: Deployment, model: str, request: Request) -> Response:
        """Call the handler; what it raises, unless it is a `BackendError`, is a model failure."""
        handler = self._handlers.get(deployment.resource) or self._handlers.get(deployment.version)
        if handler is None:
            raise BackendGoneError(model, deployment.version, deployment.target)
        try:
            return handler(request)
        except BackendError:
            raise
        except Exception as error:
            raise ModelFailedError(model, deployment.version, request.request_id) from error
