"""Large bodies over real sockets, on asyncio's own loop and on uvloop: whole, and never copied."""

from __future__ import annotations

import asyncio
import socket
import threading
import tracemalloc
from collections.abc import Callable, Iterator

import pytest
import uvloop
from modelport.envelope import Request, Response

from functions.runtime.application import Application
from functions.runtime.http.answers import Clock
from functions.runtime.http.bodies import LARGE
from functions.runtime.http.connection import HttpConnection
from tests.support.runtime_connections import asked

MOST = 2**23
#: What asyncio and uvloop read at once, at most, before they are told where to.
PIECE = 2**18
NewLoop = Callable[[], asyncio.AbstractEventLoop]


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def runner(request: pytest.FixtureRequest) -> Iterator[asyncio.Runner]:
    new: NewLoop = request.param
    with asyncio.Runner(loop_factory=new) as runner:
        yield runner


@pytest.fixture
def application() -> Iterator[Application]:
    def handle(request: Request) -> Response:
        seen = f"{len(request.body)} {len(set(request.body))} {request.body[-1:]!r}"
        return Response(200, {}, seen.encode())

    made = Application({}, MOST)
    made.ready(handle)
    yield made
    made.close()


def ask(address: tuple[str, int], sent: bytes, count: int) -> list[str]:
    """A caller that keeps no copy of what it sends."""
    with socket.create_connection(address) as connection, connection.makefile("rb") as answers:
        writer = threading.Thread(target=connection.sendall, args=(sent,))
        writer.start()
        found = []
        for _ in range(count):
            assert answers.readline() == b"HTTP/1.1 200 OK\r\n"
            lines = iter(answers.readline, b"\r\n")
            headers = dict(line.decode().strip().split(": ", 1) for line in lines)
            found.append(answers.read(int(headers["content-length"])).decode())
        writer.join()
    return found


async def answered(application: Application, sent: bytes, count: int) -> list[str]:
    """What a server on this loop answers to so many requests, sent at once."""
    connections: set[HttpConnection] = set()

    def connection() -> HttpConnection:
        return HttpConnection(application, Clock(), connections)

    server = await asyncio.get_running_loop().create_server(connection, "127.0.0.1", 0)
    async with server:
        found = await asyncio.to_thread(ask, server.sockets[0].getsockname(), sent, count)
        for each in tuple(connections):
            await each.gone
    return found


def test_they_land_whole_between_small_ones(
    runner: asyncio.Runner, application: Application
) -> None:
    sizes = [MOST, 1, LARGE, MOST, LARGE + 7, 2 * PIECE, 3]
    sent = b"".join(asked(b"%c" % n * size) for n, size in enumerate(sizes, 65))
    found = runner.run(answered(application, sent, len(sizes)))
    assert found == [f"{size} 1 {b'%c' % n!r}" for n, size in enumerate(sizes, 65)]


def test_they_are_in_memory_once(runner: asyncio.Runner, application: Application) -> None:
    sent = asked(b"x" * MOST)
    runner.run(answered(application, sent, 1))
    tracemalloc.start()
    try:
        (found,) = runner.run(answered(application, sent, 1))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found == f"{MOST} 1 b'x'"
    assert MOST < most < MOST + 4 * PIECE
