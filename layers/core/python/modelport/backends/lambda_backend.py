"""Model functions on AWS Lambda: one envelope in, one envelope out, within Lambda's limits."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from typing import Any, Literal, Protocol

from botocore.exceptions import BotoCoreError, ClientError, ReadTimeoutError
from urllib3.exceptions import HTTPError
from urllib3.exceptions import ReadTimeoutError as HttpReadTimeoutError

from modelport.backends.connection import DEFAULT_TIMEOUT_S, retry_after_s, sent
from modelport.envelope import Request, Response
from modelport.errors import (
    AnswerTooLargeError,
    BackendGoneError,
    MalformedRequestError,
    ModelFailedError,
    ModelportError,
    ModelTimeoutError,
    PayloadTooLargeError,
    ThrottledError,
)
from modelport.lambda_stream import opened
from modelport.routes import Deployment

LAMBDA_PAYLOAD_LIMIT = 6_291_456

_THROTTLES = frozenset({"TooManyRequestsException", "ThrottlingException", "EC2ThrottledException"})
_TIMED_OUT = re.compile(r"Task timed out(?: after ([0-9.]+) seconds)?")
#: Lambda says how large an answer was in some of its wordings and only the limit in others.
_ANSWER_SIZE = re.compile(r"payload size \(([0-9]+) bytes\) exceeded")


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
            answer, body = sent(lambda: self._once(deployment.resource, payload), self._clock)
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
            return AnswerTooLargeError(
                int(counted[1]) if counted else None,
                LAMBDA_PAYLOAD_LIMIT,
                "the answer, as Lambda carries it,",
                "send fewer rows per request or ask for fewer outputs",
            )
        return ModelFailedError(model, deployment.version, request_id)


class StreamingClient(LambdaClient, Protocol):
    """The one further call used of boto3's Lambda client for answers in pieces."""

    def invoke_with_response_stream(
        self, *, FunctionName: str, InvocationType: Literal["RequestResponse"], Payload: bytes
    ) -> Any: ...


class StreamingLambdaBackend(LambdaBackend):
    """Model functions on AWS Lambda, whose answers come in pieces where they are made so.

    Taking a piece may raise what `invoke` may raise.
    """

    def __init__(self, client: StreamingClient, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        super().__init__(client, timeout_s=timeout_s)
        self._streaming = client

    def invoke(self, deployment: Deployment, model: str, request: Request) -> Response:
        """Invoke the function; returns when the head of its answer is there."""
        payload = request.to_event(streams=True)
        _check_size(payload, request)
        chunks = self._chunks(deployment, model, request.request_id, payload)
        try:
            return opened(chunks)
        except MalformedRequestError as error:
            raise ModelFailedError(model, deployment.version, request.request_id) from error

    def _begin(self, function: str, payload: bytes) -> Any:
        return self._streaming.invoke_with_response_stream(
            FunctionName=function, InvocationType="RequestResponse", Payload=payload
        )

    def _chunks(
        self, deployment: Deployment, model: str, request_id: str, payload: bytes
    ) -> Iterator[bytes]:
        try:
            answer = sent(lambda: self._begin(deployment.resource, payload), self._clock)
            with closing(answer["EventStream"]) as events:
                for event in events:
                    if "PayloadChunk" in event:
                        yield event["PayloadChunk"]["Payload"]
                    elif (end := event.get("InvokeComplete", {})).get("ErrorCode"):
                        said = str(end.get("ErrorDetails", "")).encode()
                        raise self._failed(said, deployment, model, request_id)
        except (ReadTimeoutError, HttpReadTimeoutError) as error:
            raise ModelTimeoutError(model, deployment.version, self._timeout_s) from error
        except ClientError as error:
            raise _refused(error, deployment, model, len(payload)) from error
        except (BotoCoreError, HTTPError, OSError) as error:
            raise BackendGoneError(model, deployment.version, deployment.target) from error


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
        what = f"model {model} version {deployment.version}"
        return ThrottledError(what, retry_after_s(error))
    if code == "RequestTooLargeException":
        return PayloadTooLargeError(
            size, LAMBDA_PAYLOAD_LIMIT, "the request to the model", "send fewer rows per request"
        )
    return BackendGoneError(model, deployment.version, deployment.target)


def _timeout_of(deployment: Deployment) -> float | None:
    timeout = deployment.settings.get("timeout_s")
    return float(timeout) if isinstance(timeout, int | float) else None
