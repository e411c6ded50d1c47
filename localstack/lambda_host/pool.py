"""The warm pool: which environment of a function runs which event.

One event per environment at a time, a new environment when all are busy, no more than the
bound (then events wait their turn), and none kept that has been idle too long. It must not
know how a program is started: that comes in as `spawn`.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from lambda_host import faults
from lambda_host.environment import Environment, GoneError, InitError
from lambda_host.faults import Outcome
from lambda_host.function import Function
from lambda_host.journal import Journal
from lambda_host.runtime_api import Invocation

Spawn = Callable[[], Awaitable[Environment]]


@dataclass(frozen=True)
class Limits:
    """What a pool may do."""

    bound: int = 8
    """Environments at once; further events wait."""
    idle_s: float = 300
    init_s: float = 10
    """Lambda's free initialisation phase; what takes longer is tried again in the invoke."""


class Pool:
    """The environments of one function configuration."""

    def __init__(
        self,
        function: Function,
        spawn: Spawn,
        journal: Journal,
        limits: Limits,
    ) -> None:
        self.function = function
        self._spawn = spawn
        self._journal = journal
        self._slots = asyncio.Semaphore(limits.bound)
        self._limits = limits
        self._idle: list[Environment] = []
        self._busy: set[Environment] = set()
        self._closed = False
        self._events = 0

    @property
    def drained(self) -> bool:
        """Whether it is closed and has neither work nor processes left."""
        return self._closed and not self._events and not self.environments

    @property
    def environments(self) -> list[Environment]:
        """Every environment there is now, idle ones last."""
        return [*self._busy, *self._idle]

    def news(self) -> bytes:
        """What is new in the log of the function."""
        return self._journal.news()

    async def invoke(self, event: bytes, request_id: str, trace_id: str = "") -> Outcome:
        """Run one event on a warm environment or a new one."""
        invocation = Invocation(
            event, request_id, self.function.arn, self.function.timeout_s, trace_id
        )
        self._events += 1
        try:
            async with self._slots:
                return await self._answer(invocation)
        finally:
            self._events -= 1

    async def _answer(self, invocation: Invocation) -> Outcome:
        self._journal.start(invocation.request_id, self.function.version)
        while True:
            try:
                return await self._run(invocation)
            except GoneError:
                continue  # it died while idle and took nothing: another one runs it
            except InitError as error:
                self._journal.init_failed("init", error.outcome)
                return error.outcome

    async def _run(self, invocation: Invocation) -> Outcome:
        environment = await self._acquire()
        self._busy.add(environment)
        try:
            return await environment.invoke(invocation)
        finally:
            self._busy.discard(environment)
            await self._release(environment)

    async def _acquire(self) -> Environment:
        """The most recently used warm environment, so that surplus ones grow old."""
        while self._idle:
            environment = self._idle.pop()
            if environment.alive:
                return environment
            await environment.stop()
        return await self._cold_start()

    async def _cold_start(self) -> Environment:
        for limit_s in (self._limits.init_s, self.function.timeout_s):
            environment = await self._spawn()
            self._busy.add(environment)
            try:
                await environment.start(limit_s)
                return environment
            except TimeoutError:
                self._journal.line(f"INIT_REPORT Phase: init Status: timeout ({limit_s:g} s)")
            finally:
                self._busy.discard(environment)
        raise InitError(faults.timed_out(self.function.timeout_s))

    async def _release(self, environment: Environment) -> None:
        if environment.alive and not self._closed:
            self._idle.append(environment)
        else:
            await environment.stop()

    async def expire(self) -> None:
        """Stop the environments nobody has used for a while."""
        horizon = time.monotonic() - self._limits.idle_s
        old = [each for each in self._idle if each.idle_since < horizon or not each.alive]
        self._idle = [each for each in self._idle if each not in old]
        await asyncio.gather(*(each.stop() for each in old))

    async def close(self, *, now: bool = False) -> None:
        """Take no environment back; idle ones stop at once, and with `now` busy ones too."""
        self._closed = True
        doomed = self.environments if now else self._idle
        self._idle = []
        await asyncio.gather(*(each.stop() for each in doomed))
