"""Always-valid tests of bad events, window by window: evidence that may be looked at any time.

Each test multiplies bets against "the candidate is not worse than tolerated". Under that hypothesis
no stream of bets grows on average, so by Ville's inequality the product ever reaches 1/α with
probability at most α, however often it is looked at, whenever the rollout stops, and however the
next step is chosen (J. Ville, Étude critique de la notion de collectif, 1939).

*Against the stable version.* In a window with n_c requests of the candidate, n_s of the stable
version and k bad ones among all, the candidate's part of the k has Fisher's noncentral
hypergeometric distribution with the odds ratio θ of the two versions; the rate itself has dropped
out, so it may be another one in each window, and so may the shares of the traffic. The bet is the
likelihood ratio of an odds ratio θ1 > θ0 to the tolerated θ0. Because the ratio rises with the
candidate's part, and the part with θ, it is worth at most 1 on average for every θ <= θ0, also
when θ changes from window to window. Several θ1 are bet on at once and their products averaged,
which is again worth at most 1. (For e-variables of two Bernoulli streams, and conditioning on their
sum: R. Turner, A. Ly, P. Grünwald, "Generic E-variables for exact sequential k-sample tests that
allow for optional stopping", JSPI 230, 2024; over strata: R. Turner, P. Grünwald, "Safe sequential
testing and effect estimation in stratified count data", AISTATS 2023; for canaries whose rates
change with time: M. Lindon, A. Malek, "Anytime-valid inference for multinomial count data", NeurIPS
2022. For the distribution: R. A. Fisher 1935; its mode: J. Liao, O. Rosen, "Fast and stable
algorithms for computing and sampling from the noncentral hypergeometric distribution", The American
Statistician 55, 2001.)

*Against a rate.* The same with binomial counts and rates p1 > p0.

What is assumed: given its window and version, whether a request is bad does not depend on others. A
caller who always fails, whatever version answers, and who is much of a version's traffic because he
stays with it, breaks that: then a tolerated odds ratio above 1 is what is left of the protection.
Exact up to rounding: sums leave out only terms below 2**-60 of the largest. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

#: Odds ratios, relative to what is tolerated, that are bet on, in equal parts.
BETS = (1.2, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 100.0)
#: A product is told as at most this; no threshold is as high.
HIGHEST = 1e12
_NEGLIGIBLE = 2.0**-60


class Evidence:
    """The average of products of bets: what each window adds, how high it is, and ever was."""

    def __init__(self, bets: int = len(BETS)) -> None:
        self._logs = [0.0] * bets
        self.highest_log = 0.0

    def add(self, logs: Sequence[float]) -> None:
        """Take in what each bet won in a window: the logarithms of its likelihood ratios."""
        self._logs = [a + b for a, b in zip(self._logs, logs, strict=True)]
        self.highest_log = max(self.highest_log, self.log)

    @property
    def log(self) -> float:
        """Logarithm of the present value."""
        top = max(self._logs)
        return top + math.log(sum(math.exp(each - top) for each in self._logs) / len(self._logs))


def value(log: float) -> float:
    """A logarithm of evidence as the number it stands for, at most `HIGHEST`."""
    return math.exp(log) if log < math.log(HIGHEST) else HIGHEST


@lru_cache(maxsize=1 << 16)
def against_stable(
    bad_c: int, n_c: int, bad_s: int, n_s: int, tolerated: float = 1.0
) -> tuple[float, ...]:
    """What each of `BETS` wins when ``bad_c`` of ``n_c`` and ``bad_s`` of ``n_s`` are bad: logs.

    ``tolerated`` is the odds ratio θ0 up to which the candidate counts as no worse.
    """
    bad = bad_c + bad_s
    if not bad or not n_c or not n_s or bad == n_c + n_s:
        return _NOTHING  # nothing is left to chance, so nothing can be won
    base = log_normaliser(n_c, n_s, bad, tolerated)
    return tuple(
        bad_c * math.log(bet) - (log_normaliser(n_c, n_s, bad, tolerated * bet) - base)
        for bet in BETS
    )


@lru_cache(maxsize=1 << 16)
def against_rate(bad: int, n: int, tolerated: float) -> tuple[float, ...]:
    """What each of `BETS` wins when ``bad`` of ``n`` are bad and a rate is tolerated: logs.

    The rates bet on have `BETS` times the odds of the ``tolerated`` one, between 0 and 1.
    """
    odds = tolerated / (1 - tolerated)
    # log(p1/p0) = log(bet) + log((1-p1)/(1-p0)), and (1-p1)/(1-p0) = (1+odds)/(1+bet*odds).
    shrunk = [math.log1p(odds) - math.log1p(bet * odds) for bet in BETS]
    return tuple(bad * math.log(bet) + n * log for bet, log in zip(BETS, shrunk, strict=True))


_NOTHING = (0.0,) * len(BETS)


@lru_cache(maxsize=1 << 16)
def log_normaliser(n_c: int, n_s: int, bad: int, odds_ratio: float) -> float:
    """log Σ_x C(n_c, x) C(n_s, bad - x) θ^x over every possible part x of the candidate.

    Summed outwards from the largest term by the ratios of neighbours: terms fall at least
    geometrically on both sides, so the sum ends after some standard deviations, not after n terms.
    """
    low, high = max(0, bad - n_s), min(n_c, bad)

    def ratio(x: int) -> float:
        """The term at x over the one at x - 1; falls as x rises."""
        return odds_ratio * (n_c - x + 1) * (bad - x + 1) / (x * (n_s - bad + x))

    mode = _mode(n_c, n_s, bad, odds_ratio, low, high)
    total, term = 1.0, 1.0
    for x in range(mode + 1, high + 1):
        term *= ratio(x)
        total += term
        if term < _NEGLIGIBLE:
            break
    term = 1.0
    for x in range(mode, low, -1):
        term /= ratio(x)
        total += term
        if term < _NEGLIGIBLE:
            break
    largest = _log_choose(n_c, mode) + _log_choose(n_s, bad - mode) + mode * math.log(odds_ratio)
    return largest + math.log(total)


def _mode(n_c: int, n_s: int, bad: int, odds_ratio: float, low: int, high: int) -> int:
    """Where the terms are largest: the last x whose ratio to its neighbour below is at least 1."""
    while low < high:
        x = (low + high + 1) // 2
        if odds_ratio * (n_c - x + 1) * (bad - x + 1) >= x * (n_s - bad + x):
            low = x
        else:
            high = x - 1
    return low


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
