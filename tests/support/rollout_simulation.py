"""Simulated rollouts: counts are drawn, the evidence is what the product computes of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median

import numpy as np
from modelport.rollouts.sequential import Evidence, against_rate, against_stable
from numpy.typing import NDArray

Counts = NDArray[np.int64]
#: Shares of the candidate in the steps that have something to compare with, and their windows.
SHARES, WINDOWS = (0.01, 0.05, 0.25, 0.5), 6


@dataclass(frozen=True)
class Stream:
    """Requests per window, and how often they are bad: of the candidate and of the stable version.

    ``relative``: tolerated odds ratio; ``absolute``: tolerated rate. One of the two is None.
    """

    candidate: Counts
    candidate_bad: Counts
    stable: Counts
    stable_bad: Counts
    relative: float | None = None
    absolute: float | None = None

    def evidence(self) -> Iterator[tuple[int, float]]:
        """After each window: the candidate's requests so far, and the logarithm of the evidence."""
        evidence, seen = Evidence(), 0
        rows = np.stack([self.candidate_bad, self.candidate, self.stable_bad, self.stable], 1)
        for bad_c, n_c, bad_s, n_s in rows.tolist():
            if self.relative is not None:
                evidence.add(against_stable(bad_c, n_c, bad_s, n_s, self.relative))
            else:
                assert self.absolute is not None
                evidence.add(against_rate(bad_c, n_c, self.absolute))
            seen += n_c
            yield seen, evidence.highest_log


def moving_rates(generator: np.random.Generator, base: float, windows: int) -> NDArray[np.float64]:
    """A rate over a day in fast motion: waves, and now and then an incident of five windows."""
    phase, speed = generator.uniform(0, 2 * np.pi), generator.uniform(0.2, 1.5)
    rates = base * (1 + 0.8 * np.sin(phase + speed * np.arange(windows)))
    if generator.random() < 0.5:
        begin = generator.integers(0, windows)
        rates[begin : begin + 5] *= 8
    capped: NDArray[np.float64] = np.minimum(rates, 0.5)
    return capped


def worse_by(odds_ratio: float, rates: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rates whose odds are so many times those of ``rates``."""
    odds = odds_ratio * rates / (1 - rates)
    return odds / (1 + odds)


def null_rollout(generator: np.random.Generator, tolerated: float, base: float) -> Stream:
    """A whole rollout whose candidate is exactly as bad as tolerated, while both drift."""
    windows = WINDOWS * len(SHARES)
    shares = np.repeat(SHARES, WINDOWS)
    requests = generator.choice([400, 1200], windows)
    candidate = np.round(shares * requests).astype(np.int64)
    stable = requests - candidate
    rates = moving_rates(generator, base, windows)
    return Stream(
        candidate,
        generator.binomial(candidate, worse_by(tolerated, rates)),
        stable,
        generator.binomial(stable, rates),
        relative=tolerated,
    )


def null_absolute(generator: np.random.Generator, tolerated: float) -> Stream:
    """A whole rollout whose candidate's rate is exactly the tolerated one."""
    windows = WINDOWS * len(SHARES)
    candidate = np.round(np.repeat(SHARES, WINDOWS) * 1200).astype(np.int64)
    none = np.zeros(windows, np.int64)
    return Stream(
        candidate, generator.binomial(candidate, tolerated), none, none, absolute=tolerated
    )


@dataclass(frozen=True)
class Regression:
    """A candidate that is worse: rates of bad events, its share, and what is tolerated."""

    name: str
    good: float
    bad: float
    share: float
    relative: float | None = None
    absolute: float | None = None


#: What `detection` is asked about; errors and latency alike are shares of bad requests.
REGRESSIONS = (
    Regression("errors<=1.25x: 1 % to 2 %, a quarter of calls", 0.01, 0.02, 0.25, relative=1.25),
    Regression("errors<=1.25x: 1 % to 5 %, 5 % of calls", 0.01, 0.05, 0.05, relative=1.25),
    Regression("errors<=1.25x: 1 % to 5 %, a quarter of calls", 0.01, 0.05, 0.25, relative=1.25),
    Regression("errors<=1.25x: 1 % to 5 %, half of calls", 0.01, 0.05, 0.5, relative=1.25),
    Regression("errors<=1.25x: 0.1 % to 100 %, 1 % of calls", 0.001, 1.0, 0.01, relative=1.25),
    Regression("errors<1%: 5 %", 0.01, 0.05, 0.05, absolute=0.01),
    Regression("p95<300ms: it is its p90", 0.05, 0.10, 0.05, absolute=0.05),
    Regression("p95<300ms: it is its p80", 0.05, 0.20, 0.05, absolute=0.05),
    Regression("p95<=1.2x: it is its p90, a quarter of calls", 0.05, 0.10, 0.25, relative=1.0),
    Regression("p95<=1.2x: it is its p80, a quarter of calls", 0.05, 0.20, 0.25, relative=1.0),
    Regression("p50<=1.2x: it is its p40, half of calls", 0.50, 0.60, 0.5, relative=1.0),
    Regression("p99<=1.2x: it is its p95, half of calls", 0.01, 0.05, 0.5, relative=1.0),
)


def detection(
    regression: Regression, needed_log: float, *, rollouts: int, seed: int
) -> tuple[float, float]:
    """The median of the candidate's requests until the alarm, and how many rollouts had one."""
    generator = np.random.default_rng(seed)
    candidate = np.full(1500, 20, np.int64)
    stable = np.full(1500, round(20 * (1 - regression.share) / regression.share), np.int64)
    found: list[float] = []
    for _ in range(rollouts):
        stream = Stream(
            candidate,
            generator.binomial(candidate, regression.bad),
            stable,
            generator.binomial(stable, regression.good),
            regression.relative,
            regression.absolute,
        )
        alarms = (seen for seen, log in stream.evidence() if log >= needed_log)
        found.append(next(alarms, float("inf")))
    return median(found), sum(each < float("inf") for each in found) / rollouts
