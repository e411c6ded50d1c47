"""Text over HTTP while it is made: one request at a time, one thread for all, no queue of pieces.

A piece is asked for when the one before it has gone out, so a slow reader slows the script down and
fills no memory. Who waits for a turn holds no thread. A caller who leaves, or who reads nothing for
a while, ends the making: the script's generator is closed after the piece it is at. This module
must not know models or HTTP: an `Outlet` takes what is made.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Protocol, TypeVar

import orjson
from modelport.envelope import Handler, Request, Response, Stream
from modelport.records import record

logger = logging.getLogger(__name__)

Value = TypeVar("Value")

#: Seconds for which a caller may read nothing of what is there before its stream ends.
STALL_S = 60.0


class Outlet(Protocol):
    """Where one answer goes; its methods raise ConnectionError once the caller has left."""

    @property
    def gone(self) -> asyncio.Future[None]:
        """Done when the caller has left."""

    def answer(self, response: Response) -> None:
        """Send an answer whose body is there."""

    def begin(self, head: Response) -> None:
        """Send status and headers of an answer in pieces."""

    async def send(self, piece: bytes) -> None:
        """Send a piece, and wait while the caller reads slowly."""

    def end(self) -> None:
        """There are no more pieces."""


@record(frozen=True)
class Pace:
    """How long a piece may take, what is said of one that takes longer, and who hears of others."""

    limit_s: float | None
    overdue: Callable[[Request], Response]
    progress: Callable[[], None]
    stall_s: float = STALL_S


class Generating:
    """The requests for text of one version."""

    def __init__(self, stream: Handler, pace: Pace) -> None:
        """``stream`` answers by a `Stream` where the answer comes in pieces."""
        self._stream = stream
        self._pace = pace
        self._turn = asyncio.Lock()
        # One thread, because what a script sets up for a thread must hold from piece to piece.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="generate")

    def close(self) -> None:
        """Let go of the thread without waiting for a script that hangs."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def serve(
        self, request: Request, outlet: Outlet, dress: Callable[[Response], Response]
    ) -> None:
        """Answer one request; ``dress`` gives the head of the answer its last form."""
        try:
            await self._serve(request, outlet, dress)
        except ConnectionError:
            logger.info("the caller of request %s has left", request.request_id)

    async def _serve(
        self, request: Request, outlet: Outlet, dress: Callable[[Response], Response]
    ) -> None:
        gone = outlet.gone
        limit = self._pace.limit_s
        opened: list[Response] = []

        def begin() -> Response:
            opened.append(self._stream(request))
            return opened[0]

        loop = asyncio.get_running_loop()
        until = None if limit is None else loop.time() + limit
        try:
            await _first(asyncio.ensure_future(self._turn.acquire()), gone, limit)
        except TimeoutError:
            outlet.answer(dress(self._pace.overdue(request)))
            return
        try:
            left = None if until is None else max(0.0, until - loop.time())
            answer = await _first(loop.run_in_executor(self._thread, begin), gone, left)
            self._pace.progress()
            if isinstance(answer, Stream):
                outlet.begin(dress(Response(answer.status, answer.headers)))
                await self._pass_on(answer, request, outlet)
            else:
                outlet.answer(dress(answer))
        except TimeoutError:  # nothing was sent yet: `_pass_on` keeps its own to itself
            outlet.answer(dress(self._pace.overdue(request)))
        finally:
            with suppress(RuntimeError):  # the server has ended
                self._thread.submit(_close, opened)
            self._turn.release()

    async def _pass_on(self, stream: Stream, request: Request, outlet: Outlet) -> None:
        loop = asyncio.get_running_loop()
        while True:
            taking = loop.run_in_executor(self._thread, next, stream.pieces, None)
            try:
                piece = await _first(taking, outlet.gone, self._pace.limit_s)
            except TimeoutError:
                said = orjson.loads(self._pace.overdue(request).body)
                await outlet.send(b"data: " + orjson.dumps(said) + b"\n\n")
                outlet.end()
                return
            self._pace.progress()
            if piece is None:
                outlet.end()
                return
            try:
                await asyncio.wait_for(outlet.send(piece), self._pace.stall_s)
            except TimeoutError:
                raise ConnectionAbortedError("the caller reads nothing") from None


def generates(request: Request) -> bool:
    """Whether the request asks for text."""
    path = request.path.partition("?")[0]
    return request.method == "POST" and path.endswith(("/generate", "/generate_stream"))


async def _first(
    work: asyncio.Future[Value], gone: asyncio.Future[None], limit_s: float | None
) -> Value:
    """The result of ``work``; raises ConnectionError or TimeoutError if that comes first."""
    try:
        either: set[asyncio.Future[Any]] = {work, gone}
        done, _ = await asyncio.wait(either, timeout=limit_s, return_when="FIRST_COMPLETED")
    except asyncio.CancelledError:
        work.cancel()
        raise
    if work in done:
        return work.result()
    work.cancel()
    raise ConnectionResetError if done else TimeoutError


def _close(opened: list[Response]) -> None:
    """On the thread that made the pieces, after the last one it was asked for."""
    for answer in opened:
        if isinstance(answer, Stream):
            answer.pieces.close()
