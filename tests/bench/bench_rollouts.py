"""How soon guards notice a candidate that is worse, and what a look costs: prints two tables."""

from __future__ import annotations

import math
import time
from datetime import UTC, datetime, timedelta

from modelport import telemetry
from modelport.rollouts.decision import decide
from modelport.rollouts.sequential import against_stable, log_normaliser

from tests.support.rollout_simulation import REGRESSIONS, detection
from tests.support.rollout_world import Recorded, rollout

ALPHA, GUARDS, ROLLOUTS = 0.01, 2, 200
START = datetime(2026, 1, 1, tzinfo=UTC)


def detections() -> None:
    """The candidate's requests until the alarm."""
    print(f"requests of the candidate until the alarm (alpha {ALPHA}, {GUARDS} guards)")
    for regression in REGRESSIONS:
        middle, found = detection(
            regression, math.log(GUARDS / ALPHA), rollouts=ROLLOUTS, seed=ROLLOUTS
        )
        print(f"  {regression.name:<50} {middle:>8,.0f}   noticed in {found:.0%}")


def looks() -> None:
    """Seconds of one decision over many windows, the first time and again."""
    print("one look at a rollout, guards errors, p95 and p95<=1.2x (s: first, again)")
    for windows, requests in ((25, 1000), (25, 100_000), (500, 1000), (2000, 10_000)):
        observations = Recorded()
        for index in range(windows):
            at = START + timedelta(minutes=index)
            for version, share in ((1, 0.75), (2, 0.25)):
                calls = int(requests * share) + index % 7
                observations.write(version, at, **counts(calls, index))
        one = rollout(guards=("errors", "p95<300ms", "p95<=1.2x"), at=START)
        now = START + timedelta(minutes=windows + 2)
        against_stable.cache_clear()
        log_normaliser.cache_clear()
        took = []
        for _ in range(2):
            began = time.perf_counter()
            decide(observations, "m", one, now)
            took.append(time.perf_counter() - began)
        print(f"  {windows:>5} windows of {requests:>7,} calls   {took[0]:.3f}  {took[1]:.3f}")


def counts(calls: int, index: int) -> dict[str, float]:
    """A window in which one in a hundred calls fails and one in twenty is slow."""
    slow = calls // 20 + index % 5
    return {
        telemetry.REQUESTS: calls,
        telemetry.ERRORS: calls // 100 + index % 3,
        telemetry.slower_than(300): slow,
        telemetry.slower_than(240): slow,
        telemetry.slower_than(200): slow,
    }


if __name__ == "__main__":
    detections()
    looks()
