"""gRPC on the container server: Triton's own clients, and frames that no client should send."""

from __future__ import annotations

import gzip
import json
import signal
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, Event, ResponseReceived, StreamEnded, StreamReset

from functions.runtime.grpc.messages import message
from tests.conftest import ROOT
from tests.support import runtime_bundles as bundles
from tests.support.client_environments import client_environment
from tests.support.runtime_world import PATIENCE_S, HttpRuntime

INFER = "/inference.GRPCInferenceService/ModelInfer"
MEGABYTE = 1024 * 1024


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpRuntime]:
    folder = tmp_path_factory.mktemp("grpc")
    settings = bundles.write_bundle(folder, bundles.DOUBLE)
    runtime = HttpRuntime(settings, {"SAGEMAKER_MAX_PAYLOAD_IN_MB": "2"})
    yield runtime.ready()
    runtime.close()


class Caller:
    """A gRPC caller that may break every rule."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
        self.http2 = H2Connection(H2Configuration(header_encoding="utf-8"))
        self.http2.initiate_connection()
        self.flush()

    def flush(self) -> None:
        self._socket.sendall(self.http2.data_to_send())

    def begin(self, path: str = INFER, **headers: str) -> int:
        stream: int = self.http2.get_next_available_stream_id()
        told = {"content-type": "application/grpc", "te": "trailers"}
        told |= {name.replace("_", "-"): value for name, value in headers.items()}
        pseudo = {":method": "POST", ":scheme": "http", ":path": path, ":authority": "here"}
        self.http2.send_headers(stream, [*pseudo.items(), *told.items()])
        self.flush()
        return stream

    def send(self, stream: int, body: bytes, *, end: bool = True) -> None:
        while body:
            window = self.http2.local_flow_control_window(stream)
            size = min(window, self.http2.max_outbound_frame_size)
            if not size:
                self.receive()
                continue
            self.http2.send_data(stream, body[:size])
            body = body[size:]
            self.flush()
        if end:
            self.http2.end_stream(stream)
            self.flush()

    def receive(self) -> list[Event]:
        data = self._socket.recv(65_536)
        events = self.http2.receive_data(data) if data else []
        self.flush()
        return list(events)

    def answer(self, stream: int) -> tuple[dict[str, str], bytes]:
        """The headers and trailers of a stream, and what came between them."""
        headers: dict[str, str] = {}
        body = b""
        while True:
            for event in self.receive():
                if getattr(event, "stream_id", None) != stream:
                    continue
                if isinstance(event, DataReceived):
                    body += event.data or b""
                elif isinstance(event, StreamEnded | StreamReset):
                    return headers, body
                elif hasattr(event, "headers"):
                    headers |= {str(k): str(v) for k, v in event.headers or ()}
                assert not isinstance(event, ResponseReceived) or headers[":status"]

    def call(self, body: bytes, path: str = INFER, **headers: str) -> dict[str, str]:
        stream = self.begin(path, **headers)
        self.send(stream, body)
        return self.answer(stream)[0]

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def caller(server: HttpRuntime) -> Iterator[Caller]:
    made = Caller(server.port)
    yield made
    made.close()


def framed(told: Any, compressed: int = 0) -> bytes:
    body: bytes = told.SerializeToString()
    return struct.pack(">BI", compressed, len(body)) + body


def infer(raw: tuple[bytes, ...] = (), **contents: list[Any]) -> Any:
    told = message("ModelInferRequest")(model_name="demo", raw_input_contents=raw)
    tensor = told.inputs.add(name="x", datatype="FP32", shape=[1, 2])
    if not raw:
        tensor.contents.fp32_contents.extend([1.0, 2.0])
    for field, values in contents.items():
        getattr(tensor.contents, field).extend(values)
    return told


def test_tritons_own_clients_are_answered(server: HttpRuntime) -> None:
    script = ROOT / "tests" / "clients" / "triton_grpc.py"
    told = json.loads(client_environment("triton").run(script, f"127.0.0.1:{server.port}", env={}))
    sync = told["sync"]
    assert [sync[name] for name in ("live", "ready", "model_ready", "large")] == [True] * 4
    assert sync["server"] == "modelport"
    assert (sync["model"], sync["shape"]) == (["demo", ["3"], "FP32"], [-1, 2])
    assert (sync["id"], sync["answer"], sync["pinned"]) == ("r-1", [[2, 4]], [[2, 4]])
    assert (sync["gzip"], sync["index"]) == ([[2, 4]], ["demo"])
    assert sync["wrong_name"][0] == "StatusCode.NOT_FOUND"
    assert sync["wrong_version"][0] == "StatusCode.NOT_FOUND"
    assert sync["wrong_shape"][0] == "StatusCode.INVALID_ARGUMENT"
    assert "FP32 [-1,2]" in sync["wrong_shape"][1]
    assert sync["load"][0] == sync["statistics"][0] == "StatusCode.UNIMPLEMENTED"
    assert told["aio"] == [[[2 * number, 2 * number]] for number in range(64)]


def test_contents_that_are_not_raw_are_read(caller: Caller) -> None:
    stream = caller.begin()
    caller.send(stream, framed(infer()))
    headers, body = caller.answer(stream)
    assert headers["grpc-status"] == "0"
    assert headers["x-modelport-version"] == "3"
    reply = message("ModelInferResponse").FromString(body[5:])
    assert struct.unpack("<2f", reply.raw_output_contents[0]) == (2.0, 4.0)


def test_outputs_are_raw_whatever_a_parameter_says(caller: Caller) -> None:
    told = infer()
    told.outputs.add(name="y").parameters["binary_data"].bool_param = False
    stream = caller.begin()
    caller.send(stream, framed(told))
    headers, body = caller.answer(stream)
    assert headers["grpc-status"] == "0"
    reply = message("ModelInferResponse").FromString(body[5:])
    assert struct.unpack("<2f", reply.raw_output_contents[0]) == (2.0, 4.0)


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (b"\xff" * 8, "not a ModelInferRequest"),
        (message("ModelInferRequest")(model_name="demo"), "x"),
        (infer((b"12345678", b"")), "2 raw_input_contents for 1 inputs"),
        (infer((b"1234",)), "x"),
        (infer((b"12345678",), fp32_contents=[1.0]), "send one"),
        (infer(int_contents=[1]), "fp32_contents"),
        (infer(fp32_contents=[3.0]), "x"),
    ],
)
def test_what_is_wrong_with_a_message_is_said(caller: Caller, told: Any, words: str) -> None:
    body = struct.pack(">BI", 0, len(told)) + told if isinstance(told, bytes) else framed(told)
    headers = caller.call(body)
    assert headers["grpc-status"] == "3"
    assert words in headers["grpc-message"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", "3"),
        (b"\0\0\0\0\x09abc", "3"),
        (b"\0\0\0\0\x01abc", "3"),
        (framed(infer(), compressed=1), "12"),
        (b"\1\0\0\0\3abc", "12"),
    ],
)
def test_a_body_that_is_no_message_is_refused(caller: Caller, body: bytes, status: str) -> None:
    assert caller.call(body)["grpc-status"] == status


@pytest.mark.parametrize(
    ("message", "status"),
    [
        (gzip.compress(infer().SerializeToString()), "0"),
        (b"no gzip", "3"),
        (gzip.compress(bytes(3 * MEGABYTE)), "8"),
    ],
)
def test_compressed_messages_are_read_within_the_limit(
    caller: Caller, message: bytes, status: str
) -> None:
    body = struct.pack(">BI", 1, len(message)) + message
    assert caller.call(body, grpc_encoding="gzip")["grpc-status"] == status


def test_a_message_over_the_limit_is_refused_before_it_is_whole(caller: Caller) -> None:
    stream = caller.begin()
    caller.send(stream, b"\0" * (2 * MEGABYTE + 100), end=False)
    headers, _ = caller.answer(stream)
    assert headers["grpc-status"] == "8"
    assert str(2 * MEGABYTE) in headers["grpc-message"]
    assert caller.call(framed(infer()))["grpc-status"] == "0"


def test_an_unknown_method_and_another_content_type_are_told_apart(caller: Caller) -> None:
    assert caller.call(b"", "/inference.GRPCInferenceService/Nothing")["grpc-status"] == "12"
    stream = caller.begin(content_type="application/json")
    assert caller.answer(stream)[0][":status"] == "415"


def test_a_deadline_that_has_passed_is_told(caller: Caller) -> None:
    assert caller.call(framed(infer()), grpc_timeout="0n")["grpc-status"] == "4"


def test_http_1_is_answered_on_the_same_port(server: HttpRuntime) -> None:
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE_S) as connection:
        for piece in (b"P", b"OST /v2/health/live HT", b"TP/1.1\r\nhost: x\r\n\r\n"):
            connection.sendall(piece)
        assert connection.recv(12) == b"HTTP/1.1 405"


def test_garbage_after_the_preface_ends_only_its_connection(server: HttpRuntime) -> None:
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE_S) as connection:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\4" + b"\0" * 10)
        while connection.recv(4096):
            pass
    caller = Caller(server.port)
    assert caller.call(framed(infer()))["grpc-status"] == "0"
    caller.close()


def test_a_stop_lets_open_connections_go(tmp_path: Path) -> None:
    runtime = HttpRuntime(bundles.write_bundle(tmp_path, bundles.DOUBLE)).ready()
    callers = [Caller(runtime.port) for _ in range(3)]
    silent = socket.create_connection(("127.0.0.1", runtime.port), PATIENCE_S)
    for each in callers:
        assert each.call(framed(infer()))["grpc-status"] == "0"
    ended = threading.Thread(target=runtime.exit_code)
    ended.start()
    runtime.signal(signal.SIGTERM)
    ended.join(PATIENCE_S)
    assert runtime.exit_code() == 0
    silent.close()
    for each in callers:
        each.close()
