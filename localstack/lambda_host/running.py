"""What an execution environment's program is to the host: started, watched, ended.

The seam between an environment and the way its function runs. `Program` and `Running` say what
the host needs of any of them; a process of this machine is the first, and containers are run by
such a process too. Nothing here knows functions or the Runtime API.
"""

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from lambda_host.processes import die_with_parent, exited, kill_group, memory_in_use

MEGABYTE = 1024 * 1024
WATCH_INTERVAL_S = 0.02


class Running(Protocol):
    """A program that was started."""

    @property
    def pid(self) -> int:
        """The process of ours that stands for it."""

    @property
    def alive(self) -> bool:
        """Whether it still runs, asked of the kernel: the event loop hears later."""

    @property
    def overgrown(self) -> bool:
        """Whether it was ended because it wanted more memory than it may have."""

    @property
    def peak(self) -> int:
        """The most bytes of memory it was seen to use."""

    async def exited(self) -> int:
        """Wait for its end; the status as `subprocess` gives it."""

    async def watch(self) -> None:
        """Measure its memory for as long as somebody waits; may end it, and then returns."""

    def measure(self) -> int:
        """Bytes of memory it uses now."""

    async def end(self) -> None:
        """End it and whatever it started, at once."""


class Program(Protocol):
    """Something that can be run for one environment."""

    async def start(self, name: str, env: Mapping[str, str], log: BinaryIO) -> Running:
        """Start it under a name nothing else has, with variables of this environment alone."""


class RunningProcess:
    """A process group of this machine, measured and ended by us."""

    def __init__(self, process: asyncio.subprocess.Process, memory_mb: int) -> None:
        self.overgrown = False
        self.peak = 0
        self._process = process
        self._limit = memory_mb * MEGABYTE
        self._exit = asyncio.create_task(process.wait())

    @property
    def pid(self) -> int:
        """The process that leads the group."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether that process runs."""
        return not self._exit.done() and not exited(self.pid)

    async def exited(self) -> int:
        """Wait for its end."""
        return await asyncio.shield(self._exit)

    async def watch(self) -> None:
        """Measure, and kill the group as soon as it is past the limit."""
        while self.measure() <= self._limit:
            await asyncio.sleep(WATCH_INTERVAL_S)
        self.overgrown = True
        kill_group(self.pid)

    def measure(self) -> int:
        """What the process and its children hold."""
        used = memory_in_use(self.pid)
        self.peak = max(self.peak, used)
        return used

    async def end(self) -> None:
        """Kill the group."""
        kill_group(self.pid)
        await self.exited()


@dataclass(frozen=True)
class ProcessProgram:
    """What to execute: command line, folder and variables."""

    argv: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str]
    memory_mb: int

    async def start(self, name: str, env: Mapping[str, str], log: BinaryIO) -> RunningProcess:
        """Start a process that dies with us; it needs no name."""
        process = await start_process(self.argv, self.cwd, {**self.env, **env}, log)
        return RunningProcess(process, self.memory_mb)


async def start_process(
    argv: tuple[str, ...], cwd: Path, env: Mapping[str, str], log: BinaryIO
) -> asyncio.subprocess.Process:
    """Start a process in a group of its own that the kernel kills when we die."""
    return await asyncio.create_subprocess_exec(
        *argv,
        cwd=cwd,
        env=dict(env),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
        preexec_fn=die_with_parent(os.getpid()),
    )
