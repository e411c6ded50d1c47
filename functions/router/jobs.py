"""Calls that are answered later, and bodies and answers that no event carries.

Made with the first request that needs it: most never do. A job is written before its message is
sent, so a message without a job cannot be; whoever repeats a request under the same key sends the
message of a job that has none. It must not choose versions or run models by itself.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from modelport.backends import Backend
from modelport.envelope import Request, Response
from modelport.errors import (
    ROUTER_LIMIT_S,
    ModelportError,
    ModelTimeoutError,
    PayloadTooLargeError,
    RegistryUnavailableError,
    RouteNotFoundError,
)
from modelport.grammar import Call
from modelport.jobs import keys
from modelport.jobs.board import Board
from modelport.jobs.carrying import Carrier, Places, Stored
from modelport.jobs.errors import JobNotFoundError, QueueUnavailableError
from modelport.jobs.job import KEPT_S, Asked, Job
from modelport.jobs.payloads import Payloads
from modelport.jobs.queue import Queue, job_message
from modelport.jobs.webhooks import HEADER as WEBHOOK_HEADER
from modelport.jobs.webhooks import allowed
from modelport.routes import Deployment
from modelport.sagemaker_envelope import TIME_LIMIT_S

from functions.router.answers import Answers, pause
from functions.router.caller import authenticated
from functions.router.carriage import Elsewhere
from functions.router.idempotency import KEY_HEADER, id_for
from functions.router.uploads import Uploads

#: Longest wait for a job that the caller would rather have at once, in seconds.
LONGEST_WAIT_S = 20.0
_LOOK_EVERY_S = 0.25
_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?([0-9]{1,6})")
_JSON = {"content-type": "application/json", "cache-control": "no-store"}

Event = Mapping[str, Any] | None


@dataclass(frozen=True)
class Terms:
    """What an environment allows: bytes of an upload, hosts that are told of a job's end."""

    max_upload: int
    webhook_hosts: str | None = None


class Jobs:
    """Takes calls, and answers questions about those it took; safe to call from many threads."""

    def __init__(
        self,
        board: Board,
        payloads: Payloads,
        queue: Queue,
        terms: Terms,
        *,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._board, self._payloads, self._queue = board, payloads, queue
        self._terms, self._sleep = terms, sleep
        self._uploads = Uploads(payloads, terms.max_upload, board.clock)
        self._carrier = Carrier(payloads)
        self._answers = Answers(payloads, board.clock)

    # --- calls ------------------------------------------------------------------------------------

    def carry(
        self,
        backend: Backend,
        deployment: Deployment,
        model: str,
        asked: Request,
        request: Request,
        event: Event,
        too_large: Response | PayloadTooLargeError | None = None,
    ) -> Response:
        """Have a version answer now what its backend does not carry as it is.

        ``asked`` is what the version gets, ``request`` what the caller sent. ``too_large`` is what
        came of asking as it is: the version is asked a second time then, so the model runs twice.
        """
        id = keys.new_id()
        found = self._uploads.found(request, _owner(event))
        body = found[0] if found else keys.call(id, "request")
        places = Places(body, keys.call(id, "answer"), lies=found is not None)
        answer = self._carrier.past(backend, deployment, model, asked, places, too_large)
        return self._answers.elsewhere(answer) if isinstance(answer, Stored) else answer

    def put_away(self, answer: Response) -> Response:
        """Have an answer fetched that came, and that no event takes any further."""
        key = keys.call(keys.new_id(), "answer")
        self._payloads.put(key, answer.body, answer.headers)
        return self._answers.elsewhere(Stored(answer.status, answer.headers, key, len(answer.body)))

    def accept(
        self,
        call: Call,
        deployment: Deployment,
        asked: Request,
        request: Request,
        event: Event,
        timed_out: ModelTimeoutError | None = None,
    ) -> Response:
        """Take a prediction that ``deployment`` shall answer later.

        ``timed_out`` is how the version failed to answer in time, or None where the caller wants no
        answer now. It is raised where waiting longer would not help: the version's own time is no
        longer than the router's.
        """
        if timed_out is not None and _time_of(deployment) <= ROUTER_LIMIT_S:
            raise timed_out
        job = self._accepted(call, deployment, asked, request, _owner(event))
        wishes = request.headers.get("prefer", "").lower()
        applied = {} if timed_out else {"preference-applied": "respond-async"}
        wait = _WAIT.search(wishes)
        if wait and not timed_out:
            applied["preference-applied"] += f", wait={wait[1]}"
            job = self._awaited(job, min(float(wait[1]), LONGEST_WAIT_S))
            if job.over and job.state != "canceled":
                answer = self._answers.of(job, request, call.protocol)
                return Response(answer.status, {**answer.headers, **applied}, answer.body)
        return self._taken(job, request, applied)

    def take(
        self, call: Call, deployment: Deployment, asked: Request, request: Request, event: Event
    ) -> Response:
        """Take a prediction that nobody asked to have later: there is no time left for it now."""
        job = self._accepted(call, deployment, asked, request, _owner(event))
        told = self._taken(job, request, {})
        return Elsewhere(told.status, told.headers, told.body)

    def _taken(self, job: Job, request: Request, applied: Mapping[str, str]) -> Response:
        headers = {"location": f"{_root_of(request.path)}jobs/{job.id}", **applied}
        return self._told(202, job, headers)

    # --- questions --------------------------------------------------------------------------------

    def answer(self, call: Call, request: Request, event: Event) -> Response:
        """Answer a verb of protocol ``jobs``; raises `ModelportError`."""
        owner = _owner(event)
        match call.verb:
            case "upload":
                return self._uploads.open(request, owner)
            case "status":
                return self._told(200, self._job(call.job, owner))
            case "answer":
                job = self._job(call.job, owner)
                return self._answers.of(job, request, job.protocol)
            case "cancel":
                return self._told(200, self._board.cancel(self._job(call.job, owner).id))
        raise RouteNotFoundError(request.method, request.path)

    def _job(self, id: str, owner: str) -> Job:
        job = self._board.get(id)
        if job.owner != owner:
            raise JobNotFoundError(id)
        return job

    def _told(self, status: int, job: Job, headers: Mapping[str, str] | None = None) -> Response:
        said = {**_JSON, **(headers or {})}
        if not job.over:
            said["retry-after"] = str(pause(self._board.clock() - job.created))
        return Response(status, said, json.dumps(job.described(), ensure_ascii=False).encode())

    # --- taking -----------------------------------------------------------------------------------

    def _accepted(
        self, call: Call, deployment: Deployment, asked: Request, request: Request, owner: str
    ) -> Job:
        webhook = request.headers.get(WEBHOOK_HEADER, "")
        if webhook:
            allowed(webhook, self._terms.webhook_hosts)
        found = self._uploads.found(request, owner)
        id, known = id_for(self._board, request, owner)
        if known is not None:
            if known.state == "queued":  # whoever took it may have died before this
                self._queue.send(job_message(known.id))
            return known
        if found is None:
            self._payloads.put(keys.request(id), asked.body, {})
        key, size = found or (keys.request(id), len(asked.body))
        now = self._board.clock()
        job = self._board.create(
            Job(
                id,
                call.model or "",
                deployment.version,
                call.protocol,
                Asked(asked.method, asked.path, asked.headers, key, size, asked.request_id),
                owner,
                now,
                now + KEPT_S,
                webhook=webhook,
            )
        )
        self._send(job, forget=KEY_HEADER not in request.headers)
        return job

    def _send(self, job: Job, *, forget: bool) -> None:
        try:
            self._queue.send(job_message(job.id))
        except QueueUnavailableError:
            if forget:  # nobody will ever ask for it again
                self._let_go(job)
            raise

    def _let_go(self, job: Job) -> None:
        try:
            self._board.cancel(job.id)
        except ModelportError:
            return  # it expires

    def _awaited(self, job: Job, seconds: float) -> Job:
        left = seconds
        while not job.over and left > 0:
            self._sleep(min(_LOOK_EVERY_S, left))
            left -= _LOOK_EVERY_S
            try:
                job = self._board.get(job.id)
            except RegistryUnavailableError:
                return job
        return job


def _owner(event: Event) -> str:
    return keys.owner_of(authenticated(event))


def _time_of(deployment: Deployment) -> float:
    """How long the version itself may take, in seconds."""
    said = deployment.settings.get("timeout_s")
    if isinstance(said, int | float):
        return float(said)
    return TIME_LIMIT_S if deployment.target == "sagemaker" else 0.0


def _root_of(path: str) -> str:
    """The way from ``path`` to the API's root: gateways may serve it below a stage.

    >>> _root_of("/v1/models/m:predict"), _root_of("/invocations")
    ('../../', '')
    """
    return "../" * (path.partition("?")[0].count("/") - 1)
