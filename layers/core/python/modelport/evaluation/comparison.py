"""Two versions on the same rows: whether one is better, and by how much, beyond chance.

Differences are those of the first version from the second, with percentile bootstrap intervals over
rows drawn for both at once. The test is McNemar's exact one for classification
(`modelport.evaluation.pairs`) and Wilcoxon's signed-rank test on absolute errors for regression
(Wilcoxon, Biometrics Bulletin 1, 1945; scipy's). The verdict is the test's at 5 %.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from modelport.evaluation import bootstrap
from modelport.evaluation.conditions import MORE_IS_BETTER
from modelport.evaluation.evaluated import Evaluated
from modelport.evaluation.pairs import SIGNIFICANCE, mcnemar
from modelport.raw_tensors import Array

BETTER, WORSE, SAME = "better", "worse", "no difference beyond chance"


def compared(first: Evaluated, second: Evaluated, *, resamples: int, seed: int) -> dict[str, Any]:
    """Differences, test and verdict, as plain JSON; both were evaluated on the same rows."""
    if first.task == "classification":
        draws = _class_draws(first, second, resamples, seed)
        test = _mcnemar(first.outcomes, second.outcomes)
    else:
        answers = [first.predicted, second.predicted]
        draws = bootstrap.value_draws(first.actual, answers, resamples=resamples, seed=seed)
        test = _wilcoxon(first.outcomes, second.outcomes)
    differences = {}
    for name in MORE_IS_BETTER:
        if name not in first.metrics or name not in second.metrics:
            continue
        ends: tuple[float | None, float | None] = (None, None)
        if name in draws[0] and name in draws[1]:
            ends = bootstrap.interval(draws[0][name] - draws[1][name]) or ends
        value = first.metrics[name].value - second.metrics[name].value
        differences[name] = {"value": value, "low": ends[0], "high": ends[1]}
    return {"differences": differences, "test": test, "verdict": _verdict(test)}


def _class_draws(
    first: Evaluated, second: Evaluated, resamples: int, seed: int
) -> list[dict[str, Array]]:
    pairs = [(each.actual, each.predicted) for each in (first, second)]
    return bootstrap.class_draws(pairs, resamples=resamples, seed=seed)


def _mcnemar(first: Array, second: Array) -> dict[str, Any]:
    won, lost = int((first & ~second).sum()), int((second & ~first).sum())
    return {
        "name": "McNemar, exact",
        "p": mcnemar(won, lost),
        "only_this_right": won,
        "only_other_right": lost,
        "sign": (won > lost) - (won < lost),
    }


def _wilcoxon(first: Array, second: Array) -> dict[str, Any]:
    from scipy import stats

    smaller = second - first  # more than 0 where the first errs by less
    p, sign = 1.0, 0
    if (smaller != 0).any():
        found = stats.wilcoxon(smaller)
        p = float(found.pvalue)
        ranks = stats.rankdata(np.abs(smaller[smaller != 0]))
        sign = int(np.sign((ranks * np.sign(smaller[smaller != 0])).sum()))
    return {"name": "Wilcoxon, signed ranks of absolute errors", "p": p, "sign": sign}


def _verdict(test: dict[str, Any]) -> str:
    if test["p"] >= SIGNIFICANCE or not test["sign"]:
        return SAME
    return BETTER if test["sign"] > 0 else WORSE
