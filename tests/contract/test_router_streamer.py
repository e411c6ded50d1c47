"""From a REST API's event to the events of a text, through every part that is ours.

Streamer and model function are processes and loops as on Lambda, with real sockets between them;
only the two services of AWS in the middle are stand-ins.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from modelport.backends.lambda_stream_backend import StreamingLambdaBackend
from modelport.backends.sagemaker_stream_backend import StreamingSageMakerBackend
from modelport.envelope import Request, Response, Stream
from modelport.errors import (
    BackendGoneError,
    ModelFailedError,
    ModelTimeoutError,
)
from modelport.lambda_runtime.api import RuntimeApi
from modelport.lambda_runtime.log_lines import LogLines
from modelport.lambda_runtime.loop import serve
from modelport.routes import Deployment

from functions.router.dispatch import Dispatcher
from functions.router.exchange import Exchange
from functions.router.streamer import answering
from tests.conftest import ROOT
from tests.support import runtime_bundles as bundles
from tests.support.api_events import Event, rest_v1
from tests.support.router_world import SwitchableRegistry, deployed
from tests.support.runtime_api import (
    PATIENCE_S,
    Arriving,
    StreamingRuntimeApi,
    head_and_body,
    runtime_api,
)
from tests.support.runtime_world import HttpRuntime, RuntimeProcess
from tests.support.streaming_lambda import message, streaming_lambda, streaming_sagemaker

STREAM = "/v2/models/demo/generate_stream"
SCRIPT = """
from pathlib import Path

def generate_fn(prompt, parameters, model):
    yield prompt
    with open(Path(__file__).parent / "pipe") as pipe:
        while word := pipe.readline().strip():
            yield word
"""


def client(endpoint: str, read_timeout: float = PATIENCE_S) -> Any:
    config = Config(read_timeout=read_timeout, retries={"total_max_attempts": 1})
    return boto3.client("lambda", endpoint_url=endpoint, config=config)


class Streamer:
    """The streamer's loop over a registry in memory, on a thread of its own."""

    def __init__(self, api: StreamingRuntimeApi, endpoint: str) -> None:
        self.lines: list[Any] = []
        registry = SwitchableRegistry(deployed(3, model="demo"))
        backends = {"lambda": StreamingLambdaBackend(client(endpoint), timeout_s=PATIENCE_S)}
        dispatcher = Dispatcher(
            registry, backends, routes_ttl_s=5, clock=time.monotonic, log=self.lines.append
        )
        answer = answering(Exchange(dispatcher, time.monotonic, self.lines.append))

        def run() -> None:
            lambda_api = RuntimeApi(api.address)
            with closing(lambda_api), suppress(OSError):  # the Runtime API has ended
                serve(lambda_api, answer, {}, LogLines({}))

        self._thread = threading.Thread(target=run)
        self._thread.start()

    def join(self) -> None:
        self._thread.join(PATIENCE_S)


@pytest.fixture
def front() -> Iterator[StreamingRuntimeApi]:
    """What the streamer polls."""
    with runtime_api() as api:
        yield api


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "pipe")
    return tmp_path


@pytest.fixture
def streamer(bundle: Path, front: StreamingRuntimeApi) -> Iterator[Streamer]:
    """A streamer and, behind a Lambda, the function of version 3."""
    settings = bundles.write_bundle(bundle, bundles.DOUBLE, script=SCRIPT)
    with runtime_api() as behind, streaming_lambda(behind.invoke) as endpoint:
        function = RuntimeProcess(
            ["-m", "functions.runtime", "functions.runtime.handler.handler"],
            {**settings.to_env(), "AWS_LAMBDA_RUNTIME_API": behind.address},
        )
        running = Streamer(front, endpoint)
        yield running
        function.close()
        front.events.put(None)
        front.events.put(None)  # it asks once more, on a new connection
        running.join()


def event(path: str = STREAM, document: Any = None, method: str = "POST") -> Event:
    body = json.dumps({"text_input": "a"} if document is None else document).encode()
    sent = rest_v1(method, path, body, {"content-type": "application/json"})
    sent["resource"] = "/v2/models/{model}/generate_stream"
    sent["pathParameters"] = {"model": "demo"}
    return sent


def ask(front: StreamingRuntimeApi, sent: Event) -> Arriving:
    return front.invoke(json.dumps(sent).encode())


def text(piece: bytes | None) -> Any:
    assert piece is not None
    return json.loads(piece.removeprefix(b"data: "))


def test_an_event_reaches_the_gateway_before_the_next_is_made(
    streamer: Streamer, front: StreamingRuntimeApi, bundle: Path
) -> None:
    answer = ask(front, event())
    assert answer.headers["lambda-runtime-function-response-mode"] == "streaming"
    head, rest = head_and_body(answer.chunk() or b"")
    assert rest == b""
    assert head["statusCode"] == 200
    assert head["headers"]["content-type"] == "text/event-stream; charset=utf-8"
    assert head["headers"]["x-modelport-version"] == "3"
    assert head["headers"]["x-modelport-route"] == "default;rev=1"
    assert head["headers"]["cache-control"] == "no-cache"
    assert text(answer.chunk())["text_output"] == "a"
    with open(bundle / "pipe", "w", buffering=1) as pipe:
        for word in ("b", "c"):
            print(word, file=pipe)
            assert text(answer.chunk())["text_output"] == word
    assert answer.chunk() is None
    (line,) = streamer.lines
    assert (line["verb"], line["status"], line["version"]) == ("generate-stream", 200, "3")


@pytest.mark.parametrize(
    ("sent", "status", "said"),
    [
        (event("/v2/models/other/generate_stream"), 404, "other"),
        (event("/v2/models/demo/versions/9/generate_stream"), 404, "version 9"),
        (event(method="GET"), 405, ""),
        (event(document={}), 400, "'text_input' must be a string"),
        (event() | {"body": "a", "isBase64Encoded": True}, 400, "base64"),
    ],
)
def test_a_refusal_is_an_ordinary_answer(
    streamer: Streamer, front: StreamingRuntimeApi, sent: Event, status: int, said: str
) -> None:
    if "versions" in sent["path"]:
        sent = {**sent, "resource": "/v2/models/{model}/versions/{version}/generate_stream"}
    head, body = head_and_body(ask(front, sent).rest())
    assert head["statusCode"] == status
    assert said in json.loads(body)["error"]


def test_a_base_path_of_a_domain_is_not_the_models(
    streamer: Streamer, front: StreamingRuntimeApi, bundle: Path
) -> None:
    (bundle / "pipe").unlink()
    (bundle / "pipe").write_text("")
    sent = event()
    head, _ = head_and_body(ask(front, {**sent, "path": "/ml/eu" + sent["path"]}).rest())
    assert head["statusCode"] == 200


DEPLOYMENT = Deployment(3, "lambda", "modelport-test-demo-v3", "sha256:0", {"timeout_s": 7})


def invoke(endpoint: str, read_timeout: float = PATIENCE_S) -> Response:
    backend = StreamingLambdaBackend(client(endpoint, read_timeout), timeout_s=read_timeout)
    return backend.invoke(DEPLOYMENT, "demo", Request("POST", STREAM, {}, b"{}", "r-1"))


def answered(*chunks: bytes, kind: str = "response", **trailers: str) -> Arriving:
    arriving = Arriving(kind, {}, trailers=trailers)
    for chunk in (*chunks, None):
        arriving.chunks.put(chunk)
    return arriving


HEAD = b'{"statusCode":200,"headers":{"a":"b"}}' + bytes(8)


def test_a_head_in_several_chunks_is_one() -> None:
    with streaming_lambda(lambda payload: answered(HEAD[:9], HEAD[9:-3], HEAD[-3:] + b"x")) as at:
        answer = invoke(at)
        assert (answer.status, answer.headers) == (200, {"a": "b"})
        assert isinstance(answer, Stream)
        assert b"".join(answer.pieces) == b"x"


def test_an_answer_that_is_large_and_no_stream_comes_whole() -> None:
    envelope = json.dumps(Response(200, {"a": "b"}, bytes(range(256)) * 256).to_event()).encode()
    chunks = [envelope[at : at + 4096] for at in range(0, len(envelope), 4096)]
    with streaming_lambda(lambda payload: answered(*chunks)) as at:
        answer = invoke(at)
    assert not isinstance(answer, Stream)
    assert answer.body == bytes(range(256)) * 256


def test_a_function_that_fails_in_the_middle_fails_then() -> None:
    broken = answered(HEAD, b"one", Type="Function.LookupError")
    with streaming_lambda(lambda payload: broken) as at:
        answer = invoke(at)
        assert isinstance(answer, Stream)
        assert next(answer.pieces) == b"one"
        with pytest.raises(ModelFailedError):
            next(answer.pieces)


@pytest.mark.parametrize(
    "answer",
    [answered(b"{}", kind="error"), answered(b"no json"), answered(b"nothing" + bytes(8))],
)
def test_an_answer_that_is_none_is_the_models_failure(answer: Arriving) -> None:
    with streaming_lambda(lambda payload: replace(answer)) as at, pytest.raises(ModelFailedError):
        invoke(at)


def test_a_function_that_says_nothing_is_given_up() -> None:
    silent = Arriving("response", {})
    with streaming_lambda(lambda payload: silent) as at:
        with pytest.raises(ModelTimeoutError):
            invoke(at, 0.2)
        silent.chunks.put(None)


def test_a_lambda_that_is_gone_is_told() -> None:
    with streaming_lambda(lambda payload: answered()) as at:
        gone = at
    with pytest.raises(BackendGoneError):
        invoke(gone)


def through_sagemaker(endpoint: str) -> Stream:
    def new() -> Any:
        config = Config(read_timeout=PATIENCE_S, retries={"total_max_attempts": 1})
        return boto3.client("sagemaker-runtime", endpoint_url=endpoint, config=config)

    body = json.dumps({"text_input": "a"}).encode()
    path = "/v2/models/demo/versions/3/generate_stream"
    request = Request("POST", path, {"content-type": "application/json"}, body, "r-1")
    deployment = Deployment(3, "sagemaker", "modelport-test-demo-v3", "sha256:0")
    answer = StreamingSageMakerBackend(new).invoke(deployment, "demo", request)
    assert isinstance(answer, Stream)
    return answer


@pytest.fixture
def container(bundle: Path) -> Iterator[HttpRuntime]:
    running = HttpRuntime(bundles.write_bundle(bundle, bundles.DOUBLE, script=SCRIPT)).ready()
    yield running
    running.close()


def test_an_event_of_an_endpoint_arrives_before_the_next_is_made(
    container: HttpRuntime, bundle: Path
) -> None:
    with streaming_sagemaker(container.port) as endpoint:
        answer = through_sagemaker(endpoint)
        assert answer.status == 200
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert answer.headers["x-modelport-version"] == "3"
        assert text(next(answer.pieces))["text_output"] == "a"
        (bundle / "pipe").write_text("b\n")
        assert text(next(answer.pieces))["text_output"] == "b"
        assert next(answer.pieces, None) is None


def test_an_endpoint_that_breaks_its_stream_off_is_the_models_failure(
    container: HttpRuntime, bundle: Path
) -> None:
    (bundle / "pipe").unlink()
    (bundle / "pipe").write_text("")
    broken = message("ModelStreamError", b'{"Message":"secret","ErrorCode":"X"}', "exception")
    with streaming_sagemaker(container.port, broken) as endpoint:
        answer = through_sagemaker(endpoint)
        assert text(next(answer.pieces))["text_output"] == "a"
        with pytest.raises(ModelFailedError) as caught:
            next(answer.pieces)
    assert "secret" not in caught.value.message


def started(api: StreamingRuntimeApi, environ: dict[str, str]) -> subprocess.Popen[bytes]:
    """The program that Lambda would start, as Lambda would start it."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.Popen(
        [str(ROOT / "functions/router/stream"), sys.executable, "/var/runtime/bootstrap.py"],
        env={
            **inherited,
            "LAMBDA_TASK_ROOT": str(ROOT),
            "PYTHONPATH": str(ROOT / "layers/core/python"),
            "AWS_LAMBDA_RUNTIME_API": api.address,
            **environ,
        },
        cwd="/",
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def test_the_wrapper_starts_it_with_lambdas_interpreter(front: StreamingRuntimeApi) -> None:
    aws = {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }
    told = {"MODELPORT_BUCKET": "b", "MODELPORT_ENVIRONMENT": "test", **aws}
    process = started(front, told)
    try:
        head, body = head_and_body(ask(front, event()).rest())
        assert head["statusCode"] == 503
        assert "the registry cannot be reached" in json.loads(body)["error"]
    finally:
        process.kill()
        process.wait(PATIENCE_S)


def test_a_setting_that_is_missing_is_an_init_error_naming_it(front: StreamingRuntimeApi) -> None:
    process = started(front, {"MODELPORT_BUCKET": ""})
    report = json.loads(front.arriving.get(timeout=PATIENCE_S).rest())
    assert process.wait(PATIENCE_S) == 1
    assert report["errorType"] == "InvalidSettingError"
    assert "MODELPORT_BUCKET" in report["errorMessage"]
