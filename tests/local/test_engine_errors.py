"""What MiniStack is told of the Lambda host's answers: errors as they are, and the log."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
from engines.ministack_plugin.hosted import LambdaHost
from lambda_host.faults import throttled
from lambda_host.wire import Answer, Request, serving

SAID = {"errorMessage": 'inference.py: no "x" \u00e9', "errorType": "InvalidBundleError"}
UNHANDLED = {"X-Amz-Function-Error": "Unhandled"}


def told(answers: Callable[[Request], Answer], events: int = 1, **config: Any) -> list[Any]:
    """MiniStack's results of events that a host answers so."""

    async def handle(request: Request) -> Answer:
        return answers(request)

    async def ask() -> list[Any]:
        async with serving(handle) as port:
            url = f"http://127.0.0.1:{port}/invoke"
            func = {"config": {"FunctionName": "tiny", **config}}
            with closing(LambdaHost()) as host:
                return [
                    await asyncio.to_thread(host.execute, func, {"number": number}, url, "r-1")
                    for number in range(events)
                ]

    return asyncio.run(ask())


def test_an_answer_comes_with_what_the_function_logged_meanwhile() -> None:
    def answers(request: Request) -> Answer:
        asked = request.headers["x-amz-log-type"], request.headers["x-amzn-lambda-function-name"]
        assert asked == ("Tail", "tiny")
        return Answer(200, request.body + b"one\ntwo\n", {"X-Amz-Log-Length": "8"})

    log = {"log": "one\ntwo\n", "log_source": "rie"}
    expected = [{"body": {"number": number}, **log} for number in range(3)]
    assert told(answers, 3) == expected


def test_a_functions_error_comes_as_aws_gives_it() -> None:
    document = {**SAID, "requestId": "", "stackTrace": ["x" * 600]}
    answer = Answer(502, json.dumps(document).encode(), UNHANDLED)
    assert told(lambda request: answer, PackageType="Image") == [{"body": document, "error": True}]


def test_an_answer_that_is_not_json_is_passed_on_and_none_is_none() -> None:
    assert told(lambda request: Answer(200, b"<html>")) == [{"body": "<html>", "raw_payload": True}]
    assert told(lambda request: Answer(200)) == [{"body": None}]


def test_a_refusal_is_the_functions_error_in_the_hosts_words() -> None:
    kind = {"x-amzn-ErrorType": "RequestTooLargeException"}
    (result,) = told(lambda request: Answer(413, b'{"message": "too large"}', kind))
    error = {"errorMessage": "too large", "errorType": "RequestTooLargeException"}
    assert result == {"body": error, "error": True}


def test_a_throttled_event_is_one_to_the_emulator_too() -> None:
    document = throttled("tiny")
    (result,) = told(lambda request: Answer.of_json(429, document))
    assert result == {"body": document, "error": True, "throttle": True}


def test_a_host_that_prepares_is_waited_for() -> None:
    def answers(request: Request) -> Answer:
        request.hold_on()
        return Answer(200, b"[1]")

    assert told(answers, 2) == [{"body": [1]}] * 2


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n[1"])
def test_a_host_that_ends_in_the_middle_is_a_functions_error(said: bytes) -> None:
    async def ends(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)
        writer.close()
        await writer.wait_closed()

    async def ask() -> Any:
        async with await asyncio.start_server(ends, "127.0.0.1", 0) as server:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/invoke"
            return await asyncio.to_thread(LambdaHost().execute, {}, {}, url, "r-1")

    assert asyncio.run(ask())["body"]["errorType"] == "Runtime.HandlerError"


def test_a_host_that_is_gone_is_a_functions_error() -> None:
    result = LambdaHost().execute({}, {}, "http://127.0.0.1:9/invoke", "r-1")
    assert result["body"]["errorType"] == "Runtime.HandlerError"
    assert "127.0.0.1:9" in result["body"]["errorMessage"]
