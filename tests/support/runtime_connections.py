"""An HTTP connection without a socket: bytes go in as they are written, answers come out read."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from modelport.envelope import Response

from functions.runtime.application import Application
from functions.runtime.http.answers import Clock
from functions.runtime.http.connection import HttpConnection

PATIENCE_S = 30.0


class Wire(asyncio.Transport):
    """What a connection writes; the test says what is ``unsent``, as if its caller read slowly."""

    protocol: asyncio.BaseProtocol

    def __init__(self) -> None:
        super().__init__()
        self.written = self.arrived = b""
        self.closed = self.aborted = self.ended = False
        self.reading = True
        self.unsent = 0

    def write(self, data: Any) -> None:
        assert not self.closed, "written after the end"
        self.written += bytes(data)

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = self.aborted = True

    def is_closing(self) -> bool:
        return self.closed

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.ended = True

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def pause_reading(self) -> None:
        assert self.reading
        self.reading = False

    def resume_reading(self) -> None:
        assert not self.reading
        self.reading = True
        asyncio.get_running_loop().call_soon(self.read)

    def read(self) -> None:
        """Give the protocol what has arrived, as far as it wants to read."""
        while self.arrived and self.reading:
            if isinstance(self.protocol, asyncio.BufferedProtocol):
                size = self._read_into(self.protocol)
                self.arrived = self.arrived[size:]
                self.protocol.buffer_updated(size)
            else:
                assert isinstance(self.protocol, asyncio.Protocol)
                data, self.arrived = self.arrived, b""
                self.protocol.data_received(data)

    def _read_into(self, protocol: asyncio.BufferedProtocol) -> int:
        buffer = protocol.get_buffer(-1)
        assert isinstance(buffer, memoryview)
        assert buffer, "there is no room"
        data = self.arrived[: len(buffer)]
        buffer[: len(data)] = data
        return len(data)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        assert not self.reading, "a transport that reads goes on as before"
        self.protocol = protocol


class Caller:
    """One connection to an application, on the running loop."""

    def __init__(self, application: Application) -> None:
        self.wire = Wire()
        self.connections: set[Any] = set()
        self.connection = HttpConnection(application, Clock(), self.connections)
        self.wire.protocol = self.connection
        self.connection.connection_made(self.wire)

    def send(self, data: bytes) -> None:
        self.wire.arrived += data
        self.wire.read()

    async def answers(self, count: int, methods: Sequence[str] = ()) -> list[Response]:
        """The answers, once there are so many or the connection has ended."""
        for _ in range(int(PATIENCE_S * 1000)):
            found = read_answers(self.wire.written, methods)
            if len(found) >= count or self.wire.closed or self.wire.ended:
                return found
            await asyncio.sleep(0.001)
        raise AssertionError(f"{len(found)} of {count} answers: {self.wire.written!r}")

    def leave(self) -> None:
        self.wire.protocol.connection_lost(None)


def exchanged(application: Application, *sent: bytes) -> list[Response]:
    """What a caller reads that writes these requests, one after the other, and waits for all."""

    async def run() -> list[Response]:
        caller = Caller(application)
        for data in sent:
            caller.send(data)
        found = await caller.answers(len(sent))
        caller.leave()
        return found

    return asyncio.run(run())


def read_answers(data: bytes, methods: Sequence[str] = ()) -> list[Response]:
    """All whole answers in these bytes; ``methods`` are what was asked, POST where there is none.

    Written for tests alone, so that no mistake of the server's own reader hides one of its writer.
    """
    found: list[Response] = []
    while (end := data.find(b"\r\n\r\n")) >= 0:
        first, *lines = data[:end].decode("latin-1").split("\r\n")
        version, status, _ = first.split(" ", 2)
        assert version == "HTTP/1.1"
        headers = dict(line.split(": ", 1) for line in lines)
        assert len(headers) == len(lines), "a header is there twice"
        rest = data[end + 4 :]
        head = len(found) < len(methods) and methods[len(found)] == "HEAD"
        body: bytes | None
        if status == "100":
            body = b""
        elif headers.get("transfer-encoding") == "chunked":
            body, rest = _chunks(rest)
        else:
            size = 0 if head else int(headers.get("content-length", len(rest)))
            body, rest = (rest[:size] if len(rest) >= size else None), rest[size:]
        if body is None:
            break
        found.append(Response(int(status), headers, body))
        data = rest
    return found


def _chunks(data: bytes) -> tuple[bytes | None, bytes]:
    body = b""
    while b"\r\n" in data:
        line, _, rest = data.partition(b"\r\n")
        size = int(line, 16)
        if len(rest) < size + 2:
            break
        assert rest[size : size + 2] == b"\r\n"
        body, data = body + rest[:size], rest[size + 2 :]
        if not size:
            return body, data
    return None, data


def asked(body: bytes, path: str = "/p", *, method: str = "POST", **headers: str) -> bytes:
    """A whole request."""
    lines = [f"{method} {path} HTTP/1.1", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def chunked(*pieces: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    """A request whose body comes in these chunks."""
    head = b"POST /p HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + end
