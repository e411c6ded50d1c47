"""What the container tests need of the machine, and what they share: a registry and containers.

They are skipped only where a program is missing; `make test` installs them where it may.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from container_registry import ContainerRegistry
from containers import Containers

TOOLS = ("podman", "runc", "docker-registry", "skopeo", "umoci", "mmdebstrap")


def skip_without_tools() -> None:
    """Skip, with the reason, where a program is missing."""
    missing = [tool for tool in TOOLS if not shutil.which(tool, path=_path())]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)} (as root: make tools)")


@contextmanager
def registry(home: Path) -> Iterator[str]:
    """A container registry below a folder, for as long as the block runs; its `host:port`."""
    children: list[subprocess.Popen[bytes]] = []

    def spawn(role: str, argv: tuple[str, ...], env: Mapping[str, str]) -> subprocess.Popen[bytes]:
        with (home / f"{role}.log").open("ab") as log:
            child = subprocess.Popen(argv, env={**os.environ, **env}, stdout=log, stderr=log)
        children.append(child)
        return child

    home.mkdir(parents=True, exist_ok=True)
    try:
        yield ContainerRegistry(home).start(spawn)
    finally:
        for child in children:
            child.terminate()
            child.wait(15)


def names(containers: Containers) -> list[str]:
    """The containers there are of this cloud, whatever became of them."""
    listed = subprocess.run(
        [*containers.command, "ps", "--all", "--format", "{{.Names}}"],
        capture_output=True,
        text=True,
        check=True,
    )
    return [name for name in listed.stdout.split() if name.startswith(containers.prefix)]


def _path() -> str:
    return os.pathsep.join((*os.get_exec_path(), "/usr/sbin", "/sbin"))
