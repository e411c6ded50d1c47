"""A model function on Lambda that sends text while it is made: its own process, real sockets."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from modelport.envelope import Request, Response, Stream
from modelport.lambda_runtime.streams import send

from tests.support import runtime_bundles as bundles
from tests.support.runtime_api import StreamingRuntimeApi, head_and_body, runtime_api
from tests.support.runtime_world import RuntimeProcess

STREAM = "/v2/models/demo/versions/3/generate_stream"
SCRIPT = """
from pathlib import Path

def generate_fn(prompt, parameters, model):
    yield prompt
    with open(Path(__file__).parent / "pipe") as pipe:
        while word := pipe.readline().strip():
            if word == "fail":
                raise RuntimeError("secret")
            yield word
"""


@pytest.fixture
def api() -> Iterator[StreamingRuntimeApi]:
    with runtime_api() as api:
        yield api


@pytest.fixture
def function(tmp_path: Path, api: StreamingRuntimeApi) -> Iterator[Path]:
    """The folder of a running function's bundle."""
    os.mkfifo(tmp_path / "pipe")
    settings = bundles.write_bundle(tmp_path, bundles.DOUBLE, script=SCRIPT)
    process = RuntimeProcess(
        ["-m", "functions.runtime", "functions.runtime.handler.handler"],
        {**settings.to_env(), "AWS_LAMBDA_RUNTIME_API": api.address},
    )
    yield tmp_path
    process.close()


def asked(path: str = STREAM, *, streams: bool = True) -> bytes:
    body = json.dumps({"text_input": "a"}).encode()
    return Request("POST", path, {}, body, "r-1").to_event(streams=streams)


def text(event: bytes | None) -> Any:
    assert event is not None
    return json.loads(event.removeprefix(b"data: "))


def test_each_event_is_sent_before_the_next_is_made(
    function: Path, api: StreamingRuntimeApi
) -> None:
    answer = api.invoke(asked())
    assert answer.kind == "response"
    assert answer.headers["lambda-runtime-function-response-mode"] == "streaming"
    kind = "application/vnd.awslambda.http-integration-response"
    assert answer.headers["content-type"] == kind
    head, _ = head_and_body(answer.chunk() or b"")
    assert head["statusCode"] == 200
    assert head["headers"]["content-type"] == "text/event-stream; charset=utf-8"
    assert head["headers"]["x-modelport-version"] == "3"
    assert text(answer.chunk())["text_output"] == "a"
    with open(function / "pipe", "w", buffering=1) as pipe:
        print("b", file=pipe)
        assert text(answer.chunk())["text_output"] == "b"
        print("fail", file=pipe)
        assert "failed on this request" in text(answer.chunk())["error"]
    assert answer.chunk() is None
    assert not answer.trailers


def test_who_takes_no_stream_gets_all_events_in_one_envelope(
    function: Path, api: StreamingRuntimeApi
) -> None:
    (function / "pipe").unlink()
    (function / "pipe").write_text("b\n")
    answer = Response.from_event(api.invoke(asked(streams=False)).rest())
    assert answer.headers["x-modelport-buffered"] == "true"
    assert answer.body.count(b"data: ") == 2


def test_an_error_before_the_first_event_is_an_envelope(
    function: Path, api: StreamingRuntimeApi
) -> None:
    wrong = Request("POST", STREAM, {}, b"{}", "r-1").to_event(streams=True)
    assert Response.from_event(api.invoke(wrong).rest()).status == 400
    other = asked("/v2/models/demo/versions/4/generate_stream")
    assert Response.from_event(api.invoke(other).rest()).status == 404


def test_what_fails_while_it_is_sent_is_told_in_trailers(api: StreamingRuntimeApi) -> None:
    def pieces() -> Any:
        yield b"one"
        raise LookupError("secret")

    api.events.put(b"{}")
    send(api.address, "request-1", Stream(200, {}, pieces=pieces()))
    answer = api.arriving.get()
    assert head_and_body(answer.rest()) == ({"statusCode": 200, "headers": {}}, b"one")
    assert answer.trailers["Lambda-Runtime-Function-Error-Type"] == "Function.LookupError"
    assert "secret" not in str(answer.trailers)


def test_a_runtime_api_that_is_gone_ends_the_making() -> None:
    closed = []

    def pieces() -> Any:
        try:
            yield b"one"
        finally:
            closed.append(True)

    with runtime_api() as api:
        address = api.address
    made = pieces()
    next(made)
    send(address, "request-1", Stream(200, {}, pieces=made))
    assert closed
