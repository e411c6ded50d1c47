"""Paired comparisons of two versions on the same rows, with numpy and the standard library alone.

- Classification: the exact McNemar test (McNemar, Psychometrika 12, 1947; its exact form is the
  two-sided binomial test on the discordant rows): under "neither is better" a row that only one of
  them has right is as likely the one's as the other's.
- Regression: the percentile bootstrap (Efron and Tibshirani, An Introduction to the Bootstrap,
  1993, chapter 13) of the mean difference of absolute errors, rows resampled together.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
#: What a difference must be less probable than to count as one.
SIGNIFICANCE = 0.05
#: Elements of resampled rows that are drawn at once.
_AT_ONCE = 2_000_000


def mcnemar(only_first: int, only_second: int) -> float:
    """The exact two-sided p-value, given the rows that only the first, only the second has right.

    Twice the lower tail of Binomial(n, 1/2), at most 1; exact to rounding for any n.
    """
    n, low = only_first + only_second, min(only_first, only_second)
    if n == 0:
        return 1.0
    logs = _log_binomials(n, low)
    top = logs.max()
    tail = math.exp(top) * float(np.exp(logs - top).sum()) if top > -745 else 0.0
    return min(1.0, 2.0 * tail)


def _log_binomials(n: int, most: int) -> Array:
    """log(C(n, k) / 2^n) for k = 0 … most."""
    k = np.arange(1, most + 1, dtype=np.float64)
    steps = np.log((n - k + 1) / k)
    return np.concatenate([[0.0], np.cumsum(steps)]) - n * math.log(2)


def mean_interval(
    values: Array, *, resamples: int, seed: int, confidence: float = 1 - SIGNIFICANCE
) -> tuple[float, float]:
    """The percentile bootstrap interval of the mean of ``values`` [N]."""
    generator = np.random.default_rng(seed)
    size = len(values)
    means = np.empty(resamples)
    step = max(1, _AT_ONCE // size)
    for start in range(0, resamples, step):
        count = min(step, resamples - start)
        rows = generator.integers(0, size, (count, size))
        means[start : start + count] = values[rows].mean(1)
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)
