"""Containers of the local cloud: run an image as a process to wait for, and be rid of it.

The one place that knows podman's and docker's command lines. It must not know what runs in a
container. Podman's containers outlive the process that started them (their monitor, conmon, is
nobody's child), so every container has a name with its cloud's prefix, and a guard outside the
host's process group removes what has the prefix when the host is gone, however it went.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from container_tools.podman import BrokenPodmanError, configure, volatile

NOT_HERE = (
    "the container executor needs podman, or docker with its service running, and found neither"
)
INSTALL = (
    "install it (Debian, Ubuntu: sudo apt-get install podman runc), "
    "or leave out --executor container"
)
EXECUTORS = ("process", "container")
"""How the hosts run what has an image: our tree in a process, or the real image."""
SWEEPS = 5
GUARD_LIMIT_S = 30


class ContainerError(Exception):
    """Containers cannot be had, or an image cannot; the message says why, the hint what helps."""

    def __init__(self, problem: str, hint: str = "") -> None:
        super().__init__(problem)
        self.hint = hint


@dataclass(frozen=True)
class Tool:
    """What differs between the programs that run containers."""

    command: tuple[str, ...]
    run: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()
    plain_http: tuple[str, ...] = ()
    """What lets it pull from a registry on loopback that has no certificate."""
    pids: Path | None = None
    """Where it writes a container's first process down, if it does."""


class Containers:
    """The containers and images of one local cloud."""

    def __init__(self, home: Path, tool: Tool) -> None:
        self.prefix = f"{_name(home)}-"
        """Every name starts with it; a host adds a word of its own."""
        self.command = tool.command
        self.folder = home
        """Where to start containers: conmon notes a kill for memory in the folder it starts in."""
        self._tool = tool

    @classmethod
    def find(cls, home: Path) -> "Containers | None":
        """Containers for the cloud in this folder, or None where they cannot be had."""
        try:
            return cls.require(home)
        except ContainerError:
            return None

    @classmethod
    def require(cls, home: Path) -> "Containers":
        """As `find`, but raises `ContainerError` with the reason and the next step."""
        problems = []
        for tool in (_podman, _docker):
            try:
                return cls(home, tool(home))
            except ContainerError as error:
                problems.append(str(error))
        raise ContainerError("; ".join(filter(None, problems)) or NOT_HERE, INSTALL)

    def argv(
        self,
        image: str,
        command: Sequence[str],
        env: Mapping[str, str],
        *,
        name: str,
        memory_mb: int,
        read_only: bool = True,
    ) -> tuple[str, ...]:
        """A container in the foreground, as its image's user, that is gone when it ends.

        It shares the host's network, has `/tmp` to write to, no privileges, and no swap beyond
        its memory. The process that runs this passes SIGTERM on and ends with the container's
        status; killed, it leaves the container behind: `remove` it.
        """
        options = [
            *("--rm", "--name", name, "--network", "host", "--pull", "missing"),
            *("--memory", f"{memory_mb}m", "--memory-swap", f"{memory_mb}m"),
            *("--cap-drop", "all", "--security-opt", "no-new-privileges"),
            *("--log-driver", "none", "--tmpfs", "/tmp:rw,exec,mode=1777"),
            *(("--read-only",) if read_only else ()),
            *(word for key, value in env.items() for word in ("--env", f"{key}={value}")),
        ]
        if self._tool.pids is not None:
            options += ["--pidfile", str(self._tool.pids / name)]
        run = (*self._tool.command, "run", *self._tool.run, *self._reach(image))
        return (*run, *options, image, *command)

    def pull(self, image: str) -> None:
        """Have the image here; raises `ContainerError`."""
        if self._run("image", "inspect", image).returncode == 0:
            return
        done = self._run("pull", "--quiet", *self._reach(image), image)
        if done.returncode:
            hint = "push it to that registry, or mend the address in the deployments file"
            raise ContainerError(f"image {image} cannot be pulled: {_last_line(done)}", hint)

    def pid(self, name: str) -> int:
        """The first process of a container as this machine numbers it, 0 while there is none."""
        if self._tool.pids is not None:
            written = self._tool.pids / name
            return int(written.read_text() or 0) if written.exists() else 0
        done = self._run("container", "inspect", "--format", "{{.State.Pid}}", name)
        return int(done.stdout.strip() or 0) if done.returncode == 0 else 0

    def remove(self, name: str) -> None:
        """End a container at once and remove it; one that is gone is fine."""
        self._remove(name)

    def sweep(self, prefix: str) -> list[str]:
        """Remove every container whose name starts so; their names."""
        swept: list[str] = []
        for _ in range(SWEEPS):
            found = self._names(prefix)
            if not found:
                break
            self._remove(*found)
            swept += [name for name in found if name not in swept]
        return swept

    @contextmanager
    def guard(self, prefix: str) -> Iterator[None]:
        """Sweep when the block ends or this process does, even by SIGKILL."""
        self.sweep(prefix)
        watcher = subprocess.Popen(
            [sys.executable, __file__, "guard", str(self.folder), prefix],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,  # what ends our process group must not end the guard
        )
        assert watcher.stdin is not None
        try:
            yield
        finally:
            watcher.stdin.close()
            watcher.wait(GUARD_LIMIT_S)

    def _remove(self, *names: str) -> None:
        self._run("rm", "--force", *self._tool.remove, *names)
        if self._tool.pids is not None:
            for name in names:
                (self._tool.pids / name).unlink(missing_ok=True)

    def _names(self, prefix: str) -> list[str]:
        listed = self._run("ps", "--all", "--filter", f"name=^{prefix}", "--format", "{{.Names}}")
        return listed.stdout.split()

    def _reach(self, image: str) -> tuple[str, ...]:
        return self._tool.plain_http if image.startswith(("127.", "localhost:")) else ()

    def _run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*self._tool.command, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )


def clear(home: Path) -> None:
    """Remove what is left of a cloud's containers, and podman's images with them."""
    folder = _folder(home)
    if not folder.exists():
        return
    if containers := Containers.find(home):
        containers.sweep(containers.prefix)
    for each in (volatile(_name(home)), folder):
        shutil.rmtree(each, ignore_errors=True)
    if folder.exists():  # without root, images hold files of other users
        subprocess.run(["podman", "unshare", "rm", "-rf", str(folder)], check=False)


def _name(home: Path) -> str:
    """What tells this cloud's containers from those of others."""
    return f"modelport-{hashlib.sha256(str(home).encode()).hexdigest()[:10]}"


def _folder(home: Path) -> Path:
    """Where podman's own things lie; that it is there tells that containers were used."""
    return home / "containers"


def _podman(home: Path) -> Tool:
    if not shutil.which("podman"):
        raise ContainerError("")
    try:
        variables = configure(_folder(home), _name(home))
    except BrokenPodmanError as error:
        raise ContainerError(f"podman does not run here: {error}") from error
    pids = _folder(home) / "pids"
    pids.mkdir(exist_ok=True)
    assignments = (f"{name}={value}" for name, value in variables.items())
    return Tool(
        ("/usr/bin/env", *assignments, "podman"),
        run=("--read-only-tmpfs=false",),
        remove=("--time", "0"),
        plain_http=("--tls-verify=false",),
        pids=pids,
    )


def _docker(home: Path) -> Tool:
    if not shutil.which("docker"):
        raise ContainerError("")
    probe = ["docker", "version", "--format", "{{.Server.Version}}"]
    done = subprocess.run(probe, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ContainerError(f"docker does not run here: {_last_line(done)}")
    _folder(home).mkdir(parents=True, exist_ok=True)  # tells `clear` that there is something
    return Tool(("docker",))


def _last_line(done: "subprocess.CompletedProcess[str]") -> str:
    lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
    return lines[-1].removeprefix("Error: ")


def _watch(home: Path, prefix: str) -> None:
    """Wait until whoever started us has ended, then sweep."""
    os.read(0, 1)
    if _folder(home).exists() and (containers := Containers.find(home)):
        containers.sweep(prefix)


if __name__ == "__main__":
    _watch(Path(sys.argv[2]), sys.argv[3])
