"""The whole local path beside its first version: API Gateway, router, Lambda, runtime, model.

Every round starts a local cloud, deploys a tiny model and asks it in turn; the first version comes
from its commit, unpacked below `.local/bench` and runs with this interpreter, the installed
emulator and the installed `cdk`. What is asked and who asks are the same. Stages are differences of
medians of the same requests: what the caller waits, and what the logs of both functions say, the
router's of its wait for the other one too.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit

from tests.bench.figures import OURS, Figure, Target
from tests.bench.plan import Plan, in_turns
from tests.conftest import ROOT
from tests.local.conftest import free_port
from tests.support.local_cloud import read_environment
from tests.support.runtime_bundles import DOUBLE

FIRST, COMMIT = "first version", "be6b3a9"  # the first with which the main job ran to its end
DURATION = r"\tDuration: ([\d.]+) ms"
MODEL, FUNCTION, ROUTER = "double", "modelport-local-double-v1", "modelport-local-router"
PATH = f"/v1/models/{MODEL}:predict"
ASKED, ANSWER = b'{"instances":[[1.0,2.0]]}', {"predictions": [[2.0, 4.0]]}
HEADERS = {"content-type": "application/json"}
CALLS, WARM_UP = 200, 30
CLIENTS = (1, 8)
NOTE = (
    f"first version: commit {COMMIT} with today's emulator, packages and cdk; a fresh cloud each "
    "round, in turns; the cloud and its clients share this machine's CPUs"
)


@contextmanager
def cloud(tree: Path, home: Path) -> Iterator[dict[str, str]]:
    """The environment of a local cloud of a source tree with the model deployed."""
    folders = (tree / "layers/core/python", tree / "localstack", tree)
    own = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders)), "NO_COLOR": "1"}
    script = [sys.executable, str(tree / "localstack/cloud.py"), "--home", str(home)]
    run = partial(subprocess.run, check=True, cwd=tree, stdout=sys.stderr, timeout=300)
    try:
        run([*script, "up", "--engine", "ministack", "--port", str(free_port())], env=own)
        environment = {**own, **read_environment(home / "env")}
        (home / "model.onnx").write_bytes(DOUBLE)
        command = [sys.executable, "-m", "modelport.cli"]
        publish = [*command, "publish", str(home / "model.onnx"), "--name", MODEL]
        run(publish, env=environment)
        run([*command, "deploy", f"{MODEL}:1"], env=environment)
        yield environment
    finally:
        run([*script, "down"], env=own)


class Caller:
    """One client with one connection that it keeps."""

    def __init__(self, endpoint: str, path: str = PATH, body: bytes = ASKED) -> None:
        where = urlsplit(endpoint)
        self._path, self._body = where.path + path, body
        self._connection = http.client.HTTPConnection(where.netloc, timeout=60)

    def ask(self) -> tuple[int, bytes]:
        """Ask once: status and body."""
        self._connection.request("POST", self._path, self._body, HEADERS)
        answer = self._connection.getresponse()
        return answer.status, answer.read()

    def __call__(self) -> None:
        """Ask once; raises `ValueError` at any other answer than the right one."""
        check(*self.ask())

    def close(self) -> None:
        self._connection.close()


def check(status: int, body: bytes) -> None:
    """Raise `ValueError` unless this is the right answer."""
    if status != 200 or json.loads(body) != ANSWER:
        raise ValueError(f"{status}: {body[:300]!r}")


def rate(endpoint: str, clients: int, seconds: float) -> float:
    """Requests per second of so many clients at once, each one after the other."""
    counts, problems = [0] * clients, []
    end = time.perf_counter() + seconds

    def ask(number: int) -> None:
        try:
            with closing(Caller(endpoint)) as call:
                while time.perf_counter() < end:
                    call()
                    counts[number] += 1
        except Exception as problem:
            problems.append(problem)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(clients)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if problems:
        raise problems[0]
    return sum(counts) / (time.perf_counter() - began)


def median_ms(call: Callable[[], object], calls: int) -> float:
    """Median milliseconds of one call after the next, the first ones left out."""
    times = []
    for _ in range(WARM_UP + calls):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return median(times[WARM_UP:]) * 1000


def stages(environment: Mapping[str, str], home: Path, calls: int) -> dict[str, float]:
    """Milliseconds of a warm request by where they are spent; they add up to the whole."""
    with closing(Caller(environment["MODELPORT_ENDPOINT"])) as call:
        whole = median_ms(call, calls)
    logs = {each: (home / f"logs/functions/{each}.log").read_text() for each in (ROUTER, FUNCTION)}
    router, function = (median_of(DURATION, logs[each], calls) for each in (ROUTER, FUNCTION))
    model = median_of(r'"model_ms":([\d.]+)', logs[FUNCTION], calls)
    own, backend = router_ms(logs[ROUTER], calls)
    return {
        "stage: gateway and the router's host": whole - router,
        "stage: router": own,
        "stage: runtime around the router": router - own - backend,
        "stage: the function's host": backend - function,
        "stage: runtime around the model": function - model,
        "stage: model": model,
        "stage: whole": whole,
    }


def median_of(pattern: str, log: str, calls: int) -> float:
    """Median of a number in the last lines of a log that have it."""
    return median(float(value) for value in re.findall(pattern, log)[-calls:])


def router_ms(log: str, calls: int) -> tuple[float, float]:
    """Median milliseconds of the router's last requests: its own, and its backend's."""
    lines = [json.loads(line) for line in log.splitlines() if '"backend_ms"' in line][-calls:]
    own: list[float] = [line["duration_ms"] - line["backend_ms"] for line in lines]
    backend: list[float] = [line["backend_ms"] for line in lines]
    return median(own), median(backend)


def round_of(tree: Path, plan: Plan, *, split: bool) -> dict[str, float]:
    """Figures of one fresh cloud."""
    calls = 20 if plan.short else CALLS
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        with cloud(tree, home) as environment:
            endpoint = environment["MODELPORT_ENDPOINT"]
            found = {}
            for clients in CLIENTS:
                rate(endpoint, clients, min(1.0, plan.seconds))  # as many processes as it takes
                found[f"{clients}"] = rate(endpoint, clients, plan.seconds)
            return found | (stages(environment, home, calls) if split else {})


def first_version() -> Path:
    """The tree of the commit that had the path first, with the `cdk` that is installed here."""
    tree = ROOT / ".local" / "bench" / f"first-path-{COMMIT}"
    if not tree.exists():
        tree.mkdir(parents=True)
        archive = subprocess.run(
            ["git", "archive", COMMIT], cwd=ROOT, check=True, stdout=subprocess.PIPE
        )
        subprocess.run(["tar", "-x"], cwd=tree, input=archive.stdout, check=True)
        (tree / "infra" / "node_modules").symlink_to(ROOT / "infra" / "node_modules")
    return tree


def measure(plan: Plan) -> Iterator[Figure]:
    """Row 10: requests per second beside the first version, and where a request spends its time."""
    contenders = {OURS: partial(round_of, ROOT, plan, split=True)}
    if not plan.short:  # a smoke test needs no history, which a checkout may lack
        contenders[FIRST] = partial(round_of, first_version(), plan, split=False)
    for what, samples in in_turns(contenders, plan.rounds).items():
        if what.startswith("stage: "):
            yield Figure(10, f"whole path, {what}", "ms", samples, note=NOTE)
        else:
            target = Target((FIRST,), at_least=3.0)
            title = f"whole path, {what} client{'s' * (what != '1')}"
            yield Figure(10, title, "req/s", samples, [target], NOTE)
