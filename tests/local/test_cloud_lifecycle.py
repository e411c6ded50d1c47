"""`up`, `down` and `status` with the real engine and the real cdk: what a person relies on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from state import Home

from tests.conftest import ROOT
from tests.local.conftest import answers, eventually, free_port, processes_with


def command(home: Path, *arguments: str) -> list[str]:
    return [sys.executable, str(ROOT / "localstack/cloud.py"), "--home", str(home), *arguments]


def environment(**more: str) -> dict[str, str]:
    # The first deploy installs the functions' layer, which takes the machine's certificates.
    kept = ("PATH", "HOME", "SSL_CERT_FILE", "SSL_CERT_DIR")
    here = {name: os.environ[name] for name in kept if name in os.environ}
    return {**here, "COLUMNS": "200", **more}


def cloud(
    home: Path, *arguments: str, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(home, *arguments),
        env=env or environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@dataclass
class Up:
    """A cloud that is up."""

    home: Path
    port: int
    output: str

    def sourced(self, name: str) -> str:
        """A variable as a shell has it after ``source .local/env``."""
        script = f'source "{self.home}/env" && printf %s "${name}"'
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
        return done.stdout

    def processes(self) -> dict[str, list[object]]:
        found: dict[str, list[object]] = json.loads((self.home / "cloud.json").read_text())[
            "processes"
        ]
        return found


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    home = tmp_path_factory.mktemp("cloud")
    port = free_port()
    done = cloud(home, "up", "--port", str(port))
    try:
        assert done.returncode == 0, done.stdout + done.stderr
        yield Up(home, port, done.stdout)
    finally:
        cloud(home, "down")


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A folder for a cloud that a test breaks; nothing of it may be left."""
    yield tmp_path / "broken"
    for pid in processes_with(str(tmp_path / "broken")):
        os.kill(pid, signal.SIGKILL)


def starting(home: Path, *, until: str) -> subprocess.Popen[str]:
    """An `up` on its way, once the process of that role has started."""
    process = subprocess.Popen(
        command(home, "up", "--port", str(free_port())),
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    state = home / "cloud.json"

    def started() -> bool:
        return state.exists() and until in json.loads(state.read_text())["processes"]

    assert eventually(lambda: started() or process.poll() is not None, 60)
    assert process.poll() is None, (home / "logs/supervisor.log").read_text()
    return process


def nothing_runs(home: Path) -> Callable[[], bool]:
    return lambda: not processes_with(str(home))


def test_up_leaves_a_platform_that_answers(up: Up) -> None:
    assert answers(f"{up.sourced('MODELPORT_ENDPOINT')}/v1/models")
    assert up.sourced("AWS_ENDPOINT_URL") == f"http://127.0.0.1:{up.port}"
    assert up.sourced("MODELPORT_BUCKET")
    assert Path(up.sourced("MODELPORT_DEPLOYMENTS")).exists()
    for step in ("cdk bootstrap", "cdk deploy the platform"):
        assert step in up.output


def test_who_sources_it_has_the_projects_programs(up: Up) -> None:
    where = f'unset VIRTUAL_ENV; PATH=/usr/bin:/bin; . "{up.home}/env"; command -v modelport python'
    done = subprocess.run(["bash", "-c", where], capture_output=True, text=True, check=True)
    programs = Path(sys.executable).parent
    assert done.stdout.split() == [str(programs / "modelport"), str(programs / "python")]


@pytest.mark.parametrize("shell", ["bash", "sh"])
def test_sourcing_it_twice_changes_path_once_wherever_the_checkout_lies(
    tmp_path: Path, shell: str
) -> None:
    home = Home(tmp_path)
    programs = tmp_path / 'it\'s [a] "$HOME" *'
    home.write_env({"NAME": "it's; a value"}, programs)
    script = f'. "{home.env}"; . "{home.env}"; printf "%s\\n" "$PATH" "$NAME"'
    plain = {"PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [shell, "-c", script], env=plain, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [f"{programs}:/usr/bin:/bin", "it's; a value"]


def test_a_second_up_says_it_is_up(up: Up) -> None:
    before = up.processes()
    done = cloud(up.home, "up", "--port", str(free_port()))
    assert done.returncode == 0
    assert "already up" in done.stdout
    assert f":{up.port}" in done.stdout
    assert up.processes() == before


def test_status_tells_what_runs(up: Up) -> None:
    done = cloud(up.home, "status")
    assert done.returncode == 0
    assert "gone" not in done.stdout
    for role in ("supervisor", "engine", "lambda-host", "sagemaker-host"):
        assert role in done.stdout


def test_nothing_listens_beyond_loopback(up: Up) -> None:
    inodes = set()
    for record in up.processes().values():
        for link in Path(f"/proc/{record[0]}/fd").iterdir():
            inodes.add(os.readlink(link).removeprefix("socket:[").removesuffix("]"))
    listening = [
        fields[1]
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
        if (fields := line.split())[3] == "0A" and fields[9] in inodes
    ]
    assert len(listening) >= 2
    assert all(address.startswith("0100007F:") for address in listening), listening


def test_a_taken_port_is_named_with_who_has_it_and_the_way_out(up: Up, tmp_path: Path) -> None:
    done = cloud(tmp_path / "other", "up", "--port", str(up.port))
    assert done.returncode == 1
    assert f"Port {up.port} is taken" in done.stdout
    assert f"pid {up.processes()['engine'][0]}" in done.stdout
    assert f"PORT={up.port + 1}" in done.stdout


def test_down_ends_every_process_and_keeps_the_logs(up: Up) -> None:
    assert processes_with(str(up.home))
    assert cloud(up.home, "down").returncode == 0
    assert eventually(nothing_runs(up.home))
    assert not (up.home / "env").exists()
    assert not (up.home / "run").exists()
    assert (up.home / "logs/engine.log").exists()
    again = cloud(up.home, "down")
    assert (again.returncode, "not up" in again.stdout) == (0, True)
    assert cloud(up.home, "status").returncode == 1


def test_it_comes_up_again_and_a_killed_supervisor_takes_everything_along(up: Up) -> None:
    again = cloud(up.home, "up", "--port", str(up.port))
    assert again.returncode == 0, again.stdout + again.stderr
    assert answers(f"{up.sourced('MODELPORT_ENDPOINT')}/v1/models")
    pid = up.processes()["supervisor"][0]
    assert isinstance(pid, int)
    os.kill(pid, signal.SIGKILL)
    assert eventually(nothing_runs(up.home))
    assert cloud(up.home, "status").returncode == 1
    assert cloud(up.home, "down").returncode == 0


def test_a_killed_up_leaves_no_orphans(home: Path) -> None:
    process = starting(home, until="engine")
    assert len(processes_with(str(home))) > 2
    process.kill()
    process.wait()
    assert eventually(nothing_runs(home))


def test_a_supervisor_killed_at_the_start_leaves_no_orphans(home: Path) -> None:
    process = starting(home, until="engine")
    pid = json.loads((home / "cloud.json").read_text())["processes"]["supervisor"][0]
    os.kill(pid, signal.SIGKILL)
    assert process.wait(timeout=60) == 1
    assert eventually(nothing_runs(home), 60)
    assert cloud(home, "down").returncode == 0


def test_an_interrupted_up_cleans_up(home: Path) -> None:
    process = starting(home, until="engine")
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) != 0
    assert eventually(nothing_runs(home))


def test_a_step_that_fails_is_named_and_nothing_is_left(home: Path) -> None:
    broken = environment(MODELPORT_CDK="/bin/false")
    done = cloud(home, "up", "--port", str(free_port()), env=broken)
    assert done.returncode == 1
    assert "cdk bootstrap" in done.stdout
    assert "failed" in done.stdout
    assert str(home / "logs") in done.stdout
    assert eventually(nothing_runs(home))
    assert not (home / "env").exists()


def test_no_colours_where_nobody_sees_them(home: Path) -> None:
    done = cloud(home, "status", env=environment(NO_COLOR="1"))
    assert done.returncode == 1
    assert "\x1b" not in done.stdout
