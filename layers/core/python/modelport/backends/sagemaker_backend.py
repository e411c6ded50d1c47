"""Model versions on SageMaker endpoints: `modelport.sagemaker_envelope` in, and out again.

The client is made on the first call, so that a router without endpoints never pays for it. Limits
are InvokeEndpoint's: 6,291,456 bytes each way, 60 s; whoever waits less says so by ``timeout_s``.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from dataclasses import replace
from typing import Any, Protocol, cast

from botocore.exceptions import BotoCoreError, ClientError, ReadTimeoutError
from urllib3.exceptions import HTTPError
from urllib3.exceptions import ReadTimeoutError as HttpReadTimeoutError

from modelport.backends.connection import DEFAULT_TIMEOUT_S, retry_after_s, sent
from modelport.envelope import Request, Response, Stream
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

#: What SageMaker carries by itself: header → parameter, each of at most `MAX_PARAMETER` characters.
_PARAMETERS = {
    "content-type": "ContentType",
    "accept": "Accept",
    "x-amzn-sagemaker-inference-id": "InferenceId",
    VARIANT_HEADER: "TargetVariant",
}
MAX_PARAMETER = {"ContentType": 1024, "Accept": 1024, "InferenceId": 64, "TargetVariant": 63}

#: SageMaker says so when a variant has no capacity left, or none yet.
_THROTTLES = frozenset({"ThrottlingException", "ServiceUnavailable", "ModelNotReadyException"})
_TOO_LARGE = re.compile(r"too large|larger than|exceeded")
_OURS_TO_RETRY = frozenset({"InternalFailure", "InternalDependencyException"})


class SageMakerClient(Protocol):
    """The one call used of boto3's SageMaker runtime client."""

    def invoke_endpoint(self, *, EndpointName: str, Body: bytes, **parameters: str) -> Any: ...


class SageMakerBackend:
    """Model versions on SageMaker, invoked synchronously.

    ``timeout_s`` is the client's read time-out, for what is said when it runs out. The client must
    not retry by itself: see `functions.router.handler`.
    """

    def __init__(
        self,
        new_client: Callable[[], SageMakerClient],
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._new_client, self._timeout_s, self._clock = new_client, timeout_s, clock
        self._client: SageMakerClient | None = None
        self._lock = threading.Lock()

    def invoke(self, deployment: Deployment, model: str, request: Request) -> Response:
        """Invoke the endpoint with the request in its attributes, and unpack the answer."""
        body, parameters = body_of(request), _parameters(request)
        if len(body) > BODY_LIMIT:
            raise _too_large(len(body))
        try:
            carried = sent(lambda: self._once(deployment.resource, body, parameters), self._clock)
        except ReadTimeoutError as error:
            raise ModelTimeoutError(model, deployment.version, self._timeout_s) from error
        except ClientError as error:
            raise _refused(error, deployment, model, request, parameters) from error
        except (BotoCoreError, OSError) as error:
            raise BackendGoneError(model, deployment.version, deployment.target) from error
        try:
            answer = unwrapped(carried)
        except ModelportError as error:
            raise ModelFailedError(model, deployment.version, request.request_id) from error
        if answer is None:
            raise ModelFailedError(model, deployment.version, request.request_id)
        return answer

    def _once(self, endpoint: str, body: bytes, parameters: dict[str, str]) -> Response:
        answer = self._connected().invoke_endpoint(EndpointName=endpoint, Body=body, **parameters)
        return Response(200, _headers(answer), answer["Body"].read())

    def _connected(self) -> SageMakerClient:
        with self._lock:
            if self._client is None:
                self._client = self._new_client()
            return self._client


class StreamingClient(SageMakerClient, Protocol):
    """The one further call used of boto3's SageMaker runtime client for answers in pieces."""

    def invoke_endpoint_with_response_stream(
        self, *, EndpointName: str, Body: bytes, **parameters: str
    ) -> Any: ...


class StreamingSageMakerBackend(SageMakerBackend):
    """Model versions on SageMaker, every answer in pieces as the container sends it.

    Taking a piece may raise what `invoke` may raise.
    """

    def __init__(
        self, new_client: Callable[[], StreamingClient], *, timeout_s: float = DEFAULT_TIMEOUT_S
    ) -> None:
        super().__init__(new_client, timeout_s=timeout_s)

    def invoke(self, deployment: Deployment, model: str, request: Request) -> Response:
        """Invoke the endpoint; returns when the head of its answer is there."""
        answer = super().invoke(deployment, model, request)
        if not isinstance(answer, Stream):
            return answer
        return replace(answer, pieces=self._told(answer.pieces, deployment, model, request))

    def _once(self, endpoint: str, body: bytes, parameters: dict[str, str]) -> Response:
        client = cast(StreamingClient, self._connected())
        answer = client.invoke_endpoint_with_response_stream(
            EndpointName=endpoint, Body=body, **parameters
        )
        return Stream(200, _headers(answer), pieces=_parts(answer["Body"]))

    def _told(
        self, pieces: Generator[bytes], deployment: Deployment, model: str, request: Request
    ) -> Generator[bytes]:
        try:
            yield from pieces
        except (ReadTimeoutError, HttpReadTimeoutError) as error:
            raise ModelTimeoutError(model, deployment.version, self._timeout_s) from error
        except ClientError as error:  # an event of the stream that says why it ends
            raise ModelFailedError(model, deployment.version, request.request_id) from error
        except (BotoCoreError, HTTPError, OSError) as error:
            raise BackendGoneError(model, deployment.version, deployment.target) from error
        finally:
            pieces.close()


def _parts(events: Any) -> Generator[bytes]:
    with closing(events):
        for event in events:
            if "PayloadPart" in event:
                yield event["PayloadPart"]["Bytes"]


def _headers(answer: Mapping[str, Any]) -> dict[str, str]:
    headers = {HEADER: answer.get("CustomAttributes", "")}
    if "ContentType" in answer:
        headers["content-type"] = answer["ContentType"]
    return headers


def _parameters(request: Request) -> dict[str, str]:
    """What travels beside the body; raises `MalformedRequestError` where SageMaker would."""
    parameters = {"CustomAttributes": attributes_of(request)}
    for header, parameter in _PARAMETERS.items():
        value = request.headers.get(header)
        if not value:
            continue
        if len(value) > MAX_PARAMETER[parameter]:
            raise MalformedRequestError(
                f"header {header} has {len(value):,} characters;"
                f" SageMaker carries {MAX_PARAMETER[parameter]:,}"
            )
        parameters[parameter] = value
    return parameters


def _too_large(size: int) -> PayloadTooLargeError:
    hint = "send fewer rows per request, or a binary body"
    return PayloadTooLargeError(size, BODY_LIMIT, "the request to the model", hint)


def _refused(
    error: ClientError,
    deployment: Deployment,
    model: str,
    request: Request,
    parameters: dict[str, str],
) -> ModelportError:
    """The error for a call that did not bring an answer; SageMaker's words go no further."""
    said = error.response.get("Error", {})
    code, text = str(said.get("Code", "")), str(said.get("Message", ""))
    if code == "ModelError":
        return _failed(error, text, deployment, model, request)
    if code in _THROTTLES:
        what = f"model {model} version {deployment.version}"
        return ThrottledError(what, retry_after_s(error))
    if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") == 413:
        return _too_large(len(request.body))  # From the load balancer, which has no codes.
    if code in _OURS_TO_RETRY:
        where = f"the SageMaker endpoint of model {model} version {deployment.version}"
        return BackendError(f"{where} failed outside the model", hint="try again")
    if code == "ValidationError" and "TargetVariant" in parameters and "variant" in text.lower():
        return MalformedRequestError(
            f"the endpoint of model {model} version {deployment.version}"
            f" has no variant {parameters['TargetVariant']!r}"
        )
    return BackendGoneError(model, deployment.version, deployment.target)


def _failed(
    error: ClientError, text: str, deployment: Deployment, model: str, request: Request
) -> ModelportError:
    """The error for a container that did not answer 200, which ours always does when it can."""
    status = error.response.get("OriginalStatusCode")
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
