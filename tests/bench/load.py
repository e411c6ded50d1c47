"""Asking an HTTP server on loopback: one question, or as many as it answers in a while.

`wrk` asks where a Python client would be the limit; `Line` asks everything else and counts each
request that was begun, so that a slow server is not cheated of its last answers. Knows nothing of
models and protocols.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import Self

from tests.bench.plan import BenchError

PATIENCE_S = 60.0
_SCRIPT = """
local file = io.open("{body}", "rb")
wrk.method, wrk.body = "POST", file:read("*a")
file:close()
{headers}
done = function(summary)
  local e = summary.errors
  io.write(string.format('\\n{{"requests": %d, "us": %d, "errors": %d, "refused": %d}}\\n',
    summary.requests, summary.duration, e.connect + e.read + e.write + e.timeout, e.status))
end
"""


class LoadError(BenchError):
    """A server answered anything but 200, or hung up, while it was asked."""


@dataclass(frozen=True)
class Question:
    """A POST request."""

    path: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """The request as it goes over the line."""
        lines = {"host": "127.0.0.1", **self.headers, "content-length": str(len(self.body))}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        return f"POST {self.path} HTTP/1.1\r\n{head}\r\n".encode() + self.body


@dataclass(frozen=True)
class Answer:
    """What came back; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Line:
    """A connection that is kept alive where the server allows it, and made again where not."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket: socket.socket | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._close()

    def ask(self, request: bytes) -> Answer:
        """Send and read the answer; raises OSError where there is none."""
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self._port), PATIENCE_S)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(request)
        answer = self._read(self._socket)
        if answer.headers.get("connection", "").lower() == "close":
            self._close()
        return answer

    def _read(self, line: socket.socket) -> Answer:
        got = bytearray()
        while (end := got.find(b"\r\n\r\n")) < 0:
            got += self._more(line)
        first, *rest = got[:end].decode("latin-1").split("\r\n")
        headers = {k.lower(): v for k, _, v in (text.partition(": ") for text in rest)}
        status = int(first.split()[1])
        body = got[end + 4 :]
        if headers.get("transfer-encoding", "").lower() == "chunked":
            return Answer(status, headers, self._chunks(line, body))
        if "content-length" not in headers:
            raise LoadError(f"an answer without its length: {first}")
        while len(body) < int(headers["content-length"]):
            body += self._more(line)
        return Answer(status, headers, bytes(body))

    def _chunks(self, line: socket.socket, got: bytearray) -> bytes:
        """The body of a chunked answer, of which ``got`` has come; trailers are not read."""
        body, at = bytearray(), 0
        while True:
            while (end := got.find(b"\r\n", at)) < 0:
                got += self._more(line)
            size = int(got[at:end], 16)
            while len(got) < end + 2 + size + 2:
                got += self._more(line)
            if not size:
                return bytes(body)
            body += got[end + 2 : end + 2 + size]
            at = end + 2 + size + 2

    def _more(self, line: socket.socket) -> bytes:
        if not (data := line.recv(1 << 20)):
            self._close()
            raise ConnectionResetError("the server hung up")
        return data

    def _close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def rate(port: int, question: Question, clients: int, seconds: float) -> float:
    """Requests per second of ``clients`` that ask one after another; raises `LoadError`."""
    request = question.to_bytes()
    problems: list[Exception] = []
    done = [0] * clients
    started = perf_counter()

    def client(number: int) -> None:
        try:
            with Line(port) as line:
                while not problems and perf_counter() - started < seconds:
                    status = line.ask(request).status
                    if status != 200:
                        raise LoadError(f"status {status} under load")
                    done[number] += 1
        except (OSError, LoadError) as error:
            problems.append(error)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if problems:
        raise LoadError(f"{problems[0]}") from problems[0]
    return sum(done) / (perf_counter() - started)


def wrk_rate(port: int, question: Question, clients: int, seconds: float) -> float:
    """As `rate`, with wrk, whose seconds are whole ones; raises `LoadError`."""
    wrk = shutil.which("wrk")
    if wrk is None:
        raise LoadError("wrk is not installed: sudo apt-get install wrk")
    headers = "\n".join(f'wrk.headers["{k}"] = "{v}"' for k, v in question.headers.items())
    with tempfile.TemporaryDirectory() as folder:
        body, script = Path(folder, "body"), Path(folder, "ask.lua")
        body.write_bytes(question.body)
        script.write_text(_SCRIPT.format(body=body, headers=headers))
        how = ["-t1", f"-c{clients}", f"-d{max(1, round(seconds))}s", "--timeout", "60s"]
        url = f"http://127.0.0.1:{port}{question.path}"
        said = subprocess.run(
            [wrk, *how, "-s", str(script), url], capture_output=True, text=True, check=True
        )
    told = json.loads(said.stdout.splitlines()[-1])
    if told["errors"] or told["refused"] or not told["requests"]:
        raise LoadError(f"wrk: {told}")
    return float(told["requests"] / told["us"] * 1e6)
