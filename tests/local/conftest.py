"""What the local tier shares: the local cloud's scripts on the path, and real processes.

`localstack/` is run by path, not installed; its folder goes on the path as python puts it
there for its scripts.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import ROOT

if TYPE_CHECKING:  # its folder comes onto the path below
    from engine import Engine

sys.path.insert(0, str(ROOT / "localstack"))


def free_port() -> int:
    """A loopback port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def eventually(holds: Callable[[], bool], limit_s: float = 20) -> bool:
    """Whether something becomes true in time; the limit only bounds a failing test."""
    deadline = time.monotonic() + limit_s
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def answers(url: str) -> bool:
    """Whether the address answers 200."""
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


def processes_with(text: str) -> list[int]:
    """Processes whose environment or command line contains the text, as /proc tells."""
    found = set()
    for name in ("environ", "cmdline"):
        for path in Path("/proc").glob(f"[0-9]*/{name}"):
            try:
                if text.encode() in path.read_bytes():
                    found.add(int(path.parts[2]))
            except OSError:
                continue  # ended meanwhile, or somebody else's
    return sorted(found - {os.getpid()})


def variables(endpoint: str) -> dict[str, str]:
    """What a host on its own is started with."""
    return {
        "PYTHONPATH": os.pathsep.join(
            map(str, (ROOT / "localstack", ROOT / "layers/core/python", ROOT))
        ),
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }


def told_of_changes(engine: Engine, home: Path) -> tuple[str, ...]:
    """What a Lambda host beside an engine is started with, as the supervisor does it."""
    return ("--changes", str(home / engine.changes)) if engine.changes else ()


@contextmanager
def process(
    argv: Sequence[str], env: Mapping[str, str], log: Path, *, piped: bool = False
) -> Iterator[subprocess.Popen[str]]:
    """A child in a group of its own that is gone when the block ends."""
    with log.open("ab") as stream:
        child = subprocess.Popen(
            argv,
            env={"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], **env},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE if piped else stream,
            stderr=stream,
            text=True,
            start_new_session=True,
        )
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.communicate(timeout=15)
        except subprocess.TimeoutExpired:
            child.kill()
            child.communicate()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder that stands for a model image's tree; tests put handlers in it."""
    folder = tmp_path / "tree"
    folder.mkdir()
    return folder
