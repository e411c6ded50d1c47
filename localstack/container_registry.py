"""The container registry of a local cloud: Docker's own, on a free loopback port.

It plays the part of ECR where functions and endpoints run their real images. It starts one
process, through whoever owns the cloud's processes, and knows nothing of what is pushed. Images
stay below the cloud's folder when it goes, and the port, which is in their names, where it can.
"""

import json
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import ports
from containers import ContainerError

PROGRAMS = {"docker-registry": "serve", "registry": "serve"}
"""The program by Debian's name and by its own, and the word that makes it serve."""
NOT_HERE = "the container executor needs a container registry, and found no docker-registry"
INSTALL = "install it (Debian, Ubuntu: sudo apt-get install docker-registry)"
START_LIMIT_S = 30
MANIFESTS = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)


class Child(Protocol):
    """A process that was started."""

    def poll(self) -> int | None:
        """Its exit status once it has ended."""


Spawn = Callable[[str, tuple[str, ...], Mapping[str, str]], Child]
"""Starts a process: its role, command line and variables."""


class ContainerRegistry:
    """A registry whose images lie below a cloud's folder."""

    role = "container-registry"

    def __init__(self, home: Path) -> None:
        self._folder = home / "registry"

    def start(self, spawn: Spawn) -> str:
        """Start it and wait until it answers; its `host:port`. Raises `ContainerError`."""
        argv = self.command()
        settings = self._folder / "config.yml"
        port = _port_before(settings)
        self._folder.mkdir(parents=True, exist_ok=True)
        settings.write_text(json.dumps(self._settings(port)))  # YAML holds JSON
        # Newer ones would look for somebody to send traces to.
        child = spawn(self.role, (*argv, str(settings)), {"OTEL_TRACES_EXPORTER": "none"})
        deadline = time.monotonic() + START_LIMIT_S
        while not _answers(f"http://127.0.0.1:{port}/v2/"):
            if child.poll() is not None or time.monotonic() > deadline:
                raise ContainerError("the container registry did not start", "see its log")
            time.sleep(0.05)
        return f"127.0.0.1:{port}"

    @staticmethod
    def command() -> tuple[str, str]:
        """The program and its first word; raises `ContainerError` where there is none."""
        for program, word in PROGRAMS.items():
            if found := shutil.which(program):
                return found, word
        raise ContainerError(NOT_HERE, INSTALL)

    def _settings(self, port: int) -> Mapping[str, object]:
        return {
            "version": 0.1,
            "log": {"level": "warn", "accesslog": {"disabled": True}},
            "storage": {
                "filesystem": {"rootdirectory": str(self._folder / "data")},
                "delete": {"enabled": True},
            },
            "http": {"addr": f"127.0.0.1:{port}"},
        }


def holds(image: str) -> bool:
    """Whether the registry that an image by digest names has it."""
    host, _, rest = image.partition("/")
    name, _, digest = rest.partition("@")
    request = urllib.request.Request(f"http://{host}/v2/{name}/manifests/{digest}", method="HEAD")
    request.add_header("Accept", ", ".join(MANIFESTS))
    return _answers(request)


def _port_before(settings: Path) -> int:
    """The port of the last time unless somebody has it now; else any that is free."""
    try:
        port = int(json.loads(settings.read_text())["http"]["addr"].rpartition(":")[2])
    except (OSError, ValueError):
        return ports.free()
    return ports.free() if ports.taken(port) else port


def _answers(url: str | urllib.request.Request) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False
