"""Asks shadow versions what their callers were answered by others, and holds the answers together.

One message is one copy (`modelport.shadows.message`): the shadow version is asked on whatever
target it runs, and one line of the log tells how it did: compared or not, failed, how long it took,
what it predicted. The line carries these as metrics of the shadow version, apart from what callers
wait for. A copy is worth little: what fails in passing is tried once more and then dropped and
counted, so no copy is kept, repeated by the queue for long, or ends as a dead letter. No line and
no error repeats anything of a request or an answer. It knows nothing of callers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol

from modelport import telemetry
from modelport.backends import Backend
from modelport.embedded_metrics import members
from modelport.envelope import Request, Response, Stream
from modelport.errors import (
    BackendError,
    BackendGoneError,
    IntegrityError,
    MalformedRequestError,
    ModelportError,
    NotFoundError,
    RegistryUnavailableError,
    ThrottledError,
)
from modelport.manifest import Manifest
from modelport.refusals import status_of
from modelport.registry import Snapshot
from modelport.routes import Deployment
from modelport.shadows.agreement import Agreement, Terms, compare
from modelport.shadows.message import Answered, ShadowCall

from functions.worker.messages import Log, Message

#: A shadow version is waited for so long; SageMaker waits no longer for any.
LIMIT_S = 60.0
#: What is left to keep books after a version that took all of its time.
SLACK_S = 5.0
#: How often a version is asked when it, or the way to it, is away in passing, and the wait between.
TRIES, WAIT_S = 2, 1.0
#: A message that came so often has ended the worker before it could be dropped.
MOST_RECEIVES = 3
#: Copies that waited longer say nothing of now; a queue that fell behind catches up without them.
OLDEST_S = 1800.0
#: Routes may be so old, in seconds, and of so many models.
ROUTES_TTL_S, MODELS_KEPT = 5.0, 256
_PASSING = (ThrottledError, BackendGoneError, RegistryUnavailableError)
#: What is raised before a version has been asked: for want of its capacity, or of its routes.
_NEVER_ASKED = (ThrottledError, RegistryUnavailableError, NotFoundError, IntegrityError)
#: As in the router's counts: what is raised when a version's process did not answer.
_CRASHED = frozenset({"model-failed", "backend-gone"})
_THROTTLED, _NOT_SUPPORTED = 429, 501

Counts = dict[str, float]


class Registry(Protocol):
    """The two questions to a registry."""

    def routes(self, model: str, *, etag: str | None = None) -> Snapshot | None: ...
    def manifest(self, model: str, version: int) -> Manifest: ...


@dataclass
class Outcome:
    """What became of one copy: numbers for the metrics, and words for the line beside them."""

    counts: Counts = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)


class ShadowRunner:
    """Runs the copies that messages carry; one at a time."""

    def __init__(
        self,
        registry: Registry,
        backends: Mapping[str, Backend],
        environment: str,
        log: Log,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """``clock`` measures, in seconds; ``now`` is the time of day, in seconds."""
        self._backends, self._environment, self._log = backends, environment, log
        self._clock, self._now, self._sleep = clock, now, sleep
        self._deployments = _Deployments(registry, clock)

        # Manifests are immutable, and may be large: no more is kept of them.
        @lru_cache(maxsize=MODELS_KEPT)
        def labelled(model: str, version: int) -> bool:
            return registry.manifest(model, version).content.settings.labels is not None

        self._labelled = labelled

    def __call__(self, message: Message, until: float) -> bool:
        """Ask the shadow version, and say what came of it; False only where there is no time."""
        if self._now() + LIMIT_S + SLACK_S > until and message.receives < MOST_RECEIVES:
            return False
        try:
            call = ShadowCall.from_json(message.body)
        except MalformedRequestError as error:
            self._log({"event": "shadow-malformed", "problem": error.message})
            return True
        if message.receives > MOST_RECEIVES:
            outcome = _lost("came-too-often")
        elif self._now() - call.answered_at.timestamp() > OLDEST_S:
            outcome = _lost("too-old")
        else:
            outcome = self._outcome(call)
        self._tell(call, outcome)
        return True

    def _outcome(self, call: ShadowCall) -> Outcome:
        for attempt in range(1, TRIES + 1):
            try:
                return self._asked(call)
            except _PASSING as error:
                if attempt == TRIES:
                    return _raised(error)
                self._sleep(WAIT_S)
            except ModelportError as error:
                return _raised(error)
        raise AssertionError("the last attempt returns")

    def _asked(self, call: ShadowCall) -> Outcome:
        deployment = self._deployments.get(call.model, call.shadow)
        if deployment is None:
            return _lost("not-deployed")
        backend = self._backends.get(deployment.target)
        if backend is None:
            raise BackendGoneError(call.model, call.shadow, deployment.target)
        classes = any(self._labelled(call.model, each) for each in (call.shadow, call.live))
        started = self._clock()
        response = backend.invoke(deployment, call.model, _request(call))
        if isinstance(response, Stream):
            response = response.whole()
        seconds = self._clock() - started
        outcome = _answered(call, response, Terms(classes=classes))
        if telemetry.SHADOW_REQUESTS in outcome.counts:
            outcome.counts[telemetry.SHADOW_MS] = round(seconds * 1000, 3)
        outcome.about["target"] = deployment.target
        return outcome

    def _tell(self, call: ShadowCall, outcome: Outcome) -> None:
        at_ms = int(self._now() * 1000)
        self._log(
            {
                "event": "shadow",
                "request_id": call.request.request_id,
                "live_version": str(call.live),
                "answered_at": call.at,
                **outcome.about,
                **members(self._environment, call.model, call.shadow, outcome.counts, at_ms),
            }
        )


class _Deployments:
    """Where versions run, as of a few seconds ago at most."""

    def __init__(self, registry: Registry, clock: Callable[[], float]) -> None:
        self._registry, self._clock = registry, clock
        self._known: dict[str, tuple[Snapshot, float]] = {}

    def get(self, model: str, version: int) -> Deployment | None:
        """Where a version runs; None where it does not. Raises `ModelportError`."""
        known, now = self._known.get(model), self._clock()
        if known is None or now - known[1] > ROUTES_TTL_S:
            found = self._registry.routes(model)
            assert found is not None  # nothing was said of what is known already
            if len(self._known) >= MODELS_KEPT:
                self._known.clear()
            known = self._known[model] = found, now
        return known[0].routes.deployments.get(version)


def _request(call: ShadowCall) -> Request:
    """What the shadow version is asked: what the live one was, under the same id."""
    asked = call.request
    headers = {**asked.headers, "x-modelport-request-id": asked.request_id}
    return Request(asked.method, asked.path, headers, asked.body, asked.request_id)


def _answered(call: ShadowCall, response: Response, terms: Terms) -> Outcome:
    """What an answer of the shadow version counts for."""
    if response.status == _THROTTLED:
        return _lost("throttled")
    outcome = Outcome({telemetry.SHADOW_REQUESTS: 1}, {"status": response.status})
    if response.status >= 500 and response.status != _NOT_SUPPORTED:
        outcome.counts[telemetry.SHADOW_ERRORS] = 1
        return outcome
    if response.status == _NOT_SUPPORTED:
        found = Agreement(None, why="the version has no such thing")
    elif response.status != 200:  # the caller was answered, and this version refuses
        found = Agreement(False, 1, 0, f"status {response.status}")
    else:
        told = response.headers.get(telemetry.PREDICTED_HEADER, "")
        outcome.counts |= telemetry.predictions(told)
        found = compare(call.answered, Answered.of(response), terms)
    _add(outcome, found)
    return outcome


def _add(outcome: Outcome, found: Agreement) -> None:
    if found.agrees is None:
        outcome.counts[telemetry.INCOMPARABLE] = 1
    else:
        outcome.counts[telemetry.COMPARED] = 1
        outcome.counts[telemetry.DISAGREED] = int(not found.agrees)
    outcome.about |= {
        "agrees": found.agrees,
        "rows": found.rows,
        "rows_agreeing": found.agreeing,
        "why": found.why or None,
    }


def _raised(error: ModelportError) -> Outcome:
    """What an error in an answer's stead counts for."""
    about = {"status": status_of(error), "error": error.code}
    if isinstance(error, _NEVER_ASKED):
        return Outcome(_lost(error.code).counts, about)
    counts: Counts = {telemetry.SHADOW_REQUESTS: 1}
    if not isinstance(error, BackendError):  # this way takes no such request, or answer
        return Outcome({**counts, telemetry.INCOMPARABLE: 1}, about)
    counts[telemetry.SHADOW_ERRORS] = 1
    if error.code in _CRASHED:
        counts[telemetry.SHADOW_CRASHES] = 1
    return Outcome(counts, about)


def _lost(why: str) -> Outcome:
    """A copy that never reached a version that could answer it."""
    return Outcome({telemetry.SHADOWS_LOST: 1}, {"error": why})
