"""Runs jobs: takes one, asks its version, keeps the answer, says that it is done. In that order.

Whatever dies in between, the message comes again and finds how far the job got: a job that is held
is left alone until its lease has ended, one without an answer is run again, one that is over is
only told. Each run keeps its answer under its own name and only the one that still holds the job
may show it, so a caller sees one answer. It must not choose versions: that was done when the job
was taken.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from modelport.backends import Backend
from modelport.embedded_metrics import members
from modelport.envelope import Request, Response
from modelport.errors import (
    BackendError,
    BackendGoneError,
    ModelFailedError,
    ModelNotFoundError,
    ModelportError,
    ModelTimeoutError,
    RegistryUnavailableError,
    VersionNotFoundError,
)
from modelport.jobs import keys
from modelport.jobs.board import Board
from modelport.jobs.carrying import Carrier, Places, Stored
from modelport.jobs.errors import JobNotFoundError
from modelport.jobs.job import Answer, Failure, Job
from modelport.jobs.payloads import Payloads
from modelport.jobs.queue import Queue
from modelport.references import SMALL, BodyGoneError, TransferFailedError
from modelport.refusals import refused, status_of
from modelport.registry import Snapshot
from modelport.routes import Deployment

from functions.worker.counts import of_run
from functions.worker.messages import Log, Message
from functions.worker.webhooks import WebhookFailedError

#: Longer than a worker can live beyond the time it was given.
LEASE_SLACK_S = 5.0
#: The first wait after a failure that passes; each further one is three times as long.
FIRST_WAIT_S, LONGEST_WAIT_S = 10.0, 900.0
#: Failures of the model itself: it would fail, or take too long, once more. All others of a place
#: or of the way there pass.
_FINAL = (ModelFailedError, ModelTimeoutError)
#: What a version answers while it has no capacity, or is not ready.
_BUSY = frozenset({429, 503})
_KEPT = frozenset({"content-type", "content-encoding", "inference-header-content-length"})
_FAMILIES = ("x-modelport-", "x-amzn-sagemaker-")


class Registry(Protocol):
    """The one question to a registry."""

    def routes(self, model: str, *, etag: str | None = None) -> Snapshot | None: ...


@dataclass(frozen=True, slots=True)
class Again:
    """A run that came to nothing, for a reason that passes; the version may name the wait."""

    trouble: Failure
    wait_s: float = 0.0


@dataclass(frozen=True)
class Work:
    """What a runner works with."""

    registry: Registry
    backends: Mapping[str, Backend]
    board: Board
    payloads: Payloads
    queue: Queue
    tell: Callable[[str, Mapping[str, Any]], None]
    log: Log
    environment: str = ""


class JobRunner:
    """Runs the jobs that messages name; one at a time."""

    def __init__(self, work: Work, *, new_run: Callable[[], str] = keys.new_id) -> None:
        self._work, self._new_run = work, new_run
        self._carrier = Carrier(work.payloads)

    def __call__(self, message: Message, until: float) -> bool:
        """Bring the job to its end, if that can be now."""
        id, backoff = str(message.body.get("id", "")), _backoff(message.receives)
        try:
            job = self._buried(id) if message.dead else self._worked(id, until, backoff)
            if isinstance(job, Job):
                return self._told(job, message, backoff)
            return self._later(message, job)
        except JobNotFoundError:
            self._work.log({"event": "job-not-found", "job": id[:64]})
            return True
        except RegistryUnavailableError as error:
            self._work.log({"event": "job-delayed", "job": id, "problem": error.message})
            return self._later(message, backoff)

    # --- one run ----------------------------------------------------------------------------------

    def _worked(self, id: str, until: float, backoff: float) -> Job | float:
        """The job once it is over, or the seconds after which it is worth another look."""
        board, run = self._work.board, self._new_run()
        job = board.change(id, lambda j: j.taken(run, board.clock(), until + LEASE_SLACK_S))
        if job is None:
            return self._settled(id)
        outcome = self._outcome(job)
        self._count(job, outcome.trouble if isinstance(outcome, Again) else outcome)
        if isinstance(outcome, Again):
            trouble = outcome.trouble
            self._work.log({"event": "job-delayed", "job": id, "problem": trouble.message})
            if board.change(id, lambda j: j.given_back(run, trouble)) is not None:
                return max(backoff, outcome.wait_s)
            return self._settled(id)
        return board.change(id, lambda j: _ended(j, run, outcome, board.clock())) or self._settled(
            id
        )

    def _settled(self, id: str) -> Job | float:
        """A job that another run, or its caller, has: itself if it is over, else a time to wait."""
        job = self._work.board.get(id)
        if job.over:
            return job
        return max(1.0, job.leased_until - self._work.board.clock() + 1.0)

    def _buried(self, id: str) -> Job | float:
        board = self._work.board
        job = board.change(id, lambda j: j.given_up(board.clock()))
        if job is None:
            return self._settled(id)
        self._work.log({"event": "job-given-up", "job": id, "model": job.model})
        return job

    def _outcome(self, job: Job) -> Answer | Failure | Again:
        try:
            return self._answer(job)
        except _FINAL as error:
            return _failure(error, job)
        except BackendError as error:
            return Again(_failure(error, job), getattr(error, "retry_after_s", 0))
        except ModelportError as error:
            return _failure(error, job)
        except Exception as error:
            trace = "".join(traceback.format_exception(error))
            self._work.log({"event": "job-failed", "job": job.id, "traceback": trace})
            return Again(Failure("internal", "the worker failed; its log has the details"))

    def _answer(self, job: Job) -> Answer | Again:
        deployment = self._deployment(job)
        backend = self._work.backends.get(deployment.target)
        if backend is None:
            raise BackendGoneError(job.model, job.version, deployment.target)
        places = Places(job.asked.body, keys.answer(job.id, job.run), lies=True)
        answer = self._asked(backend, deployment, job, places)
        if isinstance(answer, Stored):
            return Answer(answer.status, _kept(answer.headers), answer.key, answer.size)
        if answer.headers.get("x-modelport-error") == TransferFailedError.code:
            raise TransferFailedError("moving the job's body or answer", f"status {answer.status}")
        if answer.status in _BUSY:
            said = answer.headers.get("retry-after", "")
            wait = float(said) if said.isascii() and said.isdigit() and len(said) < 6 else 0.0
            trouble = Failure("busy", f"the version answered {answer.status}", answer.status)
            return Again(trouble, wait)
        self._work.payloads.put(places.answer, answer.body, answer.headers)
        return Answer(answer.status, _kept(answer.headers), places.answer, len(answer.body))

    def _asked(
        self, backend: Backend, deployment: Deployment, job: Job, places: Places
    ) -> Response | Stored:
        if job.asked.size > SMALL:
            asked = job.asked.request(b"")
            return self._carrier.past(backend, deployment, job.model, asked, places)
        body = self._work.payloads.get(job.asked.body, SMALL)
        if body is None:
            raise BodyGoneError
        asked = job.asked.request(body)
        return self._carrier.carry(backend, deployment, job.model, asked, places)

    def _deployment(self, job: Job) -> Deployment:
        snapshot = self._work.registry.routes(job.model)
        if snapshot is None:
            raise ModelNotFoundError(job.model)
        deployment = snapshot.routes.deployments.get(job.version)
        if deployment is None:  # it was there when the job was taken
            raise VersionNotFoundError(job.model, job.version)
        return deployment

    # --- what is said of it -----------------------------------------------------------------------

    def _told(self, job: Job, message: Message, backoff: float) -> bool:
        self._work.log(
            {
                "event": "job",
                "job": job.id,
                "model": job.model,
                "version": job.version,
                "state": job.state,
                "attempts": job.attempts,
                "error": job.error.code if job.error else None,
            }
        )
        if not job.webhook or job.told:
            return True
        news = {"id": job.id, "status": job.state, "model": job.model, "version": str(job.version)}
        try:
            self._work.tell(job.webhook, news)
        except WebhookFailedError as error:
            self._work.log({"event": "webhook-failed", "job": job.id, "problem": error.message})
            return message.dead or self._later(message, backoff)
        self._work.board.change(job.id, Job.heard)
        return True

    def _count(self, job: Job, outcome: Answer | Failure) -> None:
        """One line for each run that the version had a part in: its metrics."""
        counts = of_run(job, outcome)
        if counts:
            at_ms = round(self._work.board.clock() * 1000)
            told = members(self._work.environment, job.model, job.version, counts, at_ms)
            self._work.log({"event": "job-run", "job": job.id, **told})

    def _later(self, message: Message, seconds: float) -> bool:
        """Have the message come again then; without this it comes when its time is over."""
        try:
            self._work.queue.later(message.receipt, min(seconds, LONGEST_WAIT_S))
        except ModelportError as error:
            self._work.log({"event": "queue-failed", "problem": error.message})
        return False


def _ended(job: Job, run: str, outcome: Answer | Failure, now: float) -> Job | None:
    if isinstance(outcome, Answer):
        return job.answered(run, outcome, now)
    return job.failed(run, outcome, now)


def _failure(error: ModelportError, job: Job) -> Failure:
    """The error as callers may read it, in the words they would have got at once."""
    request = Request(job.asked.method, job.asked.path, request_id=job.asked.request_id)
    words = json.loads(refused(error, request).body)["error"]
    return Failure(error.code, words, status_of(error))


def _kept(headers: Mapping[str, str]) -> dict[str, str]:
    return {
        name: text for name, text in headers.items() if name in _KEPT or name.startswith(_FAMILIES)
    }


def _backoff(receives: int) -> float:
    """Seconds until a message comes again that was received so often.

    >>> [_backoff(n) for n in (1, 2, 5, 400)]
    [10.0, 30.0, 810.0, 900.0]
    """
    return min(LONGEST_WAIT_S, FIRST_WAIT_S * 3.0 ** min(receives - 1, 6))
