"""Guards as people write them: ``errors<1%``, ``p95<=1.2x``, ``agreement>=99%``.

A limit in percent or milliseconds is absolute; one with an x is held against the stable version at
the same time, so whatever both suffer from is nobody's fault. Pure text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from modelport.rollouts.errors import InvalidGuardError
from modelport.routes.rollout import AGREEMENT, DISTRIBUTION, ERRORS, LATENCY

#: Two versions never fail equally often, if only because the newer one starts cold more often. A
#: test for any difference at all would in the end end every rollout, so one this large is let pass.
ERRORS_TOLERATED = 1.25
#: A version that learned something new predicts differently; a category half as often again, or
#: a third less often, by odds, is let pass.
SHIFT_TOLERATED = 1.5
DEFAULT_GUARDS = (ERRORS,)

ALLOWED = (
    "errors, errors<1%, errors<=1.5x, p95<300ms, p95<=1.2x (any p1 to p99.9), agreement>=99%,"
    " distribution, distribution<=2x"
)
_GUARD = re.compile(
    r"(?P<what>errors|agreement|distribution|p(?P<percent>\d{1,2}(\.\d{1,2})?))"
    r"(?:(?P<sign><=|>=|<|>)(?P<number>\d{1,9}(\.\d{1,6})?)(?P<unit>%|ms|s|x))?"
)
_BELOW, _ABOVE = ("<", "<="), (">", ">=")


@dataclass(frozen=True, slots=True)
class Wish:
    """A guard as it was written; ``limit`` is a rate, an odds ratio, or of a latency in ``unit``.

    ``percent`` is which part of all requests a latency guard wants to be fast.
    """

    name: str
    kind: str
    limit: float
    unit: str
    percent: float | None = None

    @property
    def relative(self) -> bool:
        """Whether it is held against the stable version."""
        return self.unit == "x"


def parse_guard(text: str) -> Wish:
    """Read one guard; raises `InvalidGuardError`, which says what is allowed.

    >>> parse_guard("p95 <= 1.2x").relative
    True
    """
    name = re.sub(r"\s+", "", text)
    match = _GUARD.fullmatch(name) if len(name) <= 64 else None
    if match is None:
        raise InvalidGuardError(text[:64], ALLOWED)
    what, sign, unit = match["what"], match["sign"], match["unit"]
    number = float(match["number"]) if match["number"] else None
    wish = _wish(name, what, sign, number, unit, match["percent"])
    if wish is None or not wish.limit > 0 or (wish.unit == "%" and wish.limit >= 1):
        raise InvalidGuardError(text, ALLOWED)
    return wish


def _wish(
    name: str, what: str, sign: str | None, number: float | None, unit: str, percent: str | None
) -> Wish | None:
    """The guard, or None for one whose parts do not fit together."""
    if number is None:
        tolerated = {ERRORS: ERRORS_TOLERATED, DISTRIBUTION: SHIFT_TOLERATED}.get(what)
        return Wish(name, what, tolerated, "x") if tolerated else None
    if what == AGREEMENT:
        fits = sign in _ABOVE and unit == "%"
        return Wish(name, AGREEMENT, round(1 - number / 100, 9), "%") if fits else None
    if sign not in _BELOW:
        return None
    if percent is not None:
        return _latency(name, number, unit, float(percent))
    if unit == "x" and number >= 1:
        return Wish(name, what, number, "x")
    return Wish(name, ERRORS, number / 100, "%") if unit == "%" and what == ERRORS else None


def _latency(name: str, number: float, unit: str, percent: float) -> Wish | None:
    if unit == "%" or not 1 <= percent <= 99.9 or (unit == "x" and number < 1):
        return None
    if unit == "s":
        number, unit = number * 1000, "ms"
    return Wish(name, LATENCY, number, unit, percent)
