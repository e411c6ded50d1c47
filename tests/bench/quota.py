"""A share of a CPU, as Lambda grants it by memory: a control group's quota, where one may be made.

Needs root and a writable hierarchy, of either version; says so where there is none. Moves only this
process, into a group of its own making and back.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PERIOD_US = 100_000
_V1, _V2 = Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup")
_NAME = f"modelport-bench-{os.getpid()}"


def available() -> bool:
    """Whether a quota can be set here."""
    try:
        with _group(1.0):
            return True
    except OSError:
        return False


@contextmanager
def granted(share: float) -> Iterator[None]:
    """Processes started in the block get so much of a CPU, together; raises OSError."""
    with _group(share) as group:
        (group / "cgroup.procs").write_text(str(os.getpid()))
        try:
            yield
        finally:
            (group.parent / "cgroup.procs").write_text(str(os.getpid()))


@contextmanager
def _group(share: float) -> Iterator[Path]:
    quota = round(share * _PERIOD_US)
    first = (_V1 / "cpu.cfs_quota_us").exists() or (_V1 / "tasks").exists()
    group = (_V1 if first else _V2) / _NAME
    group.mkdir(exist_ok=True)
    try:
        if first:
            (group / "cpu.cfs_period_us").write_text(str(_PERIOD_US))
            (group / "cpu.cfs_quota_us").write_text(str(quota))
        else:
            (group / "cpu.max").write_text(f"{quota} {_PERIOD_US}")
        yield group
    finally:
        with_children = (group / "cgroup.procs").read_text().split()
        if not with_children:
            group.rmdir()
