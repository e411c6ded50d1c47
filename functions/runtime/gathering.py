"""The data plane with a batcher in front of its model: many requests at once, few threads.

Reads and answers requests on the event loop and waits there for the batch, because a thread per
waiting request costs more than the requests themselves. What would keep the loop busy, a large body
or answer or a script, goes to a thread. It must not know HTTP or how batches form.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar, TypeVarTuple

from modelport.envelope import REFERENCE, Request, Response

from functions.runtime.batching import Batcher
from functions.runtime.data_plane import DataPlane

Given = TypeVarTuple("Given")
Answer = TypeVar("Answer")

#: Bytes up to which reading or writing a body takes less time than going to a thread and back.
SMALL = 32_768


class GatheringPlane:
    """Answers requests on one event loop, their model runs gathered into batches."""

    def __init__(self, plane: DataPlane, batcher: Batcher, pool: Executor) -> None:
        """``pool`` is for what takes long."""
        self._plane = plane
        self._batcher = batcher
        self._pool = pool

    async def handle(self, request: Request) -> Response:
        """Answer one request, as the data plane would."""
        if self._plane.runs_script(request):
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._pool, self._plane.handle, request)
        # What is compressed or lies elsewhere may be anything but small, and has yet to be read.
        unread = "content-encoding" in request.headers
        unread = unread or request.headers.get("content-type") == REFERENCE
        size = SMALL + 1 if unread else len(request.body)
        exchange = await self._elsewhere(size, self._plane.begin, request)
        if isinstance(exchange, Response):
            return exchange
        try:
            outputs = await self._batcher.run(exchange.inputs, exchange.outputs, exchange.ran)
        except Exception as error:
            return self._plane.finish(exchange, error)
        size = sum(array.nbytes for array in outputs.values())
        return await self._elsewhere(size, self._plane.finish, exchange, outputs)

    async def _elsewhere(
        self, size: int, work: Callable[[*Given], Answer], *given: *Given
    ) -> Answer:
        """Do this: here if it is about few bytes, else in a thread."""
        if size <= SMALL:
            return work(*given)
        return await asyncio.get_running_loop().run_in_executor(self._pool, work, *given)
