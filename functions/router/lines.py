"""The one line that a request leaves in the log: always the same keys, never a payload."""

from __future__ import annotations

from typing import Any

from modelport.envelope import Request, Response

from functions.router.trace import Trace


def line(
    environment: str,
    request: Request,
    response: Response,
    trace: Trace,
    duration_s: float,
    cold: bool,
    error: str | None,
) -> dict[str, Any]:
    """The record of ``request``: who answered it, how, and how long that took.

    ``cold`` says that it was the first of its process, ``error`` is the code of what was refused or
    went wrong.
    """
    call, deployment = trace.call, trace.deployment
    return {
        "request_id": request.request_id,
        "model": call.model if call else None,
        "version": deployment.version if deployment else None,
        "answered_by": trace.answered_by.version if trace.answered_by else None,
        "fallback_reason": trace.fallback_reason,
        "alias": call.alias if call else None,
        "target": deployment.target if deployment else None,
        "protocol": call.protocol if call else None,
        "verb": call.verb if call else None,
        "status": response.status,
        "duration_ms": round(duration_s * 1000, 3),
        "backend_ms": None if trace.backend_s is None else round(trace.backend_s * 1000, 3),
        "cold_start": cold,
        "bytes_in": len(request.body),
        "bytes_out": len(response.body),
        "route_revision": trace.routes.revision if trace.routes else None,
        "error": error or response.headers.get("x-modelport-error"),
    }
