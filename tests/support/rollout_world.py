"""What tests of rollouts share: observations that somebody writes down, and a rollout over them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from modelport.rollouts.errors import ObservationsUnavailableError
from modelport.rollouts.observations import Window
from modelport.rollouts.planning import Wanted, planned
from modelport.routes import Deployment, Rollout, Routes, Shadow, Weighted

START = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Recorded:
    """`Observations` of what was written; of one model. ``away`` makes it unavailable.

    No windows shorter than ``finest_s`` are kept.
    """

    def __init__(self) -> None:
        self.away = False
        self.finest_s = 1
        #: Version → percentile → milliseconds.
        self.latencies: dict[int, dict[float, float]] = {1: {50.0: 100.0, 95.0: 200.0, 99.0: 400.0}}
        self._written: defaultdict[int, list[tuple[float, Mapping[str, float]]]]
        self._written = defaultdict(list)

    def write(self, version: int, at: datetime, **counts: float) -> None:
        """Count something at a time."""
        self._written[version].append((at.timestamp(), counts))

    def windows(
        self,
        model: str,
        version: int,
        metrics: Sequence[str],
        since: datetime,
        until: datetime,
        window_s: int,
    ) -> tuple[Window, ...]:
        """See `Observations`."""
        self._check()
        window_s = max(window_s, self.finest_s)
        first, last = -(-since.timestamp() // window_s), until.timestamp() // window_s
        sums: defaultdict[float, defaultdict[str, float]]
        sums = defaultdict(lambda: defaultdict(float))
        for at, counts in self._written[version]:
            index = at // window_s
            if first <= index < last:
                for name in metrics:
                    if name in counts:
                        sums[index][name] += counts[name]
        return tuple(
            Window(datetime.fromtimestamp(index * window_s, UTC), dict(sums[index]), window_s)
            for index in sorted(sums)
        )

    def percentiles(
        self,
        model: str,
        version: int,
        metric: str,
        percents: Sequence[float],
        since: datetime,
        until: datetime,
    ) -> Mapping[float, float]:
        """See `Observations`."""
        self._check()
        known = self.latencies.get(version, {})
        return {percent: known[percent] for percent in percents if percent in known}

    def names(self, model: str, version: int, prefix: str) -> tuple[str, ...]:
        """See `Observations`."""
        self._check()
        found = {name for _, counts in self._written[version] for name in counts}
        return tuple(sorted(name for name in found if name.startswith(prefix)))

    def _check(self) -> None:
        if self.away:
            raise ObservationsUnavailableError("the test says so")


def deployed(*versions: int, **aliases: int) -> Routes:
    """Routes of model m with these versions running, and aliases that mean one of them each."""
    routes = Routes("m")
    for version in versions:
        routes = routes.with_deployment(Deployment(version, "lambda", f"fn-{version}", "sha256:0"))
    for alias, version in aliases.items():
        routes = routes.with_alias(alias, (Weighted(version),))
    return routes


def rollout(
    guards: Sequence[str] = ("errors",),
    *,
    at: datetime = START,
    observations: Recorded | None = None,
    **wanted: Any,
) -> Rollout:
    """A rollout of version 2 over version 1 of alias stable."""
    routes = deployed(1, 2, stable=1)
    wish = Wanted("stable", 2, guards=tuple(guards), **wanted)
    return planned(routes, wish, observations or Recorded(), at)


def shadowed(routes: Routes, version: int = 2) -> Routes:
    """The routes with a version that answers everything in the shadow."""
    policy = replace(routes.policy, shadows=(Shadow(version),))
    return routes.with_policy(policy)
