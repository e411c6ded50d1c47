"""A real data plane behind the router, as Lambda and SageMaker carry it, and no network.

The two clients have the one method that the router's backends call, and hand the bytes they were
given to the runtime's own transports, each way.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from modelport.aws import Inference, Invocation
from modelport.backends import Backend, LambdaBackend, SageMakerBackend
from modelport.envelope import Handler, Request, Response
from modelport.sagemaker_envelope import unwrap, wrap

from functions.runtime.lambda_transport import lambda_handler


class _Context:
    aws_request_id = "lambda-1"


class LambdaPlane:
    """A model function: events in, events out, both as JSON bytes."""

    def __init__(self, handle: Handler) -> None:
        self._handler = lambda_handler(handle)

    def invoke(self, function: str, payload: bytes) -> Invocation:
        answer = self._handler(json.loads(payload), _Context())
        return Invocation(json.dumps(answer).encode())


class SageMakerPlane:
    """A model container: what SageMaker strips does not arrive."""

    def __init__(self, handle: Handler) -> None:
        self._handle = handle

    def invoke(self, endpoint: str, body: bytes, headers: Mapping[str, str]) -> Inference:
        inner = unwrap(Request("POST", "/invocations", dict(headers), body))
        assert inner is not None
        answer: Response = wrap(self._handle(inner))
        return Inference(dict(answer.headers), answer.body)


def behind(target: str, handle: Handler) -> dict[str, Backend]:
    """The backends of a router whose versions on ``target`` are this data plane."""
    makers: dict[str, Callable[[], Backend]] = {
        "lambda": lambda: LambdaBackend(LambdaPlane(handle)),
        "sagemaker": lambda: SageMakerBackend(lambda: SageMakerPlane(handle)),
    }
    return {target: makers[target]()}
