"""The port through which rollouts see what versions did: counts per window of time, and no more.

Implementations: CloudWatch (`modelport.rollouts.cloudwatch`), and a dictionary for tests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Window:
    """Sums of metrics from ``start`` (UTC) on, for ``length_s`` seconds."""

    start: datetime
    sums: Mapping[str, float]
    length_s: int

    @property
    def end(self) -> datetime:
        """When it is over."""
        return self.start + timedelta(seconds=self.length_s)

    def count(self, metric: str) -> int:
        """A metric that counts; 0 when nobody wrote any."""
        return round(self.sums.get(metric, 0.0))


class Observations(Protocol):
    """What happened to versions; names of metrics are `modelport.telemetry`'s.

    Raises `ObservationsUnavailableError` when that cannot be known now. What was just written may
    take seconds to be seen.
    """

    def windows(
        self,
        model: str,
        version: int,
        metrics: Sequence[str],
        since: datetime,
        until: datetime,
        window_s: int,
    ) -> tuple[Window, ...]:
        """Windows in order of time, each of ``window_s`` (1, 5, 10, 30 or whole minutes).

        They begin at whole multiples of ``window_s``; those are given that lie wholly between
        ``since`` and ``until``. A window in which nothing was written is left out. The further back
        ``since`` lies the coarser are the windows that are still kept: then they are longer, and
        say so.
        """
        ...

    def percentiles(
        self,
        model: str,
        version: int,
        metric: str,
        percents: Sequence[float],
        since: datetime,
        until: datetime,
    ) -> Mapping[float, float]:
        """Percentile → value of a metric over the whole time; empty when nothing was written."""
        ...

    def names(self, model: str, version: int, prefix: str) -> tuple[str, ...]:
        """Metrics there are of a version, with this prefix: the categories of its predictions.

        A name that is new may take a quarter of an hour to be told.
        """
        ...
