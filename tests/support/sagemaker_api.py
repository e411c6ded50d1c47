"""SageMaker's InvokeEndpoint on a loopback socket, as far as a caller can see it.

Endpoints are Python callables by name. `container` wraps a model as the service does: it strips
every header that InvokeEndpoint does not carry, takes 6 MiB each way, and turns any status but 200
into a `ModelError`. Requests are kept, so that tests can say what was sent.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from modelport.envelope import Handler, Request, Response
from modelport.sagemaker_envelope import HEADER, unwrap, wrap

from tests.support.loopback import Answer, Exchange, serving

LIMIT = 6_291_456
CARRIED = ("content-type", "accept", HEADER)

Endpoint = Callable[[Request], Answer | None]
Answering = Callable[[Request], Answer]


@dataclass
class SageMakerApi:
    """A running service: where it listens, its endpoints, what they were sent, and in between."""

    url: str
    endpoints: dict[str, Endpoint] = field(default_factory=dict)
    described: dict[str, dict[str, Any]] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)


def refusing(status: int, code: str, message: str = "secret", **more: Any) -> Answering:
    """A call that the service itself refuses, or a container's error as it reports it."""
    body = json.dumps({"Message": message, **more}).encode()
    headers = {"x-amzn-ErrorType": code} if code else {}
    return lambda request: (status, headers, body)


def model_error(status: int, said: str) -> Answering:
    """A container that answered with ``status``."""
    side = "client" if 400 <= status < 500 else "server"
    return refusing(
        424,
        "ModelError",
        f'Received {side} error ({status}) from primary with message "{said}".',
        OriginalStatusCode=status,
        OriginalMessage=said,
        LogStreamArn="arn:aws:logs:secret",
    )


def container(program: Handler) -> Answering:
    """A container whose ``POST /invocations`` is ``program``."""

    def endpoint(request: Request) -> Answer:
        headers = {name: request.headers[name] for name in CARRIED if name in request.headers}
        headers.setdefault("content-type", "application/octet-stream")
        headers.setdefault("accept", "*/*")
        if not request.body:
            return refusing(400, "ValidationError", "Value at 'body': must not be null")(request)
        answer = program(Request("POST", "/invocations", headers, request.body, "of the server"))
        if answer.status != 200:
            return model_error(answer.status, answer.body.decode())(request)
        if len(answer.body) > LIMIT:
            return model_error(0, f"the answer is larger than {LIMIT} bytes")(request)
        kind = answer.headers.get("content-type", "application/octet-stream")
        attributes = {HEADER: answer.headers[HEADER]} if HEADER in answer.headers else {}
        return 200, {"Content-Type": kind, **attributes}, answer.body

    return endpoint


def version(model: Handler) -> Answering:
    """A version of ours around ``model``: a container that unwraps and wraps."""

    def program(received: Request) -> Response:
        request = unwrap(received)
        assert request is not None
        return wrap(model(request))

    return container(program)


@contextmanager
def sagemaker_api() -> Iterator[SageMakerApi]:
    """Serve on a free loopback port until the block ends."""

    class Service(Exchange):
        def do_POST(self) -> None:
            body = self.body()
            headers = {name.lower(): value for name, value in self.headers.items()}
            if self.path == "/":
                self.answer(_describe(api, json.loads(body)["EndpointName"]))
                return
            request = Request("POST", self.path, headers, body)
            api.requests.append(request)
            name = self.path.split("/")[2]
            gone = refusing(400, "ValidationError", f"Endpoint {name} of account 1 not found.")
            too_large = refusing(413, "", f"HTTP content length exceeded {LIMIT} bytes.")
            endpoint = api.endpoints.get(name, gone) if len(body) <= LIMIT else too_large
            self.answer(endpoint(request))

    with serving(Service) as url:
        api = SageMakerApi(url)
        yield api


def _describe(api: SageMakerApi, name: str) -> Answer:
    found = api.described.get(name)
    if found is None:
        said = {"__type": "ValidationException", "message": f'Could not find endpoint "{name}".'}
        return 400, {}, json.dumps(said).encode()
    return 200, {}, json.dumps({"EndpointName": name, **found}).encode()
