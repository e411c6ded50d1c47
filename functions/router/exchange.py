"""One request from first to last, whoever carried it: answer, refusal or crash, and one log line.

It must not know how requests arrive or answers leave; nothing it is given may make it raise.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Mapping
from typing import Any

from modelport.envelope import Request, Response
from modelport.errors import ModelportError
from modelport.refusals import crash, refused, status_of

from functions.router.dispatch import Dispatcher
from functions.router.lines import lines
from functions.router.routes_cache import Clock, Log
from functions.router.trace import Trace


class Exchange:
    """Answers requests through a dispatcher; safe to call from many threads."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        clock: Clock,
        log: Log,
        environment: str = "",
        now: Clock = time.time,
    ) -> None:
        """``environment`` is told in the lines of the log; ``now`` is the time of day."""
        self._dispatcher, self._clock, self._log = dispatcher, clock, log
        self._environment, self._now = environment, now
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
            response = self._dispatcher.answer(request, event, trace)
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
        if trace.failure is not None and status_of(trace.failure) >= 500:
            self._log(_why(request, trace.failure))
        at_ms = round(self._now() * 1000)
        for line in lines(
            self._environment, request, response, trace, duration, cold, error, at_ms
        ):
            self._log(line)
        return response


def _why(request: Request, error: Exception) -> dict[str, Any]:
    """The record with the traceback of a failure that is not the caller's fault."""
    trace = "".join(traceback.format_exception(error))
    return {"event": "failure", "request_id": request.request_id, "traceback": trace}
