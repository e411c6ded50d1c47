"""What the local cloud leaves under its home folder, and who holds it.

One lock is held for as long as a cloud runs, so whether one runs is never guessed from a
process id. The state file beside it says which one; `env` is for people to source.
"""

import fcntl
import json
import os
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from lambda_host.processes import kill_group, started


@dataclass(frozen=True)
class Cloud:
    """A running cloud, as it was last written down."""

    engine: str
    port: int
    ready: bool = False
    processes: dict[str, tuple[int, str]] = field(default_factory=dict)
    """Process id and start time by role; each leads its own process group."""
    images: str = ""
    """Where images go, when they are really run."""

    @property
    def endpoint(self) -> str:
        """Where the AWS APIs answer."""
        return f"http://127.0.0.1:{self.port}"

    def alive(self, role: str) -> int | None:
        """The process id of a role if that very process still runs."""
        pid, start = self.processes.get(role, (0, ""))
        return pid if pid and started(pid) == start else None

    def with_process(self, role: str, pid: int) -> "Cloud":
        """The same cloud with one more process."""
        return replace(self, processes={**self.processes, role: (pid, started(pid) or "")})

    def kill_leftovers(self) -> list[str]:
        """Kill what still runs of it; the roles that did."""
        left = {role: pid for role in self.processes if (pid := self.alive(role))}
        for pid in left.values():
            kill_group(pid)
        return sorted(left)


class Home:
    """The folder of one local cloud."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.logs = folder / "logs"
        self.run = folder / "run"
        self.env = folder / "env"
        self.deployments = folder / "deployments.toml"
        self.deployments_before = folder / "deployments.before.toml"
        self._state = folder / "cloud.json"
        self._lock = folder / "cloud.lock"

    def create(self) -> None:
        """Make the folders."""
        for folder in (self.folder, self.logs, self.run):
            folder.mkdir(parents=True, exist_ok=True)

    def lock(self) -> int | None:
        """Take the lock for as long as this process lives; None when a cloud holds it."""
        handle = os.open(self._lock, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return None
        return handle

    @property
    def held(self) -> bool:
        """Whether a cloud runs here, or is starting or stopping."""
        if not self._lock.exists():
            return False
        handle = self.lock()
        if handle is None:
            return True
        os.close(handle)
        return False

    def read(self) -> Cloud | None:
        """The cloud that was last written down, if any."""
        try:
            found = json.loads(self._state.read_text())
        except (FileNotFoundError, ValueError):
            return None
        found["processes"] = {role: tuple(who) for role, who in found["processes"].items()}
        return Cloud(**found)

    def write(self, cloud: Cloud) -> None:
        """Write a cloud down, whole or not at all."""
        partial = self._state.with_suffix(".partial")
        partial.write_text(json.dumps(asdict(cloud), indent=2))
        partial.rename(self._state)

    def write_env(self, variables: Mapping[str, str], programs: Path) -> None:
        """Leave the file to source; it puts the folder of `programs` first on PATH, once."""
        lines = [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
        first = shlex.quote(str(programs))
        lines.append(f'case "$PATH:" in {first}:*) ;; *) export PATH={first}:"$PATH" ;; esac')
        self.env.write_text("\n".join(lines) + "\n")

    def clear(self) -> None:
        """Remove what only holds while a cloud runs; logs, downloads and images stay."""
        if self.deployments.exists():
            self.deployments.replace(self.deployments_before)
        if self._lock.exists():  # else this is no cloud's folder
            shutil.rmtree(self.run, ignore_errors=True)
        for path in (self.env, self._state):
            path.unlink(missing_ok=True)
