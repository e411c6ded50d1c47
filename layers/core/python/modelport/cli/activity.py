"""What versions do right now, as a snapshot: routes, the last minutes' metrics, rollouts under way.

Reads through a registry and `Observations`; what cannot be read now is said in the snapshot, which
then shows the rest. Draws nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from modelport import telemetry
from modelport.cli.rollout_view import describe
from modelport.cli.traffic import shares
from modelport.registry import Registry
from modelport.rollouts.controller import Controller
from modelport.rollouts.errors import ObservationsUnavailableError
from modelport.rollouts.observations import Observations, Window
from modelport.routes import Deployment, Routes

#: Length of a window in seconds, how many are shown, and how many of the last a rate is of.
WINDOW_S, WINDOWS, RATED = 10, 24, 6
PERCENTS = (50.0, 95.0, 99.0)
#: Models that are looked at where none is named.
MOST_MODELS = 50
#: Questions asked of the metrics at once.
_AT_ONCE = 8
_METRICS = (
    telemetry.REQUESTS,
    telemetry.ERRORS,
    telemetry.CRASHES,
    telemetry.THROTTLES,
    telemetry.FALLBACKS,
    telemetry.COLD_STARTS,
    telemetry.ROUTER_MS,
    telemetry.BACKEND_MS,
    telemetry.MODEL_MS,
    telemetry.COMPARED,
    telemetry.DISAGREED,
    telemetry.SHADOW_REQUESTS,
    telemetry.SHADOW_ERRORS,
    telemetry.SHADOWS_LOST,
)


@dataclass(frozen=True, slots=True)
class VersionActivity:
    """What one version did: ``windows`` are all there could be, in order, with sums by metric.

    ``shares`` is its part in percent of each alias, ``percentiles_ms`` of the way to it and back
    with its work.
    """

    version: int
    target: str
    shares: Mapping[str, float] = field(default_factory=dict)
    windows: tuple[Mapping[str, float], ...] = ()
    percentiles_ms: Mapping[float, float] = field(default_factory=dict)

    def series(self, metric: str) -> list[float]:
        """A metric's sum in each window."""
        return [window.get(metric, 0.0) for window in self.windows]

    def total(self, metric: str) -> int:
        """A count over all windows."""
        return round(sum(self.series(metric)))

    @property
    def requests_per_s(self) -> float:
        """Requests of the last minute, by second."""
        return sum(self.series(telemetry.REQUESTS)[-RATED:]) / (RATED * WINDOW_S)

    @property
    def error_rate(self) -> float | None:
        """Failed requests of all; None without any request."""
        requests = self.total(telemetry.REQUESTS)
        return min(self.total(telemetry.ERRORS) / requests, 1.0) if requests else None

    def mean_ms(self, metric: str) -> float | None:
        """A time's mean over all requests; None where it was not measured."""
        requests, total = self.total(telemetry.REQUESTS), sum(self.series(metric))
        return total / requests if requests and total else None


@dataclass(frozen=True, slots=True)
class ModelActivity:
    """A model's versions that run, and its rollouts under way as `rollout_view.describe` says."""

    routes: Routes
    versions: tuple[VersionActivity, ...]
    rollouts: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All of it at one moment (UTC); ``problem`` is what could not be read, ``""`` if nothing."""

    environment: str
    at: datetime
    models: tuple[ModelActivity, ...] = ()
    problem: str = ""
    #: Whether there are more models than are looked at.
    more: bool = False


def look(
    registry: Registry,
    observations: Observations,
    environment: str,
    names: Sequence[str],
    now: datetime,
) -> Snapshot:
    """What the models did up to ``now``; raises what the registry raises."""
    chosen = names[:MOST_MODELS]
    found = [snapshot.routes for name in chosen if (snapshot := registry.routes(name))]
    problem = ""
    counted: Mapping[tuple[str, int], VersionActivity] = {}
    try:
        counted = _counted(observations, found, now)
    except ObservationsUnavailableError as error:
        problem = error.message
    controller = Controller(registry, observations, now=lambda: now)
    models = tuple(
        ModelActivity(
            routes,
            tuple(
                counted.get((routes.model, each.version)) or _still(routes, each)
                for each in routes.deployments.values()
            ),
            tuple(
                describe(routes, rollout, controller.look(routes, rollout))
                for rollout in routes.active_rollouts
            ),
        )
        for routes in found
        if routes.deployments
    )
    return Snapshot(environment, now, models, problem, len(names) > MOST_MODELS)


def _counted(
    observations: Observations, found: Iterable[Routes], now: datetime
) -> dict[tuple[str, int], VersionActivity]:
    running = [(routes, each) for routes in found for each in routes.deployments.values()]

    def read(one: tuple[Routes, Deployment]) -> VersionActivity:
        return _of_version(observations, *one, now)

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        read_all = list(pool.map(read, running))
    return {
        (routes.model, each.version): activity
        for (routes, each), activity in zip(running, read_all, strict=True)
    }


def _of_version(
    observations: Observations, routes: Routes, deployment: Deployment, now: datetime
) -> VersionActivity:
    model, version = routes.model, deployment.version
    until = datetime.fromtimestamp(now.timestamp() // WINDOW_S * WINDOW_S, now.tzinfo)
    since = until - timedelta(seconds=WINDOW_S * WINDOWS)
    windows = observations.windows(model, version, _METRICS, since, until, WINDOW_S)
    called = any(window.count(telemetry.REQUESTS) for window in windows)
    # Percentiles are a question of their own, which costs: versions that nobody called have none.
    percentiles = (
        observations.percentiles(model, version, telemetry.BACKEND_MS, PERCENTS, since, now)
        if called
        else {}
    )
    still = _still(routes, deployment)
    filled = tuple(_filled(windows, since))
    return VersionActivity(version, still.target, still.shares, filled, percentiles)


def _filled(windows: Iterable[Window], since: datetime) -> Iterator[Mapping[str, float]]:
    """Every window there could be: those in which nothing was written are empty."""
    written = {window.start: window.sums for window in windows}
    for number in range(WINDOWS):
        yield written.get(since + timedelta(seconds=number * WINDOW_S), {})


def _still(routes: Routes, deployment: Deployment) -> VersionActivity:
    """A version of which nothing is known but where it runs."""
    version = deployment.version
    return VersionActivity(version, deployment.target, shares(routes, version), ({},) * WINDOWS)
