"""Answers of one turn of the loop leave together, behind their log lines, and none is lost."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any

import pytest
from modelport.envelope import Request, Response

from functions.runtime.application import Application
from functions.runtime.http.departures import MOST_HELD, Departures
from functions.runtime.turn import MOST_S, Turn
from tests.support.runtime_connections import Caller, Wire, asked, read_answers

GET = b"GET /p HTTP/1.1\r\n\r\n"  # needs no model, so it is always answered at once

EXPECTS = b"POST /p HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n"


class Happened:
    """What happened, in order."""

    def __init__(self) -> None:
        self.order: list[str] = []

    def flush(self) -> None:
        self.order.append("lines")


@pytest.fixture
def happened() -> Happened:
    return Happened()


@pytest.fixture
def application(happened: Happened) -> Iterator[Application]:
    def handle(request: Request) -> Response:
        happened.order.append("answered")
        return Response(200, {}, request.path.encode())

    made = Application({}, 200_000, flush=happened.flush)
    made.ready(handle)
    yield made
    made.close()


async def turn() -> None:
    await asyncio.sleep(0)


def test_answers_of_a_turn_leave_at_its_end_behind_their_lines(
    application: Application, happened: Happened
) -> None:
    async def run() -> None:
        callers = [Caller(application) for _ in range(3)]
        sent: list[Callable[[Any], None]] = [caller.wire.write for caller in callers]
        for caller, write in zip(callers, sent, strict=True):

            def noted(data: Any, write: Callable[[Any], None] = write) -> None:
                happened.order.append("sent")
                write(data)

            caller.wire.write = noted  # type: ignore[method-assign]
        for caller in callers:
            caller.send(GET)
        assert happened.order == ["answered"] * 3
        await turn()
        assert happened.order == [*["answered"] * 3, "lines", *["sent"] * 3]
        for caller in callers:
            assert [answer.body for answer in read_answers(caller.wire.written)] == [b"/p"]

    asyncio.run(run())


def test_answers_of_one_connection_are_sent_as_one(application: Application) -> None:
    async def run() -> None:
        caller = Caller(application)
        caller.send(GET * 3)
        assert not caller.wire.written
        await turn()
        assert len(read_answers(caller.wire.written)) == 3

    asyncio.run(run())


def test_a_turn_that_takes_long_lets_go_in_between(happened: Happened) -> None:
    wire = Wire()

    async def run() -> None:
        here = Turn(happened.flush)
        departures, now = Departures(wire, here), 1.0
        here.goes_on(now)
        departures.hold(b"1")
        here.goes_on(now + 0.9 * MOST_S)
        departures.hold(b"2")
        seen = [wire.written]
        here.goes_on(now + 1.1 * MOST_S)
        seen.append(wire.written)
        departures.hold(b"3")
        seen.append(wire.written)
        await turn()
        seen.append(wire.written)
        here.goes_on(now)  # the next turn has an end of its own
        departures.hold(b"4")
        await turn()
        assert [*seen, wire.written] == [b"", b"12", b"12", b"123", b"1234"]
        assert len(happened.order) == 3

    asyncio.run(run())


@pytest.mark.parametrize(
    ("sent", "statuses"),
    [
        (GET + b"no request\r\n\r\n", [200, 400]),
        (GET + b"GET /q HTTP/1.1\r\nconnection: close\r\n\r\n", [200, 200]),
        (GET + b"GET /q HTTP/1.0\r\n\r\n", [200, 200]),
        (GET + asked(b"slow"), [200, 200]),
        (
            GET + b"POST /p HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n",
            [200, 100],
        ),
    ],
)
def test_nothing_overtakes_what_is_held(
    application: Application, sent: bytes, statuses: list[int]
) -> None:
    async def run() -> None:
        caller = Caller(application)
        caller.send(sent)
        assert [answer.status for answer in await caller.answers(2)] == statuses

    asyncio.run(run())


def test_a_server_that_stops_sends_what_is_held(application: Application) -> None:
    async def run() -> None:
        caller = Caller(application)
        caller.send(GET)
        caller.connection.shutdown()
        assert caller.wire.closed
        assert len(read_answers(caller.wire.written)) == 1
        await turn()

    asyncio.run(run())


def test_who_left_keeps_nobody_from_their_answers(application: Application) -> None:
    async def run() -> None:
        gone, there = Caller(application), Caller(application)
        gone.send(GET)
        there.send(GET)
        gone.wire.abort()
        gone.leave()
        await turn()
        assert not gone.wire.written
        assert len(read_answers(there.wire.written)) == 1

    asyncio.run(run())


def test_lines_that_cannot_be_written_hold_no_answer_back() -> None:
    def full() -> None:
        raise OSError

    async def run() -> None:
        wire, here = Wire(), Turn(full)
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        here.goes_on(monotonic())
        Departures(wire, here).hold(b"1")
        await turn()
        assert wire.written == b"1"

    asyncio.run(run())


def test_no_more_is_held_than_a_little() -> None:
    async def run() -> None:
        wire, here = Wire(), Turn(lambda: None)
        here.goes_on(monotonic())
        departures = Departures(wire, here)
        departures.hold(b"a" * MOST_HELD)
        assert not wire.written
        departures.hold(b"b")
        assert wire.written == b"a" * MOST_HELD + b"b"
        await turn()
        assert len(wire.written) == MOST_HELD + 1

    asyncio.run(run())


def test_what_is_held_leaves_past_a_loop_that_hangs() -> None:
    async def run() -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            wire, here = Wire(), Turn(lambda: None)
            wire.get_extra_info = lambda name, default=None: ours  # type: ignore[method-assign]
            here.goes_on(monotonic())
            Departures(wire, here).hold(b"held")
            here.hung()
            assert os.read(theirs.fileno(), 100) == b"held"
            await turn()
            assert not wire.written  # not twice, should the loop go on after all

    asyncio.run(run())
