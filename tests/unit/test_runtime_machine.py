"""What a container really has: cgroups of both versions, and how workers and threads share it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.runtime.machine import WORKER_BYTES, Machine, Share, limits, share

GIB = 2**30


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_a_quota_of_version_2_counts(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "0::/\n",
        "sys/fs/cgroup/cpu.max": "250000 100000\n",
        "sys/fs/cgroup/memory.max": str(GIB),
    }
    assert limits(tree(tmp_path, files)) == (2.5, GIB)


def test_the_tightest_level_above_the_process_counts(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "0::/pod/container\n",
        "sys/fs/cgroup/cpu.max": "max 100000\n",
        "sys/fs/cgroup/pod/cpu.max": "200000 100000\n",
        "sys/fs/cgroup/pod/memory.max": str(2 * GIB),
        "sys/fs/cgroup/pod/container/cpu.max": "400000 100000\n",
        "sys/fs/cgroup/pod/container/memory.max": "max\n",
    }
    assert limits(tree(tmp_path, files)) == (2.0, 2 * GIB)


def test_version_1_is_read_under_its_controllers(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "4:memory:/docker/x\n3:cpu,cpuacct:/docker/x\n",
        "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "150000\n",
        "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": str(GIB),
    }
    assert limits(tree(tmp_path, files)) == (1.5, GIB)


def test_unlimited_is_the_memory_of_the_machine_and_no_quota(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "4:memory:/\n3:cpu:/\n",
        "proc/meminfo": "MemTotal:        1024 kB\n",
        "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
        "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
    }
    assert limits(tree(tmp_path, files)) == (float("inf"), 1024 * 1024)
    assert limits(tmp_path / "nothing-here") == (float("inf"), None)


def test_this_machine_has_at_least_one_cpu_and_no_more_than_it_may_use(tmp_path: Path) -> None:
    quota = {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "10000 100000\n"}
    assert Machine.here(tree(tmp_path, quota)).cpus == 1
    assert Machine.here().cpus >= 1


@pytest.mark.parametrize(
    ("machine", "asked", "model_bytes", "threads", "batches", "want"),
    [
        (Machine(8), None, 0, None, False, Share(8, 1)),
        (Machine(8), None, 0, 4, False, Share(2, 4)),
        (Machine(8), 2, 0, None, False, Share(2, 4)),
        (Machine(8), 3, 0, 5, False, Share(3, 5)),
        (Machine(8), None, 0, None, True, Share(1, 8)),
        (Machine(8, gpu=True), None, 0, None, False, Share(1, 8)),
        (Machine(8, gpu=True), 2, 0, None, False, Share(2, 4)),
        (Machine(2), None, 0, 16, False, Share(1, 16)),
        (Machine(2), 4, 0, None, False, Share(4, 1)),
        (Machine(8, memory=8 * GIB), None, GIB, None, False, Share(3, 2)),
        (Machine(8, memory=GIB), None, 5 * GIB, None, False, Share(1, 8)),
    ],
)
def test_workers_and_threads_share_the_cpus(
    machine: Machine,
    asked: int | None,
    model_bytes: int,
    threads: int | None,
    batches: bool,
    want: Share,
) -> None:
    assert share(machine, asked, model_bytes, threads, batches) == want


@given(
    cpus=st.integers(1, 256),
    memory=st.none() | st.integers(1, 512 * GIB),
    model_bytes=st.integers(0, 64 * GIB),
    batches=st.booleans(),
)
def test_a_default_share_never_takes_more_than_there_is(
    cpus: int, memory: int | None, model_bytes: int, batches: bool
) -> None:
    chosen = share(Machine(cpus, memory), None, model_bytes, None, batches)
    assert 1 <= chosen.workers * chosen.threads <= cpus
    if memory is not None and chosen.workers > 1:
        assert chosen.workers * (2 * model_bytes + WORKER_BYTES) <= memory
