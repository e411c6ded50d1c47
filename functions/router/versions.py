"""Asks model versions: the one that the routes chose, and its fallback when that one's place fails.

It decides nothing about which versions these are, and never looks into a body. What a version
answers is the caller's answer, except 500, 502 and 503 where there is a fallback: those are
failures of the version, as are `BackendError`s other than a timeout, after which there is no time
to ask anybody else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from modelport import grammar
from modelport.backends import Backend
from modelport.envelope import REFERENCE, Request, Response, Stream
from modelport.errors import BackendError, BackendGoneError, ModelportError, ModelTimeoutError
from modelport.grammar import PREDICTIONS, Call
from modelport.routes import Deployment, Routes

from functions.router.carriage import Carriage, Elsewhere, Sent
from functions.router.choice import meant
from functions.router.crossing import by_reference, check_content, forwarded, returned
from functions.router.routes_cache import Clock, Log
from functions.router.statistics import Statistics
from functions.router.trace import Trace

if TYPE_CHECKING:
    from functions.router.jobs import Jobs
    from functions.router.shadowing import Shadows

#: What failed later than this leaves a second version too little of the time that gateways allow.
FALLBACK_WITHIN_S = 10.0
_FAILED = frozenset({500, 502, 503})
#: The predictions whose answer is one whole, which may come later or from elsewhere.
_WHOLE = PREDICTIONS - {"generate-stream"}
_CODE = re.compile(r"[a-z][a-z-]{0,63}")


class Versions:
    """Has deployments answer requests; safe to call from many threads."""

    def __init__(
        self,
        backends: Mapping[str, Backend],
        statistics: Statistics,
        *,
        clock: Clock,
        log: Log,
        shadows: Shadows | None,
        jobs: Callable[[], Jobs] | None,
    ) -> None:
        self._backends, self._statistics = backends, statistics
        self._clock, self._log = clock, log
        self._shadows, self._jobs = shadows, jobs
        self._carriage = Carriage(jobs, clock)

    def answer(
        self,
        routes: Routes,
        call: Call,
        request: Request,
        variant: str | None,
        fallback: Deployment | None,
        trace: Trace,
        event: Mapping[str, Any] | None = None,
    ) -> Response:
        """What ``trace.deployment``, or in its stead ``fallback``, answers to ``request``.

        ``variant`` goes to an endpoint that has several. Raises `BackendError` and kin.
        """
        deployment = trace.deployment
        assert deployment is not None
        check_content(request.headers)
        asked = _asked(call, request, trace.identity(deployment), variant)
        predicts, waits = call.verb in PREDICTIONS, call.verb in _WHOLE
        if self._jobs is not None and waits and prefers_async(request.headers):
            return self._jobs().accept(call, deployment, asked, request, event)
        sent = Sent(call, request, event, waits)
        outcome, trace.backend_s = self._ask(routes.model, deployment, asked, call, sent)
        answered_by = deployment
        if predicts and fallback is not None and (reason := _failure(outcome)) is not None:
            other = self._fall_back(routes.model, fallback, call, sent, reason, trace)
            if other is not None:
                trace.failure = _ended(outcome)
                outcome, answered_by = other, fallback
        if isinstance(outcome, ModelportError):
            if self._jobs is not None and waits and isinstance(outcome, ModelTimeoutError):
                return self._jobs().accept(call, deployment, asked, request, event, outcome)
            raise outcome
        trace.answered_by, trace.said = answered_by, outcome.headers
        if predicts and routes.policy.shadows and self._shadows is not None:
            version, alias = meant(routes, call, request.headers)
            means = replace(call, version=version, alias=alias)
            self._offer(routes, means, _got(asked, request, outcome), answered_by, outcome)
        if isinstance(outcome, Elsewhere):
            return outcome
        headers = returned(outcome.headers)
        if isinstance(outcome, Stream):
            return replace(outcome, headers=headers)
        return Response(outcome.status, headers, outcome.body)

    def _fall_back(
        self,
        model: str,
        fallback: Deployment,
        call: Call,
        sent: Sent,
        reason: str,
        trace: Trace,
    ) -> Response | None:
        """The fallback's answer; None when there is no time for one, or it fails too."""
        if (trace.backend_s or 0.0) > FALLBACK_WITHIN_S:
            return None
        trace.fallback_reason, trace.fallback = reason, fallback
        asked = _asked(call, sent.request, trace.identity(fallback), None)
        outcome, trace.fallback_s = self._ask(model, fallback, asked, call, sent)
        if isinstance(outcome, Response) and _failure(outcome) is None:
            return outcome
        trace.fallback_failure = _ended(outcome)
        return None

    def _ask(
        self, model: str, deployment: Deployment, asked: Request, call: Call, sent: Sent
    ) -> tuple[Response | ModelportError, float]:
        """What ``deployment`` answers, or why it does not, and the seconds that took."""
        started = self._clock()
        outcome: Response | ModelportError
        try:
            backend = self._backends.get(deployment.target)
            if backend is None:
                raise BackendGoneError(model, deployment.version, deployment.target)
            outcome = self._carriage.ask(backend, deployment, model, asked, sent)
        except ModelportError as error:
            outcome = error
        seconds = self._clock() - started
        if call.verb != "stats":
            succeeded = isinstance(outcome, Response) and outcome.status < 400
            self._statistics.count(model, deployment.version, seconds, succeeded=succeeded)
        return outcome, seconds

    def _offer(
        self, routes: Routes, call: Call, asked: Request, by: Deployment, response: Response
    ) -> None:
        assert self._shadows is not None
        try:
            self._shadows.offer(routes, call, asked, by, response)
        except Exception as error:  # nothing about a shadow is the caller's business
            problem = f"{type(error).__name__}: {error}"
            self._log({"event": "shadow-failed", "model": routes.model, "problem": problem})


def prefers_async(headers: Mapping[str, str]) -> bool:
    """Whether a caller would rather have its answer later: ``Prefer: respond-async`` (RFC 7240)."""
    wishes = headers.get("prefer")
    if wishes is None:
        return False
    return any(
        wish.partition(";")[0].strip().lower() == "respond-async" for wish in wishes.split(",")
    )


def _got(asked: Request, request: Request, outcome: Response) -> Request:
    """What a version got; of what lies elsewhere, that it does and no more."""
    if not by_reference(request.headers) and not isinstance(outcome, Elsewhere):
        return asked
    return replace(asked, headers={**asked.headers, "content-type": REFERENCE}, body=b"")


def _asked(
    call: Call, request: Request, identity: Mapping[str, str], variant: str | None
) -> Request:
    """What a version gets of ``request``."""
    headers = {
        **forwarded(request.headers, variant),
        **identity,
        "x-modelport-request-id": request.request_id,
    }
    path = grammar.canonical_path(call)
    return Request(request.method, path, headers, request.body, request.request_id)


def _failure(outcome: Response | ModelportError) -> str | None:
    """The code of a failure that another version may do better; None for all else."""
    if isinstance(outcome, ModelportError):
        hopeless = isinstance(outcome, ModelTimeoutError) or not isinstance(outcome, BackendError)
        return None if hopeless else outcome.code
    if outcome.status not in _FAILED:
        return None
    said = outcome.headers.get("x-modelport-error", "")
    return said if _CODE.fullmatch(said) else f"status-{outcome.status}"


def _ended(outcome: Response | ModelportError) -> ModelportError | None:
    """The error in an outcome that nobody gets; what still makes an answer's pieces is stopped."""
    if isinstance(outcome, Stream):
        outcome.pieces.close()
    return outcome if isinstance(outcome, ModelportError) else None
