"""The record of a rollout, as it lies in a model's routes: what was asked for, and how far it is.

It lies in the same document as the weights it moves, so a step and its record are one write:
nothing can die between the two, and two controllers cannot both take a step. Pure data; what
becomes of it is `modelport.rollouts`' business.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from modelport.routes.weights import Alias, Weighted

RUNNING, PAUSED = "running", "paused"
SUCCEEDED, ROLLED_BACK, ABORTED = "succeeded", "rolled-back", "aborted"
STATES = (RUNNING, PAUSED, SUCCEEDED, ROLLED_BACK, ABORTED)


@dataclass(frozen=True, slots=True)
class Guard:
    """One thing in which the candidate must not be worse.

    ``kind``: ``errors``, ``latency``, ``agreement``, ``distribution`` or ``crashes``. ``limit``:
    the rate that is tolerated, or with ``relative`` the tolerated odds over the stable version's
    (a count for crashes). ``slower_than_ms``: for latency, what counts as slow; the router counts
    requests that take longer, of both versions, while the rollout runs.
    """

    name: str
    kind: str
    limit: float
    relative: bool = False
    slower_than_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Rollout:
    """A candidate on its way to all traffic of an alias, in steps of percent. Times: ISO 8601, UTC.

    ``before`` is what the alias meant at the start and means again after a rollback; ``stable`` is
    the version of it that the candidate is held against. ``since`` is when the present step began;
    ``evidence`` what the last decision rested on.
    """

    alias: str
    candidate: int
    stable: int
    before: Alias
    steps: tuple[float, ...]
    every_s: float
    guards: tuple[Guard, ...]
    alpha: float
    min_samples: int
    started: str
    since: str
    state: str = RUNNING
    step: int = 0
    reason: str = ""
    evidence: tuple[dict[str, Any], ...] = ()

    @property
    def active(self) -> bool:
        """Whether it still holds the alias: running, or paused."""
        return self.state in (RUNNING, PAUSED)

    @property
    def percent(self) -> float:
        """The candidate's part of the traffic in the present step."""
        return self.steps[self.step]

    def moved(self, **fields: Any) -> Rollout:
        """The same rollout with some fields changed."""
        return replace(self, **fields)

    def to_json(self) -> dict[str, Any]:
        """As it stands in the document."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Rollout:
        """Read one; raises TypeError and kin for another shape, ValueError for a false state."""
        if data["state"] not in STATES or not 0 <= data["step"] < len(data["steps"]):
            raise ValueError(f"a rollout in state {data['state']!r} at step {data['step']}")
        return cls(
            **{
                **data,
                "before": tuple(Weighted(**part) for part in data["before"]),
                "steps": tuple(float(step) for step in data["steps"]),
                "guards": tuple(Guard(**guard) for guard in data["guards"]),
                "evidence": tuple(data["evidence"]),
            }
        )
