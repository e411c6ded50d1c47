"""Environments of other projects: one per locked requirements file, made once, below `.local`.

Clients and servers of other projects pin what does not fit beside ours, so each lives on its own,
and is run as a program of its own. Nothing here talks to a server.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import ROOT

LOCKS = ROOT / "tests" / "clients"
HOME = ROOT / ".local" / "clients"
UV = Path(sys.executable).with_name("uv")


@dataclass(frozen=True)
class ClientEnvironment:
    """A ready environment; `run` starts a script in it."""

    python: Path

    def run(
        self, script: Path, *arguments: str, env: Mapping[str, str], limit_s: float = 300
    ) -> str:
        """What ``script`` prints; fails with all it said when it ends with anything but 0."""
        done = subprocess.run(
            [str(self.python), str(script), *arguments],
            env={"PATH": f"{self.python.parent}{os.pathsep}{os.environ['PATH']}", **env},
            capture_output=True,
            text=True,
            timeout=limit_s,
        )
        assert done.returncode == 0, f"{script.name}:\n{done.stdout}\n{done.stderr}"
        return done.stdout


def client_environment(name: str) -> ClientEnvironment:
    """The environment of ``tests/clients/NAME.txt``, made where it is missing or outdated."""
    return ClientEnvironment(locked_environment(LOCKS / f"{name}.txt", HOME / name))


def locked_environment(lock: Path, place: Path) -> Path:
    """The Python of an environment with what ``lock`` names and nothing else, in ``place``.

    Made where it is missing or outdated; whoever asks meanwhile waits.
    """
    python, stamp = place / "bin" / "python", place / "lock.sha256"
    wanted = hashlib.sha256(lock.read_bytes()).hexdigest()
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.with_name(f"{place.name}.turn").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_text() != wanted:
            shutil.rmtree(place, ignore_errors=True)
            _uv("venv", "--python", sys.executable, str(place))
            _uv("pip", "sync", "--python", str(python), "--require-hashes", str(lock))
            stamp.write_text(wanted)
    return python


def _uv(*arguments: str) -> None:
    subprocess.run([str(UV), *arguments, "--quiet"], check=True)
