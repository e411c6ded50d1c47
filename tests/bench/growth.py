"""Row 11: what more models cost the router: requests per second, and memory of those that idle.

One router is asked for one model, another for a thousand in turns, with all of their routes in
memory; a model that idles was called once. The functions behind them are one stub on loopback.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tests.bench.aws_stub import aws_stub
from tests.bench.figures import OURS, Figure, Target
from tests.bench.plan import Plan, Round, in_turns
from tests.bench.router import MODULES, environ, event, run

MODELS = 1_000
ONE = "one model"


def measure(plan: Plan) -> Iterator[Figure]:
    """Both, of one deployed version each."""
    many = 20 if plan.short else MODELS
    with aws_stub() as url:
        # The registry is asked once per model and TTL, whatever else comes: not in these seconds.
        variables = environ(url, MODELPORT_ROUTES_TTL_S="3600")

        def called(models: int) -> Round:
            events = [event(f"model-{number}") for number in range(models)]
            seconds = str(plan.seconds)

            def once() -> Mapping[str, float]:
                said = run("timed", MODULES[OURS], variables, events, seconds)
                return {"rate": said["rate"]}

            return once

        rounds = {OURS: called(many), ONE: called(1)}
        rates = in_turns(rounds, plan.rounds, "models of a router")["rate"]
        target = Target((ONE,), at_least=0.95, at_most=1.05)
        yield Figure(11, f"router, calls of {many:,} models in turns", "req/s", rates, [target])
        kept = [_kept(many, variables) for _ in range(plan.rounds)]
        what = "router, memory of a model that idles"
        yield Figure(11, what, "KB", {OURS: kept}, [Target((), at_most=10)])


def _kept(models: int, variables: Mapping[str, str]) -> float:
    events: list[dict[str, Any]] = [event(f"model-{number}") for number in range(models + 1)]
    kept: float = run("idle_memory", MODULES[OURS], variables, events)["bytes"]
    return kept / 1000
