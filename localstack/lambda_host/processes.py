"""Starting processes that cannot outlive us, and measuring what they use.

Nothing here knows about functions. On Linux the kernel kills a child when its parent dies
(PR_SET_PDEATHSIG); elsewhere a child notices the closed connection to its parent.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

PR_SET_PDEATHSIG = 1
PAGE_FREE_KEYS = ("RssAnon:", "RssShmem:")


def die_with_parent(parent: int) -> Callable[[], None] | None:
    """What a child runs before exec so that it is killed when `parent` dies.

    The C library is loaded here, before the fork: between fork and exec nothing may allocate
    a lock that another thread could hold.
    """
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl

    def before_exec() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # the parent died before the request was in place
            os._exit(1)

    return before_exec


def exited(child: int) -> bool:
    """Whether a child of ours has ended, without taking its status from whoever waits for it."""
    try:
        return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


def kill_group(pgid: int, number: int = signal.SIGKILL) -> None:
    """Signal a whole process group; one that is already gone is fine."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pgid, number)


def memory_in_use(pid: int) -> int:
    """Bytes of memory a process and its children hold that the kernel cannot take back.

    Anonymous and shared pages only. An address-space limit (RLIMIT_AS) would be wrong:
    onnxruntime reserves and maps far more than it uses, and memory-mapped weights are page
    cache that Lambda reclaims too.
    """
    total = _own_memory(pid)
    with contextlib.suppress(OSError):
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        total += sum(memory_in_use(int(child)) for child in children.split())
    return total


def _own_memory(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0 if Path("/proc/self").exists() else _memory_from_ps(pid)
    lines = (line.split() for line in status.splitlines() if line.startswith(PAGE_FREE_KEYS))
    return sum(int(fields[1]) * 1024 for fields in lines)


def _memory_from_ps(pid: int) -> int:
    found = subprocess.run(
        ["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return int(found.stdout.strip() or 0) * 1024


def started(pid: int) -> str | None:
    """When a process started, in whatever unit the system counts; None when it is gone.

    A process id alone names nobody: it is used again. With this beside it, it does.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None if Path("/proc/self").exists() else _started_from_ps(pid)
    return None if fields[0] == "Z" else fields[19]


def _started_from_ps(pid: int) -> str | None:
    found = subprocess.run(
        ["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or None
