"""Just enough HTTP/1.1 over asyncio for the servers of the Lambda and SageMaker hosts.

It frames messages: request line, headers, a body by length or in chunks, keep-alive.
It must not know what a function, an invocation or an emulator is.

Every answer leaves in one write on a socket without Nagle's algorithm: the Runtime API
client waits for the whole answer, and a delayed second segment costs 40 ms a call.
"""

import asyncio
import contextlib
import json
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus

log = logging.getLogger(__name__)
HEAD_LIMIT = 256 * 1024
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"


def _nobody() -> None:
    """Nobody waits for an answer."""


@dataclass(frozen=True)
class Request:
    """One request with its whole body; header names are lower-case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    hold_on: Callable[[], None] = _nobody
    """Tells the caller that the answer will come: its timer for silence starts again."""


@dataclass(frozen=True)
class Answer:
    """One response; `headers` are added to length and content type."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"

    @classmethod
    def of_json(cls, status: int, document: object, **headers: str) -> "Answer":
        """Answer with a JSON document; header names are given with underscores."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return cls(status, json.dumps(document).encode(), named)

    def to_bytes(self) -> bytes:
        """The response as it goes over the wire."""
        reason = HTTPStatus(self.status).phrase
        lines = [f"HTTP/1.1 {self.status} {reason}", f"Content-Length: {len(self.body)}"]
        if self.body:
            lines.append(f"Content-Type: {self.content_type}")
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + self.body


Handler = Callable[[Request], Awaitable[Answer]]


class MalformedError(Exception):
    """What came over the socket is not a request we can frame."""


@contextlib.asynccontextmanager
async def serving(handler: Handler, at: int | socket.socket = 0) -> AsyncIterator[int]:
    """Serve `handler` on a loopback port, or a socket, while the block runs; yields the port."""
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            with contextlib.suppress(asyncio.CancelledError):  # the block ended
                await _converse(reader, writer, handler)
        finally:
            tasks.discard(task)

    listener = at if isinstance(at, socket.socket) else socket.create_server(("127.0.0.1", at))
    server = await asyncio.start_server(connected, sock=listener, limit=HEAD_LIMIT)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


async def _converse(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, handler: Handler
) -> None:
    """Answer the requests of one connection in turn until it closes."""
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        while (request := await _read(reader, writer)) is not None:
            answer = await _answered(handler, request)
            writer.write(answer.to_bytes())
            await writer.drain()
            if request.headers.get("connection", "").lower() == "close":
                break
    except MalformedError as problem:
        with contextlib.suppress(ConnectionError):
            writer.write(Answer.of_json(400, {"message": str(problem)}).to_bytes())
            await writer.drain()
    except (ConnectionError, asyncio.IncompleteReadError):
        pass  # the peer went away; there is nobody to tell
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def _answered(handler: Handler, request: Request) -> Answer:
    """The handler's answer; its failure is logged and costs one request, not the server."""
    try:
        return await handler(request)
    except Exception:
        log.exception("%s %s failed", request.method, request.path)
        return Answer.of_json(500, {"message": "the host failed; see its log"})


async def _read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Request | None:
    """Read one request, or None when the peer closed between two."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as end:
        if end.partial:
            raise MalformedError("the request head ended early") from end
        return None
    except asyncio.LimitOverrunError as over:
        raise MalformedError("the request head is too long") from over
    first, *rest = head.decode("latin-1").split("\r\n")
    parts = first.split(" ")
    if len(parts) != 3:
        raise MalformedError(f"not a request line: {first!r}")
    pairs = (line.partition(":") for line in rest if line)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    if headers.get("expect", "").lower() == "100-continue":
        writer.write(INTERIM)
    body = await _body(reader, headers)
    return Request(parts[0], parts[1], headers, body, partial(writer.write, INTERIM))


async def _body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> bytes:
    if "chunked" in headers.get("transfer-encoding", "").lower():
        return await _chunks(reader)
    length = headers.get("content-length", "0")
    if not length.isdecimal():
        raise MalformedError(f"not a content length: {length!r}")
    return await reader.readexactly(int(length))


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    body = bytearray()
    while True:
        line = await reader.readline()
        try:
            size = int(line.split(b";")[0], 16)
        except ValueError as problem:
            raise MalformedError(f"not a chunk size: {line!r}") from problem
        if size == 0:
            break
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    while (await reader.readline()).strip():
        pass  # trailers
    return bytes(body)
