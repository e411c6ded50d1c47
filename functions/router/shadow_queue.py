"""Copies of answered calls on their way to shadow versions, beside the callers and never before.

What the caller's thread does is bounded and waits for nothing: it chooses, puts a reference to
request and answer into a queue of this process, and goes on. A daemon thread makes a message of it
and sends that. What the queue has no room for, what is too large for a message and what cannot be
sent is dropped and counted (`telemetry.SHADOWS_LOST`, by model and shadow version), never repeated
and never waited for: a queue service that hangs costs copies, not answers.

On Lambda a process stands still from its answer to its next request, and may never see one. The
thread begins when the live answer is there, so a small message has often left before the process
stops; what has not goes on with the next request, over a new connection if the old one died
meanwhile. So at most `MOST_COPIES` are held, and what ends with the process is lost without having
been counted. Nothing is started before the first copy: snapshots have no thread and no connection.

SageMaker's own shadow variants (``deployments.toml``) need none of this: see `modelport.shadows`.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Protocol

from modelport.embedded_metrics import members
from modelport.envelope import REFERENCE, Request, Response, Stream
from modelport.grammar import Call
from modelport.routes import STABLE, Deployment, Routes, Shadow
from modelport.shadows.message import LIMIT, VERBS, ShadowCall
from modelport.telemetry import SHADOWS_LOST

from functions.router.routes_cache import Clock, Log

#: Copies that wait, and bytes of their requests and answers.
MOST_COPIES = 64
MOST_BYTES = 8 * 1024 * 1024
#: What was lost is told so often at most.
TOLD_EVERY_S = 10.0

#: Hands a message to where the worker takes it from, or raises.
Send = Callable[[str], None]


class QueueClient(Protocol):
    """The one call used of boto3's SQS client."""

    def send_message(self, *, QueueUrl: str, MessageBody: str) -> Any: ...


class SqsSender:
    """Sends messages to an SQS queue; the client is made for the first of them."""

    def __init__(self, new_client: Callable[[], QueueClient], url: str) -> None:
        self._new_client, self._url = new_client, url
        self._client: QueueClient | None = None

    def __call__(self, text: str) -> None:
        """Send one message; raises what the client raises."""
        if self._client is None:
            self._client = self._new_client()
        self._client.send_message(QueueUrl=self._url, MessageBody=text)


class ShadowQueue:
    """A `Shadows` over a bounded queue and one daemon thread."""

    def __init__(
        self,
        send: Send,
        *,
        environment: str,
        log: Log,
        clock: Clock = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        most_copies: int = MOST_COPIES,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        """``send`` is called by one thread at a time and may take as long as it likes."""
        self._send, self._environment, self._log = send, environment, log
        self._clock, self._now = clock, now
        self._most_copies, self._most_bytes = most_copies, most_bytes
        self._waiting: deque[tuple[ShadowCall, int]] = deque()
        self._bytes = 0
        self._lost: Counter[tuple[str, int]] = Counter()
        self._problem = ""
        self._told_at: float | None = None
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def offer(
        self,
        routes: Routes,
        call: Call,
        asked: Request,
        deployment: Deployment,
        response: Response,
    ) -> None:
        """Queue a copy for each shadow of the model that this call is for."""
        if response.status != 200 or isinstance(response, Stream) or call.verb not in VERBS:
            return
        for shadow in routes.policy.shadows:
            if _applies(shadow, routes, call, deployment) and sampled(asked.request_id, shadow):
                at = self._now().isoformat(timespec="milliseconds")
                version = deployment.version
                self._put(ShadowCall.of(routes.model, version, shadow.version, asked, response, at))
        self._tell()

    def _put(self, copy: ShadowCall) -> None:
        size = len(copy.request.body) + len(copy.answered.body or b"")
        with self._changed:
            if (obstacle := self._obstacle(copy, size)) is not None:
                self._lose(copy, obstacle)
                return
            self._waiting.append((copy, size))
            self._bytes += size
            if self._thread is None:
                thread = threading.Thread(target=self._drain, name="shadows", daemon=True)
                thread.start()
                self._thread = thread
            self._changed.notify()

    def _obstacle(self, copy: ShadowCall, size: int) -> str | None:
        """Why a copy cannot wait here; None when it can."""
        # What a reference leads to is the live call's alone: its answer would be written over.
        for headers in (copy.request.headers, copy.answered.headers):
            if headers.get("content-type", "").lower().startswith(REFERENCE):
                return "carried-by-reference"
        if len(copy.request.body) > LIMIT:
            return "too-large"
        full = len(self._waiting) >= self._most_copies or self._bytes + size > self._most_bytes
        return "queue-full" if full else None

    def _lose(self, copy: ShadowCall, problem: str) -> None:
        self._lost[copy.model, copy.shadow] += 1
        self._problem = problem

    def _drain(self) -> None:
        while True:
            with self._changed:
                while not self._waiting:
                    self._changed.wait()
                copy, size = self._waiting.popleft()
                self._bytes -= size
            if (problem := self._unsent(copy)) is not None:
                with self._changed:
                    self._lose(copy, problem)

    def _unsent(self, copy: ShadowCall) -> str | None:
        """Send a copy; why that was not possible, None when it was."""
        try:
            text = copy.to_text()
            if text is None:
                return "too-large"
            self._send(text)
        except Exception as error:  # whatever a queue service does, the next copy is tried
            return type(error).__name__
        return None

    def _tell(self) -> None:
        """Write what was lost since last time, if that was a while ago, and why the last of it."""
        if not self._lost:
            return
        now = self._clock()
        if self._told_at is not None and now - self._told_at < TOLD_EVERY_S:
            return
        with self._changed:
            lost, self._lost, self._told_at = self._lost, Counter(), now
            problem = self._problem
        at_ms = int(self._now().timestamp() * 1000)
        for (model, version), count in lost.items():
            counted = {SHADOWS_LOST: count}
            metrics = members(self._environment, model, version, counted, at_ms)
            self._log({"event": "shadows-lost", "problem": problem} | metrics)


def sampled(request_id: str, shadow: Shadow) -> bool:
    """Whether this request is among a shadow's percent: the same one always is or is not."""
    digest = hashlib.blake2b(f"{shadow.version}\0{request_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64 * 100 < shadow.percent


def _applies(shadow: Shadow, routes: Routes, call: Call, answered_by: Deployment) -> bool:
    if shadow.version == answered_by.version or shadow.version not in routes.deployments:
        return False
    if shadow.of is None:
        return True
    asked_for_stable = call.version is None and call.alias is None and STABLE in routes.aliases
    return shadow.of == (STABLE if asked_for_stable else call.alias)
