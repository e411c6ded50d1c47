"""Calls that the API answers later: what is asked of their jobs, as generators of steps.

It must not know tensors; what an answer means is its caller's business.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from modelport.client.conversation import Reply, Send, Steps, Wait, retry_after
from modelport.client.elsewhere import SEE_OTHER, fetched
from modelport.client.errors import DeadlineError, JobPendingError, UnreadableAnswerError
from modelport.client.retries import Terms, persistent

ACCEPTED = 202
_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 30.0


@dataclass(frozen=True, slots=True)
class JobStatus:
    """How far a job is: ``queued``, ``running``, ``succeeded``, ``failed`` or ``canceled``.

    Times are ISO 8601 in UTC, "" for what has not been; ``error`` is what went wrong, or what is in
    its way.
    """

    id: str
    state: str
    model: str = ""
    version: str = ""
    created: str = ""
    started: str = ""
    ended: str = ""
    expires: str = ""
    attempts: int = 0
    error_code: str = ""
    error: str = ""

    @property
    def over(self) -> bool:
        """Whether nothing more will become of it."""
        return self.state not in ("queued", "running")


def status_of(reply: Reply, endpoint: str) -> JobStatus:
    """Read what the API says of a job; raises `UnreadableAnswerError`."""
    try:
        found: Any = reply.json()
        error = found.get("error") or {}
        times = {name: found.get(name) or "" for name in ("created", "started", "ended", "expires")}
        return JobStatus(
            _text(found["id"]),
            _text(found["status"]),
            found.get("model", ""),
            found.get("version", ""),
            **times,
            attempts=int(found.get("attempts", 0)),
            error_code=error.get("code", ""),
            error=error.get("message", ""),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UnreadableAnswerError(endpoint, "it says nothing of a job") from None


def status(id: str, terms: Terms, timeout_s: float) -> Steps[JobStatus]:
    """How far a job is."""
    reply = yield from persistent(_asking("GET", id, "", terms, timeout_s), terms)
    return status_of(reply, terms.endpoint)


def cancel(id: str, terms: Terms, timeout_s: float) -> Steps[JobStatus]:
    """Cancel a job; raises `StateForbidsError` for one that is over."""
    reply = yield from persistent(_asking("POST", id, "/cancel", terms, timeout_s), terms)
    return status_of(reply, terms.endpoint)


def answer(id: str, terms: Terms, timeout_s: float) -> Steps[Reply]:
    """The answer of a job, once there is one; raises `JobPendingError` when there is none in time.

    An answer with an error status is raised, as if it had come at once.
    """
    deadline = terms.retries.clock() + timeout_s
    try:
        yield from _over(id, terms, deadline)
        reply = yield from persistent(
            _asking("GET", id, "/answer", terms, _left(terms, deadline)), terms
        )
        if reply.status != SEE_OTHER:
            return reply
        return (yield from fetched(reply, terms, _left(terms, deadline)))
    except DeadlineError as error:
        raise JobPendingError(terms.endpoint, timeout_s, id) from error


def _over(id: str, terms: Terms, deadline: float) -> Steps[None]:
    """Ask until the job is over; raises `DeadlineError` when it is not in time."""
    while True:
        left = _left(terms, deadline)
        reply = yield from persistent(_asking("GET", id, "", terms, left), terms)
        if status_of(reply, terms.endpoint).over:
            return
        pause = min(retry_after(reply.headers.get("retry-after", "")) or _PAUSE_S, _LONGEST_PAUSE_S)
        if _left(terms, deadline) <= pause:
            raise DeadlineError(terms.endpoint, left, 1)
        yield Wait(pause)


def _left(terms: Terms, deadline: float) -> float:
    return max(deadline - terms.retries.clock(), 0.001)


def wishes(key: str, webhook: str = "") -> Mapping[str, str]:
    """The headers that ask for a job; ``key`` makes all tries of one request one job."""
    told = {"x-modelport-webhook": webhook} if webhook else {}
    return {"prefer": "respond-async", "idempotency-key": key, **told}


def _asking(method: str, id: str, what: str, terms: Terms, timeout_s: float) -> Send:
    url = f"{terms.endpoint}/jobs/{quote(id, safe='')}{what}"
    return Send(method, url, {"accept-encoding": "identity"}, b"", timeout_s)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value
