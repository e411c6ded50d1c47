"""What becomes of a rollout now: hold, take the next step, succeed or go back, and why. Pure.

A rollout goes back as soon as one guard alarms, paused or not. It takes a step only when everything
that must be known is known; whatever is missing holds it, and is named.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from modelport.rollouts.evidence import Count, Finding, findings
from modelport.rollouts.observations import Observations
from modelport.rollouts.seen import Seen, read
from modelport.routes import Rollout
from modelport.routes.rollout import CRASHES, ERRORS, LATENCY, PAUSED

HOLD, ADVANCE, SUCCEED, ROLL_BACK = "hold", "advance", "succeed", "roll-back"
#: A version counts as observed while it was called within the length of a step, of two windows, or
#: within this.
FRESH_S = 300.0
#: Kinds of guards that callers' own requests feed, at any share of the traffic.
_LIVE = (ERRORS, LATENCY)


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do, why, and what that rests on."""

    action: str
    reason: str
    findings: tuple[Finding, ...] = ()

    @property
    def evidence(self) -> tuple[dict[str, Any], ...]:
        """The findings as they stand in the record and the log."""
        return tuple(finding.to_json() for finding in self.findings)


def decide(observations: Observations, model: str, rollout: Rollout, now: datetime) -> Decision:
    """What is to become of an active rollout; ``now`` in UTC.

    Raises `ObservationsUnavailableError` when nothing can be known.
    """
    seen = read(observations, model, rollout, now)
    found = findings(seen)
    alarm = next((finding for finding in found if finding.alarmed), None)
    if alarm is not None:
        return Decision(ROLL_BACK, _accusation(alarm, rollout), found)
    missing = "; ".join(_missing(seen, found))
    if missing:
        return Decision(HOLD, missing, found)
    if rollout.step + 1 == len(rollout.steps):
        return Decision(SUCCEED, f"step {rollout.percent:g} % has passed, the last one", found)
    following = rollout.steps[rollout.step + 1]
    return Decision(ADVANCE, f"step {rollout.percent:g} % has passed: on to {following:g} %", found)


def _missing(seen: Seen, found: Sequence[Finding]) -> Iterator[str]:
    """What keeps the rollout from its next step."""
    rollout = seen.rollout
    if rollout.state == PAUSED:
        yield "paused"
    lasted = (seen.now - seen.step_began).total_seconds()
    if lasted < 0:
        yield "the step begins later than it is now: a clock is wrong"
    elif lasted < rollout.every_s:
        yield f"the step has {rollout.every_s - lasted:.0f} s to go"
    # With all of the traffic at the candidate there is nothing left to compare it with.
    compared = rollout.percent < 100
    yield from _stale(seen, rollout.candidate)
    if compared:
        yield from _stale(seen, rollout.stable)
    for finding in found:
        if finding.guard.kind == CRASHES:
            continue
        needs = rollout.min_samples if compared or finding.guard.kind in _LIVE else 0
        if finding.in_step < needs:
            yield f"{finding.guard.name}: {finding.in_step} of {needs} samples in this step"
        elif compared and finding.guard.relative and finding.stable_in_step < needs:
            yield (
                f"{finding.guard.name}: {finding.stable_in_step} of {needs} samples of version"
                f" {rollout.stable} in this step"
            )


def _stale(seen: Seen, version: int) -> Iterator[str]:
    fresh = timedelta(seconds=max(FRESH_S, seen.rollout.every_s, 2 * seen.length_s))
    last = seen.last_call(version)
    if last is None:
        yield f"no metrics of version {version} since the start"
    elif seen.now - last > fresh:
        yield f"no metrics of version {version} since {last:%H:%M:%S} UTC"


def _accusation(finding: Finding, rollout: Rollout) -> str:
    guard = finding.guard
    if guard.kind == CRASHES:
        return f"version {rollout.candidate} died {finding.candidate.bad} times"
    told = f"version {rollout.candidate} {_share(finding.candidate)}"
    if finding.stable is not None:
        told += f" against {_share(finding.stable)} of version {rollout.stable}"
    of = f" of {finding.category}" if finding.category else ""
    return (
        f"guard {guard.name}{of}: {told}; evidence {finding.evidence:.4g}"
        f" of {finding.needed:g} needed"
    )


def _share(count: Count) -> str:
    percent = 100 * count.bad / count.of if count.of else 0.0
    return f"{count.bad} of {count.of} ({percent:.3g} %)"
