"""What a prediction counts for: of the version that was asked, and of the fallback that answered.

Numbers by the names of `modelport.telemetry`. What a version says of itself (`Trace.said`) is
looked at with suspicion: it may be anything. It writes nothing.
"""

from __future__ import annotations

import re

from modelport import telemetry
from modelport.envelope import Request, Response
from modelport.errors import ModelportError
from modelport.refusals import status_of
from modelport.routes import Routes

from functions.router.trace import Trace

Counts = dict[str, float]

#: Codes of what is raised in a version's stead when its process did not answer. What a living one
#: says of itself may have the same code, and comes as an answer.
_CRASHED = frozenset({"model-failed", "backend-gone"})
_THROTTLED = "throttled"
#: What a version has not is no failure of it.
_NOT_SUPPORTED = 501
_MODEL = re.compile(r"(?:^|,) ?model;dur=([0-9]{1,9}(?:\.[0-9]{1,9})?)(?=,|$)")
_COLD = re.compile(r"(?:^|,) ?cold(?=,|$)")
#: Characters of ``server-timing`` that are looked at.
_LONGEST = 1024


def of_asked(
    request: Request, response: Response, trace: Trace, seconds: float, raised: str | None
) -> Counts:
    """The counts of the version that the routes chose; its `Trace.backend_s` must be known.

    ``seconds`` is the whole request, ``raised`` the code of what was raised in an answer's stead.
    """
    backend_s = trace.backend_s or 0.0
    counts = _of_call(request, trace, backend_s)
    counts[telemetry.ROUTER_MS] = _ms(seconds - backend_s - (trace.fallback_s or 0.0))
    if trace.fell_back:
        counts[telemetry.FALLBACKS] = 1
        _add_failure(counts, *_raised(trace.failure))
        return counts
    _add_failure(counts, raised, response.status)
    _add_answer(counts, response, trace)
    return counts


def of_fallback(request: Request, response: Response, trace: Trace) -> Counts:
    """The counts of the fallback, which answered or failed too."""
    counts = _of_call(request, trace, trace.fallback_s or 0.0)
    if trace.fell_back:
        _add_answer(counts, response, trace)
    else:
        _add_failure(counts, *_raised(trace.fallback_failure))
    return counts


def _of_call(request: Request, trace: Trace, backend_s: float) -> Counts:
    backend_ms = _ms(backend_s)
    counts: Counts = {telemetry.REQUESTS: 1}
    if trace.call is not None:
        counts[telemetry.by_protocol(trace.call.protocol)] = 1
    counts[telemetry.BACKEND_MS] = backend_ms
    counts[telemetry.BYTES_IN] = len(request.body)
    for limit in _limits(trace.routes):
        if backend_ms > limit:
            counts[telemetry.slower_than(limit)] = 1
    return counts


def _add_failure(counts: Counts, raised: str | None, status: int) -> None:
    if raised == _THROTTLED or status == 429:
        counts[telemetry.THROTTLES] = 1
    elif status >= 500 and status != _NOT_SUPPORTED:
        counts[telemetry.ERRORS] = 1
        if raised in _CRASHED:
            counts[telemetry.CRASHES] = 1


def _add_answer(counts: Counts, response: Response, trace: Trace) -> None:
    """What the version that answered says of its answer; nothing when none did."""
    counts[telemetry.BYTES_OUT] = len(response.body)
    said = trace.said
    timing = said.get("server-timing", "")[:_LONGEST]
    if timing:
        if found := _MODEL.search(timing):
            counts[telemetry.MODEL_MS] = float(found[1])
        if "cold" in timing and _COLD.search(timing):
            counts[telemetry.COLD_STARTS] = 1
            for limit in _limits(trace.routes):
                # A version with few calls starts cold more often: no guard holds that against it.
                counts.pop(telemetry.slower_than(limit), None)
    counts |= telemetry.predictions(said.get(telemetry.PREDICTED_HEADER, ""))


def _limits(routes: Routes | None) -> set[float]:
    """In milliseconds, what guards of the model's rollouts call slow, of either version."""
    if routes is None or not routes.rollouts:
        return set()
    return {limit for rollout in routes.active_rollouts for limit in rollout.slow_limits_ms}


def _raised(failure: ModelportError | None) -> tuple[str | None, int]:
    """Code and status of what was raised; None is a failure that the version answered itself."""
    return (failure.code, status_of(failure)) if failure is not None else (None, 500)


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)
