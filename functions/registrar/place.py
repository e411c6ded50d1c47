"""The port through which a deployed version is watched and asked, wherever it runs.

`LambdaFunctions` and `SageMakerEndpoints` implement it for AWS. An implementation knows one
service's states and errors, and puts them into the words here; it must not judge an answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from modelport.envelope import Request, Response

READY, PENDING, FAILED = "ready", "pending", "failed"


@dataclass(frozen=True, slots=True)
class State:
    """Where a function or endpoint stands: ``ready``, ``pending`` or ``failed``, and why."""

    state: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Failure:
    """A call that ran and brought no answer of the version; ``words`` are for the log.

    ``kind`` is the failure's type and for everybody. ``startup`` is the runtime's own line about a
    version that could not be loaded: no request had reached it yet, so it can hold none.
    """

    words: str
    timed_out: bool = False
    kind: str = ""
    startup: str = ""


class Place(Protocol):
    """The versions of this environment on one service."""

    #: The deployments' word for the service, and what it calls one of them: for errors.
    target: str
    noun: str

    def state(self, resource: str) -> State | None:
        """Where it stands; None when there is none."""
        ...

    def ask(self, resource: str, request: Request) -> Response | Failure | None:
        """Have it answer; None when it cannot take a call right now."""
        ...

    def log_group(self, resource: str) -> str:
        """Where its log lies."""
        ...
