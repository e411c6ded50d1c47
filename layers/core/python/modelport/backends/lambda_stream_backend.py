"""Model functions on AWS Lambda whose answers come in pieces, through boto3's event streams."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any, Literal, Protocol

from modelport.aws import CallError
from modelport.aws.through_boto3 import translated
from modelport.backends.connection import DEFAULT_TIMEOUT_S, sent
from modelport.backends.lambda_backend import check_size, failed, not_run
from modelport.envelope import Request, Response
from modelport.errors import MalformedRequestError, ModelFailedError
from modelport.lambda_stream import opened
from modelport.routes import Deployment


class StreamingClient(Protocol):
    """The one call used of boto3's Lambda client, which must not retry by itself."""

    def invoke_with_response_stream(
        self, *, FunctionName: str, InvocationType: Literal["RequestResponse"], Payload: bytes
    ) -> Any: ...


class StreamingLambdaBackend:
    """Model functions on AWS Lambda, whose answers come in pieces where they are made so.

    ``timeout_s`` is the client's read time-out. Taking a piece may raise what `invoke` may raise.
    """

    def __init__(
        self,
        client: StreamingClient,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client, self._timeout_s, self._clock = client, timeout_s, clock

    def invoke(self, deployment: Deployment, model: str, request: Request) -> Response:
        """Invoke the function; returns when the head of its answer is there."""
        payload = request.to_event(streams=True)
        check_size(payload, request)
        chunks = self._chunks(deployment, model, request.request_id, payload)
        try:
            return opened(chunks)
        except MalformedRequestError as error:
            raise ModelFailedError(model, deployment.version, request.request_id) from error

    def _begin(self, function: str, payload: bytes) -> Any:
        with translated("Lambda", self._timeout_s):
            return self._client.invoke_with_response_stream(
                FunctionName=function, InvocationType="RequestResponse", Payload=payload
            )

    def _chunks(
        self, deployment: Deployment, model: str, request_id: str, payload: bytes
    ) -> Iterator[bytes]:
        try:
            answer = sent(lambda: self._begin(deployment.resource, payload), self._clock)
            with translated("Lambda", self._timeout_s), closing(answer["EventStream"]) as events:
                for event in events:
                    if "PayloadChunk" in event:
                        yield event["PayloadChunk"]["Payload"]
                    elif (end := event.get("InvokeComplete", {})).get("ErrorCode"):
                        said = str(end.get("ErrorDetails", "")).encode()
                        raise failed(said, deployment, model, request_id, self._timeout_s)
        except CallError as error:
            raise not_run(error, deployment, model, len(payload), self._timeout_s) from error
