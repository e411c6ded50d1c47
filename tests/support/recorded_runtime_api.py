"""A Lambda Runtime API that plays a script to a runtime and keeps all it says, byte for byte.

For holding one runtime's words against another's. It answers as it is told to: with any status,
whole or in chunks, and hangs up where the script says so.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as member
from typing import BinaryIO

PATIENCE_S = 20.0
DEADLINE_MS = 4_102_444_800_000  # 2100: nothing here ends by its deadline


@dataclass(frozen=True)
class Said:
    """One call of a runtime."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    #: Which of its connections the call came on, counted from 1.
    connection: int


@dataclass(frozen=True)
class Event:
    """One answer to ``/next``."""

    body: bytes = b"{}"
    headers: Mapping[str, str] = member(default_factory=dict)
    status: int = 200
    #: Sizes of the chunks it is sent in; whole, with its length, if there are none.
    chunks: Sequence[int] = ()
    #: Whether the connection is closed after the answer.
    hangs_up: bool = False
    #: The status of what is posted for it.
    accepted: int = 202


@dataclass
class Told:
    """What a runtime said, printed and ended with."""

    said: list[Said]
    output: bytes
    code: int

    @property
    def posts(self) -> list[Said]:
        return [call for call in self.said if call.method == "POST"]


class RecordedRuntimeApi:
    """Plays ``events``; ``restore`` is the status of ``/restore/next``."""

    def __init__(self, events: Sequence[Event], *, restore: int = 200) -> None:
        self.said: list[Said] = []
        self._events = list(events)
        self._restore = restore
        self._current = Event()
        #: Set when the runtime asks for more events than there are.
        self.finished = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        number = 0
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            number += 1
            threading.Thread(target=self._talk, args=(connection, number), daemon=True).start()

    def _talk(self, connection: socket.socket, number: int) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with connection, connection.makefile("rb") as reader:
            try:
                while (call := _read(reader, number)) is not None:
                    self.said.append(call)
                    if not self._answer(connection, call):
                        return
            except OSError:
                return  # the runtime has ended

    def _answer(self, connection: socket.socket, call: Said) -> bool:
        """Answer; whether the connection stays."""
        if call.path.endswith("/restore/next"):
            connection.sendall(_response(Event(b"", status=self._restore)))
            return True
        if call.method == "POST":
            large = self._current.accepted == 413
            error = b'{"errorType":"Function.ResponseSizeTooLarge","errorMessage":"too large"}'
            body = error if large else b'{"status":"OK"}'
            connection.sendall(_response(Event(body, status=self._current.accepted)))
            return True
        if not self._events:
            self.finished.set()
            return False
        self._current = event = self._events.pop(0)
        connection.sendall(_response(event))
        return not event.hangs_up


def _read(reader: BinaryIO, number: int) -> Said | None:
    line = reader.readline()
    if not line:
        return None
    method, path, _ = line.decode().split(" ")
    headers = {}
    while field := reader.readline().strip().decode("latin-1"):
        name, _, value = field.partition(":")
        headers[name.lower()] = value.strip()
    return Said(method, path, headers, _body(reader, headers), number)


def _body(reader: BinaryIO, headers: Mapping[str, str]) -> bytes:
    if headers.get("transfer-encoding") != "chunked":
        return reader.read(int(headers.get("content-length", 0)))
    pieces = []
    while size := int(reader.readline(), 16):
        pieces.append(reader.read(size))
        reader.readline()
    while reader.readline().strip():
        pass
    return b"".join(pieces)


def _response(event: Event) -> bytes:
    headers = {
        "Content-Type": "application/json",
        "Lambda-Runtime-Aws-Request-Id": "request-1",
        "Lambda-Runtime-Deadline-Ms": str(DEADLINE_MS),
        "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:us-east-1:000000000000:function:f",
        **event.headers,
    }
    if event.chunks:
        headers["Transfer-Encoding"] = "chunked"
    else:
        headers["Content-Length"] = str(len(event.body))
    lines = [f"HTTP/1.1 {event.status} Whatever", *(f"{n}: {v}" for n, v in headers.items() if v)]
    head = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"
    return head + (_chunked(event.body, event.chunks) if event.chunks else event.body)


def _chunked(body: bytes, sizes: Sequence[int]) -> bytes:
    pieces, at = [], 0
    for size in (*sizes, len(body)):
        if piece := body[at : at + size]:
            pieces.append(b"%x\r\n%b\r\n" % (len(piece), piece))
        at += size
    return b"".join(pieces) + b"0\r\n\r\n"


def played(
    program: Sequence[str],
    environ: Mapping[str, str],
    events: Sequence[Event],
    *,
    restore: int = 200,
    descriptor: int | None = None,
) -> Told:
    """What a runtime did with ``events``; it is ended when it asks for more of them.

    ``descriptor`` is one that it inherits.
    """
    api = RecordedRuntimeApi(events, restore=restore)
    try:
        process = subprocess.Popen(
            [sys.executable, *program],
            env={**environ, "AWS_LAMBDA_RUNTIME_API": api.address},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=() if descriptor is None else (descriptor,),
        )
        deadline = time.monotonic() + PATIENCE_S
        while process.poll() is None and not api.finished.wait(0.005):
            assert time.monotonic() < deadline, "the runtime neither ended nor asked for more"
        try:
            code = process.wait(2.0)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        assert process.stdout is not None
        output = process.stdout.read()
        process.stdout.close()
        return Told(api.said, output, code)
    finally:
        api.close()
