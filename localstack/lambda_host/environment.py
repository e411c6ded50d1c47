"""One execution environment: one process, its Runtime API, its limits.

It starts the process, gives it one event at a time, and ends it when it overruns time or
memory. It must not decide which function gets which environment: that is the pool's job.
"""

import asyncio
import contextlib
import os
import time
import uuid

from lambda_host import faults
from lambda_host.faults import Outcome
from lambda_host.function import Function, Program
from lambda_host.journal import Journal
from lambda_host.processes import die_with_parent, exited, kill_group, memory_in_use
from lambda_host.runtime_api import Invocation, RuntimeApi
from lambda_host.wire import serving

MEGABYTE = 1024 * 1024
WATCH_INTERVAL_S = 0.02


class InitError(Exception):
    """The process did not become ready; `outcome` is what the caller gets."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.payload.decode("utf-8", "replace"))
        self.outcome = outcome


class GoneError(Exception):
    """The process ended before it took its event: nothing ran, another may run it."""


class Environment:
    """A running process of one function."""

    def __init__(self, function: Function, program: Program, journal: Journal) -> None:
        self.id = uuid.uuid4().hex
        self.function = function
        self.init_ms: float | None = None
        self.idle_since = time.monotonic()
        self._program = program
        self._journal = journal
        self._api = RuntimeApi()
        self._resources = contextlib.AsyncExitStack()
        self._process: asyncio.subprocess.Process | None = None
        self._exit: asyncio.Task[int] | None = None
        self._overgrown = False
        self._peak = 0

    @property
    def alive(self) -> bool:
        """Whether the process still runs, asked of the kernel: the event loop hears later."""
        return self._exit is not None and not self._exit.done() and not exited(self.pid)

    @property
    def pid(self) -> int:
        """The process id, 0 before the start."""
        return self._process.pid if self._process else 0

    async def start(self, limit_s: float) -> None:
        """Start the process and wait until it asks for its first event."""
        began = time.monotonic()
        port = await self._resources.enter_async_context(serving(self._api.handle))
        with self._journal.stream() as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._program.argv,
                cwd=self._program.cwd,
                env={
                    **self._program.env,
                    "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{port}",
                    "AWS_LAMBDA_LOG_STREAM_NAME": f"[{self.function.version}]{self.id}",
                },
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=die_with_parent(os.getpid()),
            )
        self._exit = asyncio.create_task(self._process.wait())
        try:
            await self._become_ready(limit_s)
        except BaseException:
            await self.stop()
            raise
        self.init_ms = (time.monotonic() - began) * 1000

    async def _become_ready(self, limit_s: float) -> None:
        ready: asyncio.Future[bool] = asyncio.ensure_future(self._api.ready.wait())
        try:
            await self._until(ready, limit_s)
        finally:
            ready.cancel()
        if self._api.init_error:
            raise InitError(self._api.init_error)
        if self._overgrown:
            raise InitError(faults.out_of_memory(self.id))
        if not self.alive:
            raise InitError(faults.exited(self.id, await self._returncode()))
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
            self._peak // MEGABYTE,
            self.init_ms,
            outcome,
        )
        self.init_ms = None
        self.idle_since = time.monotonic()
        return outcome

    async def _outcome(self, invocation: Invocation) -> Outcome:
        if invocation.outcome.done():
            return invocation.outcome.result()
        if self._overgrown:
            invocation.finish(faults.out_of_memory(invocation.request_id))
        elif not self.alive:
            if not invocation.taken:
                raise GoneError
            invocation.finish(faults.exited(invocation.request_id, await self._returncode()))
        else:
            invocation.finish(faults.timed_out(invocation.timeout_s))
        await self.stop()
        return invocation.outcome.result()

    async def _until(
        self, event: "asyncio.Future[bool] | asyncio.Future[Outcome]", limit_s: float
    ) -> None:
        """Wait for the event, the exit, the time limit or the memory limit."""
        assert self._exit is not None
        watch = asyncio.create_task(self._watch_memory())
        try:
            await asyncio.wait(
                (event, self._exit, watch),
                timeout=limit_s,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            watch.cancel()
            self._measure()

    async def _watch_memory(self) -> None:
        while self._measure() <= self.function.memory_mb * MEGABYTE:
            await asyncio.sleep(WATCH_INTERVAL_S)
        self._overgrown = True
        kill_group(self.pid)

    def _measure(self) -> int:
        used = memory_in_use(self.pid)
        self._peak = max(self._peak, used)
        return used

    async def _returncode(self) -> int:
        assert self._exit is not None
        return await self._exit

    async def stop(self) -> None:
        """Kill the process and whatever it started, and close its Runtime API."""
        if self._process is not None:
            kill_group(self.pid)
            await self._returncode()
        await self._resources.aclose()
