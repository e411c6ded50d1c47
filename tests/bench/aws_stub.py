"""Lambda and S3 on one loopback port, as lean as they can be: `python -m tests.bench.aws_stub`.

Every function gives the same answer, every model has the same routes. In a process of its own, so
that its time is nobody's; it checks no signature and speaks no TLS. Prints its port.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from modelport.envelope import Response
from modelport.routes import Deployment, Routes

from tests.bench.plan import cpus, pinned

PREDICTED = b'{"predictions":[[0.25,0.75]]}'
FUNCTION = "modelport-bench-{}-v1"
_HEADERS = {
    "content-type": "application/json",
    "server-timing": "total;dur=0.081, model;dur=0.012",
    "x-modelport-predicted": "1=1",
}
_ANSWER = json.dumps(Response(200, _HEADERS, PREDICTED).to_event()).encode()
_MODEL = re.compile(rb"models/([a-z0-9-]+)/routes\.json")
_ETAG = b'"1"'


def routes_of(model: str) -> Routes:
    """One version, deployed as a function."""
    deployment = Deployment(1, "lambda", FUNCTION.format(model), f"sha256:{1:064x}")
    routes = Routes(model).with_published(1).with_deployment(deployment)
    return Routes(model).changed(routes, action="deploy", detail={}, who="bench", at="")


@contextmanager
def aws_stub() -> Iterator[str]:
    """The service in a process of its own until the block ends; its URL."""
    with pinned(cpus()[1]):
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.aws_stub"], stdout=subprocess.PIPE, text=True
        )
    try:
        assert process.stdout is not None
        with process.stdout:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.kill()
        process.wait()


def _serve(connection: socket.socket) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    come = b""
    while True:
        while (end := come.find(b"\r\n\r\n")) < 0:
            some = connection.recv(1 << 16)
            if not some:
                return
            come += some
        head = come[:end].lower()
        _, found, rest = head.partition(b"\r\ncontent-length:")
        size = int(rest.partition(b"\r\n")[0]) if found else 0
        while len(come) < end + 4 + size:
            come += connection.recv(1 << 16)
        come = come[end + 4 + size :]
        connection.sendall(_answer(head))


def _answer(head: bytes) -> bytes:
    if head.startswith(b"post "):
        return _http(b"200 OK", b"content-type: application/json\r\n", _ANSWER)
    if b"\r\nif-none-match: " + _ETAG in head:
        return b"HTTP/1.1 304 Not Modified\r\netag: " + _ETAG + b"\r\n\r\n"
    found = _MODEL.search(head.partition(b"\r\n")[0])
    if found is None:
        return _http(b"404 Not Found", b"", b"<Error><Code>NoSuchKey</Code></Error>")
    document = routes_of(found[1].decode()).to_bytes()
    return _http(b"200 OK", b"etag: " + _ETAG + b"\r\n", document)


def _http(status: bytes, fields: bytes, body: bytes) -> bytes:
    return b"HTTP/1.1 %b\r\n%bcontent-length: %d\r\n\r\n%b" % (status, fields, len(body), body)


def main() -> None:
    """Serve until the process is ended."""
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=_serve, args=(connection,), daemon=True).start()


if __name__ == "__main__":
    main()
