"""The main job, shown: versions of a real model from files to traffic, on the local cloud.

Runs the same commands a person would (`modelport …`, plain HTTP calls), prints each with its time
and its answer, checks every answer, and stops at the first that is wrong. It starts a local cloud
of its own on free ports and always takes it down again. It must not use anything a user of the
command line could not.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from magika_bundles import make_broken_bundle, make_bundles
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / ".local" / "demo"
CLOUD = (sys.executable, str(ROOT / "localstack" / "cloud.py"), "--home", str(HOME))
CALLS = 300
ROLLOUT_LIMIT_S = 60


class StepFailedError(Exception):
    """A step did not do what it should; the message says what came instead."""


class Demo:
    """One run: a console, the local cloud's environment, and a clock."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.environment = dict(os.environ)
        self.started = time.perf_counter()
        self.http = httpx.Client(timeout=60)
        self.first_prediction: float | None = None

    # --- showing ----------------------------------------------------------------------------------

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Show ``title`` while it runs, then how long it took; names the step when it fails."""
        began = time.perf_counter()
        self.console.print(f"\n[bold cyan]●[/] [bold]{title}[/]")
        try:
            yield
        except Exception as error:
            self.console.print(f"[bold red]✗ {title}[/]: {error}", highlight=False)
            raise
        self.console.print(f"  [green]✓[/] {time.perf_counter() - began:.1f} s", highlight=False)

    def say(self, text: str) -> None:
        self.console.print(f"  {text}", highlight=False)

    # --- doing ------------------------------------------------------------------------------------

    def run(self, *command: str) -> str:
        """Run a program to its end; its output, or `StepFailedError` with what it said."""
        with self.console.status("  running"):
            done = subprocess.run(
                command, cwd=ROOT, env=self.environment, capture_output=True, text=True
            )
        if done.returncode:
            said = (done.stderr or done.stdout).strip()[-2000:]
            raise StepFailedError(f"`{shlex.join(command)}` ended with {done.returncode}: {said}")
        return done.stdout

    def modelport(self, *arguments: str) -> Any:
        """Run a `modelport` command, shown as a person would type it; its JSON answer."""
        began = time.perf_counter()
        answer = json.loads(self.run(sys.executable, "-m", "modelport.cli", *arguments, "--json"))
        took = time.perf_counter() - began
        self.say(f"[dim]$[/] modelport {shlex.join(arguments)} [dim]{took:.1f} s[/]")
        return answer

    def post(
        self, path: str, body: bytes, content_type: str = "application/octet-stream", key: str = ""
    ) -> httpx.Response:
        """POST through API Gateway; anything but 200 fails the step."""
        headers = {"content-type": content_type} | ({"x-modelport-key": key} if key else {})
        url = self.environment["MODELPORT_ENDPOINT"] + path
        response = self.http.post(url, content=body, headers=headers)
        if response.status_code != 200:
            raise StepFailedError(f"POST {path} answered {response.status_code}: {response.text}")
        if self.first_prediction is None:
            self.first_prediction = time.perf_counter() - self.started
        return response

    def cloud(self, verb: str, *arguments: str) -> None:
        """Run the local cloud's own command, its lines shown as they come."""
        command = [*CLOUD, verb, *arguments]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                self.say(line.strip())
        if process.returncode:
            raise StepFailedError(f"`cloud.py {verb}` ended with {process.returncode}")

    # --- the steps --------------------------------------------------------------------------------

    def start_cloud(self) -> None:
        self.run(*CLOUD, "down")  # what a killed demo may have left
        self.cloud("up", "--port", "0")
        self.environment |= read_environment(HOME / "env")
        self.say(f"endpoint {self.environment['MODELPORT_ENDPOINT']}")

    def publish(self) -> None:
        shutil.rmtree(HOME / "bundles", ignore_errors=True)
        for bundle in make_bundles(HOME / "bundles"):
            size = (bundle / "model.onnx").stat().st_size
            published = self.modelport("publish", str(bundle.relative_to(ROOT)), "--name", "magika")
            self.say(f"magika:{published['version']}  {size:,} bytes  {published['digest'][:19]}…")

    def deploy(self) -> None:
        for version in (1, 2):
            self.modelport("deploy", f"magika:{version}")

    def deploy_broken(self) -> None:
        bundle = make_broken_bundle(HOME / "bundles" / "v1", HOME / "bundles" / "v3")
        self.modelport("publish", str(bundle.relative_to(ROOT)), "--name", "magika")
        self.modelport("deploy", "magika:3")

    def call_versions(self) -> None:
        table = Table("file", "bytes", "version 1", "version 2", "agree", box=None, pad_edge=False)
        for file in sample_files():
            body, labels = file.read_bytes(), []
            for version in (1, 2):
                path = f"/endpoints/magika/versions/{version}/invocations"
                answer = self.post(path, body).json()
                labels.append(f"{answer['label']} {answer['score']:.3f}")
            same = labels[0].split()[0] == labels[1].split()[0]
            table.add_row(file.name, f"{len(body):,}", *labels, "yes" if same else "[red]NO[/]")
            if not same:
                raise StepFailedError(f"the versions disagree on {file.name}: {labels}")
        self.console.print(table)

    def call_tensors(self) -> None:
        golden = json.loads((HOME / "bundles" / "v1" / "golden" / "tensors.json").read_text())
        body = json.dumps({"inputs": golden["inputs"]}).encode()
        answer = self.post("/v2/models/magika/versions/1/infer", body, "application/json").json()
        output = answer["outputs"][0]
        self.say(f"POST /v2/…/infer → {output['name']} {output['datatype']} {output['shape']}")
        rows = json.dumps({"instances": [golden["inputs"][0]["data"]]}).encode()
        answer = self.post("/v1/models/magika:predict", rows, "application/json").json()
        self.say(f"POST /v1/…:predict → predictions of {len(answer['predictions'][0])} scores")

    def split(self) -> None:
        self.modelport("route", "magika", "stable=1:90,2:10")
        self.settle("stable")
        counts = Counter(self.stable_version(key=f"caller-{n}") for n in range(CALLS))
        self.say(f"{CALLS} callers: " + ", ".join(f"v{v} {counts[v]}" for v in ("1", "2")))
        # Four standard deviations of a binomial with n = 300, p = 0.1 are 20.8.
        if abs(counts["2"] - CALLS // 10) > 21:
            raise StepFailedError(f"expected about {CALLS // 10} calls on version 2: {counts}")
        again = {self.stable_version(key="caller-7") for _ in range(10)}
        if len(again) != 1:
            raise StepFailedError(f"one caller met several versions: {again}")
        self.say(f"caller-7, ten more times: always v{again.pop()}")

    def promote(self) -> None:
        self.modelport("promote", "magika:2")
        self.expect_stable("2")

    def roll_back(self) -> None:
        before = self.modelport("rollback", "magika")
        parts = (f"v{part['version']} {part['weight']:g}" for part in before["after"])
        self.say(f"stable is again {', '.join(parts)}")
        self.settle("stable")
        counts = Counter(self.stable_version(key=f"caller-{n}") for n in range(100))
        if not counts["1"] > counts["2"]:
            raise StepFailedError(f"expected mostly version 1 again: {counts}")
        self.say(f"100 callers: v1 {counts['1']}, v2 {counts['2']}")

    def roll_out(self) -> None:
        self.modelport("route", "magika", "stable=1")
        began = time.perf_counter()
        settings = ("--steps", "25,100", "--every", "10s", "--min-samples", "20")
        self.modelport("rollout", "start", "magika:3", *settings)
        state = "running"
        while state == "running" and time.perf_counter() - began < ROLLOUT_LIMIT_S:
            failed = sum(self.status(f"caller-{n}") != 200 for n in range(40))
            # What the controller does every minute, and what waiting for that would cost a demo.
            self.modelport("rollout", "tick", "magika")
            (seen,) = self.modelport("rollout", "status", "magika")["rollouts"]
            state = seen["state"]
            self.say(f"40 callers: {failed} failed. {seen['decision'] or state}: {seen['reason']}")
        if state != "rolled-back":
            raise StepFailedError(f"expected the rollout to go back: {seen}")
        self.say(f"nobody had to look: {time.perf_counter() - began:.0f} s after the start")
        self.expect_stable("1")

    def history(self) -> None:
        for change in reversed(self.modelport("log", "magika")["changes"]):
            left_out = ("digest", "evidence")
            detail = {k: v for k, v in change["detail"].items() if k not in left_out}
            self.say(f"r{change['revision']:<3} {change['action']:<17} {json.dumps(detail)}")

    # --- waiting and checking ---------------------------------------------------------------------

    def status(self, key: str) -> int:
        """What a caller of the alias gets, whatever that is."""
        url = f"{self.environment['MODELPORT_ENDPOINT']}/endpoints/magika/invocations"
        headers = {"content-type": "application/octet-stream", "x-modelport-key": key}
        return self.http.post(url, content=b"import os\n" * 20, headers=headers).status_code

    def stable_version(self, key: str) -> str:
        response = self.post("/endpoints/magika/invocations", b"import os\n" * 20, key=key)
        return response.headers["x-modelport-version"]

    def settle(self, alias: str) -> None:
        """Wait until the router serves the routes as they are now (its cache: a few seconds)."""
        shown = self.modelport("status")
        revision = next(m["revision"] for m in shown["models"] if m["model"] == "magika")
        wanted = f"{alias};rev={revision}"
        deadline = time.perf_counter() + 30
        while time.perf_counter() < deadline:
            path = "/endpoints/magika/invocations"
            seen = self.post(path, b"import os\n" * 20).headers["x-modelport-route"]
            if seen.partition(";")[2] == wanted.partition(";")[2]:
                return
            time.sleep(0.2)
        raise StepFailedError(f"the router still answers from {seen}, expected {wanted}")

    def expect_stable(self, version: str) -> None:
        self.settle("stable")
        counts = Counter(self.stable_version(key=f"caller-{n}") for n in range(50))
        if set(counts) != {version}:
            raise StepFailedError(f"expected version {version} only: {counts}")
        self.say(f"50 callers: all on v{version}")


def sample_files() -> list[Path]:
    """Real files of different types: some of this repository, some of the model's goldens."""
    own = [ROOT / name for name in ("Makefile", "pyproject.toml", "LICENSE", "infra/package.json")]
    made = sorted((HOME / "bundles" / "v1" / "golden").iterdir())
    return [*own, Path(__file__), *(path for path in made if path.suffix != ".json")]


def read_environment(path: Path) -> dict[str, str]:
    """The variables of an ``env`` file of `export NAME=value` lines."""
    words = (shlex.split(line) for line in path.read_text().splitlines())
    pairs = (parts[1].partition("=") for parts in words if parts[:1] == ["export"])
    return {name: value for name, _, value in pairs}


def main() -> int:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends it as Ctrl-C does
    console = Console()
    demo = Demo(console)
    steps: list[tuple[str, Callable[[], None]]] = [
        ("Start the local cloud and deploy the platform with cdk", demo.start_cloud),
        ("Publish two versions: as shipped, and optimised", demo.publish),
        ("Deploy both with cdk; each must answer its goldens first", demo.deploy),
        ("Call both versions with real files through API Gateway", demo.call_versions),
        ("Call the same model with tensors", demo.call_tensors),
        ("Split the traffic 90/10", demo.split),
        ("Promote version 2", demo.promote),
        ("Roll back", demo.roll_back),
        ("Deploy a version whose goldens pass and whose callers will not", demo.deploy_broken),
        ("Roll it out; it goes back by itself", demo.roll_out),
        ("Who changed what", demo.history),
    ]
    code = 0
    try:
        for title, action in steps:
            with demo.step(title):
                action()
    except KeyboardInterrupt:
        code = 130
    except Exception:  # already shown, with the step it belongs to
        code = 1
    try:
        with demo.step("Stop the local cloud"):
            demo.cloud("down")
    except Exception:
        code = code or 1
    total = time.perf_counter() - demo.started
    if code:
        console.print(f"\n[bold red]The demo failed.[/] Logs: {HOME.relative_to(ROOT)}/logs")
    else:
        console.print(
            f"\n[bold green]Done in {total:.0f} s[/]; first prediction after"
            f" {demo.first_prediction:.0f} s. Nothing is left running."
        )
    return code


if __name__ == "__main__":
    sys.exit(main())
