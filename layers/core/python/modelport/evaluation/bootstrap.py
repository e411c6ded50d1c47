"""Confidence intervals by the percentile bootstrap: rows are drawn anew, with replacement.

Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13: the 2.5th and 97.5th
percentile of a metric over resamples of the rows. Metrics made of counts need no rows: how often
each pair of truth and answer is drawn is multinomial over the pairs that there are, which gives the
same distribution in a fraction of the time. Seeded, so that the same data give the same figures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from modelport import scoring
from modelport.evaluation.pairs import mean_interval
from modelport.raw_tensors import Array

CONFIDENCE = 0.95
#: Numbers drawn at once.
_AT_ONCE = 2_000_000
#: Rows times classes times resamples above which ranks are not drawn anew: minutes of work.
MOST_RANKED = 200_000_000

Interval = tuple[float, float]


def interval(drawn: Array) -> Interval | None:
    """The percentile interval of a metric's resamples [R]; what is not a number was no resample.

    None where no resample was one.
    """
    if not np.isfinite(drawn).any():
        return None
    tail = (1 - CONFIDENCE) / 2
    low, high = np.nanquantile(drawn, [tail, 1 - tail])
    return float(low), float(high)


def of_mean(values: Array, *, resamples: int, seed: int) -> Interval:
    """The interval of the mean of ``values`` [N]."""
    return mean_interval(values, resamples=resamples, seed=seed, confidence=CONFIDENCE)


def of_classes(
    actual: Array, predicted: Array, *, resamples: int, seed: int
) -> dict[str, Interval]:
    """The intervals of `scoring.averages`, from places [N]."""
    drawn = class_draws([(actual, predicted)], resamples=resamples, seed=seed)[0]
    return {name: ends for name, values in drawn.items() if (ends := interval(values))}


def class_draws(
    answers: list[tuple[Array, Array]], *, resamples: int, seed: int
) -> list[dict[str, Array]]:
    """`scoring.averages` [R] of resamples, for the answers of several versions to the same rows.

    Each is a pair of truth and answer, places [N]; the same rows are drawn for all.
    """
    rows = np.stack([column for pair in answers for column in pair], 1)
    cells, times = np.unique(rows, axis=0, return_counts=True)
    generator = np.random.default_rng(seed)
    found: list[list[dict[str, Array]]] = [[] for _ in answers]
    for count in _steps(resamples, len(cells)):
        drawn = generator.multinomial(len(rows), times / len(rows), count)
        for place, each in enumerate(found):
            each.append(_averages(drawn, cells[:, 2 * place], cells[:, 2 * place + 1]))
    return [
        {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        for parts in found
    ]


def _averages(drawn: Array, actual: Array, predicted: Array) -> dict[str, Array]:
    """The averages of draws [R, cells] of cells with this truth and answer."""
    same = actual == predicted
    there = np.unique(np.concatenate([actual, predicted]))

    def by_class(places: Array, which: Array) -> Array:
        sums = np.zeros((len(there), len(drawn)), np.int64)
        np.add.at(sums, np.searchsorted(there, places[which]), drawn[:, which].T)
        return sums.T

    every = np.ones(len(actual), bool)
    right = by_class(actual, same)
    return scoring.averages(right, by_class(actual, every), by_class(predicted, every))


def of_values(actual: Array, predicted: Array, *, resamples: int, seed: int) -> dict[str, Interval]:
    """The intervals of MAE, RMSE and R², from values [N]."""
    drawn = value_draws(actual, [predicted], resamples=resamples, seed=seed)[0]
    return {name: ends for name, values in drawn.items() if (ends := interval(values))}


def value_draws(
    actual: Array, answers: list[Array], *, resamples: int, seed: int
) -> list[dict[str, Array]]:
    """MAE, RMSE and R² [R] of resamples, for several versions; the same rows are drawn for all."""
    varies = np.ptp(actual) > 0
    centred = actual - actual.mean()
    found: list[dict[str, list[Array]]] = [{"mae": [], "rmse": [], "r2": []} for _ in answers]
    for rows in _row_draws(len(actual), resamples, seed):
        truth = centred[rows]
        spread = ((truth - truth.mean(1, keepdims=True)) ** 2).sum(1)
        for drawn, predicted in zip(found, answers, strict=True):
            errors = (predicted - actual)[rows]
            squares = (errors**2).sum(1)
            drawn["mae"].append(np.abs(errors).mean(1))
            drawn["rmse"].append(np.sqrt(squares / len(actual)))
            without = np.where(spread == 0, 1, spread)
            drawn["r2"].append(np.where(spread == 0, np.nan, 1 - squares / without))
    names = ("mae", "rmse", "r2") if varies else ("mae", "rmse")
    return [{name: np.concatenate(drawn[name]) for name in names} for drawn in found]


def of_ranks(actual: Array, chances: Array, *, resamples: int, seed: int) -> Interval | None:
    """The interval of ROC-AUC, from places [N] and probabilities [N,K]; None: too much work."""
    classes = [1] if chances.shape[1] == 2 else np.unique(actual).tolist()
    if len(actual) * len(classes) * resamples > MOST_RANKED:
        return None
    areas = [_area(actual == place, chances[:, place]) for place in classes]
    drawn = []
    for rows in _row_draws(len(actual), resamples, seed):
        for chosen in rows:
            weights = np.bincount(chosen, minlength=len(actual))
            found = [value for area in areas if not np.isnan(value := area(weights))]
            drawn.append(np.mean(found) if found else np.nan)
    return interval(np.array(drawn))


def _area(positive: Array, scores: Array) -> Callable[[Array], float]:
    """The area under the ROC curve as a function of how often each row counts.

    The Mann-Whitney form: the share of pairs of a positive and a negative row in which the positive
    one ranks higher, ties counting half. Sorted once.
    """
    order = np.argsort(scores, kind="stable")
    ordered = scores[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    positives = positive[order].astype(np.float64)

    def area(weights: Array) -> float:
        there = weights[order]
        held = np.add.reduceat(there * positives, starts)
        other = np.add.reduceat(there * (1 - positives), starts)
        below = np.cumsum(other) - other / 2
        pairs = float(held.sum() * other.sum())
        return float(held @ below) / pairs if pairs else np.nan

    return area


def _row_draws(rows: int, resamples: int, seed: int) -> Iterator[Array]:
    """Resamples of row numbers [some, N], so many in all."""
    generator = np.random.default_rng(seed)
    for count in _steps(resamples, rows):
        yield generator.integers(0, rows, (count, rows))


def _steps(resamples: int, width: int) -> Iterator[int]:
    step = max(1, _AT_ONCE // max(1, width))
    for start in range(0, resamples, step):
        yield min(step, resamples - start)
