"""Routes in memory: fresh within a TTL, served while checked, kept when the registry fails.

One conditional read per model and TTL, whatever the traffic; nothing here grows with the number of
versions, and callers who ask for models that do not exist cannot make it grow either. It must not
know HTTP, AWS, or what a route means.

Age of the routes known  What a caller gets
-----------------------  -----------------------------------------------------------------------
up to TTL / 2            them, at once
up to TTL                them, at once; one background check runs
older                    the caller waits for a check: so a change is seen within one TTL, and a
                         Lambda environment that slept for an hour does not answer with routes of
                         an hour ago
any, and a check failed  them, at once (fail static); one background check runs every TTL / 2
not long ago

A Lambda environment is frozen between invocations, its threads with it. A background check runs
while the model is being called; what does not finish in that time goes on in the next invocation.
So an answer counts from when it was *asked for*, never from when it arrived, an older answer never
replaces a younger one, and a check that hangs is given up after `FLIGHT_LIMIT_S`. A failure is an
answer too, for one TTL and the time that a check may take, so that nobody waits while the registry
stays away: one from before a sleep says nothing about the registry of today, so the caller waits
for a check, and gets the routes known if that fails as well.

A document that is torn or hand-edited counts as a failure of the registry, and so does one that is
older than what is known: of an earlier revision, or of the same one with other content. Routes only
move forward, so it was restored or edited by hand; what is known stays until a later revision is
there. A process that knows nothing yet takes what there is.

All times are of one monotonic clock of this process and are compared with nothing else: neither the
bucket's clock nor the time of day, however wrong, changes what is answered.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from modelport.errors import IntegrityError, ModelNotFoundError, RegistryUnavailableError
from modelport.registry import Snapshot
from modelport.routes import Routes

Clock = Callable[[], float]
#: Takes one record; a composition root decides where records go.
Log = Callable[[Mapping[str, Any]], None]
#: Runs a task beside the request.
Spawn = Callable[[Callable[[], None]], None]

MAX_KNOWN = 4096
MAX_REFUSED = 1024
FLIGHT_LIMIT_S = 10.0
FAILURE_TTL_S = 1.0
LOG_INTERVAL_S = 60.0


class RoutesSource(Protocol):
    """The part of a registry this cache reads."""

    def routes(self, model: str, *, etag: str | None = None) -> Snapshot | None: ...


@dataclass(slots=True)
class _Known:
    snapshot: Snapshot
    asked_at: float
    failed_at: float | None = None


@dataclass(slots=True)
class _Refusal:
    error: Exception
    until: float


@dataclass(slots=True)
class _Flight:
    started: float
    done: threading.Event = field(default_factory=threading.Event)


def in_thread(task: Callable[[], None]) -> None:
    """Run ``task`` beside the request; it must not outlive the process."""
    threading.Thread(target=task, daemon=True, name="routes-check").start()


class RoutesCache:
    """The routes of every model that is being asked for; see the module's docstring."""

    def __init__(
        self,
        source: RoutesSource,
        *,
        ttl_s: float,
        clock: Clock,
        log: Log,
        spawn: Spawn = in_thread,
        flight_limit_s: float = FLIGHT_LIMIT_S,
    ) -> None:
        self._source, self._ttl_s, self._clock = source, ttl_s, clock
        self._log, self._spawn, self._flight_limit_s = log, spawn, flight_limit_s
        self._lock = threading.Lock()
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._refused: OrderedDict[str, _Refusal] = OrderedDict()
        self._flights: dict[str, _Flight] = {}
        self._logged_at: dict[str, float] = {}

    def get(self, model: str) -> Routes:
        """The routes of ``model``; raises `ModelNotFoundError`, `RegistryUnavailableError`."""
        now = self._clock()
        routes, due = self._look(model, now)
        if routes is None:
            return self._wait(model, now)
        if due:
            flight, mine = self._board(model, now, self._flight_limit_s)
            if mine:
                self._spawn(lambda: self._fly(model, flight))
        return routes

    def _look(self, model: str, now: float) -> tuple[Routes | None, bool]:
        """What can be answered at once, and whether a background check is due."""
        with self._lock:
            known = self._known.get(model)
            if known is None:
                refusal = self._refused.get(model)
                if refusal is not None and now < refusal.until:
                    raise refusal.error.with_traceback(None)
                return None, False
            self._known.move_to_end(model)
            age = now - known.asked_at
            if known.failed_at is not None:
                since = now - known.failed_at
                if since <= self._ttl_s + self._flight_limit_s:
                    return known.snapshot.routes, since > self._ttl_s / 2
            if age > self._ttl_s:
                return None, False
            return known.snapshot.routes, age > self._ttl_s / 2

    def _wait(self, model: str, now: float) -> Routes:
        """Check now; however many callers wait for a model, one of them asks the registry.

        A check that was asked for longer than a TTL ago has slept or hangs: nobody waits for it.
        """
        flight, mine = self._board(model, now, min(self._ttl_s, self._flight_limit_s))
        if mine:
            self._fly(model, flight)
        else:
            flight.done.wait(self._flight_limit_s)
        with self._lock:
            known, refusal = self._known.get(model), self._refused.get(model)
        if known is not None:
            return known.snapshot.routes
        if refusal is not None and now < refusal.until:
            raise refusal.error.with_traceback(None)
        raise RegistryUnavailableError("no answer yet")

    def _board(self, model: str, now: float, within_s: float) -> tuple[_Flight, bool]:
        """The check that is under way since at most ``within_s``, or a new one to be made."""
        with self._lock:
            flight = self._flights.get(model)
            if flight is not None and now - flight.started < within_s:
                return flight, False
            flight = self._flights[model] = _Flight(now)
            return flight, True

    def _fly(self, model: str, flight: _Flight) -> None:
        with self._lock:
            known = self._known.get(model)
        etag = known.snapshot.etag if known else None
        try:
            snapshot = self._source.routes(model, etag=etag)
        except ModelNotFoundError as error:
            self._forget(model, error, self._ttl_s)
        except Exception as error:
            self._keep(model, error, flight.started)
        else:
            self._learn(model, snapshot or (known.snapshot if known else None), flight.started)
        finally:
            with self._lock:
                if self._flights.get(model) is flight:
                    del self._flights[model]
            flight.done.set()

    def _learn(self, model: str, snapshot: Snapshot | None, asked_at: float) -> None:
        with self._lock:
            known = self._known.get(model)
            if snapshot is None or (known is not None and known.asked_at > asked_at):
                return
            older = known and _older(snapshot.routes, known.snapshot.routes)
            if not older:
                self._known[model] = _Known(snapshot, asked_at)
                self._refused.pop(model, None)
                _trim(self._known, MAX_KNOWN)
        if older:
            self._keep(model, IntegrityError("routes", *older), asked_at)

    def _forget(self, model: str, error: Exception, ttl_s: float) -> None:
        with self._lock:
            self._known.pop(model, None)
            self._refuse(model, error, ttl_s)

    def _keep(self, model: str, error: Exception, asked_at: float) -> None:
        """The registry failed, or has what cannot be: go on with what is known, and say so.

        But not on every request.
        """
        now = self._clock()
        with self._lock:
            known = self._known.get(model)
            if known is None:
                self._refuse(model, error, FAILURE_TTL_S)
            else:
                # A check that was given up slept: its failure is as old as its question.
                slept = now - asked_at >= self._flight_limit_s
                known.failed_at = asked_at if slept else now
            event = "routes-refused" if isinstance(error, IntegrityError) else "registry-failing"
            logged_at = self._logged_at.get(event)
            if logged_at is not None and now - logged_at < LOG_INTERVAL_S:
                return
            self._logged_at[event] = now
        age = None if known is None else round(now - known.asked_at, 3)
        problem = f"{type(error).__name__}: {error}"
        revision = None if known is None else known.snapshot.routes.revision
        record = {"event": event, "model": model, "problem": problem, "age_s": age}
        self._log({**record, "kept_revision": revision})

    def _refuse(self, model: str, error: Exception, ttl_s: float) -> None:
        self._refused[model] = _Refusal(error, self._clock() + ttl_s)
        self._refused.move_to_end(model)
        _trim(self._refused, MAX_REFUSED)


def _older(found: Routes, known: Routes) -> tuple[str, str] | None:
    """What was expected and what was found, where a document cannot follow on what is known."""
    if found.revision < known.revision:
        return f"revision {known.revision} or later", f"revision {found.revision}"
    if found.revision == known.revision and found != known:
        return f"revision {known.revision} as it was", "another document of that revision"
    return None


def _trim(entries: OrderedDict[str, Any], limit: int) -> None:
    while len(entries) > limit:
        entries.popitem(last=False)
