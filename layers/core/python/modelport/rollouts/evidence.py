"""What the counts say about each guard of a rollout: computed anew from all windows, every time.

In the last step nothing is left to hold the candidate against. So that one which fails under all of
the traffic does not pass, failures are held against a rate there: `ALONE`, or what the present
version's rate was in the steps before with the odds ratio tolerated, whichever is higher. The bets
of all steps are one product. Reads nothing and decides nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from modelport import telemetry
from modelport.rollouts.observations import Window
from modelport.rollouts.seen import Seen
from modelport.rollouts.sequential import Evidence, against_rate, against_stable, value
from modelport.routes import Guard
from modelport.routes.rollout import AGREEMENT, CRASHES, DISTRIBUTION, ERRORS, time_of

#: The rate of failures that is nobody's alarm while there is no other version beside the candidate.
ALONE = 0.05
_REST = "(rest)"


@dataclass(frozen=True, slots=True)
class Count:
    """Bad events and of how many."""

    bad: int = 0
    of: int = 0

    def __add__(self, other: Count) -> Count:
        return Count(self.bad + other.bad, self.of + other.of)


@dataclass(frozen=True, slots=True)
class Finding:
    """What is known of one guard.

    ``candidate`` and ``stable`` (None where it is not compared) count since the start, or for a
    distribution of the ``category`` that speaks most. ``evidence`` is the highest e-value so far:
    against ``needed``, 1/α per statistical guard. For crashes both are counts. ``in_step`` and
    ``stable_in_step`` are how many events it could judge in the present step.
    """

    guard: Guard
    candidate: Count
    stable: Count | None
    evidence: float
    needed: float
    in_step: int
    stable_in_step: int
    category: str = ""

    @property
    def alarmed(self) -> bool:
        """Whether it ends the rollout."""
        return self.evidence >= self.needed

    def to_json(self) -> dict[str, Any]:
        """As it stands in the record, the log and in ``status --json``."""
        found: dict[str, Any] = {
            "guard": self.guard.name,
            "candidate": {"bad": self.candidate.bad, "of": self.candidate.of},
            "evidence": float(f"{self.evidence:.4g}"),
            "needed": float(f"{self.needed:.4g}"),
            "alarmed": self.alarmed,
        }
        if self.stable is not None:
            found["stable"] = {"bad": self.stable.bad, "of": self.stable.of}
        return {**found, "category": self.category} if self.category else found


def findings(seen: Seen) -> tuple[Finding, ...]:
    """What is known of each guard of the rollout, in their order."""
    return tuple(_finding(seen, guard) for guard in seen.rollout.guards)


def _finding(seen: Seen, guard: Guard) -> Finding:
    if guard.kind == CRASHES:
        return _crashes(seen, guard)
    if guard.kind == DISTRIBUTION:
        return _distribution(seen, guard)
    evidence, candidate, stable = _compared(seen, guard)
    return _told(seen, guard, evidence.highest_log, candidate, stable)


def _crashes(seen: Seen, guard: Guard) -> Finding:
    died = sum(
        window.count(telemetry.CRASHES) + window.count(telemetry.SHADOW_CRASHES)
        for window in seen.newest
    )
    asked = sum(window.count(telemetry.REQUESTS) for window in seen.newest)
    return Finding(guard, Count(died, asked), None, float(died), guard.limit, 0, 0)


def _compared(seen: Seen, guard: Guard) -> tuple[Evidence, list[Count], list[Count]]:
    """A guard of one rate: its evidence, and the counts of each window."""
    evidence = Evidence()
    ours = [_count(guard, seen.candidate.get(at), guard.slower_than_ms) for at in seen.starts]
    limit = guard.stable_slower_than_ms
    theirs = [_count(guard, seen.stable.get(at), limit) for at in seen.starts]
    alone, tolerated = seen.alone_since, None
    for at, c, s in zip(seen.starts, ours, theirs, strict=True):
        if guard.kind == ERRORS and guard.relative and alone is not None and at >= alone:
            tolerated = tolerated or _tolerated_alone(guard, seen.starts, theirs, alone)
            evidence.add(against_rate(c.bad, c.of, tolerated))
        elif guard.relative:
            evidence.add(against_stable(c.bad, c.of, s.bad, s.of, guard.limit))
        else:
            evidence.add(against_rate(c.bad, c.of, guard.limit))
    return evidence, ours, theirs


def _tolerated_alone(
    guard: Guard, starts: Sequence[datetime], stable: Sequence[Count], alone: datetime
) -> float:
    """The rate of failures to tolerate when there is no other version; settled before it was so."""
    before = sum((s for at, s in zip(starts, stable, strict=True) if at < alone), Count())
    odds = guard.limit * before.bad / max(1, before.of - before.bad)
    return max(ALONE, min(odds / (1 + odds), 1 - ALONE))


def _distribution(seen: Seen, guard: Guard) -> Finding:
    """Each category against all others, rarer and more frequent: the average of the evidence.

    An average of e-processes is one, so no further price is paid for the many questions. Which
    categories there are was settled at the start: they could otherwise be chosen for how they look.
    """
    tables = [
        (_categories(guard, seen.candidate.get(at)), _categories(guard, seen.stable.get(at)))
        for at in seen.starts
    ]
    average = Evidence(2 * (len(guard.categories) + 1))
    parts = {}
    for category in (*guard.categories, _REST):
        parts[category] = (Evidence(), Evidence())
    for ours, theirs in tables:
        before = [part.log for pair in parts.values() for part in pair]
        for category, (more, less) in parts.items():
            c, s = ours[category], theirs[category]
            more.add(against_stable(c.bad, c.of, s.bad, s.of, guard.limit))
            less.add(against_stable(s.bad, s.of, c.bad, c.of, guard.limit))
        after = [part.log for pair in parts.values() for part in pair]
        average.add([b - a for a, b in zip(before, after, strict=True)])
    loudest = max(parts, key=lambda each: max(part.log for part in parts[each]))
    return _told(
        seen,
        guard,
        average.highest_log,
        [ours[loudest] for ours, _ in tables],
        [theirs[loudest] for _, theirs in tables],
        loudest,
    )


def _told(
    seen: Seen,
    guard: Guard,
    log: float,
    candidate: Sequence[Count],
    stable: Sequence[Count],
    category: str = "",
) -> Finding:
    statistical = sum(each.kind != CRASHES for each in seen.rollout.guards)
    since = time_of(seen.rollout.since)
    in_step = [at >= since for at in seen.starts]

    def step(counts: Sequence[Count]) -> int:
        return sum(count.of for count, within in zip(counts, in_step, strict=True) if within)

    return Finding(
        guard,
        sum(candidate, Count()),
        sum(stable, Count()) if guard.relative else None,
        value(log),
        statistical / seen.rollout.alpha,
        step(candidate),
        step(stable),
        category,
    )


def _count(guard: Guard, window: Window | None, slower_than_ms: float | None) -> Count:
    """The bad events of a window. Never more than there were: metrics are no transactions.

    A call that a version had no room for has failed its caller, and says nothing of how fast it is.
    """
    if window is None:
        return Count()
    if guard.kind == AGREEMENT:
        bad, of = window.count(telemetry.DISAGREED), window.count(telemetry.COMPARED)
    elif guard.kind == ERRORS:
        bad = window.count(telemetry.ERRORS) + window.count(telemetry.THROTTLES)
        of = window.count(telemetry.REQUESTS)
    else:
        slow = telemetry.slower_than(slower_than_ms or math.inf)
        bad = window.count(slow)
        of = window.count(telemetry.REQUESTS) - window.count(telemetry.THROTTLES)
    of = max(of, 0)
    return Count(min(max(bad, 0), of), of)


def _categories(guard: Guard, window: Window | None) -> dict[str, Count]:
    if window is None:
        return dict.fromkeys((*guard.categories, _REST), Count())
    known = {name: window.count(telemetry.predicted(name)) for name in guard.categories}
    named = sum(known.values())
    total = max(named, window.count(telemetry.PREDICTIONS))
    counts = {name: Count(bad, total) for name, bad in known.items()}
    return {**counts, _REST: Count(total - named, total)}
