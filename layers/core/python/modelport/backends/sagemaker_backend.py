"""Model versions on SageMaker endpoints: `modelport.sagemaker_envelope` in, and out again.

The client is made on the first call, so that a router without endpoints never pays for it. Limits
are InvokeEndpoint's: 6,291,456 bytes each way, 60 s; whoever waits less says so by ``timeout_s``.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable

from modelport.aws import CallError, Endpoints, RefusedError, SilentError
from modelport.backends.connection import DEFAULT_TIMEOUT_S, retry_after_s, sent
from modelport.envelope import Request, Response
from modelport.errors import (
    AnswerTooLargeError,
    BackendError,
    BackendGoneError,
    MalformedRequestError,
    ModelFailedError,
    ModelportError,
    ModelTimeoutError,
    PayloadTooLargeError,
    ThrottledError,
)
from modelport.routes import Deployment
from modelport.sagemaker_envelope import (
    BODY_LIMIT,
    HEADER,
    TIME_LIMIT_S,
    VARIANT_HEADER,
    attributes_of,
    body_of,
    unwrapped,
)

#: What SageMaker carries by itself: header → the most characters of it.
_CARRIED = {
    "content-type": 1024,
    "accept": 1024,
    "x-amzn-sagemaker-inference-id": 64,
    VARIANT_HEADER: 63,
}

#: SageMaker says so when a variant has no capacity left, or none yet.
_THROTTLES = frozenset({"ThrottlingException", "ServiceUnavailable", "ModelNotReadyException"})
_TOO_LARGE = re.compile(r"too large|larger than|exceeded")
_OURS_TO_RETRY = frozenset({"InternalFailure", "InternalDependencyException"})


class SageMakerBackend:
    """Model versions on SageMaker, invoked synchronously.

    ``timeout_s`` is how long the client waits for an answer, for what is said when it runs out.
    """

    def __init__(
        self,
        new_client: Callable[[], Endpoints],
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._new_client, self._timeout_s, self._clock = new_client, timeout_s, clock
        self._client: Endpoints | None = None
        self._lock = threading.Lock()

    def invoke(self, deployment: Deployment, model: str, request: Request) -> Response:
        """Invoke the endpoint with the request in its attributes, and unpack the answer."""
        body, headers = carried_by(request)
        try:
            said = sent(
                lambda: self._connected().invoke(deployment.resource, body, headers), self._clock
            )
        except CallError as error:
            raise not_run(error, deployment, model, request, self._timeout_s) from error
        try:
            answer = unwrapped(Response(200, said.headers, said.body))
        except ModelportError as error:
            raise ModelFailedError(model, deployment.version, request.request_id) from error
        if answer is None:
            raise ModelFailedError(model, deployment.version, request.request_id)
        return answer

    def _connected(self) -> Endpoints:
        with self._lock:
            if self._client is None:
                self._client = self._new_client()
            return self._client


def carried_by(request: Request) -> tuple[bytes, dict[str, str]]:
    """What is sent: a body, and the headers that travel beside it.

    Raises `PayloadTooLargeError` and `MalformedRequestError` where SageMaker would refuse it.
    """
    body, headers = body_of(request), {HEADER: attributes_of(request)}
    if len(body) > BODY_LIMIT:
        raise _too_large(len(body))
    for header, most in _CARRIED.items():
        value = request.headers.get(header)
        if not value:
            continue
        if len(value) > most:
            raise MalformedRequestError(
                f"header {header} has {len(value):,} characters; SageMaker carries {most:,}"
            )
        if not (value.isascii() and value.isprintable()):
            raise MalformedRequestError(
                f"header {header} has characters that SageMaker does not carry"
            )
        headers[header] = value
    return body, headers


def _too_large(size: int) -> PayloadTooLargeError:
    hint = "send fewer rows per request, or a binary body"
    return PayloadTooLargeError(size, BODY_LIMIT, "the request to the model", hint)


def not_run(
    error: CallError, deployment: Deployment, model: str, request: Request, waited_s: float
) -> ModelportError:
    """The error for a call that did not bring an answer; SageMaker's words go no further."""
    if isinstance(error, SilentError):
        return ModelTimeoutError(model, deployment.version, waited_s)
    if not isinstance(error, RefusedError):
        return BackendGoneError(model, deployment.version, deployment.target)
    code, text = error.code, error.message
    if code == "ModelError":
        return _failed(error, deployment, model, request)
    if code in _THROTTLES:
        what = f"model {model} version {deployment.version}"
        return ThrottledError(what, retry_after_s(error))
    if error.status == 413:
        return _too_large(len(request.body))  # From the load balancer, which has no codes.
    if code in _OURS_TO_RETRY:
        where = f"the SageMaker endpoint of model {model} version {deployment.version}"
        return BackendError(f"{where} failed outside the model", hint="try again")
    variant = request.headers.get(VARIANT_HEADER)
    if code == "ValidationError" and variant and "variant" in text.lower():
        return MalformedRequestError(
            f"the endpoint of model {model} version {deployment.version} has no variant {variant!r}"
        )
    return BackendGoneError(model, deployment.version, deployment.target)


def _failed(
    error: RefusedError, deployment: Deployment, model: str, request: Request
) -> ModelportError:
    """The error for a container that did not answer 200, which ours always does when it can."""
    status, text = error.original_status, error.message
    if "timed out" in text or status in (408, 504):
        return ModelTimeoutError(model, deployment.version, TIME_LIMIT_S)
    if status == 413 or _TOO_LARGE.search(text):
        hint = "send fewer rows per request or ask for fewer outputs"
        where = "the answer, as SageMaker carries it,"
        return AnswerTooLargeError(None, BODY_LIMIT, where, hint)
    if status == 429:
        what = f"model {model} version {deployment.version}"
        return ThrottledError(what, retry_after_s(error))
    return ModelFailedError(model, deployment.version, request.request_id)
