"""One request from first to last, whoever carried it: answer, refusal or crash, and one log line.

It must not know how requests arrive or answers leave; nothing it is given may make it raise.
"""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from typing import Any

from modelport.envelope import Request, Response
from modelport.errors import ModelportError
from modelport.refusals import crash, refused, status_of

from functions.router.caller import sticky_key
from functions.router.dispatch import Dispatcher, Trace
from functions.router.routes_cache import Clock, Log


class Exchange:
    """Answers requests through a dispatcher; safe to call from many threads."""

    def __init__(self, dispatcher: Dispatcher, clock: Clock, log: Log) -> None:
        self._dispatcher, self._clock, self._log = dispatcher, clock, log
        self._cold = True

    def answer(
        self,
        request: Request,
        event: Mapping[str, Any] | None,
        problem: ModelportError | None = None,
    ) -> Response:
        """The answer to ``request``; ``event`` is the gateway's, ``problem`` what is wrong already.

        A stream's line is written when its first piece is there.
        """
        started, cold = self._clock(), self._cold
        self._cold = False
        trace, error = Trace(), None
        try:
            if problem is not None:
                raise problem
            key = sticky_key(request.headers, event)
            response = self._dispatcher.answer(request, key, trace)
        except ModelportError as known:
            response, error = refused(known, request, trace.call), known.code
            if status_of(known) >= 500:
                self._log(_why(request, known))
        except Exception as unknown:
            response, error = crash(request, trace.call), "internal"
            self._log(_why(request, unknown))
        response.headers.update(trace.headers())
        response.headers["x-modelport-request-id"] = request.request_id
        duration = self._clock() - started
        self._log(_line(request, response, trace, duration, cold, error))
        return response


def _why(request: Request, error: Exception) -> dict[str, Any]:
    """The record with the traceback of a failure that is not the caller's fault."""
    trace = "".join(traceback.format_exception(error))
    return {"event": "failure", "request_id": request.request_id, "traceback": trace}


def _line(
    request: Request,
    response: Response,
    trace: Trace,
    duration_s: float,
    cold: bool,
    error: str | None,
) -> dict[str, Any]:
    """The one line of a request: always the same keys, never a payload."""
    call, deployment = trace.call, trace.deployment
    return {
        "request_id": request.request_id,
        "model": call.model if call else None,
        "version": deployment.version if deployment else None,
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
