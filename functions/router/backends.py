"""Where a deployment is asked: one method, one class per kind of place.

`Backend` is the port. Each implementation turns the failures of its place into `modelport.errors`
and the caller's bytes into that place's request, and nothing else: it must not know paths, aliases
or HTTP statuses, and never repeats what a model said when it failed (that is in the model's log).
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol

from botocore.exceptions import BotoCoreError, ClientError, ConnectionClosedError, ReadTimeoutError
from modelport.envelope import Handler, Request, Response
from modelport.errors import (
    BackendError,
    BackendGoneError,
    ModelFailedError,
    ModelportError,
    ModelTimeoutError,
    PayloadTooLargeError,
    ThrottledError,
)
from modelport.routes import Deployment

LAMBDA_PAYLOAD_LIMIT = 6_291_456
#: How long a model is waited for unless told otherwise.
DEFAULT_TIMEOUT_S = 30.0
#: A connection found dead fails at once; one that ends later may have died under a running model.
DEAD_ON_USE_S = 1.0

_THROTTLES = frozenset({"TooManyRequestsException", "ThrottlingException", "EC2ThrottledException"})
_TIMED_OUT = re.compile(r"Task timed out(?: after ([0-9.]+) seconds)?")
#: Lambda says how large an answer was in some of its wordings and only the limit in others.
_ANSWER_SIZE = re.compile(r"payload size \(([0-9]+) bytes\) exceeded")


class Backend(Protocol):
    """A place that runs model versions."""

    def invoke(self, deployment: Deployment, model: str, request: Request) -> Response:
        """Have ``deployment`` of ``model`` answer ``request``; raises `BackendError` and kin."""
        ...


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


class LambdaClient(Protocol):
    """The one call used of boto3's Lambda client."""

    def invoke(
        self, *, FunctionName: str, InvocationType: Literal["RequestResponse"], Payload: bytes
    ) -> Any: ...


class LambdaBackend:
    """Model functions on AWS Lambda, invoked synchronously.

    ``timeout_s`` is the client's read time-out, for what is said when it runs out. The client must
    not retry by itself: see `functions.router.handler`.
    """

    def __init__(
        self,
        client: LambdaClient,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client, self._timeout_s, self._clock = client, timeout_s, clock

    def invoke(self, deployment: Deployment, model: str, request: Request) -> Response:
        """Invoke the function with the request's envelope and unpack its answer."""
        payload = request.to_event()
        _check_size(payload, request)
        try:
            answer, body = self._send(deployment.resource, payload)
        except ReadTimeoutError as error:
            raise ModelTimeoutError(model, deployment.version, self._timeout_s) from error
        except ClientError as error:
            raise _refused(error, deployment, model, len(payload)) from error
        except (BotoCoreError, OSError) as error:
            raise BackendGoneError(model, deployment.version, deployment.target) from error
        if answer.get("FunctionError"):
            raise self._failed(body, deployment, model, request.request_id)
        try:
            return Response.from_event(body)
        except ModelportError as error:
            raise ModelFailedError(model, deployment.version, request.request_id) from error

    def _send(self, function: str, payload: bytes) -> tuple[Mapping[str, Any], bytes]:
        """One invocation, and a second one only when a pooled connection turns out to be dead.

        An environment that was frozen finds its connections closed by the other side, and finds
        out at once. What breaks later may have had the model at work: that is not run twice.
        """
        asked_at = self._clock()
        try:
            return self._once(function, payload)
        except ConnectionClosedError:
            if self._clock() - asked_at > DEAD_ON_USE_S:
                raise
            return self._once(function, payload)

    def _once(self, function: str, payload: bytes) -> tuple[Mapping[str, Any], bytes]:
        answer = self._client.invoke(
            FunctionName=function, InvocationType="RequestResponse", Payload=payload
        )
        return answer, answer["Payload"].read()

    def _failed(
        self, payload: bytes, deployment: Deployment, model: str, request_id: str
    ) -> ModelportError:
        """The error for a function that ran and did not answer; its message goes no further."""
        try:
            report = json.loads(payload)
            kind, text = str(report.get("errorType", "")), str(report.get("errorMessage", ""))
        except (ValueError, AttributeError):
            kind = text = ""
        timed_out = _TIMED_OUT.search(text)
        if kind == "Sandbox.Timedout" or timed_out:
            said = timed_out.group(1) if timed_out else None
            limit_s = float(said) if said else _timeout_of(deployment) or self._timeout_s
            return ModelTimeoutError(model, deployment.version, limit_s)
        if kind == "Function.ResponseSizeTooLarge":
            counted = _ANSWER_SIZE.search(text)
            return PayloadTooLargeError(
                int(counted[1]) if counted else None,
                LAMBDA_PAYLOAD_LIMIT,
                "the answer, as Lambda carries it,",
                "send fewer rows per request or ask for fewer outputs",
            )
        return ModelFailedError(model, deployment.version, request_id)


def _check_size(payload: bytes, request: Request) -> None:
    if len(payload) <= LAMBDA_PAYLOAD_LIMIT:
        return
    hint = "send fewer rows per request"
    if b'"base64":true' in payload[-20:]:
        hint += "; a binary body grows by a third on its way to the model"
    where = f"the request to the model (its body is {len(request.body):,} bytes)"
    raise PayloadTooLargeError(len(payload), LAMBDA_PAYLOAD_LIMIT, where, hint)


def _refused(error: ClientError, deployment: Deployment, model: str, size: int) -> ModelportError:
    """The error for a call that Lambda itself refused."""
    code = error.response.get("Error", {}).get("Code", "")
    if code in _THROTTLES:
        return ThrottledError(f"model {model} version {deployment.version}")
    if code == "RequestTooLargeException":
        return PayloadTooLargeError(
            size, LAMBDA_PAYLOAD_LIMIT, "the request to the model", "send fewer rows per request"
        )
    return BackendGoneError(model, deployment.version, deployment.target)


def _timeout_of(deployment: Deployment) -> float | None:
    timeout = deployment.settings.get("timeout_s")
    return float(timeout) if isinstance(timeout, int | float) else None
