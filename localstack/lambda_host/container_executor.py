"""Image functions as containers of their real images.

The image is pulled before anything is started, as Lambda has it long before an invocation: the
time that takes is not the function's. The memory limit is the kernel's, on the container.
"""

import asyncio
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO

from containers import ContainerError, Containers
from lambda_host.bundles import PullError
from lambda_host.function import Function, lambda_variables
from lambda_host.processes import kill_group, memory_in_use, started
from lambda_host.running import WATCH_INTERVAL_S, RunningProcess, start_process

TASK_ROOT = "/var/task"
KILLED = 137
"""What a container ends with that was killed; unless by us, then by the kernel for its memory."""
END_LIMIT_S = 5


class ImageContainers:
    """Runs the image a function's configuration names."""

    def __init__(self, containers: Containers, prefix: str, ambient: Mapping[str, str]) -> None:
        """Every container's name starts with `prefix`; `ambient` is where a function's AWS is."""
        self._containers = containers
        self._prefix = prefix
        self._ambient = ambient
        self._pulls: dict[str, asyncio.Lock] = {}
        self._pulled: set[str] = set()

    async def program(self, function: Function) -> "ContainerProgram":
        """The program of a function; its image is pulled when it is not here."""
        if not function.image:
            raise PullError("the function's configuration names no image")
        async with self._pulls.setdefault(function.image, asyncio.Lock()):
            if function.image not in self._pulled:
                await self._pull(function.image)
        env = {
            **self._ambient,
            **function.environment,
            **lambda_variables(function, TASK_ROOT),
        }
        return ContainerProgram(self._containers, self._prefix, function, env)

    async def _pull(self, image: str) -> None:
        try:
            await asyncio.to_thread(self._containers.pull, image)
        except ContainerError as error:
            raise PullError(str(error)) from error
        self._pulled.add(image)


@dataclass(frozen=True)
class ContainerProgram:
    """What to run: a function's image with its variables."""

    containers: Containers
    prefix: str
    function: Function
    env: Mapping[str, str]

    async def start(self, name: str, env: Mapping[str, str], log: BinaryIO) -> "RunningContainer":
        """Start a container; the process that holds it dies with us, the guard does the rest."""
        function = self.function
        name = f"{self.prefix}{function.name}-{name[:12]}"
        argv = self.containers.argv(
            function.image,
            function.command,
            {**self.env, **env},
            name=name,
            memory_mb=function.memory_mb,
        )
        process = await start_process(argv, self.containers.folder, os.environ, log)
        return RunningContainer(self.containers, name, RunningProcess(process, function.memory_mb))


class RunningContainer:
    """A container, and the process in the foreground that ends with it."""

    def __init__(self, containers: Containers, name: str, client: RunningProcess) -> None:
        self.overgrown = False
        self.peak = 0
        self._containers = containers
        self._name = name
        self._client = client
        self._ending = False
        self._pid = 0
        self._born: str | None = None

    @property
    def pid(self) -> int:
        """The process that holds it."""
        return self._client.pid

    @property
    def alive(self) -> bool:
        """Whether both run; the process that holds the container ends some time after it."""
        return self._client.alive and (self._born is None or started(self._pid) == self._born)

    async def exited(self) -> int:
        """Wait for its end."""
        status = await self._client.exited()
        self.overgrown = status == KILLED and not self._ending
        return status

    async def watch(self) -> None:
        """Measure; the kernel sees to the limit."""
        while not self._pid:
            self._pid = await asyncio.to_thread(self._containers.pid, self._name)
            self._born = started(self._pid) if self._pid else None
            await asyncio.sleep(WATCH_INTERVAL_S)
        while True:
            self.measure()
            await asyncio.sleep(WATCH_INTERVAL_S)

    def measure(self) -> int:
        """What the container's processes hold; nothing before it is known to run."""
        used = memory_in_use(self._pid) if self._pid else 0
        self.peak = max(self.peak, used)
        return used

    async def end(self) -> None:
        """Remove the container, and again if it only came into being meanwhile."""
        self._ending = True
        await asyncio.to_thread(self._containers.remove, self._name)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._client.exited(), END_LIMIT_S)
        if self._client.alive:
            kill_group(self.pid)
            await self._client.exited()
            await asyncio.to_thread(self._containers.remove, self._name)
