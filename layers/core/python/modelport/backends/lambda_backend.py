"""Model functions on AWS Lambda: one envelope in, one envelope out, within Lambda's limits."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable

from modelport.aws import CallError, Functions, RefusedError, SilentError
from modelport.backends.connection import DEFAULT_TIMEOUT_S, retry_after_s, sent
from modelport.envelope import Request, Response
from modelport.errors import (
    AnswerTooLargeError,
    BackendGoneError,
    ModelFailedError,
    ModelportError,
    ModelTimeoutError,
    PayloadTooLargeError,
    ThrottledError,
)
from modelport.routes import Deployment

LAMBDA_PAYLOAD_LIMIT = 6_291_456

_THROTTLES = frozenset({"TooManyRequestsException", "ThrottlingException", "EC2ThrottledException"})
_TIMED_OUT = re.compile(r"Task timed out(?: after ([0-9]{1,9}(?:\.[0-9]{1,9})?) seconds)?")
#: Lambda says how large an answer was in some of its wordings and only the limit in others.
_ANSWER_SIZE = re.compile(r"payload size \(([0-9]{1,15}) bytes\) exceeded")


class LambdaBackend:
    """Model functions on AWS Lambda, invoked synchronously.

    ``timeout_s`` is how long ``functions`` waits for an answer, for what is said when it runs out.
    """

    def __init__(
        self,
        functions: Functions,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._functions, self._timeout_s, self._clock = functions, timeout_s, clock

    def invoke(self, deployment: Deployment, model: str, request: Request) -> Response:
        """Invoke the function with the request's envelope and unpack its answer."""
        payload = request.to_event()
        check_size(payload, request)
        try:
            answer = sent(lambda: self._functions.invoke(deployment.resource, payload), self._clock)
        except CallError as error:
            raise not_run(error, deployment, model, len(payload), self._timeout_s) from error
        if answer.failed:
            raise failed(answer.payload, deployment, model, request.request_id, self._timeout_s)
        try:
            return Response.from_event(answer.payload)
        except ModelportError as error:
            raise ModelFailedError(model, deployment.version, request.request_id) from error


def failed(
    payload: bytes, deployment: Deployment, model: str, request_id: str, waited_s: float
) -> ModelportError:
    """The error for a function that ran and did not answer; its message goes no further."""
    try:
        report = json.loads(payload)
        kind, text = str(report.get("errorType", "")), str(report.get("errorMessage", ""))
    except (ValueError, AttributeError, RecursionError):
        kind = text = ""
    timed_out = _TIMED_OUT.search(text)
    if kind == "Sandbox.Timedout" or timed_out:
        said = timed_out.group(1) if timed_out else None
        limit_s = float(said) if said else _timeout_of(deployment) or waited_s
        return ModelTimeoutError(model, deployment.version, limit_s)
    if kind == "Function.ResponseSizeTooLarge":
        counted = _ANSWER_SIZE.search(text)
        return AnswerTooLargeError(
            int(counted[1]) if counted else None,
            LAMBDA_PAYLOAD_LIMIT,
            "the answer, as Lambda carries it,",
            "send fewer rows per request or ask for fewer outputs",
        )
    return ModelFailedError(model, deployment.version, request_id)


def check_size(payload: bytes, request: Request) -> None:
    """Raise `PayloadTooLargeError` for what Lambda would refuse."""
    if len(payload) <= LAMBDA_PAYLOAD_LIMIT:
        return
    hint = "send fewer rows per request"
    if b'"base64":true' in payload[-20:]:
        hint += "; a binary body grows by a third on its way to the model"
    where = f"the request to the model (its body is {len(request.body):,} bytes)"
    raise PayloadTooLargeError(len(payload), LAMBDA_PAYLOAD_LIMIT, where, hint)


def not_run(
    error: CallError, deployment: Deployment, model: str, size: int, waited_s: float
) -> ModelportError:
    """The error for a call of ``size`` bytes that brought no answer of the function."""
    if isinstance(error, SilentError):
        return ModelTimeoutError(model, deployment.version, waited_s)
    if not isinstance(error, RefusedError):
        return BackendGoneError(model, deployment.version, deployment.target)
    if error.code in _THROTTLES:
        what = f"model {model} version {deployment.version}"
        return ThrottledError(what, retry_after_s(error))
    if error.code == "RequestTooLargeException":
        return PayloadTooLargeError(
            size, LAMBDA_PAYLOAD_LIMIT, "the request to the model", "send fewer rows per request"
        )
    return BackendGoneError(model, deployment.version, deployment.target)


def _timeout_of(deployment: Deployment) -> float | None:
    timeout = deployment.settings.get("timeout_s")
    return float(timeout) if isinstance(timeout, int | float) else None
