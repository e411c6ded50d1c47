"""One execution environment: one running program, its Runtime API, its limits.

It starts the program, gives it one event at a time, and ends it when it overruns time or
memory. It must not decide which function gets which environment: that is the pool's job; and
how a program is run is the program's own.
"""

import asyncio
import contextlib
import time
import uuid

from lambda_host import faults
from lambda_host.faults import Outcome
from lambda_host.function import Function
from lambda_host.journal import Journal
from lambda_host.running import MEGABYTE, WATCH_INTERVAL_S, Program, Running
from lambda_host.runtime_api import Invocation, RuntimeApi
from lambda_host.wire import serving


class InitError(Exception):
    """The program did not become ready; `outcome` is what the caller gets."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.payload.decode("utf-8", "replace"))
        self.outcome = outcome


class GoneError(Exception):
    """The program ended before it took its event: nothing ran, another may run it."""


class Environment:
    """A running program of one function."""

    def __init__(self, function: Function, program: Program, journal: Journal) -> None:
        self.id = uuid.uuid4().hex
        self.function = function
        self.init_ms: float | None = None
        self.idle_since = time.monotonic()
        self._program = program
        self._journal = journal
        self._api = RuntimeApi()
        self._resources = contextlib.AsyncExitStack()
        self._running: Running | None = None
        self._measured = 0.0

    @property
    def alive(self) -> bool:
        """Whether the program still runs."""
        return self._running is not None and self._running.alive

    @property
    def pid(self) -> int:
        """The process id, 0 before the start."""
        return self._running.pid if self._running else 0

    async def start(self, limit_s: float) -> None:
        """Start the program and wait until it asks for its first event."""
        began = time.monotonic()
        port = await self._resources.enter_async_context(serving(self._api.handle))
        variables = {
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{port}",
            "AWS_LAMBDA_LOG_STREAM_NAME": f"[{self.function.version}]{self.id}",
        }
        with self._journal.stream() as log:
            self._running = await self._program.start(self.id, variables, log)
        try:
            await self._become_ready(limit_s)
        except BaseException:
            await self.stop()
            raise
        self.init_ms = (time.monotonic() - began) * 1000

    async def _become_ready(self, limit_s: float) -> None:
        running = self._started
        ready: asyncio.Future[bool] = asyncio.ensure_future(self._api.ready.wait())
        try:
            await self._until(ready, limit_s)
        finally:
            ready.cancel()
        if self._api.init_error:
            raise InitError(self._api.init_error)
        if running.overgrown or not running.alive:
            raise InitError(await self._death(self.id))
        if not self._api.ready.is_set():
            raise TimeoutError

    async def invoke(self, invocation: Invocation) -> Outcome:
        """Run one event to its end; the environment may be dead afterwards."""
        began = time.monotonic()
        self._api.offer(invocation)
        await self._until(invocation.outcome, invocation.timeout_s)
        outcome = await self._outcome(invocation)
        self._journal.report(
            invocation.request_id,
            (time.monotonic() - began) * 1000,
            self.function.memory_mb,
            self._started.peak // MEGABYTE,
            self.init_ms,
            outcome,
        )
        self.init_ms = None
        self.idle_since = time.monotonic()
        return outcome

    async def _outcome(self, invocation: Invocation) -> Outcome:
        if invocation.outcome.done():
            return invocation.outcome.result()
        running = self._started
        if running.overgrown or not running.alive:
            death = await self._death(invocation.request_id)
            if not invocation.taken:
                raise GoneError
            invocation.finish(death)
        else:
            invocation.finish(faults.timed_out(invocation.timeout_s))
        await self.stop()
        return invocation.outcome.result()

    async def _until(
        self, event: "asyncio.Future[bool] | asyncio.Future[Outcome]", limit_s: float
    ) -> None:
        """Wait for the event, the exit, the time limit or the memory limit."""
        running = self._started
        # Most answers come before there would be anything to watch.
        done, _ = await asyncio.wait((event,), timeout=min(WATCH_INTERVAL_S, limit_s))
        if done or limit_s <= WATCH_INTERVAL_S:
            if (now := time.monotonic()) - self._measured >= WATCH_INTERVAL_S:
                self._measured = now  # no oftener than while something is watched
                running.measure()
            return
        limit_s -= WATCH_INTERVAL_S
        over = [asyncio.create_task(work) for work in (running.exited(), running.watch())]
        try:
            await asyncio.wait((event, *over), timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in over:
                task.cancel()
            running.measure()

    @property
    def _started(self) -> Running:
        assert self._running is not None
        return self._running

    async def _death(self, request_id: str) -> Outcome:
        """Why the program ended."""
        status = await self._started.exited()
        if self._started.overgrown:
            return faults.out_of_memory(request_id)
        return faults.exited(request_id, status)

    async def stop(self) -> None:
        """End the program and whatever it started, and close its Runtime API."""
        if self._running is not None:
            await self._running.end()
        await self._resources.aclose()
