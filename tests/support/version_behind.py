"""A real data plane behind the router, as Lambda and SageMaker carry it, and no network.

The two clients have the one method that the router's backends call of boto3's, and hand the bytes
they were given to the runtime's own transports, each way.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

from modelport.backends import Backend, LambdaBackend, SageMakerBackend
from modelport.envelope import Handler, Request, Response
from modelport.sagemaker_envelope import HEADER, unwrap, wrap

from functions.runtime.lambda_transport import lambda_handler


class _Context:
    aws_request_id = "lambda-1"


class LambdaPlane:
    """A model function: events in, events out, both as JSON bytes."""

    def __init__(self, handle: Handler) -> None:
        self._handler = lambda_handler(handle)

    def invoke(self, *, FunctionName: str, InvocationType: str, Payload: bytes) -> Any:
        answer = self._handler(json.loads(Payload), _Context())
        return {"StatusCode": 200, "Payload": io.BytesIO(json.dumps(answer).encode())}


class SageMakerPlane:
    """A model container: what SageMaker strips does not arrive."""

    def __init__(self, handle: Handler) -> None:
        self._handle = handle

    def invoke_endpoint(self, *, EndpointName: str, Body: bytes, **parameters: str) -> Any:
        names = {"ContentType": "content-type", "Accept": "accept", "CustomAttributes": HEADER}
        headers = {names[key]: value for key, value in parameters.items() if key in names}
        inner = unwrap(Request("POST", "/invocations", headers, Body))
        assert inner is not None
        answer: Response = wrap(self._handle(inner))
        return {
            "Body": io.BytesIO(answer.body),
            "ContentType": answer.headers["content-type"],
            "CustomAttributes": answer.headers[HEADER],
        }


def behind(target: str, handle: Handler) -> dict[str, Backend]:
    """The backends of a router whose versions on ``target`` are this data plane."""
    makers: dict[str, Callable[[], Backend]] = {
        "lambda": lambda: LambdaBackend(LambdaPlane(handle)),
        "sagemaker": lambda: SageMakerBackend(lambda: SageMakerPlane(handle)),
    }
    return {target: makers[target]()}
