"""A podman of our own: configured below one folder, so that none of the machine's is needed.

Images lie in that folder and go with it; what only holds until the machine restarts lies where
the system keeps such things. What a machine can do is tried, not guessed: file systems and
kernels differ in what they let podman have.
"""

import json
import os
import resource
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

DRIVERS = ("overlay", "vfs")
"""Overlay shares layers; vfs copies them and works on every file system, also on an overlay."""
LIMIT = 16_384
"""Open files and processes of a container. Podman's own wish is beyond what many hosts allow."""
SYSTEMD = Path("/run/systemd/system")
PLACES = (*os.get_exec_path(), "/usr/sbin", "/sbin")


class BrokenPodmanError(Exception):
    """Podman is here but does not run; the message is its own."""


def configure(folder: Path, name: str) -> Mapping[str, str]:
    """The variables that make podman use this folder alone; raises `BrokenPodmanError`."""
    folder.mkdir(parents=True, exist_ok=True)
    volatile(name).mkdir(mode=0o700, exist_ok=True)
    variables = {
        "CONTAINERS_CONF": str(folder / "containers.conf"),
        "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
    }
    _write(folder / "containers.conf", _engine(volatile(name)))
    kept = folder / "storage.conf"
    problem = _trial(variables) if kept.exists() else _first_that_works(folder, name, variables)
    if problem:
        raise BrokenPodmanError(problem)
    return variables


def volatile(name: str) -> Path:
    """The folder of that name that lasts until the machine restarts.

    It is short on purpose: below a path of more than 50 characters, podman runs containers but
    takes 20 seconds to notice their end.
    """
    if os.geteuid() == 0:
        return Path("/run", name)
    return Path(os.environ.get("XDG_RUNTIME_DIR") or "/tmp", name)


def _first_that_works(folder: Path, name: str, variables: Mapping[str, str]) -> str:
    """Choose how images are stored; what the last try complained about, or nothing."""
    kept = folder / "storage.conf"
    problem = ""
    for driver in DRIVERS:
        shutil.rmtree(folder / "images", ignore_errors=True)
        _write(kept, _storage(folder / "images", volatile(name) / "state", driver))
        problem = _trial(variables)
        if not problem:
            return ""
    kept.unlink()
    return problem


def _trial(variables: Mapping[str, str]) -> str:
    """Open the image store; what podman complains about, or nothing."""
    done = subprocess.run(
        ["podman", "ps", "--all", "--quiet"],
        env={**os.environ, **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
    return lines[-1].removeprefix("Error: ") if done.returncode else ""


def _engine(state: Path) -> str:
    limits = (_limit("nofile", resource.RLIMIT_NOFILE), _limit("nproc", resource.RLIMIT_NPROC))
    engine: dict[str, object] = {
        "events_logger": "none",
        "lock_type": "file",
        "tmp_dir": str(state / "tmp"),
    }
    if shutil.which("runc", path=os.pathsep.join(PLACES)):
        engine["runtime"] = "runc"  # crun fails on hosts that mix both kinds of cgroups
    if not SYSTEMD.exists():
        engine["cgroup_manager"] = "cgroupfs"
    sections: dict[str, dict[str, object]] = {
        # the variables of a proxy are the host's own business
        "containers": {"default_ulimits": limits, "http_proxy": False},
        "engine": engine,
    }
    return _toml(sections)


def _limit(name: str, which: int) -> str:
    hard = resource.getrlimit(which)[1]
    most = LIMIT if hard == resource.RLIM_INFINITY else min(LIMIT, hard)
    return f"{name}={most}:{most}"


def _storage(images: Path, state: Path, driver: str) -> str:
    where = {"graphroot": str(images), "runroot": str(state)}
    # Unskipped, the store is mounted onto itself, and a folder with a mount cannot be removed.
    options = {"skip_mount_home": "true"}
    return _toml({"storage": {"driver": driver, **where}, "storage.options.overlay": options})


def _toml(sections: Mapping[str, Mapping[str, object]]) -> str:
    """Strings, lists of strings and booleans, which JSON writes as TOML does."""
    lines = []
    for section, values in sections.items():
        lines.append(f"[{section}]")
        lines += [f"{name} = {json.dumps(value)}" for name, value in values.items()]
    return "\n".join(lines) + "\n"


def _write(path: Path, text: str) -> None:
    """Whole or not at all: the hosts of one cloud share these files."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(text)
    partial.rename(path)
