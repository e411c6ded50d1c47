"""What to execute for one container of a model: our runtime as a process, or the real image.

Both are told the same: the model's variables, the port, and where its AWS is, which under
network isolation is nowhere. Nothing is started here.
"""

import asyncio
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from containers import ContainerError, Containers
from lambda_host.bundles import Bundles, PullError

COMMAND = ("serve",)
"""What SageMaker gives an image to run."""


@dataclass(frozen=True)
class Container:
    """The container of a model, as CreateModel described it."""

    image: str
    environment: Mapping[str, str]
    isolated: bool = False


@dataclass(frozen=True)
class Program:
    """Command line, folder and variables."""

    argv: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str]


class Programs(Protocol):
    """One way of running containers."""

    async def program(self, container: Container, port: int, instance: str) -> Program:
        """What to start so that it listens on the port; raises `PullError` or `OSError`."""

    async def clean_up(self, instance: str) -> None:
        """Remove what ending the process has left of it."""


class ProcessPrograms:
    """The runtime of this tree as a plain process; the bundle comes from the registry."""

    def __init__(self, root: Path, bundles: Bundles, ambient: Mapping[str, str]) -> None:
        """`ambient` are variables every container gets: where its AWS is."""
        self._root = root
        self._bundles = bundles
        self._ambient = ambient

    async def program(self, container: Container, port: int, instance: str) -> Program:
        """Our tree where the image has /opt/python and /var/task."""
        bundle = await self._pull(container.environment)
        own = {"MODELPORT_BUNDLE_DIR": str(bundle)} if bundle else {}
        env = {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "PYTHONPATH": f"{self._root}:{self._root / 'layers/core/python'}",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONUNBUFFERED": "1",
            "ORT_DISABLE_TELEMETRY": "1",
            **variables(container, port, self._ambient),
            **own,
        }
        return Program((sys.executable, "-m", "functions.runtime", *COMMAND), self._root, env)

    async def _pull(self, environment: Mapping[str, str]) -> Path | None:
        try:
            return await self._bundles.pull(environment)
        except OSError:
            # Another host of this cloud was quicker with the same bundle: now it is there.
            return await self._bundles.pull(environment)

    async def clean_up(self, instance: str) -> None:
        """Nothing: a process leaves nothing behind."""


class ImagePrograms:
    """The model's real image, by podman or Docker."""

    def __init__(
        self, containers: Containers, prefix: str, ambient: Mapping[str, str], memory_mb: int
    ) -> None:
        """Every container's name starts with `prefix`."""
        self._containers = containers
        self._prefix = prefix
        self._ambient = ambient
        self._memory_mb = memory_mb
        self._pulls: dict[str, asyncio.Lock] = {}

    async def program(self, container: Container, port: int, instance: str) -> Program:
        """`IMAGE serve`, as SageMaker runs it; the image is pulled before."""
        async with self._pulls.setdefault(container.image, asyncio.Lock()):
            try:
                await asyncio.to_thread(self._containers.pull, container.image)
            except ContainerError as error:
                raise PullError(str(error)) from error
        argv = self._containers.argv(
            container.image,
            COMMAND,
            variables(container, port, self._ambient),
            name=self._prefix + instance,
            memory_mb=self._memory_mb,
        )
        return Program(argv, self._containers.folder, os.environ)

    async def clean_up(self, instance: str) -> None:
        """A container outlives the process that holds it."""
        await asyncio.to_thread(self._containers.remove, self._prefix + instance)


def variables(container: Container, port: int, ambient: Mapping[str, str]) -> dict[str, str]:
    """The variables of a container: the platform's, then the model's, then where to listen."""
    role = {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_SESSION_TOKEN": "test",
        **ambient,
    }
    return {
        **({} if container.isolated else role),
        **container.environment,
        "SAGEMAKER_BIND_TO_PORT": str(port),
        "MODELPORT_HOST": "127.0.0.1",
    }
