"""Text over HTTP while it is made: events one by one, callers who leave, drains, deadlines."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from modelport.envelope import Request, Response
from modelport.sagemaker_envelope import HEADER, attributes_of, unwrapped

from tests.support import runtime_bundles as bundles
from tests.support.runtime_world import PATIENCE_S, HttpRuntime

STREAM = "/v2/models/demo/versions/3/generate_stream"
GENERATE = "/v2/models/demo/generate"
#: Each piece after the first is made when the test has written a byte into a pipe.
SCRIPT = """
from pathlib import Path

here = Path(__file__).parent

def generate_fn(prompt, parameters, model):
    yield prompt
    if prompt == "short":
        return
    try:
        if prompt == "endless":
            while True:
                yield "x" * 65_536
        with open(here / "pipe") as pipe:
            while word := pipe.readline().strip():
                if word == "fail":
                    raise RuntimeError("secret")
                yield word
    except GeneratorExit:
        print(f"{prompt} was closed", flush=True)
        raise
    print(f"{prompt} is done", flush=True)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "pipe")
    return tmp_path


@pytest.fixture
def server(folder: Path) -> Iterator[HttpRuntime]:
    runtime = HttpRuntime(bundles.write_bundle(folder, bundles.DOUBLE, script=SCRIPT))
    yield runtime.ready()
    runtime.close()


Call = Callable[..., "Reader"]


class Reader:
    """A caller that takes one event at a time."""

    def __init__(
        self, port: int, prompt: str, path: str = STREAM, headers: dict[str, str] | None = None
    ) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
        body = json.dumps({"text_input": prompt}).encode()
        self._connection.request("POST", path, body, headers or {})
        self.answer = self._connection.getresponse()

    def event(self) -> Any:
        """The next event's document; None at the end."""
        line = self.answer.readline()
        if not line:
            return None
        assert self.answer.readline() == b"\n"
        return json.loads(line.removeprefix(b"data: "))

    def text(self) -> str:
        return str(self.event()["text_output"])

    def leave(self) -> None:
        self.answer.close()
        self._connection.close()


@pytest.fixture
def call() -> Iterator[Call]:
    """Makes callers that have left by the end."""
    with ExitStack() as callers:

        def make(*arguments: Any) -> Reader:
            reader = Reader(*arguments)
            callers.callback(reader.leave)
            return reader

        yield make


def test_each_event_arrives_before_the_next_is_made(
    server: HttpRuntime, folder: Path, call: Call
) -> None:
    reader = call(server.port, "a")
    assert reader.answer.status == 200
    assert reader.answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert reader.answer.headers["x-modelport-version"] == "3"
    assert reader.text() == "a"
    with open(folder / "pipe", "w", buffering=1) as pipe:
        for word in ("b", "c"):
            print(word, file=pipe)
            assert reader.text() == word
            assert server.send(Request("GET", "/ping")).status == 200
    assert reader.event() is None
    server.wait_for('"verb":"generate-stream"')


def test_an_error_after_the_first_event_is_an_event(
    server: HttpRuntime, folder: Path, call: Call
) -> None:
    reader = call(server.port, "a")
    assert reader.text() == "a"
    (folder / "pipe").write_text("fail\n")
    assert "failed on this request" in reader.event()["error"]
    assert reader.event() is None
    assert call(server.port, "short").text() == "short"


def test_predictions_go_on_beside_a_stream_and_other_streams_wait(
    server: HttpRuntime, folder: Path, call: Call
) -> None:
    first = call(server.port, "a")
    assert first.text() == "a"
    words = []
    waiting = [
        threading.Thread(target=lambda: words.append(call(server.port, "short").text()))
        for _ in range(8)
    ]
    for each in waiting:
        each.start()
    infer = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}]}
    body = json.dumps(infer).encode()
    assert server.send(Request("POST", "/v2/models/demo/infer", {}, body)).status == 200
    assert not words
    (folder / "pipe").write_text("b\n")
    assert [first.text(), first.event()] == ["b", None]
    for each in waiting:
        each.join(PATIENCE_S)
    assert words == ["short"] * 8


def test_a_caller_that_leaves_ends_the_making(server: HttpRuntime, call: Call) -> None:
    reader = call(server.port, "endless")
    assert reader.text() == "endless"
    assert reader.text().startswith("x")  # by now the script is where it notices
    reader.leave()
    server.wait_for("endless was closed")
    assert call(server.port, "short").text() == "short"


def test_a_reader_that_stops_holds_the_script_back(server: HttpRuntime) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_S) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        body = json.dumps({"text_input": "endless"}).encode()
        head = f"POST {STREAM} HTTP/1.1\r\nhost: m\r\ncontent-length: {len(body)}\r\n\r\n"
        client.sendall(head.encode() + body)
        assert client.recv(1024).startswith(b"HTTP/1.1 200")
        used = []
        for _ in range(20):
            used.append(_resident(server.pid))
            threading.Event().wait(0.05)
    assert max(used) - used[0] < 32 * 1024 * 1024
    server.wait_for("endless was closed")


def _resident(pid: int) -> int:
    """Bytes of memory of a process and its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return sum(
        int(Path(f"/proc/{each}/statm").read_text().split()[1]) * 4096 for each in [pid, *children]
    )


def test_sigterm_lets_a_stream_finish(server: HttpRuntime, folder: Path, call: Call) -> None:
    reader = call(server.port, "a")
    assert reader.text() == "a"
    server.signal(signal.SIGTERM)
    with open(folder / "pipe", "w", buffering=1) as pipe:
        print("b", file=pipe)
        assert reader.text() == "b"
    assert reader.event() is None
    assert server.exit_code() == 0


def test_a_script_that_hangs_is_told_to_its_caller_and_its_worker_replaced(
    folder: Path, call: Call
) -> None:
    limit = {"SAGEMAKER_MODEL_SERVER_TIMEOUT": "1"}
    settings = bundles.write_bundle(folder, bundles.DOUBLE, script=SCRIPT)
    server = HttpRuntime(settings, limit).ready()
    try:
        reader = call(server.port, "a")
        assert reader.text() == "a"
        assert "did not answer within 1 s" in reader.event()["error"]
        assert reader.event() is None
        server.wait_for("this worker ends")
    finally:
        server.close()


def test_generate_joins_the_pieces(server: HttpRuntime, folder: Path) -> None:
    answers = []
    body = json.dumps({"text_input": "a", "id": "7"}).encode()
    caller = threading.Thread(
        target=lambda: answers.append(server.send(Request("POST", GENERATE, {}, body)))
    )
    caller.start()
    (folder / "pipe").write_text("b\nc\n")
    caller.join(PATIENCE_S)
    assert json.loads(answers[0].body) == {
        "id": "7",
        "model_name": "demo",
        "model_version": "3",
        "text_output": "abc",
    }


def test_a_stream_through_sagemaker_has_its_head_in_the_attributes(
    server: HttpRuntime, folder: Path, call: Call
) -> None:
    asked = Request("POST", STREAM, {}, b"{}", "r-1")
    reader = call(server.port, "a", "/invocations", {HEADER: attributes_of(asked)})
    headers = {name.lower(): value for name, value in reader.answer.getheaders()}
    assert reader.text() == "a"
    (folder / "pipe").write_text("b\n")
    assert [reader.text(), reader.event()] == ["b", None]
    inner = unwrapped(Response(200, headers))
    assert inner is not None
    assert inner.headers["x-modelport-version"] == "3"
    assert inner.headers["content-type"].startswith("text/event-stream")


def test_a_version_without_generate_fn_answers_501(tmp_path: Path) -> None:
    server = HttpRuntime(bundles.write_bundle(tmp_path, bundles.DOUBLE)).ready()
    try:
        for path in (STREAM, GENERATE):
            answer = server.send(Request("POST", path, {}, b'{"text_input": "a"}'))
            assert answer.status == 501
            assert "has no generate_fn" in json.loads(answer.body)["error"]
    finally:
        server.close()
