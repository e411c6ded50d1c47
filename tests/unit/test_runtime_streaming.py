"""Text at the pace of its reader: who stalls, leaves, waits or is cancelled holds nobody up."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

import pytest
from modelport.envelope import Request, Response, Stream

from functions.runtime.streaming import Generating, Pace

REQUEST = Request("POST", "/v2/models/m/generate_stream", {}, b"", "r-1")


@dataclass
class Script:
    """Endless pieces, one maker at a time; who made and closed them is kept."""

    threads: set[str] = field(default_factory=set)
    made: int = 0
    closed: threading.Event = field(default_factory=threading.Event)

    def stream(self, request: Request) -> Response:
        return Stream(200, {}, pieces=self._pieces())

    def _pieces(self) -> Generator[bytes]:
        try:
            while True:
                self.threads.add(threading.current_thread().name)
                self.made += 1
                yield b"piece"
        finally:
            self.closed.set()


class Caller:
    """A connection that takes ``appetite`` messages and then stalls, or leaves."""

    def __init__(self, appetite: int, *, leaves: bool = False) -> None:
        self.messages: list[Any] = []
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._appetite, self._leaves = appetite, leaves

    def answer(self, response: Response) -> None:
        self.messages.append(response)

    def begin(self, head: Response) -> None:
        self.messages.append(head)

    async def send(self, piece: bytes) -> None:
        self.messages.append(piece)
        if len(self.messages) < self._appetite:
            return
        if not self._leaves:
            await asyncio.Event().wait()
        if not self.gone.done():
            self.gone.set_result(None)

    def end(self) -> None:
        self.messages.append(None)


def late(request: Request) -> Response:
    return Response(504, {}, b'{"error":"late"}')


def generating(script: Script, limit_s: float | None = None) -> Generating:
    return Generating(script.stream, Pace(limit_s, late, lambda: None, stall_s=0.05))


async def serve(served: Generating, caller: Caller) -> None:
    await served.serve(REQUEST, caller, lambda response: response)


@pytest.mark.parametrize("leaves", [False, True])
def test_who_stalls_or_leaves_ends_the_making(leaves: bool) -> None:
    async def run() -> None:
        script, caller = Script(), Caller(4, leaves=leaves)
        served = generating(script)
        await serve(served, caller)
        assert await asyncio.to_thread(script.closed.wait, 30)
        assert script.made <= len(caller.messages)
        assert len(script.threads) == 1
        served.close()

    asyncio.run(run())


def test_a_cancelled_server_closes_what_it_was_sending() -> None:
    async def run() -> None:
        script, caller = Script(), Caller(3)
        served = Generating(script.stream, Pace(None, late, lambda: None))
        task = asyncio.create_task(serve(served, caller))
        while len(caller.messages) < 3:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(script.closed.wait, 30)
        served.close()

    asyncio.run(run())


def test_who_waits_too_long_for_a_turn_is_told_and_nothing_is_made_for_it() -> None:
    async def run() -> None:
        script, first, second = Script(), Caller(3), Caller(9)
        served = Generating(script.stream, Pace(0.1, late, lambda: None))
        task = asyncio.create_task(serve(served, first))
        while len(first.messages) < 3:
            await asyncio.sleep(0)
        made = script.made
        await serve(served, second)
        assert [each.status for each in second.messages] == [504]
        assert script.made == made
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        served.close()

    asyncio.run(run())
