"""Rows 8 and 9: the router warm and from its process to its first answer, against a plain one.

Warm is an HTTP API's event as a handler gets it, a function invoked on loopback, the answer as it
is handed back; in the handler's own process, without Lambda's runtime around it. Cold is with that:
awslambdaric starts the handler, fetches an event and posts its answer, on one CPU. TLS is in
neither, on no side.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

from modelport.settings import RouterSettings

from tests.bench.aws_stub import FUNCTION, PREDICTED, aws_stub
from tests.bench.figures import OURS, Figure, Target
from tests.bench.function_host import Program, function
from tests.bench.plan import Plan, Round, cpus, in_turns, pinned
from tests.conftest import ROOT
from tests.support.api_events import http_v2

PLAIN, FLOOR = "FastAPI + Mangum + boto3", "one socket by hand"
#: What awslambdaric calls, by contender.
MODULES = {OURS: "functions.router.handler", PLAIN: "plain_router", FLOOR: "socket_router"}
FUNCTIONS = ROOT / "tests" / "bench" / "functions"
_PATHS = (ROOT, ROOT / "layers" / "core" / "python", FUNCTIONS)
#: A client's, behind a gateway.
_HEADERS = {
    "accept": "*/*",
    "accept-encoding": "gzip, deflate",
    "content-type": "application/json",
    "user-agent": "python-requests/2.32.3",
    "x-amzn-trace-id": "Root=1-5e1b4151-5ac6c58dc39cd4ce2b1f1f4e",
    "x-forwarded-for": "192.0.2.10",
    "x-forwarded-port": "443",
    "x-forwarded-proto": "https",
}


class WrongAnswerError(Exception):
    """A contender answered something else than the function did."""


def event(model: str) -> dict[str, Any]:
    """A small prediction of V1."""
    body = json.dumps({"instances": [[value / 8 for value in range(64)]]}).encode()
    return http_v2("POST", f"/v1/models/{model}:predict", body, _HEADERS)


def environ(url: str, **more: str) -> dict[str, str]:
    """A router's variables, with its AWS at ``url``."""
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(map(str, _PATHS)),
        "AWS_REGION": "eu-central-1",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_ENDPOINT_URL": url,
        "FUNCTION": FUNCTION,
        **RouterSettings("modelport-bench", "bench").to_env(),
        **more,
    }


def check(answer: Mapping[str, Any]) -> None:
    """Raise unless the answer is the function's."""
    if answer["statusCode"] != 200 or answer["body"] != PREDICTED.decode():
        raise WrongAnswerError(f"{answer!r:.2000}")


def run(
    program: str,
    module: str,
    variables: Mapping[str, str],
    events: list[dict[str, Any]],
    *arguments: str,
) -> dict[str, Any]:
    """What a program of `FUNCTIONS` says of a handler in a fresh process; its answers are right."""
    command = [sys.executable, str(FUNCTIONS / f"{program}.py"), module, *arguments]
    with pinned(cpus()[0]):
        done = subprocess.run(
            command,
            env=dict(variables),
            input=json.dumps(events),
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise WrongAnswerError(done.stderr[-4000:])
    said: dict[str, Any] = json.loads(done.stdout)
    for answer in said["answers"]:
        check(answer)
    return said


def measure(plan: Plan) -> Iterator[Figure]:
    """Warm calls, then cold starts."""
    with aws_stub() as url, tempfile.TemporaryDirectory() as folder:
        if 8 in plan.rows:
            yield from _warm(plan, url)
        if 9 in plan.rows:
            yield from _cold(plan, url, Path(folder) / "log")


def _warm(plan: Plan, url: str) -> Iterator[Figure]:
    def called(module: str) -> Round:
        def once() -> Mapping[str, float]:
            said = run("timed", module, environ(url), [event("iris")], str(plan.seconds))
            return {"p50": said["p50"], "p99": said["p99"]}

        return once

    rounds = {name: called(module) for name, module in MODULES.items()}
    spent = in_turns(rounds, plan.rounds, "router, warm")
    targets = [Target((), at_most=600), Target((PLAIN,), at_most=0.45)]
    note = "the plain one reads no routes and writes neither log nor metrics"
    yield Figure(8, "router, one prediction, median", "µs", spent["p50"], targets, note)
    yield Figure(8, "router, one prediction, 99th percentile", "µs", spent["p99"])


def _cold(plan: Plan, url: str, log: Path) -> Iterator[Figure]:
    asked = json.dumps(event("iris")).encode()

    def started(module: str) -> Round:
        command = (sys.executable, "-m", "awslambdaric", f"{module}.handler")
        variables = environ(url, AWS_LAMBDA_FUNCTION_NAME="router")

        def once() -> Mapping[str, float]:
            with function(Program(command, variables), log) as host:
                answer, request_s = host.invoke(asked)
                whole_s = perf_counter() - host.started
                check(json.loads(answer))
            init_s = whole_s - request_s
            return {"whole": whole_s * 1e3, "init": init_s * 1e3, "request": request_s * 1e3}

        return once

    rounds = {name: started(module) for name, module in MODULES.items()}
    in_turns(rounds, 1, "router, page cache")
    spent = in_turns(rounds, 1 if plan.short else max(plan.rounds, 9), "router, cold")
    targets = [Target((PLAIN,), at_most=0.55)]
    yield Figure(9, "router, start to first answer, 1 CPU", "ms", spent["whole"], targets)
    note = "what SnapStart and provisioned concurrency take away"
    yield Figure(9, "of these, before the first event", "ms", spent["init"], note=note)
    note = "what they leave; ours reads the model's routes in it"
    yield Figure(9, "of these, the first request", "ms", spent["request"], note=note)
