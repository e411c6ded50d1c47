"""Model versions on SageMaker whose answers come in pieces, through boto3's event streams.

The client is made on the first call, so that a router without endpoints never pays for it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from typing import Any, Protocol

from modelport.aws import CallError, RefusedError
from modelport.aws.through_boto3 import PARAMETERS, carried, translated
from modelport.backends.connection import DEFAULT_TIMEOUT_S, sent
from modelport.backends.sagemaker_backend import carried_by, not_run
from modelport.envelope import Request, Response, Stream
from modelport.errors import ModelFailedError, ModelportError
from modelport.routes import Deployment
from modelport.sagemaker_envelope import HEADER, unwrapped


class StreamingClient(Protocol):
    """The one call used of boto3's SageMaker runtime client, which must not retry by itself."""

    def invoke_endpoint_with_response_stream(
        self, *, EndpointName: str, Body: bytes, **parameters: str
    ) -> Any: ...


class StreamingSageMakerBackend:
    """Model versions on SageMaker, every answer in pieces as the container sends it.

    ``timeout_s`` is the client's read time-out. Taking a piece may raise what `invoke` may raise.
    """

    def __init__(
        self,
        new_client: Callable[[], StreamingClient],
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._new_client, self._timeout_s, self._clock = new_client, timeout_s, clock
        self._client: StreamingClient | None = None
        self._lock = threading.Lock()

    def invoke(self, deployment: Deployment, model: str, request: Request) -> Response:
        """Invoke the endpoint; returns when the head of its answer is there."""
        body, headers = carried_by(request)
        try:
            said = sent(lambda: self._begin(deployment.resource, body, headers), self._clock)
        except CallError as error:
            raise not_run(error, deployment, model, request, self._timeout_s) from error
        pieces = self._told(_parts(said["Body"]), deployment, model, request)
        try:
            answer = unwrapped(Stream(200, {HEADER: "", **carried(said)}, pieces=pieces))
        except ModelportError as error:
            raise ModelFailedError(model, deployment.version, request.request_id) from error
        if answer is None:
            raise ModelFailedError(model, deployment.version, request.request_id)
        return answer

    def _begin(self, endpoint: str, body: bytes, headers: Mapping[str, str]) -> Any:
        parameters = {PARAMETERS[name]: value for name, value in headers.items()}
        with translated("SageMaker", self._timeout_s):
            return self._connected().invoke_endpoint_with_response_stream(
                EndpointName=endpoint, Body=body, **parameters
            )

    def _connected(self) -> StreamingClient:
        with self._lock:
            if self._client is None:
                self._client = self._new_client()
            return self._client

    def _told(
        self, pieces: Generator[bytes], deployment: Deployment, model: str, request: Request
    ) -> Generator[bytes]:
        try:
            with translated("SageMaker", self._timeout_s):
                yield from pieces
        except RefusedError as error:  # an event of the stream that says why it ends
            raise ModelFailedError(model, deployment.version, request.request_id) from error
        except CallError as error:
            raise not_run(error, deployment, model, request, self._timeout_s) from error
        finally:
            pieces.close()


def _parts(events: Any) -> Generator[bytes]:
    with closing(events):
        for event in events:
            if "PayloadPart" in event:
                yield event["PayloadPart"]["Bytes"]
