"""A Lambda Runtime API on loopback that shows an answer in pieces while it arrives."""

from __future__ import annotations

import json
import queue
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

PATIENCE_S = 30.0


@dataclass
class Arriving:
    """One answer: its headers at once, its chunks one by one, its trailers after the last."""

    kind: str
    headers: dict[str, str]
    chunks: queue.Queue[bytes | None] = field(default_factory=queue.Queue)
    trailers: dict[str, str] = field(default_factory=dict)

    def chunk(self) -> bytes | None:
        """The next chunk, None after the last."""
        return self.chunks.get(timeout=PATIENCE_S)

    def rest(self) -> bytes:
        """Everything that still comes."""
        return b"".join(iter(self.chunk, None))


class StreamingRuntimeApi:
    """Hands out events and keeps what comes back."""

    def __init__(self) -> None:
        self.events: queue.Queue[bytes | None] = queue.Queue()
        self.arriving: queue.Queue[Arriving] = queue.Queue()
        self.address = ""
        self._count = 0

    def invoke(self, event: bytes) -> Arriving:
        """What the function answers, from its first byte on."""
        self.events.put(event)
        return self.arriving.get(timeout=PATIENCE_S)


@contextmanager
def runtime_api() -> Iterator[StreamingRuntimeApi]:
    """Serve on a free port until the block ends."""
    api = StreamingRuntimeApi()

    class Call(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            event = api.events.get()
            if event is None:
                self.close_connection = True
                return
            self._reply(200, event)

        def do_POST(self) -> None:
            kind = self.path.rpartition("/")[2]
            arriving = Arriving(kind, {name.lower(): text for name, text in self.headers.items()})
            api.arriving.put(arriving)
            try:
                self._take(arriving)
            finally:
                arriving.chunks.put(None)
            self._reply(202, b'{"status":"OK"}')

        def _take(self, arriving: Arriving) -> None:
            if "chunked" not in arriving.headers.get("transfer-encoding", ""):
                arriving.chunks.put(self.rfile.read(int(arriving.headers["content-length"])))
                return
            while size := int(self.rfile.readline(), 16):
                arriving.chunks.put(self.rfile.read(size))
                self.rfile.readline()
            while line := self.rfile.readline().strip().decode():
                name, _, value = line.partition(": ")
                arriving.trailers[name] = value

        def _reply(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Lambda-Runtime-Aws-Request-Id", "request-1")
            deadline = int((time.time() + PATIENCE_S) * 1000)
            self.send_header("Lambda-Runtime-Deadline-Ms", str(deadline))
            arn = "arn:aws:lambda:us-east-1:000000000000:function:f"
            self.send_header("Lambda-Runtime-Invoked-Function-Arn", arn)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Stay quiet."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A function that is ended hangs up."""

    server = Server(("127.0.0.1", 0), Call)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    api.address = f"127.0.0.1:{server.server_port}"
    try:
        yield api
    finally:
        api.events.put(None)
        server.shutdown()
        thread.join(PATIENCE_S)
        server.server_close()


def head_and_body(framed: bytes) -> tuple[dict[str, Any], bytes]:
    """The two parts of a framed answer."""
    head, found, body = framed.partition(bytes(8))
    assert found
    return json.loads(head), body
