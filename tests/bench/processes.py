"""A server as a fresh process on a free port: started, found ready, measured, ended with all of it.

Servers that start others are counted and ended as one tree. Knows no server by name.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, sleep

from tests.bench.plan import BenchError, cpus, pinned

#: MLflow takes seconds to start, and a first start compiles what it imports.
PATIENCE_S = 180.0
#: Between two tries to reach a server that is starting: each of them costs it time as well.
_PAUSE_S = 0.005
_MOST_LOG = 4000
_MAPS = ("smaps_rollup", "smaps")
_MAPPING = re.compile(
    r"^[0-9a-f]+-[0-9a-f]+ \S+ (\S+) (\S+) (\d+).*\n(?:[A-Z].*\n)*?Rss: +(\d+).*\n"
    r"(?:[A-Z].*\n)*?Anonymous: +(\d+)",
    re.MULTILINE,
)


class ServerError(BenchError):
    """A server ended or did not answer; says what it logged."""


@dataclass(frozen=True)
class Program:
    """How to start a server: what, with which variables, from which folder."""

    command: Sequence[str]
    environ: Mapping[str, str]
    folder: Path


@dataclass(frozen=True)
class Running:
    """A started server: its process, since when, and where it logs."""

    process: subprocess.Popen[bytes]
    port: int
    started: float
    log: Path

    def until(self, is_ready: Callable[[], bool]) -> float:
        """Seconds from the start until ``is_ready``; raises `ServerError`."""
        while not is_ready():
            if self.process.poll() is not None:
                raise ServerError(f"ended with {self.process.returncode}:\n{self.said()}")
            if perf_counter() - self.started > PATIENCE_S:
                raise ServerError(f"not ready after {PATIENCE_S:.0f} s:\n{self.said()}")
            sleep(_PAUSE_S)
        return perf_counter() - self.started

    def said(self) -> str:
        """The end of its log."""
        return self.log.read_bytes()[-_MOST_LOG:].decode(errors="replace")

    def memory(self) -> float:
        """MiB that the process and all below it hold, as a container would be charged for them."""
        return resident(tree(self.process.pid)) / 2**20


def free_port() -> int:
    """A port of the loopback interface that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def running(program: Callable[[int], Program], folder: Path) -> Iterator[Running]:
    """A fresh process of ``program(port)`` on the measured CPU; its log lies in ``folder``."""
    port, log = free_port(), folder / "server.log"
    what = program(port)
    with log.open("wb") as out, pinned(cpus()[0]):
        started = perf_counter()
        process = subprocess.Popen(
            what.command,
            env=what.environ,
            cwd=what.folder,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield Running(process, port, started, log)
    finally:
        end(process)
        log.unlink()


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process and all below it, gently for five seconds."""
    everyone = tree(process.pid)
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(5)
    for pid in everyone:
        # A number may be somebody else's by now, but not within one session of processes.
        with suppress(ProcessLookupError):
            if os.getsid(pid) == process.pid:
                os.kill(pid, signal.SIGKILL)
    process.wait()


def tree(pid: int) -> list[int]:
    """The process and all below it, those that ended meanwhile left out."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(FileNotFoundError, ProcessLookupError):
            for child in map(int, task.read_text().split()):
                found += tree(child)
    return found


def resident(pids: Iterable[int]) -> int:
    """Bytes that these processes hold in memory, a page that several of them share counted once.

    Their own pages are those of ``smaps_rollup``, split among forks by the kernel. Those of a file
    are counted where most of them are mapped, and not split with strangers who have it open too.
    """
    own, files = 0, dict[tuple[str, ...], int]()
    for pid in pids:
        with suppress(FileNotFoundError, ProcessLookupError):
            rollup, maps = (Path(f"/proc/{pid}/{name}").read_text() for name in _MAPS)
            own += sum(
                int(found) for found in re.findall(r"^Pss_(?:Anon|Shmem): +(\d+)", rollup, re.M)
            )
            for mapping in _MAPPING.finditer(maps):
                offset, device, inode, held, anonymous = mapping.groups()
                if inode != "0":
                    key = (offset, device, inode)
                    files[key] = max(files.get(key, 0), int(held) - int(anonymous))
    return (own + sum(files.values())) * 1024
