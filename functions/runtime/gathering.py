"""The data plane with a batcher in front of its model: many requests at once, few threads.

Takes each request's steps on the event loop and waits there for the batch, because a thread per
waiting request costs more than the requests themselves. What would keep the loop busy, a large body
or answer or a script, goes to a thread. It must not know HTTP or how batches form.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor

from modelport.envelope import REFERENCE, Request, Response

from functions.runtime.batching import Batcher
from functions.runtime.data_plane import DataPlane, Run, Steps, advance
from functions.runtime.tensors import Tensors

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
        steps = self._plane.steps(request)
        # What is compressed or lies elsewhere may be anything but small, and has yet to be read.
        unread = "content-encoding" in request.headers
        unread = unread or request.headers.get("content-type") == REFERENCE
        size = SMALL + 1 if unread else len(request.body)
        step = await self._advance(steps, None, size)
        while not isinstance(step, Response):
            try:
                outputs = await self._batcher.run(step.inputs, step.outputs, step.ran)
            except Exception as error:
                step = advance(steps, error)
            else:
                size = sum(array.nbytes for array in outputs.values())
                step = await self._advance(steps, outputs, size)
        return step

    async def _advance(self, steps: Steps, outputs: Tensors | None, size: int) -> Run | Response:
        if size <= SMALL:
            return advance(steps, outputs)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, advance, steps, outputs)
