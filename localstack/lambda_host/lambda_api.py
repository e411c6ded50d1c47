"""Lambda's own API as the functions of this host call it: `Invoke` is answered here.

A function that calls another one that runs here need not go through the emulator, which is one
process for everything. What is not a plain, synchronous `Invoke` of a function that can run now is
the emulator's to answer, refusals too: each of them has one wording. It starts nothing itself.
"""

import asyncio
import json
import re
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from http.client import HTTPConnection
from typing import Protocol
from urllib.parse import unquote, urlsplit

from lambda_host import faults
from lambda_host.directory import UnknownFunctionError
from lambda_host.faults import PAYLOAD_LIMIT, Outcome, ThrottledError
from lambda_host.function import Function
from lambda_host.wire import Answer, Request

OF_LAMBDA = re.compile(r"/\d{4}-\d\d-\d\d/")
"""How every path of the Lambda API begins."""
_INVOKE = re.compile(r"/2015-03-31/functions/([\w-]+)(?:(?::|%3A)([\w$-]+))?/invocations")
_REGION = re.compile(r"Credential=(?!\d{12}/)[^/]+/\d+/([^/]+)/lambda/")
"""The region that a call was signed for; a key of twelve digits is another account's."""
_LONGEST_S = 960
_OF_THE_CONNECTION = {"content-length", "content-type", "connection", "transfer-encoding"}


class Functions(Protocol):
    """What knows functions."""

    async def find(self, name: str, qualifier: str) -> Function:
        """The function now; raises `UnknownFunctionError`."""


class Runs(Protocol):
    """What runs functions."""

    async def invoke(self, function: Function, request: Request) -> Outcome:
        """Run the event in a request's body; raises `ThrottledError`."""


class Listens(Protocol):
    """What is told how invocations went."""

    def invoked(self, function: Function, duration_ms: float, failed: bool) -> None:
        """A function ran an event."""

    def throttled(self, function: Function) -> None:
        """A function was not to run an event."""


class LambdaApi:
    """Answers `Invoke` of a region, and hands on everything else."""

    def __init__(
        self,
        functions: Functions,
        host: Runs,
        reports: Listens,
        emulator: Callable[[Request], Awaitable[Answer]],
        region: str,
    ) -> None:
        self._functions = functions
        self._host = host
        self._reports = reports
        self._emulator = emulator
        self._region = region

    async def handle(self, request: Request) -> Answer:
        """Answer one call of the API."""
        function = await self._asked_for(request)
        if function is None:
            return await self._emulator(request)
        if len(request.body) > PAYLOAD_LIMIT:
            problem = faults.event_too_large(len(request.body))
            return _refused(413, "RequestTooLargeException", {"Type": "User", "message": problem})
        began = time.monotonic()
        try:
            outcome = await self._host.invoke(function, request)
        except ThrottledError:
            self._reports.throttled(function)
            return _refused(429, "TooManyRequestsException", faults.throttled(function.name))
        self._reports.invoked(function, (time.monotonic() - began) * 1000, outcome.failed)
        headers = {
            "x-amzn-RequestId": str(uuid.uuid4()),
            "X-Amz-Executed-Version": function.version,
            **({"X-Amz-Function-Error": "Unhandled"} if outcome.failed else {}),
        }
        return Answer(200, outcome.payload or b"null", headers)

    async def _asked_for(self, request: Request) -> Function | None:
        """The function that is to run here; None when the emulator is to answer."""
        asked = _INVOKE.fullmatch(request.path)
        if asked is None or request.method != "POST" or not self._is_plain(request):
            return None
        try:
            function = await self._functions.find(asked[1], unquote(asked[2] or "$LATEST"))
        except UnknownFunctionError:
            return None
        return function if function.active else None

    def _is_plain(self, request: Request) -> bool:
        headers = request.headers
        region = _REGION.search(headers.get("authorization", ""))
        return (
            headers.get("x-amz-invocation-type", "RequestResponse") == "RequestResponse"
            and headers.get("x-amz-log-type", "None") == "None"
            and "x-amz-client-context" not in headers
            and region is not None
            and region[1] == self._region
            and _is_json(request.body)
        )


class Emulator:
    """The emulator, asked over a connection each: what is handed on is rare."""

    def __init__(self, endpoint: str) -> None:
        self._at = urlsplit(endpoint).netloc

    async def __call__(self, request: Request) -> Answer:
        """The emulator's answer, status, headers and body."""
        return await asyncio.to_thread(self._ask, request)

    def _ask(self, request: Request) -> Answer:
        connection = HTTPConnection(self._at, timeout=_LONGEST_S)
        try:
            connection.request(request.method, request.path, request.body, _sent(request.headers))
            answer = connection.getresponse()
            kept = {
                name: value
                for name, value in answer.headers.items()
                if name.lower() not in _OF_THE_CONNECTION
            }
            kind = answer.headers.get("content-type", "application/json")
            return Answer(answer.status, answer.read(), kept, kind)
        finally:
            connection.close()


def _sent(headers: Mapping[str, str]) -> dict[str, str]:
    left_out = _OF_THE_CONNECTION - {"content-type"} | {"expect"}
    return {name: value for name, value in headers.items() if name not in left_out}


def _refused(status: int, kind: str, document: Mapping[str, object]) -> Answer:
    answer = Answer.of_json(status, document, x_amzn_ErrorType=kind)
    if "retryAfterSeconds" in document:
        headers = {**answer.headers, "Retry-After": str(document["retryAfterSeconds"])}
        return replace(answer, headers=headers)
    return answer


def _is_json(body: bytes) -> bool:
    try:
        json.loads(body)
    except (ValueError, RecursionError):
        return False
    return True
