"""What this container really has: CPUs, memory, a GPU; and how workers and threads share it.

A container sees every CPU of its host, so the count comes from the scheduler's affinity and the
cgroup's quota (versions 1 and 2, at every level above the process). Reads ``/proc`` and ``/sys``
only; starts nothing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from os import PathLike
from os.path import join

from modelport.records import record

from functions.runtime.providers import cuda_installed, gpu_present

_LINUX = sys.platform == "linux"
#: What a worker takes beside the weights: interpreter, numpy, onnxruntime, buffers.
WORKER_BYTES = 128 * 2**20
#: Weights are read and, unless the version says otherwise, kept once more in packed form.
COPIES = 2
Folder = str | PathLike[str]


@record(frozen=True)
class Machine:
    """CPUs (at least 1), memory in bytes if it is limited or known, and whether a GPU is used."""

    cpus: int
    memory: int | None = None
    gpu: bool = False

    @classmethod
    def here(cls, root: Folder = "/") -> Machine:
        """This container."""
        cpus, memory = limits(root)
        schedulable = len(os.sched_getaffinity(0)) if _LINUX else os.cpu_count() or 1
        return cls(
            max(1, int(min(float(schedulable), cpus))), memory, gpu_present() and cuda_installed()
        )


@record(frozen=True)
class Share:
    """Worker processes, and the threads a model may use in each."""

    workers: int
    threads: int


def share(
    machine: Machine, asked: int | None, model_bytes: int, threads: int | None, batches: bool
) -> Share:
    """Workers × threads = CPUs, unless the operator or the version asks for something else.

    One worker per CPU answers most requests per second; fewer where their weights would not fit,
    and one where requests are gathered or a GPU computes, because both want them in one place.
    """
    if asked is None:
        workers = machine.cpus // (threads or 1)
        if batches or machine.gpu:
            workers = 1
        elif machine.memory is not None:
            workers = min(workers, machine.memory // (COPIES * model_bytes + WORKER_BYTES))
        asked = max(1, workers)
    return Share(asked, threads or max(1, machine.cpus // asked))


def limits(root: Folder = "/") -> tuple[float, int | None]:
    """CPUs and bytes that the cgroups of this process allow; infinite CPUs where none are set."""
    cpus, memory = [float("inf")], []
    for folder in _cgroups(root):
        quota = _quota(folder)
        if quota is not None:
            cpus.append(quota)
        for name in ("memory.max", "memory.limit_in_bytes"):
            bytes_ = _number(join(folder, name))
            if bytes_ is not None and bytes_ < 2**60:  # version 1 writes "unlimited" as a huge one
                memory.append(bytes_)
    physical = _physical(root)
    if physical is not None:
        memory.append(physical)
    return min(cpus), min(memory, default=None)


def _cgroups(root: Folder) -> Iterator[str]:
    """The folders of this process's cgroups and all above them, in both versions."""
    base = join(root, "sys/fs/cgroup")
    for line in _text(join(root, "proc/self/cgroup")).splitlines():
        _, controllers, path = line.split(":", 2)
        # Inside a container the path may be the host's; then only the mount's own root exists.
        for mount in (
            (join(base, controllers), base) if controllers else (base, join(base, "unified"))
        ):
            parts = [part for part in path.split("/") if part]
            for length in range(len(parts), -1, -1):
                yield join(mount, *parts[:length])


def _quota(folder: str) -> float | None:
    both = _text(join(folder, "cpu.max")).split()
    if len(both) == 2 and both[0].isdigit():
        return max(1.0, int(both[0]) / int(both[1]))
    quota, period = (_number(join(folder, f"cpu.cfs_{name}_us")) for name in ("quota", "period"))
    return max(1.0, quota / period) if quota and period else None


def _physical(root: Folder) -> int | None:
    for line in _text(join(root, "proc/meminfo")).splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    return None


def _number(path: str) -> int | None:
    text = _text(path).strip()
    return int(text) if text.isdigit() else None


def _text(path: str) -> str:
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""
