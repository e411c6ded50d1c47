"""One instance of a variant: one container, kept alive for as long as the variant wants it.

It starts the process, waits for ``/ping``, starts it again when it dies, and ends it as
SageMaker does: SIGTERM, and SIGKILL for what is left. It must not choose who invokes what.
"""

import asyncio
import contextlib
import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

import ports
from lambda_host.bundles import PullError
from lambda_host.journal import Journal
from lambda_host.processes import die_with_parent, exited, kill_group
from sagemaker_host.container_http import Answered, ContainerHttp
from sagemaker_host.faults import BODY_LIMIT
from sagemaker_host.program import Container, Programs

PING_INTERVAL_S = 0.05
MISSES = 3
"""Pings in a row that a container in service may miss before it is replaced."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0


@dataclass(frozen=True)
class Limits:
    """What SageMaker grants a container; shorter in tests."""

    invoke_s: float = 60
    startup_s: float = 480
    """Until ``/ping`` must have answered, where the variant says nothing else."""
    grace_s: float = 30
    """Between SIGTERM and SIGKILL."""
    health_s: float = 5
    """Between two pings of a container in service."""
    attempts: int = 2
    """Starts of a container that ends before it is healthy, before the endpoint fails."""


class NotHealthyError(Exception):
    """The container did not answer its health check; the message says why, for the log."""


class Instance:
    """A container and its supervision."""

    def __init__(
        self,
        container: Container,
        programs: Programs,
        http: ContainerHttp,
        journal: Journal,
        limits: Limits,
    ) -> None:
        self.id = uuid.uuid4().hex[:12]
        self.outstanding = 0
        self._healthy = False
        self._container = container
        self._programs = programs
        self._http = http
        self._journal = journal
        self._limits = limits
        self._port = 0
        self._process: asyncio.subprocess.Process | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def healthy(self) -> bool:
        """Whether it can be asked; of its end the kernel knows before the event loop does."""
        return self._healthy and not exited(self.pid)

    @property
    def pid(self) -> int:
        """The process id, 0 before the start."""
        return self._process.pid if self._process else 0

    async def start(self, limit_s: float) -> None:
        """Have it healthy within the limit; raises `NotHealthyError`."""
        try:
            async with asyncio.timeout(limit_s):
                await self._try_to_start()
        except BaseException as error:
            await self.stop(grace_s=0)
            if not isinstance(error, TimeoutError | PullError | OSError | NotHealthyError):
                raise
            why = f"no /ping within {limit_s:g} s" if isinstance(error, TimeoutError) else error
            self._say(f"did not become healthy: {why}")
            raise NotHealthyError(str(why)) from error
        self._keeper = asyncio.create_task(self._keep_running())

    async def _try_to_start(self) -> None:
        for _ in range(self._limits.attempts):
            await self._launch()
            if await self._becomes_healthy():
                return
            self._say(f"ended with {self._end()} before it was healthy")
            await self._remove()
        raise NotHealthyError(f"it ended with {self._end()} while it started")

    async def _launch(self) -> None:
        self._port = ports.free()
        program = await self._programs.program(self._container, self._port, self.id)
        with self._journal.stream() as log:
            self._process = await asyncio.create_subprocess_exec(
                *program.argv,
                cwd=program.cwd,
                env=program.env,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=die_with_parent(os.getpid()),
            )

    async def _becomes_healthy(self) -> bool:
        """Wait for ``/ping``; False when the process ends first."""
        assert self._process is not None
        while self._process.returncode is None:
            if await self._http.ping(self._port):
                self._healthy = True
                return True
            await asyncio.sleep(PING_INTERVAL_S)
        return False

    async def _keep_running(self) -> None:
        assert self._process is not None
        pause = FIRST_PAUSE_S
        while True:
            await self._end_or_silence(self._process)
            self._healthy = False
            self._say(f"ended with {self._end()}; it is started again")
            await self._remove()
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)
            try:
                await self._launch()
                if await self._becomes_healthy():
                    pause = FIRST_PAUSE_S
            except (PullError, OSError) as problem:
                self._say(f"cannot be started again: {problem}")

    async def _end_or_silence(self, process: asyncio.subprocess.Process) -> None:
        """Wait until the process has ended; one that no longer answers pings is ended here."""
        missed = 0
        while process.returncode is None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), self._limits.health_s)
                return
            missed = 0 if await self._http.ping(self._port) else missed + 1
            if missed == MISSES:
                self._say(f"missed {MISSES} pings")
                kill_group(process.pid)
                await process.wait()

    async def invoke(self, headers: Mapping[str, str], body: bytes) -> Answered:
        """Have the container answer; raises what `ContainerHttp.invoke` raises."""
        self.outstanding += 1
        self._idle.clear()
        try:
            return await self._http.invoke(
                self._port, headers, body, limit_s=self._limits.invoke_s, limit=BODY_LIMIT
            )
        finally:
            self.outstanding -= 1
            if not self.outstanding:
                self._idle.set()

    async def drain(self) -> None:
        """Let what has begun come to its end, for as long as an invocation may take."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), self._limits.invoke_s)

    async def stop(self, grace_s: float | None = None) -> None:
        """End it; politely unless there is no grace."""
        self._healthy = False
        if self._keeper is not None:
            self._keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeper
            self._keeper = None
        if self._process is not None:
            await _end(self._process, self._limits.grace_s if grace_s is None else grace_s)
            await self._remove()

    async def _remove(self) -> None:
        kill_group(self.pid)
        await self._programs.clean_up(self.id)

    def _end(self) -> str:
        code = self._process.returncode if self._process else None
        return f"signal {-code}" if code is not None and code < 0 else f"exit status {code}"

    def _say(self, text: str) -> None:
        self._journal.line(f"instance {self.id} {text}")


async def _end(process: asyncio.subprocess.Process, grace_s: float) -> None:
    if process.returncode is None and grace_s:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), grace_s)
    kill_group(process.pid)
    await process.wait()
