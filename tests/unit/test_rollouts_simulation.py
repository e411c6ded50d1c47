"""The guards' promises, by simulation: good candidates stay, bad ones go, and how soon.

10,000 rollouts of 24 windows whose candidate is exactly as bad as is tolerated, with three guards
and rates that move in waves and jump, at shares of 1, 5, 25 and 50 %; looked at after every window:

    α       turned back   by a test for one look, looked at after every window
    0.05    < 0.02        > 0.2
    0.01    < 0.005       > 0.05

Requests of the candidate until the alarm, the median of 200 rollouts (α = 0.01, two guards;
`tests/bench/bench_rollouts.py` prints it):

    errors<=1.25x: 1 % to 2 %, a quarter of calls    4,760
    errors<=1.25x: 1 % to 5 %, 5 % of calls            240
    errors<=1.25x: 1 % to 5 %, a quarter of calls      350
    errors<=1.25x: 1 % to 5 %, half of calls           560
    errors<=1.25x: 0.1 % to 100 %, 1 % of calls         20
    errors<1%: 5 %                                     180
    p95<300ms: it is its p90                           380
    p95<300ms: it is its p80                            60
    p95<=1.2x: it is its p90, a quarter of calls       490
    p95<=1.2x: it is its p80, a quarter of calls        80
    p50<=1.2x: it is its p40, half of calls            580
    p99<=1.2x: it is its p95, half of calls            420
"""

from __future__ import annotations

import math
from datetime import timedelta
from functools import cache

import numpy as np
import pytest
from modelport import telemetry
from modelport.rollouts.evidence import findings
from modelport.rollouts.seen import read
from modelport.routes import Guard

from tests.support.rollout_simulation import (
    REGRESSIONS,
    Regression,
    Stream,
    detection,
    null_absolute,
    null_rollout,
)
from tests.support.rollout_world import START, Recorded, rollout

ROLLOUTS, GUARDS = 10_000, 3
#: The table above, and a third more: medians move a little with the generator.
BOUNDS = (6440, 340, 480, 760, 40, 260, 520, 100, 680, 120, 800, 580)


def test_good_candidates_are_turned_back_less_often_than_alpha_says() -> None:
    generator = np.random.default_rng(20)
    highest = []
    for _ in range(ROLLOUTS):
        guards = (
            null_rollout(generator, 1.0, 0.02),
            null_rollout(generator, 1.25, 0.05),
            null_absolute(generator, 0.05),
        )
        highest.append(max(last_log(guard) for guard in guards))
    turned_back = {
        alpha: sum(log >= math.log(GUARDS / alpha) for log in highest) / ROLLOUTS
        for alpha in (0.05, 0.01)
    }
    assert turned_back[0.05] < 0.02
    assert turned_back[0.01] < 0.005
    # The guards do bet: evidence that is not needed yet is there in some of them.
    assert sum(log >= math.log(2) for log in highest) > ROLLOUTS / 10


def last_log(stream: Stream) -> float:
    return list(stream.evidence())[-1][1]


def test_the_same_holds_of_many_categories_at_once() -> None:
    generator = np.random.default_rng(22)
    highest = [null_distribution(generator) for _ in range(400)]
    assert sum(each >= 1 / 0.05 for each in highest) / len(highest) < 0.05
    assert max(highest) > 2  # it does bet


def null_distribution(generator: np.random.Generator) -> float:
    """The evidence of a guard of the distribution where both versions' mix drifts alike."""
    observations = Recorded()
    guard = Guard("distribution", "distribution", 1.0, True, categories=("a", "b"))
    one = rollout().with_(guards=(guard,))
    for minute in range(12):
        mix = generator.dirichlet((6, 3, 1))
        for version, rows in ((1, 300), (2, 40 if minute < 6 else 100)):
            drawn = dict(zip("abc", generator.multinomial(rows, mix).tolist(), strict=True))
            counts = {telemetry.predicted(name): float(count) for name, count in drawn.items()}
            at = START + timedelta(minutes=minute)
            observations.write(version, at, **counts, predictions=float(rows))
    (finding,) = findings(read(observations, "m", one, START + timedelta(minutes=14)))
    return finding.evidence


def test_a_test_for_one_look_would_turn_many_of_them_back() -> None:
    assert peeked(0.05) > 0.2
    assert peeked(0.01) > 0.05


def peeked(alpha: float) -> float:
    """How many of 2,000 null rollouts a one-sided z-test rejects that is repeated each window."""
    limit = {0.05: 1.645, 0.01: 2.326}[alpha]
    return sum(highest >= limit for highest in highest_scores()) / 2000


@cache
def highest_scores() -> tuple[float, ...]:
    generator = np.random.default_rng(21)
    found = []
    for _ in range(2000):
        streams = (null_rollout(generator, 1.0, 0.02), null_rollout(generator, 1.0, 0.05))
        found.append(max(highest_score(stream) for stream in streams))
    return tuple(found)


def highest_score(stream: Stream) -> float:
    bad_c, n_c = np.cumsum(stream.candidate_bad), np.cumsum(stream.candidate)
    bad_s, n_s = np.cumsum(stream.stable_bad), np.cumsum(stream.stable)
    rate = (bad_c + bad_s) / (n_c + n_s)
    error = np.sqrt(np.maximum(rate * (1 - rate), 1e-9) * (1 / n_c + 1 / n_s))
    return float(np.max((bad_c / n_c - bad_s / n_s) / error))


@pytest.mark.parametrize(
    ("regression", "bound"),
    list(zip(REGRESSIONS, BOUNDS, strict=True)),
    ids=[each.name for each in REGRESSIONS],
)
def test_bad_candidates_are_noticed(regression: Regression, bound: int) -> None:
    middle, found = detection(regression, math.log(2 / 0.01), rollouts=100, seed=7)
    assert middle <= bound
    assert found == 1
