"""The line that a request leaves in the log: always the same keys, never a payload or a caller.

The line of a prediction is its metrics too (`modelport.embedded_metrics`), of the version that was
asked. A fallback that is asked leaves a second one: the first version has its failure, and the
other the request that it took over.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite
from typing import Any

from modelport.embedded_metrics import members
from modelport.envelope import Request, Response
from modelport.grammar import PREDICTIONS

from functions.router import counts
from functions.router.trace import Trace


def lines(
    environment: str,
    request: Request,
    response: Response,
    trace: Trace,
    duration_s: float,
    cold: bool,
    error: str | None,
    at_ms: int,
) -> Iterator[dict[str, Any]]:
    """The records of ``request``: who answered it, how, and how long that took.

    ``cold`` says that it was the first of its process, ``error`` is the code of what was refused or
    went wrong, ``at_ms`` the time of day in milliseconds since 1970. Versions are text, as the
    dimensions of metrics have to be.
    """
    call, deployment, answered_by = trace.call, trace.deployment, trace.answered_by
    line = {
        "request_id": request.request_id,
        "environment": environment,
        "model": call.model if call else None,
        "version": str(deployment.version) if deployment else None,
        "answered_by": str(answered_by.version) if answered_by else None,
        "fallback_reason": trace.fallback_reason,
        "alias": call.alias if call else None,
        "target": deployment.target if deployment else None,
        "protocol": call.protocol if call else None,
        "verb": call.verb if call else None,
        "status": response.status,
        "duration_ms": _ms(duration_s),
        "backend_ms": _ms(trace.backend_s),
        "cold_start": cold,
        "bytes_in": len(request.body),
        "bytes_out": len(response.body),
        "route_revision": trace.routes.revision if trace.routes else None,
        "error": error or response.headers.get("x-modelport-error"),
    }
    if call is None or call.model is None or deployment is None:
        yield line
    elif call.verb not in PREDICTIONS or trace.backend_s is None:
        yield line  # no version was asked, or not for a prediction
    else:
        counted = counts.of_asked(request, response, trace, duration_s, error)
        yield line | members(environment, call.model, deployment.version, counted, at_ms)
        if trace.fallback is not None:
            counted = counts.of_fallback(request, response, trace)
            about = {"event": "fallback", "request_id": request.request_id}
            yield about | members(environment, call.model, trace.fallback.version, counted, at_ms)


def _ms(seconds: float | None) -> float | None:
    """Milliseconds; None for what is no time, which JSON has no form for."""
    return round(seconds * 1000, 3) if seconds is not None and isfinite(seconds) else None
