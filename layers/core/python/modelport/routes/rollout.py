"""The record of a rollout, as it lies in a model's routes: what was asked for, and how far it is.

It lies in the same document as the weights it moves, so a step and its record are one write:
nothing can die between the two, and two controllers cannot both take a step. Pure data with its
checks; what becomes of it is `modelport.rollouts`' business.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from modelport.refs import check_alias, check_version
from modelport.routes.errors import InvalidRolloutError
from modelport.routes.weights import Alias, alias_from

RUNNING, PAUSED = "running", "paused"
SUCCEEDED, ROLLED_BACK, ABORTED = "succeeded", "rolled-back", "aborted"
STATES = (RUNNING, PAUSED, SUCCEEDED, ROLLED_BACK, ABORTED)
ERRORS, LATENCY, AGREEMENT = "errors", "latency", "agreement"
DISTRIBUTION, CRASHES = "distribution", "crashes"
KINDS = (ERRORS, LATENCY, AGREEMENT, DISTRIBUTION, CRASHES)
#: A step shorter than this sees next to nothing; of longer ones metrics would be forgotten.
SHORTEST_STEP_S, LONGEST_STEP_S = 10.0, 7 * 86_400.0
MOST_STEPS, MOST_GUARDS = 50, 16
LEAST_ALPHA = 1e-6


@dataclass(frozen=True, slots=True)
class Guard:
    """One thing in which the candidate must not be worse.

    ``kind``: one of `KINDS`. ``limit``: the rate of bad events that is tolerated, or with
    ``relative`` the tolerated odds ratio to the stable version (for crashes: how many end it).
    Latency counts a request as bad that takes longer than ``slower_than_ms``, except in a cold
    start, which a version with few calls has more of; a relative guard asks
    the stable version against ``stable_slower_than_ms``, so that p95 <= 1.2x is said exactly: no
    more of the candidate's requests above 1.2 q than of the stable's above q. ``categories`` are
    those of predictions that are told apart; all others are one.
    """

    name: str
    kind: str
    limit: float
    relative: bool = False
    slower_than_ms: float | None = None
    stable_slower_than_ms: float | None = None
    categories: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InvalidRolloutError(f"guard {self.kind!r}", ", ".join(KINDS))
        count = self.relative or self.kind == CRASHES
        if not (math.isfinite(self.limit) and 0 < self.limit < (1e6 if count else 1)):
            allowed = "more than 0" + ("" if count else " % and less than 100 %")
            raise InvalidRolloutError(f"limit {self.limit:g} of guard {self.name}", allowed)
        if self.kind == LATENCY and self.slower_than_ms is None:
            raise InvalidRolloutError(f"guard {self.name}", "a limit in milliseconds")
        for limit in (self.slower_than_ms, self.stable_slower_than_ms):
            if limit is not None and not (math.isfinite(limit) and limit > 0):
                raise InvalidRolloutError(f"{limit:g} ms of guard {self.name}", "more than 0")

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Guard:
        """Read one; raises TypeError and kin for another shape."""
        return cls(**{**data, "categories": tuple(data["categories"])})


@dataclass(frozen=True, slots=True)
class Rollout:
    """A candidate on its way to all traffic of an alias, in steps of percent. Times: ISO 8601, UTC.

    ``before`` is what the alias meant at the start and means again after a rollback; ``stable`` is
    the version of it that the candidate is held against. Evidence is counted from ``started`` on,
    in windows of ``window_s``; ``since`` is when the present step began, or went on after a pause,
    ``moved`` when the weights moved. ``reason`` and ``evidence`` are what the last decision rested
    on. Raises `InvalidRolloutError`.
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
    window_s: int
    started: str
    since: str
    moved: tuple[str, ...]
    state: str = RUNNING
    step: int = 0
    reason: str = ""
    evidence: tuple[dict[str, Any], ...] = ()

    def __post_init__(self) -> None:
        check_alias(self.alias)
        check_version(self.candidate)
        check_version(self.stable)
        self._check_steps()
        self._check_numbers()
        names = [guard.name for guard in self.guards]
        if len(names) > MOST_GUARDS or len(set(names)) != len(names):
            raise InvalidRolloutError(
                f"{len(names)} guards", f"up to {MOST_GUARDS}, each of them once"
            )
        lawful = type(self.step) is int and 0 <= self.step < len(self.steps)
        if self.state not in STATES or not lawful:
            raise InvalidRolloutError(f"step {self.step} in state {self.state!r}", f"{STATES}")
        for at in (self.started, self.since, *self.moved):
            if not _is_time(at):
                raise InvalidRolloutError(f"time {at!r}", "ISO 8601 with its offset")

    def _check_steps(self) -> None:
        rising = all(a < b for a, b in pairwise((0.0, *self.steps)))
        if not rising or not self.steps or self.steps[-1] != 100 or len(self.steps) > MOST_STEPS:
            shown = ",".join(f"{step:g}" for step in self.steps)
            raise InvalidRolloutError(
                f"steps {shown}", f"percents that rise to 100, at most {MOST_STEPS}: 1,5,25,50,100"
            )

    def _check_numbers(self) -> None:
        if not SHORTEST_STEP_S <= self.every_s <= LONGEST_STEP_S:
            raise InvalidRolloutError(f"a step of {self.every_s:g} s", "10s to 7d")
        if not LEAST_ALPHA <= self.alpha < 0.5:
            raise InvalidRolloutError(f"alpha {self.alpha:g}", "1e-06 or more, less than 0.5")
        if not 1 <= self.min_samples <= 10**9:
            raise InvalidRolloutError(f"{self.min_samples} samples", "1 to 1,000,000,000")
        if not 1 <= self.window_s <= self.every_s:
            raise InvalidRolloutError(f"windows of {self.window_s} s", "1 s to the step's length")

    @property
    def active(self) -> bool:
        """Whether it still holds the alias: running, or paused."""
        return self.state in (RUNNING, PAUSED)

    @property
    def percent(self) -> float:
        """The candidate's part of the traffic in the present step."""
        return self.steps[self.step]

    @property
    def slow_limits_ms(self) -> tuple[float, ...]:
        """What its latency guards call slow: the router counts requests above each of these."""
        limits = {guard.slower_than_ms for guard in self.guards}
        limits |= {guard.stable_slower_than_ms for guard in self.guards}
        return tuple(sorted(limit for limit in limits if limit is not None))

    def with_(self, **fields: Any) -> Rollout:
        """The same rollout with some fields changed."""
        return replace(self, **fields)

    def begun(self, at: str) -> Rollout:
        """The same rollout, begun at another time: when somebody approves it."""
        return replace(self, started=at, since=at, moved=(at,))

    def to_json(self) -> dict[str, Any]:
        """As it stands in the document."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Rollout:
        """Read one; raises `InvalidRolloutError`, or TypeError and kin for another shape."""
        return cls(
            **{
                **data,
                "before": alias_from(data["before"]),
                "steps": tuple(float(step) for step in data["steps"]),
                "guards": tuple(Guard.from_json(guard) for guard in data["guards"]),
                "moved": tuple(data["moved"]),
                "evidence": tuple(dict(each) for each in data["evidence"]),
            }
        )


def time_of(text: str) -> datetime:
    """A time of a record as an aware datetime in UTC."""
    return datetime.fromisoformat(text).astimezone(UTC)


def _is_time(text: str) -> bool:
    try:
        at = datetime.fromisoformat(text)
        return at.tzinfo is not None and 1970 <= at.year <= 9000
    except (ValueError, TypeError):
        return False
