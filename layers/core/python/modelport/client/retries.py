"""Which failures a call is tried again after, how soon, and when not any more.

An inference changes nothing, so the same one may be sent twice. Tried again is:

* a connection that could not be made or broke before the answer was whole;
* 429, 502 and 503, after what Retry-After says;
* 504 once, if the time left is at least what the first try took: a model that was cold is warm
  then, one that is merely slow would be as slow again.

Every other answer is final. Between tries is a random part of an exponentially growing pause. All
tries share the call's deadline, and all calls of a client share a budget: a tenth of them may be
repeats once ten were, so a server in trouble is not buried by its clients.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from modelport.client.conversation import LostError, Reply, Send, Steps, Wait, error_of
from modelport.client.errors import (
    AnswerError,
    DeadlineError,
    EndpointUnavailableError,
    UnreadableAnswerError,
)
from modelport.errors import ModelportError

_PASSING = frozenset({429, 502, 503})
_GATEWAY_TIMEOUT = 504


@dataclass(frozen=True)
class Retries:
    """How stubborn a client is; ``attempts=1`` never tries again. Times are in seconds."""

    attempts: int = 4
    first_pause_s: float = 0.1
    longest_pause_s: float = 5.0
    #: A server that wants to be left alone for longer is: the error is raised at once.
    longest_retry_after_s: float = 30.0
    clock: Callable[[], float] = field(default=time.monotonic, repr=False)
    jitter: Callable[[], float] = field(default=random.random, repr=False)

    def pause(self, failures: int, asked_s: float | None) -> float | None:
        """Seconds until the next try after ``failures`` of them; None when it is not worth it."""
        drawn = self.jitter() * min(
            self.longest_pause_s, self.first_pause_s * 2.0 ** (failures - 1)
        )
        if asked_s is None:
            return drawn
        return None if asked_s > self.longest_retry_after_s else asked_s + drawn


class Budget:
    """What all calls of a client may spend on repeats. Safe to share between threads."""

    _MOST, _EARNED = 10.0, 0.1

    def __init__(self) -> None:
        self._left = self._MOST
        self._lock = threading.Lock()

    def earn(self) -> None:
        """A call went through without a repeat."""
        with self._lock:
            self._left = min(self._MOST, self._left + self._EARNED)

    def spend(self) -> bool:
        """Take one repeat; False when there is none left."""
        with self._lock:
            if self._left < 1:
                return False
            self._left -= 1
            return True


@dataclass(frozen=True)
class Terms:
    """What every call of a client is made under."""

    endpoint: str
    retries: Retries
    budget: Budget
    sign: Callable[[str, str, Mapping[str, str], bytes], Mapping[str, str]] | None = None


def persistent(request: Send, terms: Terms) -> Steps[Reply]:
    """Send a request until it is answered for good; ``request.timeout_s`` is for all attempts.

    Raises `AnswerError`, `EndpointUnavailableError`, `DeadlineError` or `UnreadableAnswerError`.
    """
    retries, clock = terms.retries, terms.retries.clock
    deadline, attempt, last = clock() + request.timeout_s, 0, ""
    while True:
        attempt += 1
        started = clock()
        left = deadline - started
        if left <= 0:
            raise DeadlineError(terms.endpoint, request.timeout_s, attempt - 1, last)
        error: ModelportError
        asked_s = None
        try:
            reply = yield _signed(replace(request, timeout_s=left), terms)
        except LostError as lost:
            last = lost.problem
            if lost.late:
                raise DeadlineError(terms.endpoint, request.timeout_s, attempt, last) from lost
            error = EndpointUnavailableError(terms.endpoint, last)
        else:
            assert reply is not None  # a Send is always answered
            if reply.ok or (reply.status == 303 and "location" in reply.headers):
                if attempt == 1:
                    terms.budget.earn()
                return replace(reply, attempts=attempt)
            error = _judged(reply, terms.endpoint)
            took = clock() - started
            if "x-modelport-job" in reply.headers:  # the answer of a job is the same every time
                raise error
            if not _is_passing(error, attempt, took, deadline - clock()):
                raise error
            asked_s = error.retry_after_s if isinstance(error, AnswerError) else None
            last = error.message
        pause = retries.pause(attempt, asked_s)
        if attempt >= retries.attempts or pause is None or clock() + pause >= deadline:
            raise error
        if not terms.budget.spend():
            raise error
        yield Wait(pause)


def _signed(request: Send, terms: Terms) -> Send:
    # Every try is signed anew: a signature carries the time.
    if terms.sign is None:
        return request
    added = terms.sign(request.method, request.url, request.headers, request.body)
    return replace(request, headers={**request.headers, **added})


def _judged(reply: Reply, endpoint: str) -> ModelportError:
    if reply.status >= 400:
        return error_of(reply)
    where = reply.headers.get("location", "")
    to = f" to {where[:200]}, and redirects are not followed" if where else ""
    return UnreadableAnswerError(endpoint, f"it is status {reply.status}{to}")


def _is_passing(error: ModelportError, attempt: int, took_s: float, left_s: float) -> bool:
    if not isinstance(error, AnswerError):
        return False
    if error.status == _GATEWAY_TIMEOUT:
        return attempt == 1 and left_s >= took_s
    return error.status in _PASSING
