"""The HTTP server as a process: start, readiness, limits, shutdown, and starts that fail."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from modelport.envelope import Request

from tests.support import runtime_bundles as bundles
from tests.support.runtime_world import PATIENCE_S, HttpRuntime

V1 = "/v1/models/demo/versions/3:predict"
ROWS = json.dumps({"instances": [[1, 2]]}).encode()

# Holds loading, or a request, until a file appears beside the script.
WAITING = """
import time
from pathlib import Path

def wait_for(name):
    while not (Path(__file__).parent / name).exists():
        time.sleep(0.01)

def model_fn(model_dir):
    wait_for("load")
    return lambda data: {"done": True}

def input_fn(data, content_type):
    print("request has arrived", flush=True)
    wait_for("answer")
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[HttpRuntime]:
    runtime = HttpRuntime(
        bundles.write_bundle(tmp_path, bundles.DOUBLE), {"SAGEMAKER_MAX_PAYLOAD_IN_MB": "1"}
    )
    yield runtime.ready()
    runtime.close()


@pytest.fixture
def waiting(tmp_path: Path) -> Iterator[HttpRuntime]:
    runtime = HttpRuntime(bundles.write_bundle(tmp_path, bundles.DOUBLE, script=WAITING))
    yield runtime
    (tmp_path / "load").touch()
    (tmp_path / "answer").touch()
    runtime.close()


def test_it_says_not_yet_while_the_model_loads(waiting: HttpRuntime, tmp_path: Path) -> None:
    for path in ("/ping", "/v2/health/ready", "/v1/models/demo"):
        response = waiting.send(Request("GET", path))
        assert response.status == 503
        assert response.headers["retry-after"] == "1"
        assert response.headers["x-modelport-version"] == "3"
    assert waiting.send(Request("GET", "/v2/health/live")).status == 200
    (tmp_path / "load").touch()
    waiting.wait_for("ready:")
    assert waiting.send(Request("GET", "/ping")).status == 200


def test_ping_answers_while_a_request_computes_and_sigterm_lets_it_finish(
    waiting: HttpRuntime, tmp_path: Path
) -> None:
    (tmp_path / "load").touch()
    waiting.wait_for("ready:")
    answers = []
    sender = threading.Thread(
        target=lambda: answers.append(waiting.send(Request("POST", "/invocations", {}, b"x")))
    )
    sender.start()
    waiting.wait_for("request has arrived")
    assert waiting.send(Request("GET", "/ping")).status == 200
    waiting.signal(signal.SIGTERM)
    (tmp_path / "answer").touch()
    sender.join(PATIENCE_S)
    assert json.loads(answers[0].body) == {"done": True}
    assert waiting.exit_code() == 0


def test_sigterm_ends_an_idle_server_with_0(server: HttpRuntime) -> None:
    assert server.stop() == 0


def test_a_body_over_the_limit_says_number_limit_and_way_out(server: HttpRuntime) -> None:
    body = b"x" * (2 * 1024 * 1024)
    response = server.send(Request("POST", V1, {}, body))
    assert response.status == 413
    message = json.loads(response.body)["error"]
    assert "2,097,152" in message
    assert "1,048,576" in message
    assert "SAGEMAKER_MAX_PAYLOAD_IN_MB" in message
    assert server.send(Request("POST", V1, {}, ROWS)).status == 200


def test_a_chunked_body_over_the_limit_is_refused_too(server: HttpRuntime) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE_S)
    pieces = (b"x" * 65_536 for _ in range(20))
    connection.request("POST", V1, pieces, encode_chunked=True)
    response = connection.getresponse()
    assert response.status == 413
    response.read()
    connection.close()


def test_a_declared_size_far_over_the_limit_is_refused_before_it_is_sent(
    server: HttpRuntime,
) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_S) as client:
        head = f"POST {V1} HTTP/1.1\r\nhost: m\r\ncontent-length: 900000000000\r\n\r\n"
        client.sendall(head.encode())
        assert client.recv(65_536).startswith(b"HTTP/1.1 413 ")


def test_a_client_that_hangs_up_early_harms_nobody(server: HttpRuntime) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_S) as client:
        client.sendall(f"POST {V1} HTTP/1.1\r\nhost: m\r\ncontent-length: 10\r\n\r\nabc".encode())
    assert server.send(Request("POST", V1, {}, ROWS)).status == 200
    assert "Traceback" not in server.log


def test_query_strings_and_encoded_colons_are_understood(server: HttpRuntime) -> None:
    path = V1.replace(":", "%3A") + "?dialect=tfs"
    assert server.send(Request("POST", path, {}, ROWS)).status == 200


def test_head_answers_without_a_body(server: HttpRuntime) -> None:
    response = server.send(Request("HEAD", "/v1/models/demo"))
    assert (response.status, response.body) == (200, b"")


def test_request_ids_that_could_forge_a_log_line_are_replaced(server: HttpRuntime) -> None:
    response = server.send(Request("GET", "/nowhere", {"x-request-id": "a b"}, b"", "é"))
    assert response.headers["x-modelport-request-id"].isalnum()
    assert len(response.headers["x-modelport-request-id"]) == 32


def test_many_callers_at_once_each_get_their_own_answer(server: HttpRuntime) -> None:
    wrong = []

    def call(number: int) -> None:
        body = json.dumps({"instances": [[number, number]]}).encode()
        answer = json.loads(server.send(Request("POST", V1, {}, body)).body)
        if answer != {"predictions": [[2.0 * number, 2.0 * number]]}:
            wrong.append(answer)

    callers = [threading.Thread(target=call, args=(number,)) for number in range(32)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(PATIENCE_S)
    assert not wrong


def test_a_bundle_of_another_version_ends_the_process_with_1(tmp_path: Path) -> None:
    settings = bundles.write_bundle(tmp_path, bundles.DOUBLE)
    runtime = HttpRuntime(replace(settings, version=4))
    assert runtime.exit_code() == 1
    assert "version of the bundle" in runtime.log
    assert "expected 4, got 3" in runtime.log


def test_a_script_that_cannot_be_imported_ends_the_process_with_1(tmp_path: Path) -> None:
    settings = bundles.write_bundle(tmp_path, bundles.DOUBLE, script="import not_installed\n")
    runtime = HttpRuntime(settings)
    assert runtime.exit_code() == 1
    assert "inference.py: it fails at load with ModuleNotFoundError" in runtime.log


@pytest.mark.parametrize(
    "script",
    ["import sys\nsys.exit(0)\n", "def model_fn(model_dir):\n    raise SystemExit('no licence')\n"],
)
def test_a_script_that_exits_at_load_ends_the_process_with_1(tmp_path: Path, script: str) -> None:
    runtime = HttpRuntime(bundles.write_bundle(tmp_path, bundles.DOUBLE, script=script))
    assert runtime.exit_code() == 1
    assert "inference.py: it fails at load with SystemExit" in runtime.log


def test_a_taken_port_is_a_clear_error(tmp_path: Path) -> None:
    settings = bundles.write_bundle(tmp_path, bundles.DOUBLE)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        runtime = HttpRuntime(settings, {"SAGEMAKER_BIND_TO_PORT": str(port)})
        assert runtime.exit_code() == 1
    assert f"cannot listen on 127.0.0.1:{port}" in runtime.log


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SAGEMAKER_BIND_TO_PORT", "http"),
        ("SAGEMAKER_MAX_PAYLOAD_IN_MB", "-1"),
        ("MODELPORT_LOG_LEVEL", "LOUD"),
        ("MODELPORT_VERSION", ""),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(tmp_path: Path, name: str, value: str) -> None:
    runtime = HttpRuntime(bundles.write_bundle(tmp_path, bundles.DOUBLE), {name: value})
    assert runtime.exit_code() == 1
    assert name in runtime.log
    assert "Traceback" not in runtime.log
