"""Lambda's Invoke API on a loopback socket, as far as a caller can see it.

Functions are Python callables by name: they get the payload and return a status, headers and a
body, the way the service answers. Requests are kept, so that tests can say what was sent.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from modelport.envelope import Handler, Request

from tests.support.loopback import Answer, Exchange, serving

Function = Callable[[bytes], Answer | None]


@dataclass
class LambdaApi:
    """A running service: where it listens, its functions, what they were sent."""

    endpoint: str
    functions: dict[str, Function] = field(default_factory=dict)
    payloads: list[bytes] = field(default_factory=list)


def model(handler: Handler) -> Function:
    """A healthy model function around ``handler``."""

    def function(payload: bytes) -> Answer:
        answer = handler(Request.from_event(json.loads(payload)))
        return 200, {}, json.dumps(answer.to_event()).encode()

    return function


def failing(kind: str, message: str) -> Function:
    """A function that ran and failed, as Lambda reports it."""
    report = json.dumps({"errorType": kind, "errorMessage": message}).encode()
    return lambda payload: (200, {"X-Amz-Function-Error": "Unhandled"}, report)


def refusing(status: int, code: str) -> Function:
    """A call that Lambda itself refuses."""
    body = json.dumps({"Type": "User", "Message": "details: arn:aws:lambda:secret"}).encode()
    return lambda payload: (status, {"x-amzn-ErrorType": code}, body)


@contextmanager
def lambda_api() -> Iterator[LambdaApi]:
    """Serve on a free loopback port until the block ends."""

    class Service(Exchange):
        def do_POST(self) -> None:
            payload = self.body()
            api.payloads.append(payload)
            name = self.path.split("/")[3]
            missing = refusing(404, "ResourceNotFoundException")
            self.answer(api.functions.get(name, missing)(payload))

    with serving(Service) as endpoint:
        api = LambdaApi(endpoint)
        yield api
