"""Owns a local cloud's processes from the first to the last.

Started by `cloud.py up`, in a session of its own. It starts the two hosts and the engine,
deploys the platform, and stays. Steps are reported as JSON lines on stdout. Stdin is the
lifeline: it ends without a word when the `up` that started us is killed, and then everything
goes; one byte means that `up` has done its part and may leave.

None of its children can outlive it: the kernel kills them with it (`die_with_parent`).
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType

from container_registry import ContainerRegistry
from containers import EXECUTORS, ContainerError
from engine import DEFAULT_REGION, Engine, EngineError, Hosts, load
from lambda_host.processes import die_with_parent, kill_group
from modelport.errors import ModelportError
from platform_stack import (
    PlatformStack,
    clean_environment,
    name_bucket,
    variables,
    write_deployments,
)
from state import Cloud, Home

ROOT = Path(__file__).resolve().parent.parent
PROCESS = EXECUTORS[0]
IMAGES = "modelport"
HEALTH_LIMIT_S = 90
ANSWER_LIMIT_S = 60
STOP_LIMIT_S = 5


class StepError(Exception):
    """A step failed; the message is for people."""


class Supervisor:
    """One local cloud."""

    def __init__(
        self,
        engine: Engine,
        port: int,
        home: Home,
        report: Callable[..., None],
        executor: str = PROCESS,
    ) -> None:
        """`executor` is how the hosts run what has an image."""
        self._engine = engine
        self._executor = executor
        self._home = home
        self._report = report
        self._cloud = Cloud(engine.name, port)
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._stopping = False

    def start(self) -> None:
        """Bring everything up; raises `StepError`."""
        if before := self._home.read():
            before.kill_leftovers()
        self._home.clear()
        self._home.create()
        self._note("supervisor", os.getpid())
        with self._step("engine", f"start {self._engine.name}") as tell:
            self._engine.prepare(tell)
            images = self._start_registry()
            hosts = self._start_hosts()
            self._start_engine(hosts)
        endpoint = self._cloud.endpoint
        write_deployments(self._home, self._engine, hosts, endpoint, images)
        stack = PlatformStack(self._home, self._engine, endpoint, os.environ)
        with self._step("bootstrap", "cdk bootstrap"):
            stack.bootstrap()
        with self._step("platform", "cdk deploy the platform") as tell:
            platform = stack.deploy(tell)
        with self._step("answer", "first answer through the API"):
            self._expect_answer(f"{platform.endpoint}/v1/models")
        name_bucket(self._home, platform.bucket)
        named = {"MODELPORT_BUCKET": platform.bucket, "MODELPORT_ENDPOINT": platform.endpoint}
        told = {**variables(self._home, endpoint), **hosts.variables, **named}
        if images:
            told["MODELPORT_IMAGE_REPOSITORY"] = images
        self._home.write_env(told, programs=Path(sys.executable).parent)
        self._cloud = replace(self._cloud, ready=True, images=images or "")
        self._home.write(self._cloud)
        self._report(ready=True, **named)

    def watch(self) -> None:
        """Return when a child that must run no longer does."""
        while True:
            time.sleep(0.5)
            for role, child in self._children.items():
                if child.poll() is not None:
                    print(f"the {role} ended with status {child.returncode}", file=sys.stderr)
                    return

    def stop(self) -> None:
        """End every child, whole process groups, politely first."""
        children = self._children.values()
        for child in children:
            kill_group(child.pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_LIMIT_S
        while any(child.poll() is None for child in children) and time.monotonic() < deadline:
            time.sleep(0.02)
        for child in children:
            kill_group(child.pid)
            child.wait()
        self._home.clear()

    def _start_registry(self) -> str | None:
        """Where images go, when they are really run."""
        if self._executor == PROCESS:
            return None
        return f"{ContainerRegistry(self._home.folder).start(self._spawn)}/{IMAGES}"

    def _start_hosts(self) -> Hosts:
        """The SageMaker host first: functions on the Lambda host call endpoints."""
        own = ("--account", self._engine.account, "--region", DEFAULT_REGION)
        endpoints = self._start_host("sagemaker-host", "sagemaker_host.host", own, {})
        changes = self._engine.changes
        told = ("--changes", str(self._home.folder / changes)) if changes else ()
        functions = self._start_host(
            "lambda-host", "lambda_host.host", told, Hosts("", endpoints).variables
        )
        return Hosts(functions, endpoints)

    def _start_host(
        self, role: str, module: str, own: tuple[str, ...], env: Mapping[str, str]
    ) -> str:
        """Start a host; where it listens, which is the first thing it says."""
        folders = (ROOT / "localstack", ROOT / "layers/core/python", ROOT)
        options = ("--root", str(ROOT), "--home", str(self._home.folder))
        child = self._spawn(
            role,
            (sys.executable, "-m", module, *options, "--executor", self._executor, *own),
            {
                **variables(self._home, self._cloud.endpoint),
                **env,
                "PYTHONPATH": os.pathsep.join(map(str, folders)),
            },
            tells=True,
        )
        assert child.stdout is not None
        port = child.stdout.readline().strip()
        if not port:
            raise StepError(self._last_words(role))
        return f"http://127.0.0.1:{int(port)}"

    def _start_engine(self, hosts: Hosts) -> None:
        launch = self._engine.launch(self._cloud.port, self._home.folder, hosts)
        temporary = self._home.run / "tmp"
        temporary.mkdir()
        child = self._spawn("engine", launch.argv, {"TMPDIR": str(temporary), **launch.env})
        health = self._engine.health_url(self._cloud.endpoint)
        deadline = time.monotonic() + HEALTH_LIMIT_S
        while not _answers(health):
            if child.poll() is not None or time.monotonic() > deadline:
                raise StepError(self._last_words("engine"))
            time.sleep(0.05)

    def _expect_answer(self, url: str) -> None:
        """A stack can be reported complete over a missing resource, so ask the API itself."""
        deadline = time.monotonic() + ANSWER_LIMIT_S
        while not _answers(url, 30):
            if time.monotonic() > deadline:
                raise StepError(f"the platform is deployed but {url} does not answer")
            time.sleep(0.2)

    def _spawn(
        self, role: str, argv: tuple[str, ...], env: Mapping[str, str], *, tells: bool = False
    ) -> "subprocess.Popen[bytes]":
        with (self._home.logs / f"{role}.log").open("ab") as log:
            child = subprocess.Popen(
                argv,
                cwd=self._home.run,
                env={**clean_environment(os.environ), **env},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE if tells else log,
                stderr=log,
                start_new_session=True,
                preexec_fn=die_with_parent(os.getpid()),
            )
        self._children[role] = child
        self._note(role, child.pid)
        return child

    def _note(self, role: str, pid: int) -> None:
        self._cloud = self._cloud.with_process(role, pid)
        self._home.write(self._cloud)

    def _last_words(self, role: str) -> str:
        log = self._home.logs / f"{role}.log"
        lines = log.read_text(errors="replace").splitlines()[-15:]
        return "\n".join([f"the {role} did not start; the end of {log}:", *lines])

    @contextmanager
    def _step(self, step: str, title: str) -> Iterator[Callable[[str], None]]:
        self._report(step=step, title=title)
        try:
            yield lambda text: self._report(step=step, detail=text)
        except (ContainerError, EngineError, ModelportError) as error:
            hint = getattr(error, "hint", "")
            raise StepError(f"{error}\n{hint}".strip()) from error
        self._report(step=step, done=True)


def _answers(url: str, limit_s: float = 2) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=limit_s) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


def _report(**event: object) -> None:
    print(json.dumps(event), flush=True)


def _hold_on_to(lifeline: int) -> None:
    """Wait, beside the work, for the byte that sets us free or the end that stops us."""

    def wait() -> None:
        if not os.read(lifeline, 1):
            os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


def _leave(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)
    raise SystemExit(0)


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--executor", choices=EXECUTORS, default=PROCESS)
    options = parser.parse_args()
    home = Home(options.home)
    home.create()
    if home.lock() is None:
        _report(failed="another local cloud runs or starts here")
        return 1
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _hold_on_to(0)
    engine = load(options.engine)
    supervisor = Supervisor(engine, options.port, home, _report, options.executor)
    try:
        supervisor.start()
        os.dup2(2, 1)  # whoever read our reports leaves now
        supervisor.watch()
    except StepError as error:
        _report(failed=str(error))
        return 1
    except Exception as error:
        # Said here: the end of our process group below leaves no time for it later.
        traceback.print_exc()
        _report(failed=f"unexpectedly: {error!r}")
        return 1
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        supervisor.stop()
        _end_own_group()
    return 0


def _end_own_group() -> None:
    """End what a step left behind, cdk and the app it started, which share our group."""
    sys.stdout.flush()
    if os.getpgid(0) == os.getpid():
        os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
