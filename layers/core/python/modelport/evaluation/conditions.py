"""What a gate may say: ``f1>=0.92``, ``rmse<3``, ``recall[malware]>=0.8``.

Names are those of reports; ``f1``, ``precision`` and ``recall`` alone mean the mean over classes.
Pure text: what a report says to it is for `modelport.evaluation.gates`.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from modelport.errors import ModelportError
from modelport.manifest import Gates
from modelport.refs import check_alias, check_version

#: Every metric that reports may have, in their order, and whether more is better.
CLASSIFICATION = {
    "accuracy": True,
    "f1_macro": True,
    "precision_macro": True,
    "recall_macro": True,
    "f1_weighted": True,
    "precision_weighted": True,
    "recall_weighted": True,
    "roc_auc": True,
    "log_loss": False,
    "ece": False,
}
REGRESSION = {"mae": False, "rmse": False, "r2": True}
MORE_IS_BETTER = CLASSIFICATION | REGRESSION
#: Metrics that each class has of its own.
OF_A_CLASS = ("precision", "recall", "f1")
#: Short words for the mean over classes.
_SHORT = {name: f"{name}_macro" for name in OF_A_CLASS}
_FORM = re.compile(
    r"\s*(?P<metric>[a-z0-9_]+)\s*(?:\[(?P<of>[^\]]+)\])?\s*(?P<than>>=|<=|>|<)\s*(?P<limit>\S+)\s*"
)


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition: a metric, of one class where ``of`` names it, against a limit."""

    text: str
    metric: str
    of: str | None
    than: str
    limit: float

    @classmethod
    def parse(cls, text: str) -> Condition:
        """Read a condition; raises ValueError with the reason.

        >>> Condition.parse("f1>=0.92").metric
        'f1_macro'
        """
        match = _FORM.fullmatch(text)
        if match is None:
            raise ValueError("write METRIC>=NUMBER, such as f1>=0.92 or rmse<3")
        metric, of = match["metric"], match["of"]
        known = OF_A_CLASS if of else (*MORE_IS_BETTER, *_SHORT)
        if metric not in known:
            place = " of a class" if of else ""
            raise ValueError(f"no metric{place} is called {metric!r}; there are {', '.join(known)}")
        try:
            limit = float(match["limit"])
        except ValueError:
            limit = math.nan
        if not math.isfinite(limit):
            raise ValueError(f"{match['limit']!r} is not a number")
        return cls(
            text.strip(), metric if of else _SHORT.get(metric, metric), of, match["than"], limit
        )

    def holds(self, value: float) -> bool:
        """Whether a figure fulfils it."""
        return {
            ">=": value >= self.limit,
            "<=": value <= self.limit,
            ">": value > self.limit,
            "<": value < self.limit,
        }[self.than]


def checked_condition(text: str) -> str:
    """``text``, if it is a condition; ValueError says why not."""
    return Condition.parse(text).text


def checked_baseline(text: str) -> str:
    """``text``, if it is an alias or a version's number; ValueError says why not."""
    try:
        if text.isascii() and text.isdigit():
            check_version(text)
        else:
            check_alias(text)
    except ModelportError as error:
        raise ValueError(error.message) from None
    return text


def told(gates: Gates | None) -> str:
    """Gates in a line, for people; "" for none."""
    if gates is None:
        return ""
    baseline = (f"no worse than {gates.no_worse_than}",) if gates.no_worse_than else ()
    return ", ".join((*gates.require, *baseline))
