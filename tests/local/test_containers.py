"""Containers of the local cloud are processes: real images, real limits, and nothing left."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from containers import ContainerError, Containers, clear

from tests.conftest import ROOT
from tests.local.conftest import eventually, processes_with
from tests.support.container_base import base_layout, extended, push
from tests.support.container_tools import TOOLS, names, registry, skip_without_tools

LOOK = """
import json, os, pathlib, resource
def writable(path):
    try:
        pathlib.Path(path, "probe").write_text("x")
        return True
    except OSError:
        return False
status = dict(line.split(":\\t") for line in open("/proc/self/status").read().splitlines()
              if ":\\t" in line)
print(json.dumps({
    "uid": os.getuid(),
    "environment": dict(os.environ),
    "writable": [path for path in ("/", "/tmp", "/var/tmp", "/run", "/dev/shm", "/opt")
                 if writable(path)],
    "capabilities": int(status["CapEff"], 16),
    "no_new_privileges": status["NoNewPrivs"].strip(),
}))
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    skip_without_tools()
    folder = tmp_path_factory.mktemp("a-folder-with-a-long-name")  # sockets have short ones
    yield folder
    clear(folder)
    assert not (folder / "containers").exists()


@pytest.fixture(scope="module")
def containers(home: Path) -> Containers:
    return Containers.require(home)


@pytest.fixture(scope="module")
def image(home: Path) -> Iterator[str]:
    """An image with a user of its own, in a registry on loopback."""
    with registry(home) as address:
        layout = extended(base_layout(), home / "layout", {"/opt/look.py": LOOK}, User="1234:5678")
        yield push(layout, f"{address}/look")


@pytest.fixture(autouse=True)
def _elsewhere(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """conmon leaves a note of a kill for memory in the folder it was started in."""
    monkeypatch.chdir(home)


def run(argv: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)


def look(containers: Containers, image: str, **options: Any) -> Any:
    env = options.pop("env", {})
    done = run(
        containers.argv(
            image,
            ("/usr/bin/python3", "/opt/look.py"),
            env,
            name=f"{containers.prefix}look",
            memory_mb=128,
            **options,
        )
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_it_runs_as_the_images_user_without_privileges_and_writes_to_tmp_only(
    containers: Containers, image: str
) -> None:
    seen = look(containers, image)
    assert seen["uid"] == 1234
    assert seen["writable"] == ["/tmp", "/dev/shm"]
    assert (seen["capabilities"], seen["no_new_privileges"]) == (0, "1")
    assert names(containers) == []


def test_variables_arrive_as_they_are_and_the_hosts_own_stay_outside(
    containers: Containers, image: str
) -> None:
    given = {"PLAIN": "value", "EMPTY": "", "TRICKY": "a=b 'c' \"d\"\n$HOME", "_HANDLER": "x.y"}
    seen = look(containers, image, env=given)["environment"]
    assert {name: seen[name] for name in given} == given
    assert not {"PYTEST_CURRENT_TEST", "http_proxy", "HTTP_PROXY"} & set(seen)


def test_it_ends_with_the_containers_status(containers: Containers, image: str) -> None:
    name = f"{containers.prefix}status"
    command = ("/usr/bin/python3", "-c", "raise SystemExit(7)")
    assert run(containers.argv(image, command, {}, name=name, memory_mb=64)).returncode == 7


def test_the_kernel_ends_what_wants_more_memory(containers: Containers, image: str) -> None:
    name = f"{containers.prefix}memory"
    command = ("/usr/bin/python3", "-c", "import os; kept = os.urandom(200 << 20)")
    assert run(containers.argv(image, command, {}, name=name, memory_mb=64)).returncode == 137
    assert names(containers) == []


def test_a_term_signal_reaches_the_container(containers: Containers, image: str) -> None:
    program = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))\n"
        "print('ready', flush=True)\n"
        "time.sleep(600)"
    )
    with sleeping(containers, image, "term", program) as process:
        process.terminate()
        assert process.wait(30) == 3


def test_a_container_whose_process_was_killed_can_be_removed(
    containers: Containers, image: str
) -> None:
    name = f"{containers.prefix}orphan"
    with sleeping(containers, image, "orphan") as process:
        pid = containers.pid(name)
        assert Path(f"/proc/{pid}").exists()
        process.kill()
        process.wait()
        assert Path(f"/proc/{pid}").exists()  # the reason for names and guards
        containers.remove(name)
        assert eventually(lambda: gone(pid))
        assert names(containers) == []
        assert containers.pid(name) == 0
        containers.remove(name)


def test_a_sweep_takes_its_own_prefix_alone(containers: Containers, image: str) -> None:
    with (
        sleeping(containers, image, "one-a") as first,
        sleeping(containers, image, "one-b") as second,
        sleeping(containers, image, "two-a") as other,
    ):
        swept = containers.sweep(f"{containers.prefix}one-")
        assert sorted(swept) == [f"{containers.prefix}one-a", f"{containers.prefix}one-b"]
        assert (first.wait(30), second.wait(30)) == (137, 137)
        assert other.poll() is None
        assert names(containers) == [f"{containers.prefix}two-a"]


HOST = """
import subprocess, sys, time
from pathlib import Path
from containers import Containers
containers = Containers.require(Path(sys.argv[1]))
prefix = containers.prefix + "guarded-"
with containers.guard(prefix):
    for each in ("a", "b"):
        argv = containers.argv(sys.argv[2], ("/usr/bin/python3", "-c", "import time;"
            "print('ready', flush=True); time.sleep(600)"), {}, name=prefix + each, memory_mb=64)
        process = subprocess.Popen(argv, stdout=subprocess.PIPE)
        process.stdout.readline()
    print(containers.pid(prefix + "a"), containers.pid(prefix + "b"), flush=True)
    sys.stdin.readline()
"""


@pytest.mark.parametrize("way", [signal.SIGKILL, signal.SIGTERM, None])
def test_containers_end_with_their_host_however_it_ends(
    containers: Containers, image: str, home: Path, way: signal.Signals | None
) -> None:
    host = subprocess.Popen(
        [sys.executable, "-c", HOST, str(home), image],
        env={**os.environ, "PYTHONPATH": str(ROOT / "localstack")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert host.stdout is not None
    pids = [int(word) for word in host.stdout.readline().split()]
    assert len(pids) == 2
    assert not any(gone(pid) for pid in pids)
    if way is None:
        host.communicate("end\n")
    else:
        os.killpg(host.pid, way)
        host.communicate()
    assert eventually(lambda: all(gone(pid) for pid in pids))
    assert eventually(lambda: not processes_with(f"{containers.prefix}guarded-"))
    assert names(containers) == []


def test_an_image_that_is_not_there_is_said(containers: Containers, image: str) -> None:
    missing = image.partition("@")[0] + f"@sha256:{'0' * 64}"
    with pytest.raises(ContainerError, match="cannot be pulled") as raised:
        containers.pull(missing)
    assert missing in str(raised.value)
    assert "push it" in raised.value.hint


def test_each_cloud_has_names_and_images_of_its_own(
    containers: Containers, image: str, tmp_path: Path
) -> None:
    containers.pull(image)
    other = Containers.require(tmp_path)
    try:
        assert other.prefix != containers.prefix
        listed = run((*other.command, "images", "--quiet"))
        assert (listed.returncode, listed.stdout) == (0, "")
        assert (tmp_path / "containers").is_dir()
    finally:
        clear(tmp_path)
    assert not list(tmp_path.iterdir())
    assert not list(Path("/run").glob(f"{other.prefix[:-1]}*"))


@pytest.mark.parametrize(
    ("programs", "said"),
    [
        ({}, "found neither"),
        ({"docker": "echo no service >&2; exit 1"}, "docker does not run here: no service"),
        ({"podman": "echo Error: no kernel >&2; exit 125"}, "podman does not run here: no kernel"),
    ],
)
def test_what_is_missing_is_said_with_the_next_step(
    tmp_path: Path, programs: Mapping[str, str], said: str
) -> None:
    done = up_with(tmp_path, programs)
    assert done.returncode == 1
    assert said in done.stdout
    assert "apt-get install podman runc" in done.stdout
    assert "--executor" in done.stdout


def test_a_registry_that_is_missing_is_said_with_the_next_step(tmp_path: Path) -> None:
    done = up_with(tmp_path, {"podman": "exit 0"})
    assert done.returncode == 1
    assert "container registry" in done.stdout
    assert "apt-get install docker-registry" in done.stdout


def up_with(folder: Path, programs: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """`up --executor container` on a machine that has these programs alone."""
    for name, script in programs.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    return subprocess.run(
        [
            *(sys.executable, str(ROOT / "localstack/cloud.py"), "--home", str(folder / "home")),
            *("up", "--executor", "container", "--port", "0"),
        ],
        env={"PATH": str(folder), "HOME": str(folder), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


PICKY = """#!/bin/sh
grep -q 'driver = "overlay"' "$CONTAINERS_STORAGE_CONF" || exit 0
echo "Error: 'overlay' is not supported over overlayfs" >&2
exit 125
"""


def test_where_layers_cannot_be_shared_images_are_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    podman = tmp_path / "bin" / "podman"
    podman.parent.mkdir()
    podman.write_text(PICKY)
    podman.chmod(0o755)
    monkeypatch.setenv("PATH", f"{podman.parent}:{os.environ['PATH']}")
    try:
        Containers.require(tmp_path)
        settings = (tmp_path / "containers" / "storage.conf").read_text()
        assert 'driver = "vfs"' in settings
        Containers.require(tmp_path)  # what was found once is kept
        assert (tmp_path / "containers" / "storage.conf").read_text() == settings
    finally:
        clear(tmp_path)


def test_make_installs_what_the_tests_need() -> None:
    (line,) = re.findall(r"^TOOLS := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert tuple(line.split()) == TOOLS


class sleeping:
    """A container that has started and stays, gone after the block."""

    STAY = "import time; print('ready', flush=True); time.sleep(600)"

    def __init__(self, containers: Containers, image: str, name: str, program: str = STAY) -> None:
        self._containers = containers
        self._name = f"{containers.prefix}{name}"
        command = ("/usr/bin/python3", "-c", program)
        self._argv = containers.argv(image, command, {}, name=self._name, memory_mb=64)

    def __enter__(self) -> subprocess.Popen[str]:
        self._process = subprocess.Popen(self._argv, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"
        return self._process

    def __exit__(self, *_: object) -> None:
        self._containers.remove(self._name)
        self._process.communicate()


def gone(pid: int) -> bool:
    """Whether a process ended; one that nobody took the status of has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
