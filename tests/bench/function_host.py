"""Lambda around one function, as lean as it can be: a Runtime API on one socket, and a stopwatch.

It hands out an event in one piece and takes the time until the whole answer is there, so that what
is measured is the function's side. Knows no function by name.
"""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import IO

from tests.bench.plan import cpus, pinned

#: A function that says nothing for so long has a fault.
PATIENCE_S = 60.0
_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
    b"Lambda-Runtime-Aws-Request-Id: 8476a536-e9f4-11e8-9739-2dfe598c3fcd\r\n"
    b"Lambda-Runtime-Deadline-Ms: 4102444800000\r\n"
    b"Lambda-Runtime-Invoked-Function-Arn: arn:aws:lambda:us-east-1:000000000000:function:f\r\n"
    b"Lambda-Runtime-Trace-Id: Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Sampled=0\r\n"
    b"Content-Length: %d\r\n\r\n%b"
)
_TAKEN = b"HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


class FunctionError(Exception):
    """A function failed or ended; says what it sent."""


@dataclass(frozen=True)
class Program:
    """A function's command line, and the variables it has beside Lambda's."""

    command: Sequence[str]
    environ: Mapping[str, str]


class FunctionHost:
    """Lambda for one function; asks one event at a time."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(PATIENCE_S)
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        #: When its process was started.
        self.started = 0.0
        self._connection: socket.socket | None = None
        self._waits = False

    def invoke(self, event: bytes) -> tuple[bytes, float]:
        """The answer to ``event``, and the seconds from its first byte to the answer's last."""
        connection = self._polled()
        began = perf_counter()
        connection.sendall(_HEAD % (len(event), event))
        line, answer = self._read(connection)
        spent = perf_counter() - began
        connection.sendall(_TAKEN)
        self._waits = False
        if not line.endswith(b"/response"):
            raise FunctionError(f"{line.decode()}: {answer[:2000].decode()}")
        return answer, spent

    def close(self) -> None:
        """Hang up."""
        self._listener.close()
        if self._connection is not None:
            self._connection.close()

    def _polled(self) -> socket.socket:
        """The connection, once the function asks for an event on it."""
        if self._connection is None:
            self._connection, _ = self._listener.accept()
            self._connection.settimeout(PATIENCE_S)
            self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not self._waits:
            line, said = self._read(self._connection)
            if not line.endswith(b"/invocation/next"):
                raise FunctionError(f"{line.decode()}: {said[:2000].decode()}")
            self._waits = True
        return self._connection

    def _read(self, connection: socket.socket) -> tuple[bytes, bytes]:
        """Method and path of the next call, and its body."""
        come = self._some(connection)
        while (end := come.find(b"\r\n\r\n")) < 0:
            come += self._some(connection)
        line, *fields = come[:end].split(b"\r\n")
        sizes = [field[15:] for field in fields if field[:15].lower() == b"content-length:"]
        body = come[end + 4 :]
        size = int(sizes[0]) if sizes else 0
        if len(body) < size:
            whole = bytearray(size)
            view, at = memoryview(whole), len(body)
            view[:at] = body
            while at < size:
                got = connection.recv_into(view[at:])
                if not got:
                    raise FunctionError("hung up in the middle of its answer")
                at += got
            body = bytes(whole)
        return line.rsplit(b" ", 1)[0], body

    def _some(self, connection: socket.socket) -> bytes:
        some = connection.recv(1 << 16)
        if not some:
            raise FunctionError("hung up")
        return some


@contextmanager
def function(program: Program, log: Path) -> Iterator[FunctionHost]:
    """A fresh process of a function, on the CPU of what is measured, until the block ends."""
    host = FunctionHost()
    with log.open("ab") as written:
        process = _started(program, host, written)
    try:
        yield host
    except (FunctionError, TimeoutError) as error:
        raise FunctionError(f"{error}\n{log.read_text()[-4000:]}") from error
    finally:
        process.kill()
        process.wait()
        host.close()


def _started(program: Program, host: FunctionHost, log: IO[bytes]) -> subprocess.Popen[bytes]:
    lambdas = {
        "AWS_LAMBDA_RUNTIME_API": host.address,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1769",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
    }
    with pinned(cpus()[0]):
        host.started = perf_counter()
        return subprocess.Popen(
            program.command, env={**program.environ, **lambdas}, stdout=log, stderr=log
        )
