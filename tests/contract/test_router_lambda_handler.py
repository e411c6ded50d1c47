"""The router as Lambda runs it: built from its environment, real S3 and Lambda clients."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from modelport.envelope import Response
from modelport.registry.s3 import S3Registry
from modelport.routes import Deployment, Routes
from modelport.settings import RouterSettings

from functions.router.handler import Handler, build
from tests.conftest import ROOT
from tests.support.api_events import answer_body, http_v2, rest_v1
from tests.support.lambda_api import LambdaApi, lambda_api, model
from tests.support.registry_world import ADA, BUCKET, make_draft, s3_client, s3_process

MODEL = "iris"
NAME = "modelport-test-iris-v1"
ENVIRONMENT = RouterSettings(BUCKET, "test", routes_ttl_s=0.001).to_env()


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with s3_process(tmp_path_factory.mktemp("s3")) as endpoint:
        client = s3_client(endpoint)
        client.create_bucket(Bucket=BUCKET)
        registry = S3Registry(client, BUCKET)
        draft = make_draft(tmp_path_factory.mktemp("draft"), model=b"weights")
        manifest = registry.publish(MODEL, draft, who=ADA)
        deployment = Deployment(1, "lambda", NAME, manifest.digest)

        def deploy(routes: Routes) -> Routes:
            return routes.with_deployment(deployment)

        registry.change(MODEL, deploy, action="deploy", detail={}, who=ADA)
        yield endpoint


@pytest.fixture
def functions() -> Iterator[LambdaApi]:
    with lambda_api() as running:
        running.functions[NAME] = model(lambda request: Response(200, {}, request.body))
        yield running


@pytest.fixture
def loop() -> Iterator[None]:
    """Lambda's main thread has an event loop; tests clean theirs up."""
    own = asyncio.new_event_loop()
    asyncio.set_event_loop(own)
    yield
    asyncio.set_event_loop(None)
    own.close()


@pytest.fixture
def handle(s3: str, functions: LambdaApi, monkeypatch: pytest.MonkeyPatch, loop: None) -> Handler:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3)
    monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", functions.endpoint)
    return build({**os.environ, **ENVIRONMENT})


@pytest.mark.parametrize("event", [http_v2, rest_v1])
@pytest.mark.parametrize("body", [b'{"inputs":[]}', b"\x00\xff"])
def test_from_gateway_event_to_model_and_back(handle: Handler, event: Any, body: bytes) -> None:
    kind = "application/json" if body.startswith(b"{") else "application/octet-stream"
    sent = event("POST", f"/v2/models/{MODEL}/infer", body, {"content-type": kind})
    answer = handle(sent, None)
    assert (answer["statusCode"], answer_body(answer)) == (200, body)
    assert answer["headers"]["x-modelport-version"] == "1"


def test_metadata_comes_from_the_registry(handle: Handler, functions: LambdaApi) -> None:
    answer = handle(http_v2("GET", f"/v2/models/{MODEL}"), None)
    document = json.loads(answer_body(answer))
    assert document["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}]
    assert functions.payloads == []
    assert handle(http_v2("GET", "/v2/models/ghost"), None)["statusCode"] == 404
    assert handle(http_v2("GET", "/v2/health/ready"), None)["statusCode"] == 200


def test_every_request_is_one_line_of_json_on_standard_output(
    handle: Handler, capsys: pytest.CaptureFixture[str]
) -> None:
    handle(http_v2("POST", f"/v2/models/{MODEL}/infer", b"{}"), None)
    handle(http_v2("GET", "/nowhere"), None)
    first, second = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (first["status"], first["model"], first["cold_start"]) == (200, MODEL, True)
    assert (second["status"], second["error"]) == (404, "route-not-found")


def closed_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def test_s3_that_is_down_at_the_start_is_503_with_retry_after(
    functions: LambdaApi, monkeypatch: pytest.MonkeyPatch, loop: None
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", closed_port())
    monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", functions.endpoint)
    answer = build({**os.environ, **ENVIRONMENT})(
        http_v2("POST", f"/v2/models/{MODEL}/infer", b"{}"), None
    )
    assert (answer["statusCode"], answer["headers"]["retry-after"]) == (503, "2")
    assert functions.payloads == []


def run(program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run ``program`` in a fresh interpreter that knows only this environment."""
    path = f"{ROOT / 'layers/core/python'}:{ROOT}"
    known = {"PYTHONPATH": path, "AWS_DEFAULT_REGION": "us-east-1", **environment}
    command = [sys.executable, "-c", f"import functions.router.handler as h\n{program}"]
    return subprocess.run(command, env=known, capture_output=True, text=True, check=False)


def test_outside_lambda_an_import_builds_nothing_and_the_first_event_builds_once() -> None:
    call = f"h.handler({http_v2('GET', '/v2/health/live')!r}, None)"
    program = f"print(h._handler); {call}; first = h._handler; {call}; print(h._handler is first)"
    done = run(program, **ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    first, *lines, last = done.stdout.splitlines()
    assert (first, last) == ("None", "True")
    assert [json.loads(line)["cold_start"] for line in lines] == [True, False]


def test_in_lambda_the_import_builds_and_names_a_missing_setting() -> None:
    complete = run("print(h._handler)", AWS_LAMBDA_FUNCTION_NAME="router", **ENVIRONMENT)
    assert "handle" in complete.stdout, complete.stderr
    failed = run("", AWS_LAMBDA_FUNCTION_NAME="router")
    assert failed.returncode != 0
    assert "MODELPORT_BUCKET" in failed.stderr
