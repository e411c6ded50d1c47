"""A job as a value: what was asked, how far it is, and the steps it can take.

Every step is a method that returns the job after it, or None where it cannot be taken from here.
Pure: who writes the result, and on which condition, is `modelport.jobs.board`'s business. Times are
seconds since 1970, UTC.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal, get_args

from modelport.envelope import Request
from modelport.errors import IntegrityError

State = Literal["queued", "running", "succeeded", "failed", "canceled"]
STATES: tuple[State, ...] = get_args(State)
SCHEMA = 1
#: How long a job and its answer can be asked for.
KEPT_S = 86_400.0
#: What a job failed with that was received too often.
GAVE_UP = "gave-up"


@dataclass(frozen=True, slots=True)
class Asked:
    """The request as the version gets it; ``body`` is the key under which its body lies."""

    method: str
    path: str
    headers: dict[str, str]
    body: str
    size: int
    request_id: str

    def request(self, body: bytes) -> Request:
        """The request with its body."""
        return Request(self.method, self.path, dict(self.headers), body, self.request_id)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the version answered; its body lies under ``key``."""

    status: int
    headers: dict[str, str]
    key: str
    size: int


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is no answer, in a stable code and in words, and the HTTP status of it."""

    code: str
    message: str
    status: int = 500


@dataclass(frozen=True, slots=True)
class Job:
    """One call and all that became of it.

    ``run`` names the run that holds the job until ``leased_until``; ``trouble`` is what the last
    run met that gave it back; ``told`` is whether the webhook has been answered.
    """

    id: str
    model: str
    version: int
    protocol: str
    asked: Asked
    owner: str
    created: float
    expires: float
    state: State = "queued"
    started: float | None = None
    ended: float | None = None
    attempts: int = 0
    run: str = ""
    leased_until: float = 0.0
    answer: Answer | None = None
    error: Failure | None = None
    trouble: Failure | None = None
    webhook: str = ""
    told: bool = False

    @property
    def over(self) -> bool:
        """Whether nothing more will become of it."""
        return self.state in ("succeeded", "failed", "canceled")

    @property
    def dead(self) -> bool:
        """Whether it failed because it was tried too often."""
        return self.error is not None and self.error.code == GAVE_UP

    # --- steps ------------------------------------------------------------------------------------

    def taken(self, run: str, now: float, until: float) -> Job | None:
        """The job held by ``run``; None when it is over or another run holds it."""
        if self.state == "running" and self.run == run:
            return self  # an answer of the store was lost on its way: the step had been taken
        if self.over or (self.state == "running" and self.leased_until > now):
            return None
        return replace(
            self,
            state="running",
            started=now,
            attempts=self.attempts + 1,
            run=run,
            leased_until=until,
        )

    def given_back(self, run: str, trouble: Failure) -> Job | None:
        """The job for another run, some other time."""
        if not self._held_by(run):
            return None
        return replace(self, state="queued", run="", leased_until=0.0, trouble=trouble)

    def answered(self, run: str, answer: Answer, now: float) -> Job | None:
        """The job with the version's answer, of which an error status is one too."""
        if self.over and self.answer == answer:
            return self
        if not self._held_by(run):
            return None
        state: State = "succeeded" if answer.status < 400 else "failed"
        return replace(self, state=state, ended=now, leased_until=0.0, answer=answer)

    def failed(self, run: str, failure: Failure, now: float) -> Job | None:
        """The job without an answer, for good."""
        if self.over and self.run == run and self.error == failure:
            return self
        if not self._held_by(run):
            return None
        return replace(self, state="failed", ended=now, leased_until=0.0, error=failure)

    def given_up(self, now: float) -> Job | None:
        """The job whose message was received too often; None while a run still holds it."""
        if self.over or (self.state == "running" and self.leased_until > now):
            return None
        last = f"; the last time: {self.trouble.message}" if self.trouble else ""
        tries = "1 try" if self.attempts == 1 else f"{self.attempts} tries"
        failure = Failure(GAVE_UP, f"the job was given up after {tries}{last}", 503)
        return replace(self, state="failed", ended=now, leased_until=0.0, error=failure)

    def canceled(self, now: float) -> Job | None:
        """The job that nobody wants any more; what runs is not stopped, its answer is dropped."""
        if self.state == "canceled":
            return self
        if self.over:
            return None
        return replace(self, state="canceled", ended=now, leased_until=0.0)

    def revived(self) -> Job | None:
        """The job queued once more, if it ended without an answer."""
        if self.state != "failed" or self.answer is not None:
            return None
        return replace(self, state="queued", run="", error=None, ended=None, told=False)

    def heard(self) -> Job:
        """The job whose end has been told."""
        return replace(self, told=True)

    def _held_by(self, run: str) -> bool:
        return self.state == "running" and self.run == run

    # --- what is told of it -----------------------------------------------------------------------

    def described(self) -> dict[str, Any]:
        """What its owner sees: no key, no header, no other caller."""
        told: dict[str, Any] = {
            "id": self.id,
            "status": self.state,
            "model": self.model,
            "version": str(self.version),
            "created": moment(self.created),
            "started": moment(self.started),
            "ended": moment(self.ended),
            "expires": moment(self.expires),
            "attempts": self.attempts,
        }
        if self.answer is not None:
            kind = self.answer.headers.get("content-type", "")
            told["answer"] = {
                "status": self.answer.status,
                "content_type": kind,
                "bytes": self.answer.size,
            }
        problem = self.error or (None if self.over else self.trouble)
        if problem is not None:
            told["error"] = {"code": problem.code, "message": problem.message}
        return told

    # --- bytes ------------------------------------------------------------------------------------

    def to_bytes(self) -> bytes:
        """The document as it lies in the bucket: readable JSON."""
        document = {"schema": SCHEMA, **asdict(self)}
        return json.dumps(document, indent=1, ensure_ascii=False).encode(errors="replace")

    @classmethod
    def from_bytes(cls, body: bytes) -> Job:
        """Read and check; raises `IntegrityError` on a torn, foreign or hand-broken document."""
        try:
            data: dict[str, Any] = json.loads(body)
            if data.pop("schema") != SCHEMA or data["state"] not in STATES:
                raise ValueError("another schema, or no state of a job")
            data["asked"] = Asked(**data["asked"])
            data["answer"] = _built(Answer, data["answer"])
            data["error"] = _built(Failure, data["error"])
            data["trouble"] = _built(Failure, data["trouble"])
            return cls(**data)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise IntegrityError("a job's document", "one of this schema", repr(error)) from None


def moment(seconds: float | None) -> str | None:
    """A time as callers read it.

    >>> moment(0.25)
    '1970-01-01T00:00:00Z'
    """
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _built(kind: Any, values: Mapping[str, Any] | None) -> Any:
    return None if values is None else kind(**values)
