"""What a tree of processes holds in memory, as the benchmarks weigh it."""

from __future__ import annotations

import subprocess
import sys

from tests.bench.processes import resident, tree

#: Holds 64 MiB, shares them with a fork, and says when both are there.
_PROGRAM = """
import os, sys
held = os.urandom(64 << 20)
reading, writing = os.pipe()
if not os.fork():
    print("ready", flush=True)
    os.close(writing)
    os.read(reading, 1)
    os._exit(0)
sys.stdin.read()
"""


def test_what_forks_share_is_counted_once() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == b"ready\n"
        pids = tree(process.pid)
        held = resident(pids) / 2**20
        process.stdin.close()
    assert len(pids) == 2
    assert 64 < held < 100


def test_who_has_ended_holds_nothing() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    assert resident([process.pid]) == 0
