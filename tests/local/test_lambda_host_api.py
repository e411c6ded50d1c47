"""Lambda's API as the host answers it to its functions, and what CloudWatch is told of that."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from lambda_host import faults
from lambda_host.directory import Directory, UnknownFunctionError
from lambda_host.faults import PAYLOAD_LIMIT, Outcome, ThrottledError
from lambda_host.function import Function
from lambda_host.lambda_api import Emulator, LambdaApi
from lambda_host.reports import Counted, Reports, data
from lambda_host.wire import Answer, Request, serving

TINY = Function("tiny", "arn:aws:lambda:us-east-1:000000000000:function:tiny:3", version="3")
PENDING = Function("pending", "arn", active=False)
SIGNED = {
    "authorization": "AWS4-HMAC-SHA256 Credential=test/20261121/us-east-1/lambda/aws4_request, x"
}
INVOKE = "/2015-03-31/functions/{}/invocations"
ELSEWHERE = Answer(200, b"the emulator's")


class World:
    """A host that knows two functions, and everybody it talks to."""

    def __init__(self, outcome: Outcome | None = None) -> None:
        self.outcome = outcome
        self.asked: list[tuple[str, str]] = []
        self.told: list[tuple[str, bool | None]] = []
        self.api = LambdaApi(self, self, self, self.emulator, "us-east-1")

    async def find(self, name: str, qualifier: str) -> Function:
        self.asked.append((name, qualifier))
        for function in (TINY, PENDING):
            if function.name == name:
                return function
        raise UnknownFunctionError(name)

    async def invoke(self, function: Function, request: Request) -> Outcome:
        if self.outcome is None:
            raise ThrottledError
        return self.outcome

    def invoked(self, function: Function, duration_ms: float, failed: bool) -> None:
        assert duration_ms >= 0
        self.told.append((function.name, failed))

    def throttled(self, function: Function) -> None:
        self.told.append((function.name, None))

    async def emulator(self, request: Request) -> Answer:
        return ELSEWHERE

    def ask(
        self,
        path: str = INVOKE.format("tiny"),
        body: bytes = b"{}",
        method: str = "POST",
        **headers: str,
    ) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = Request(method, path, {**SIGNED, **named}, body)
        return asyncio.run(self.api.handle(request))


@pytest.mark.parametrize(
    ("called", "qualifier"),
    [("tiny", "$LATEST"), ("tiny%3A3", "3"), ("tiny:live", "live"), ("tiny%3A$LATEST", "$LATEST")],
)
def test_an_answer_is_the_functions_own_bytes(called: str, qualifier: str) -> None:
    world = World(Outcome(b'{"a":1.0e5}'))
    answer = world.ask(INVOKE.format(called))
    assert (answer.status, answer.body) == (200, b'{"a":1.0e5}')
    assert answer.headers["X-Amz-Executed-Version"] == "3"
    assert "X-Amz-Function-Error" not in answer.headers
    assert world.asked == [("tiny", qualifier)]
    assert world.told == [("tiny", False)]


def test_no_answer_is_null_as_json_has_it() -> None:
    assert World(Outcome(b"")).ask().body == b"null"


def test_a_functions_error_is_no_refusal() -> None:
    world = World(faults.timed_out(3))
    answer = world.ask()
    assert (answer.status, answer.headers["X-Amz-Function-Error"]) == (200, "Unhandled")
    assert json.loads(answer.body)["errorMessage"] == "Task timed out after 3.00 seconds"
    assert world.told == [("tiny", True)]


def test_a_function_that_is_busy_enough_is_throttled() -> None:
    world = World()
    answer = world.ask()
    assert (answer.status, answer.headers["Retry-After"]) == (429, "1")
    assert answer.headers["x-amzn-ErrorType"] == "TooManyRequestsException"
    assert world.told == [("tiny", None)]


def test_an_event_that_is_too_large_runs_nowhere() -> None:
    world = World(Outcome(b"{}"))
    answer = world.ask(body=b'"' + b"x" * PAYLOAD_LIMIT + b'"')
    assert (answer.status, answer.headers["x-amzn-ErrorType"]) == (413, "RequestTooLargeException")
    assert world.told == []


@pytest.mark.parametrize(
    "asked",
    [
        {"path": INVOKE.format("nobody")},
        {"path": INVOKE.format("pending")},
        {"path": INVOKE.format("arn%3Aaws%3Alambda%3Aus-east-1%3A0%3Afunction%3Atiny")},
        {"path": INVOKE.format("tiny") + "?Qualifier=3"},
        {"path": "/2021-11-15/functions/tiny/response-streaming-invocations"},
        {"path": "/2015-03-31/functions/tiny", "method": "GET"},
        {"body": b"no JSON"},
        {"body": b""},
        {"x_amz_invocation_type": "Event"},
        {"x_amz_invocation_type": "DryRun"},
        {"x_amz_log_type": "Tail"},
        {"x_amz_client_context": "e30="},
        {"authorization": "Credential=test/20261121/eu-west-1/lambda/aws4_request"},
        {"authorization": "Credential=111111111111/20261121/us-east-1/lambda/aws4_request"},
        {"authorization": ""},
    ],
)
def test_what_is_anything_else_is_the_emulators(asked: dict[str, Any]) -> None:
    world = World(Outcome(b"{}"))
    assert world.ask(**asked) is ELSEWHERE
    assert world.told == []


def test_what_is_handed_on_is_what_was_asked_and_answered() -> None:
    seen: list[Request] = []

    async def emulator(request: Request) -> Answer:
        seen.append(request)
        return Answer(409, b"busy", {"x-amzn-ErrorType": "ResourceConflict"}, "text/plain")

    async def ask() -> Answer:
        async with serving(emulator) as port:
            headers = {**SIGNED, "content-length": "2", "expect": "100-continue", "x-own": "1"}
            request = Request("PUT", "/2017-10-31/functions/a%3Ab/x?c=d", headers, b"{}")
            return await Emulator(f"http://127.0.0.1:{port}")(request)

    answer = asyncio.run(ask())
    assert (answer.status, answer.body, answer.content_type) == (409, b"busy", "text/plain")
    assert answer.headers == {"x-amzn-ErrorType": "ResourceConflict"}
    (request,) = seen
    assert (request.method, request.path) == ("PUT", "/2017-10-31/functions/a%3Ab/x?c=d")
    assert (request.body, request.headers["x-own"]) == (b"{}", "1")
    assert request.headers["authorization"] == SIGNED["authorization"]


class Functions:
    """An emulator's Lambda API that counts what it is asked."""

    class exceptions:
        class ResourceNotFoundException(Exception):
            """There is no such function."""

    def __init__(self) -> None:
        self.asked = 0
        self.state = "Active"

    def get_function(self, *, FunctionName: str, Qualifier: str) -> Mapping[str, Any]:
        self.asked += 1
        found = {"FunctionName": FunctionName, "FunctionArn": TINY.arn, "Handler": "a.b"}
        limit = {"ReservedConcurrentExecutions": self.asked}
        return {"Configuration": {**found, "State": self.state}, "Concurrency": limit}


def test_a_function_is_asked_for_after_each_change_and_only_then(tmp_path: Path) -> None:
    changes, functions = tmp_path / "changes", Functions()
    changes.touch()
    directory = Directory(functions, fresh_s=0, changes=changes)

    def reserved() -> int | None:
        return asyncio.run(directory.find("tiny", "live")).reserved

    assert [reserved(), reserved()] == [1, 1]
    with changes.open("ab") as file:
        file.write(b".")
    assert [reserved(), reserved()] == [2, 2]


def test_a_function_that_is_not_ready_is_asked_for_until_it_is(tmp_path: Path) -> None:
    changes, functions = tmp_path / "changes", Functions()
    changes.touch()
    functions.state = "Pending"
    directory = Directory(functions, changes=changes)
    assert not asyncio.run(directory.find("tiny", "1")).active
    functions.state = "Active"
    assert asyncio.run(directory.find("tiny", "1")).active
    assert asyncio.run(directory.find("tiny", "1")).active
    assert functions.asked == 2


class CloudWatch:
    """Both services, which keep what they are told."""

    class exceptions:
        class ResourceAlreadyExistsException(Exception):
            """The log group is there."""

    def __init__(self) -> None:
        self.metrics: list[dict[str, Any]] = []
        self.lines: list[tuple[str, list[str]]] = []
        self.streams: list[str] = []
        self.gone = False

    def put_metric_data(self, *, Namespace: str, MetricData: list[dict[str, Any]]) -> None:
        assert Namespace == "AWS/Lambda"
        self.metrics += MetricData

    def create_log_group(self, *, logGroupName: str) -> None:
        raise self.exceptions.ResourceAlreadyExistsException

    def create_log_stream(self, *, logGroupName: str, logStreamName: str) -> None:
        self.streams.append(logStreamName)

    def put_log_events(
        self, *, logGroupName: str, logStreamName: str, logEvents: list[dict[str, Any]]
    ) -> None:
        if self.gone:
            raise ClientError({"Error": {"Code": "ResourceNotFoundException"}}, "PutLogEvents")
        assert logStreamName == self.streams[-1]
        self.lines.append((logGroupName, [event["message"] for event in logEvents]))


def test_invocations_are_told_together_and_once() -> None:
    cloud = CloudWatch()
    lines = iter([b"START\nsaid\n", b""])
    reports = Reports(cloud, cloud, lambda function: next(lines))
    for number in range(3):
        reports.invoked(TINY, 1.0 + number // 2 + 0.01, failed=number == 2)
    reports.throttled(TINY)
    asyncio.run(reports.tell())
    asyncio.run(reports.tell())
    told = {each["MetricName"]: (each["Values"], each["Counts"]) for each in cloud.metrics}
    assert told == {
        "Invocations": ([1.0], [3.0]),
        "Errors": ([1.0, 0.0], [1.0, 2.0]),
        "Throttles": ([1.0, 0.0], [1.0, 3.0]),
        "Duration": ([1.0, 2.0], [2.0, 1.0]),
    }
    assert cloud.lines == [("/aws/lambda/tiny", ["START", "said"])]
    assert all("[3]" in stream for stream in cloud.streams)


def test_a_datum_has_no_more_values_than_it_may() -> None:
    durations = [
        each["Values"]
        for each in data(Counted(TINY, Counter(map(float, range(301)))))
        if each["Unit"] != "Count"
    ]
    assert [len(values) for values in durations] == [150, 150, 1]


def test_nothing_but_throttling_is_no_invocation() -> None:
    (told,) = data(Counted(TINY, throttled=2))
    assert (told["MetricName"], told["Values"], told["Counts"]) == ("Throttles", [1.0], [2.0])


def test_a_log_that_went_away_is_begun_anew() -> None:
    cloud = CloudWatch()
    reports = Reports(cloud, cloud, lambda function: b"line\n")
    for gone in (False, True, False):
        cloud.gone = gone
        reports.invoked(TINY, 1.0, failed=False)
        asyncio.run(reports.tell())
    assert len(cloud.streams) == 2
    assert len(cloud.lines) == 2
