"""What the transports add to the data plane, in process: sizes, bodies, ids, log lines."""

from __future__ import annotations

import ast
import asyncio
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from modelport import errors
from modelport.envelope import Request, Response
from modelport.errors import InvalidSettingError, PayloadTooLargeError
from modelport.grammar import Call

from functions.runtime.application import Application
from functions.runtime.codecs import CODECS
from functions.runtime.data_plane import DataPlane
from functions.runtime.failures import failure
from functions.runtime.lambda_transport import (
    MAX_ANSWER,
    answer_size,
    check_answer_size,
    lambda_handler,
)
from functions.runtime.server import ServerSettings, main
from tests.conftest import ROOT
from tests.support import runtime_bundles as bundles
from tests.support.runtime_connections import Caller, asked, chunked, exchanged
from tests.support.runtime_planes import V1, Plane, open_plane

CONTEXT = SimpleNamespace(aws_request_id="from-lambda")


def encoded_size(body: bytes) -> int:
    """What awslambdaric writes of an answer, in its more wasteful way."""
    return len(json.dumps(Response(200, {}, body).to_event()))


# --- Lambda ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("piece", "count"),
    [(b"", 0), (b"plain", 1), (b'"', 2_000_000), ("é".encode(), 900_000), (b"\xff", 1_500_000)],
)
def test_the_size_of_an_answer_is_never_underestimated(piece: bytes, count: int) -> None:
    body = piece * count
    assert encoded_size(body) <= answer_size(body) <= encoded_size(body) + 4096


def test_what_lambda_cannot_carry_is_refused() -> None:
    check_answer_size(Response(200, {}, b"x" * (MAX_ANSWER - 8192)))
    for body in (b"x" * MAX_ANSWER, b"\xff" * (MAX_ANSWER // 4 * 3)):
        with pytest.raises(PayloadTooLargeError, match="6,291,456"):
            check_answer_size(Response(200, {}, body))


def test_the_lambda_handler_answers_whatever_comes() -> None:
    handler: Any = lambda_handler(lambda request: Response(200, {}, request.request_id.encode()))
    event = json.loads(Request("GET", "/", request_id="own").to_event())
    assert handler(event, CONTEXT)["body"] == "own"
    del event["request_id"]
    assert handler(event, CONTEXT)["body"] == "from-lambda"
    answer = handler({"version": "2.0", "rawPath": "/"}, CONTEXT)
    assert answer["status"] == 400
    assert answer["headers"]["x-modelport-request-id"] == "from-lambda"


# --- HTTP -----------------------------------------------------------------------------------------


@pytest.fixture
def echo() -> Iterator[Application]:
    application = Application({"x-modelport-model": "demo"}, max_body=10)

    def handle(request: Request) -> Response:
        return Response(200, {"id": request.request_id, "path": request.path}, request.body)

    application.ready(handle)
    yield application
    application.close()


def test_bodies_arrive_whole(echo: Application) -> None:
    (response,) = exchanged(echo, chunked(b"ab", b"c"))
    assert (response.body, response.headers["content-length"]) == (b"abc", "3")


def test_the_raw_path_is_kept_with_its_query_and_without_a_fragment(echo: Application) -> None:
    (response,) = exchanged(echo, asked(b"", "/a%3Ab?c=d#e", method="GET"))
    assert response.headers["path"] == "/a%3Ab?c=d"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"X-Modelport-Request-Id": "a", "x-request-id": "b"}, "a"),
        ({"x-amzn-sagemaker-inference-id": "c"}, "c"),
        ({"x-request-id": "two words"}, None),
        ({"x-request-id": "x" * 129}, None),
        ({}, None),
    ],
)
def test_a_safe_request_id_is_kept_and_any_other_replaced(
    echo: Application, headers: dict[str, str], expected: str | None
) -> None:
    first, second = (
        answer.headers["id"] for answer in exchanged(echo, *[asked(b"", **headers)] * 2)
    )
    assert first == expected or (expected is None and len(first) == 32 and first != second)


@pytest.mark.parametrize(
    ("sent", "size"),
    [
        ([chunked(b"x" * 6, b"x" * 6)], "12"),
        ([asked(b"x" * 12)], "12"),
        ([b"POST /p HTTP/1.1\r\ncontent-length: 1000\r\n\r\n"], "1,000"),
        ([b"POST /p HTTP/1.1\r\ncontent-length: 12\r\nexpect: 100-continue\r\n\r\n"], "12"),
        ([chunked(b"x" * 30, b"x" * 11, end=b"")], "41"),
    ],
)
def test_bodies_over_the_limit_are_413(echo: Application, sent: list[bytes], size: str) -> None:
    (response,) = exchanged(echo, *sent)
    assert response.status == 413
    assert f"the request body is {size} bytes; the limit is 10 bytes" in response.body.decode()
    assert response.headers["connection"] == "close"
    assert response.headers["x-modelport-model"] == "demo"


def test_a_caller_who_hangs_up_gets_nothing(echo: Application) -> None:
    async def hang_up() -> bytes:
        caller = Caller(echo)
        caller.send(b"POST /p HTTP/1.1\r\ncontent-length: 3\r\n\r\na")
        caller.leave()
        return caller.wire.written

    assert asyncio.run(hang_up()) == b""


def test_before_it_is_ready_it_says_so() -> None:
    application = Application({"x-modelport-model": "demo"}, max_body=10)
    loading, live, predict = exchanged(
        application,
        asked(b"", "/ping", method="GET"),
        asked(b"", "/v2/health/live", method="GET"),
        asked(b"{}", V1),
    )
    application.close()
    assert (loading.status, loading.headers["retry-after"], live.status) == (503, "1", 200)
    assert predict.status == 503


def test_server_settings_are_the_platforms_own() -> None:
    environ = {
        "MODELPORT_HOST": "127.0.0.1",
        "SAGEMAKER_BIND_TO_PORT": "9",
        "SAGEMAKER_MAX_PAYLOAD_IN_MB": "1",
    }
    assert ServerSettings.from_env(environ) == ServerSettings("127.0.0.1", 9, 1024 * 1024)
    defaults = ServerSettings("0.0.0.0", 8080, 100 * 1024 * 1024)
    assert ServerSettings.from_env({}) == defaults
    assert ServerSettings.from_env({"SAGEMAKER_MAX_PAYLOAD_IN_MB": "0"}) == defaults
    for name in ("SAGEMAKER_BIND_TO_PORT", "SAGEMAKER_MAX_PAYLOAD_IN_MB"):
        for value in ("x", "-1", "1.5", "99999999"):
            with pytest.raises(InvalidSettingError, match=name):
                ServerSettings.from_env({name: value})


def test_the_command_line_is_serve_or_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train"], {}) == 2
    assert main(["serve"], {}) == 1
    assert "usage: " in (err := capsys.readouterr().err)
    assert "MODELPORT_MODEL" in err


# --- data plane -----------------------------------------------------------------------------------


def logged(plane: Plane, request: Request, caplog: pytest.LogCaptureFixture) -> dict[str, Any]:
    caplog.clear()
    with caplog.at_level(logging.DEBUG, "functions.runtime"):
        plane.plane.handle(request)
    (record,) = [record for record in caplog.records if hasattr(record, "request")]
    return dict(record.request) | {"level": record.levelname}


def test_the_first_prediction_is_the_cold_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plane = open_plane(tmp_path, bundles.DOUBLE)
    ping = logged(plane, Request("GET", "/ping"), caplog)
    assert (ping["cold_start"], ping["level"]) == (False, "DEBUG")
    predict = Request("POST", V1, {}, b'{"instances":[[1,2]]}', "one")
    lines = [logged(plane, predict, caplog) for _ in range(2)]
    assert [line["cold_start"] for line in lines] == [True, False]
    assert [line["level"] for line in lines] == ["INFO", "INFO"]


def test_a_request_nobody_understands_is_logged_too(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    line = logged(open_plane(tmp_path, bundles.DOUBLE), Request("GET", "/x"), caplog)
    assert (line["protocol"], line["verb"], line["status"]) == ("unknown", "unknown", 404)


def test_a_bug_of_ours_is_an_answer_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        def describe(self, call: Call, request: Request, subject: object) -> None:
            raise RuntimeError("bug")

    loaded = open_plane(tmp_path, bundles.DOUBLE).plane
    plane = DataPlane(loaded.subject, loaded.model, codecs={**CODECS, "v2": Broken()})  # type: ignore[dict-item]
    response = plane.handle(Request("GET", "/v2", {}, b"", "id-9"))
    assert response.status == 500
    assert b"bug" not in response.body
    assert response.headers["x-modelport-version"] == "3"
    assert "RuntimeError: bug" in caplog.text


def test_a_path_of_half_a_character_is_refused_like_any_other(tmp_path: Path) -> None:
    plane = open_plane(tmp_path, bundles.DOUBLE)
    event = json.loads(Request("GET", "/half", request_id="id-1").to_event())
    response = plane.plane.handle(Request.from_event({**event, "path": "/\ud800"}))
    assert response.status == 404
    assert json.loads(response.body)["error"].startswith("Malformed request: GET /\\ud800;")


def test_an_answer_its_transport_refuses_becomes_that_error(tmp_path: Path) -> None:
    loaded = open_plane(tmp_path, bundles.DOUBLE).plane

    def refuse(response: Response) -> None:
        raise PayloadTooLargeError(2, 1, "the answer")

    plane = DataPlane(loaded.subject, loaded.model, check=refuse)
    assert plane.handle(Request("GET", "/v2")).status == 413


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/v1/models/other:predict", "model-not-found"),
        ("/v2/models/demo/versions/4/infer", "version-not-found"),
        ("/endpoints/demo/versions/canary/invocations", "alias-not-found"),
    ],
)
def test_calls_for_another_version_are_404(tmp_path: Path, path: str, code: str) -> None:
    response = open_plane(tmp_path, bundles.DOUBLE).post(path, {"instances": [[1, 2]]})
    assert (response.status, response.headers["x-modelport-error"]) == (404, code)


@pytest.mark.parametrize(
    ("path", "part"),
    [
        ("/", '"alive"'),
        ("/v1/models", '"models":["demo"]'),
        ("/v1/models/demo/labels/any", '"error"'),
        ("/v1/models/demo", '"state":"AVAILABLE"'),
        ("/v1/models/demo/metadata", '"dtype":"DT_FLOAT"'),
        ("/v2/models/demo/versions/3", '"platform":"onnx_onnxv1"'),
    ],
)
def test_questions_are_answered_and_head_says_the_same_without_a_body(
    tmp_path: Path, path: str, part: str
) -> None:
    plane = open_plane(tmp_path, bundles.DOUBLE).plane
    answer, head = plane.handle(Request("GET", path)), plane.handle(Request("HEAD", path))
    assert part in answer.body.decode()
    assert (head.status, head.headers, head.body) == (answer.status, answer.headers, b"")


def test_a_model_that_raises_is_an_answer_without_its_details(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plane = open_plane(tmp_path, bundles.MATCH)
    message = plane.refusal(V1, {"inputs": {"a": [1, 2, 3], "b": [1, 2]}}, status=500)
    assert message == (
        "model demo version 3 failed on this request; its log has the details under request id id-1"
    )
    assert "broadcast" in caplog.text


def test_the_wrong_verb_is_405_with_the_right_one(tmp_path: Path) -> None:
    plane = open_plane(tmp_path, bundles.DOUBLE).plane
    for method in ("GET", "DELETE"):
        response = plane.handle(Request(method, V1))
        assert (response.status, response.headers["allow"]) == (405, "POST")


# --- errors, logs, imports ------------------------------------------------------------------------


def test_what_the_version_is_made_of_is_for_its_log_and_not_for_callers(
    caplog: pytest.LogCaptureFixture,
) -> None:
    response = failure(errors.IntegrityError("weights.bin", "a", "b"), "id-1")
    assert (response.status, response.headers["x-modelport-error"]) == (500, "integrity")
    assert b"weights.bin" not in response.body
    assert "id-1: weights.bin: expected a, got b" in caplog.text


IMPORTED = """
import sys
import {module}
names = {{name.partition(".")[0] for name, module in sys.modules.items() if module is not None}}
print(sorted(names - set(sys.stdlib_module_names)))
"""
OURS = {"functions", "modelport", "__main__"}


@pytest.mark.parametrize(
    ("module", "allowed"),
    [
        ("functions.runtime.lambda_transport", {"orjson"}),
        ("functions.runtime.loading", {"orjson", "numpy"}),
        ("functions.runtime.application", {"orjson"}),
        ("functions.runtime.http.connection", {"orjson"}),
        ("functions.runtime.server", {"orjson"}),
    ],
)
def test_a_fresh_interpreter_imports_only_what_is_allowed(module: str, allowed: set[str]) -> None:
    path = os.pathsep.join([str(ROOT), str(ROOT / "layers" / "core" / "python")])
    code = IMPORTED.format(module=module)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**clean, "PYTHONPATH": path},
        check=True,
        capture_output=True,
        text=True,
    )
    imported = set(ast.literal_eval(done.stdout))
    # Path hooks of editable installs are the development environment's, not the program's.
    strangers = {n for n in imported - OURS - allowed if not n.startswith(("_", "sitecustomize"))}
    assert not strangers
