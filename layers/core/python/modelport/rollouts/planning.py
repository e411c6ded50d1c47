"""From what somebody asks for to the record of a rollout: every limit as a number.

Reads the stable version's metrics of the last hour where a guard is relative to them; writes
nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from modelport import telemetry
from modelport.rollouts.errors import RolloutRefusedError
from modelport.rollouts.guards import DEFAULT_GUARDS, Wish, parse_guard
from modelport.rollouts.observations import Observations
from modelport.rollouts.operations import check_startable
from modelport.routes import Guard, Rollout, Routes
from modelport.routes.errors import InvalidRolloutError
from modelport.routes.rollout import AGREEMENT, CRASHES, DISTRIBUTION, ERRORS, LATENCY

STEPS = (1.0, 5.0, 25.0, 50.0, 100.0)
#: What the stable version did in this time is what a relative guard begins from.
BASELINE = timedelta(hours=1)
#: The stable version's most frequent categories that are told apart; the rest counts as one.
MOST_CATEGORIES = 20
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
#: Shortest step, length of its windows: several to a step, so that steps do not blur, and not so
#: many that looking at them takes long.
_WINDOWS = ((21_600, 900), (3600, 300), (300, 60), (150, 30), (50, 10), (25, 5), (0, 1))


@dataclass(frozen=True, slots=True)
class Wanted:
    """What somebody asks of a rollout."""

    alias: str
    candidate: int
    steps: tuple[float, ...] = STEPS
    every_s: float = 300.0
    guards: tuple[str, ...] = DEFAULT_GUARDS
    alpha: float = 0.01
    min_samples: int = 100
    max_crashes: int = 3


def planned(routes: Routes, wanted: Wanted, observations: Observations, now: datetime) -> Rollout:
    """The record of a rollout that could begin now.

    Raises `InvalidGuardError`, `InvalidRolloutError`, what `check_startable` raises, and
    `RolloutRefusedError` when a guard is relative to what the stable version has not done lately.
    """
    wishes = [parse_guard(text) for text in wanted.guards]
    if not 1 <= wanted.max_crashes <= 10**6:
        raise InvalidRolloutError(f"{wanted.max_crashes} crashes", "1 to 1,000,000")
    _check_comparable(wanted, wishes)
    before = check_startable(routes, wanted.alias, wanted.candidate)
    baseline = _Baseline(routes.model, wanted, before.version, observations, now)
    at = now.isoformat(timespec="microseconds")
    return Rollout(
        alias=wanted.alias,
        candidate=wanted.candidate,
        stable=before.version,
        before=routes.aliases[wanted.alias],
        steps=wanted.steps,
        every_s=wanted.every_s,
        guards=(
            *(baseline.guard(wish) for wish in wishes),
            Guard(CRASHES, CRASHES, float(wanted.max_crashes)),
        ),
        alpha=wanted.alpha,
        min_samples=wanted.min_samples,
        window_s=_window_s(wanted.every_s),
        started=at,
        since=at,
        moved=(at,),
    )


def _check_comparable(wanted: Wanted, wishes: Sequence[Wish]) -> None:
    """Refuse guards that could never alarm: the other version gets no calls from the start."""
    if wanted.steps[:1] != (100.0,):
        return
    for wish in wishes:
        if wish.kind != ERRORS and (wish.relative or wish.kind == AGREEMENT):
            raise InvalidRolloutError(
                f"guard {wish.name} with all of the traffic in the first step",
                "a step below 100 % before it, or guards like errors, errors<1%, p95<300ms",
            )


@dataclass(frozen=True, slots=True)
class _Baseline:
    """What the stable version did of late."""

    model: str
    wanted: Wanted
    stable: int
    observations: Observations
    now: datetime

    def guard(self, wish: Wish) -> Guard:
        """A guard with its limits as numbers."""
        if wish.kind == LATENCY:
            return self._latency(wish)
        categories = self._categories(wish) if wish.kind == DISTRIBUTION else ()
        return Guard(wish.name, wish.kind, wish.limit, wish.relative, categories=categories)

    def _latency(self, wish: Wish) -> Guard:
        assert wish.percent is not None
        if not wish.relative:
            share = round(1 - wish.percent / 100, 9)
            return Guard(wish.name, LATENCY, share, slower_than_ms=wish.limit)
        found = self.observations.percentiles(
            self.model,
            self.stable,
            telemetry.BACKEND_MS,
            (wish.percent,),
            self.now - BASELINE,
            self.now,
        )
        present = found.get(wish.percent, 0.0)
        if not present > 0:
            raise self._unknown(wish, "how long it takes", "a limit in ms")
        # The metric's name has six digits; three are as exact as an estimate of a percentile is.
        return Guard(
            wish.name,
            LATENCY,
            1.0,
            relative=True,
            slower_than_ms=_rounded(wish.limit * present),
            stable_slower_than_ms=_rounded(present),
        )

    def _categories(self, wish: Wish) -> tuple[str, ...]:
        prefix = telemetry.predicted("")
        names = self.observations.names(self.model, self.stable, prefix)
        windows = self.observations.windows(
            self.model, self.stable, names, self.now - BASELINE, self.now, 60
        )
        counts = {name: sum(window.count(name) for window in windows) for name in names}
        seen = sorted((-count, name) for name, count in counts.items() if count)
        if not seen:
            raise self._unknown(wish, "what it predicts", "no guard of that kind")
        return tuple(sorted(name.removeprefix(prefix) for _, name in seen[:MOST_CATEGORIES]))

    def _unknown(self, wish: Wish, what: str, instead: str) -> RolloutRefusedError:
        return RolloutRefusedError(
            self.model,
            self.wanted.alias,
            f"guard {wish.name} is relative to version {self.stable}, which nobody called in the"
            f" last hour, so nothing tells {what}",
            f"send it some calls first, or give {instead}",
        )


def parse_steps(text: str) -> tuple[float, ...]:
    """Read ``1,5,25,50,100``; raises `InvalidRolloutError`."""
    try:
        return tuple(float(part) for part in text.split(",", 64))
    except ValueError:
        allowed = "percents that rise to 100: 1,5,25,50,100"
        raise InvalidRolloutError(f"steps {text[:64]!r}", allowed) from None


def parse_duration(text: str) -> float:
    """Read ``30s``, ``5m``, ``2h`` or ``1d`` as seconds; raises `InvalidRolloutError`."""
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,3})?)([smhd])", text.strip())
    if match is None:
        raise InvalidRolloutError(f"a step of {text[:64]!r}", "a number and s, m, h or d: 5m")
    return float(match[1]) * _UNITS_S[match[2]]


def _window_s(every_s: float) -> int:
    return next(window for shortest, window in _WINDOWS if not every_s < shortest)


def _rounded(milliseconds: float) -> float:
    return float(f"{milliseconds:.3g}")
