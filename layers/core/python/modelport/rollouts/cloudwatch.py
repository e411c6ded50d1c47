"""What versions did, from CloudWatch: the counts that routers and workers wrote into their logs.

Sums and percentiles come from GetMetricData, names from ListMetrics. It writes nothing and decides
nothing; errors of AWS become one of ours.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from botocore.exceptions import BotoCoreError, ClientError

from modelport.rollouts.errors import ObservationsUnavailableError
from modelport.rollouts.observations import Window
from modelport.telemetry import DIMENSIONS, NAMESPACE

#: Metrics that one GetMetricData takes.
MOST_QUERIES = 500
#: Windows of less than a minute are kept for three hours, of a minute for 15 days, of five for 63;
#: after that hours (Amazon CloudWatch, "Metrics retention"). A little less, since time goes on
#: between the question and the answer.
_KEPT: tuple[tuple[timedelta, int], ...] = (
    (timedelta(hours=3, minutes=-1), 1),
    (timedelta(days=15, minutes=-1), 60),
    (timedelta(days=63, minutes=-1), 300),
)
_COARSEST_S = 3600
#: Lengths in seconds of which one holds all that a percentile is asked of.
_WHOLE = (60, 300, 900, 3600, 21_600, 86_400)

#: Metric, statistic, length of a window in seconds.
_Query = tuple[str, str, int]
#: When a window began → its number.
_Points = dict[datetime, float]


class MetricsClient(Protocol):
    """The two calls used of boto3's CloudWatch client."""

    def get_metric_data(self, **parameters: Any) -> Any: ...
    def list_metrics(self, **parameters: Any) -> Any: ...


class CloudWatchObservations:
    """`Observations` of one environment; its client's time-outs and retries are the caller's."""

    def __init__(
        self,
        client: MetricsClient,
        environment: str,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._client, self._environment, self._now = client, environment, now

    def windows(
        self,
        model: str,
        version: int,
        metrics: Sequence[str],
        since: datetime,
        until: datetime,
        window_s: int,
    ) -> tuple[Window, ...]:
        """See `Observations`; one call for 500 metrics, and one more for each further page."""
        length = self._kept(since, window_s)
        start, end = _aligned(since, length, up=True), _aligned(until, length, up=False)
        if start >= end or not metrics:
            return ()
        queries: list[_Query] = [(metric, "Sum", length) for metric in metrics]
        sums: defaultdict[datetime, dict[str, float]] = defaultdict(dict)
        for (metric, _, _), points in self._read(model, version, queries, start, end).items():
            for at, value in points.items():
                if start <= at < end:
                    sums[at][metric] = value
        return tuple(Window(at, sums[at], length) for at in sorted(sums))

    def percentiles(
        self,
        model: str,
        version: int,
        metric: str,
        percents: Sequence[float],
        since: datetime,
        until: datetime,
    ) -> Mapping[float, float]:
        """See `Observations`.

        CloudWatch gives percentiles of windows that begin where it wants. Where two of them hold
        what was asked for, it is the mean of both, weighted by how many values each has.
        """
        if since >= until or not percents:
            return {}
        span = (until - since).total_seconds()
        length = next((each for each in _WHOLE if each >= span), _WHOLE[-1])
        stats = {percent: f"p{percent:g}" for percent in percents}
        queries: list[_Query] = [
            (metric, each, length) for each in ("SampleCount", *stats.values())
        ]
        found = self._read(model, version, queries, since, until)
        counts = found.get((metric, "SampleCount", length), {})
        means = {
            percent: _mean(found.get((metric, stat, length), {}), counts)
            for percent, stat in stats.items()
        }
        return {percent: mean for percent, mean in means.items() if mean is not None}

    def names(self, model: str, version: int, prefix: str) -> tuple[str, ...]:
        """See `Observations`; names nobody wrote for two weeks are forgotten."""
        parameters = {
            "Namespace": NAMESPACE,
            "Dimensions": self._dimensions(model, version),
        }
        found = {
            each["MetricName"]
            for page in self._pages(self._client.list_metrics, parameters)
            for each in page["Metrics"]
        }
        return tuple(sorted(name for name in found if name.startswith(prefix)))

    def _kept(self, since: datetime, window_s: int) -> int:
        """The length of window that there still is of that time."""
        age = self._now() - since
        finest = next((length for reach, length in _KEPT if age < reach), _COARSEST_S)
        return window_s if window_s >= finest else finest

    def _read(
        self, model: str, version: int, queries: Sequence[_Query], start: datetime, end: datetime
    ) -> dict[_Query, _Points]:
        found: defaultdict[_Query, _Points] = defaultdict(dict)
        for first in range(0, len(queries), MOST_QUERIES):
            asked = {f"q{n}": q for n, q in enumerate(queries[first : first + MOST_QUERIES])}
            parameters = {
                "MetricDataQueries": [
                    self._query(model, version, id, query) for id, query in asked.items()
                ],
                "StartTime": start,
                "EndTime": end,
                "ScanBy": "TimestampAscending",
            }
            for page in self._pages(self._client.get_metric_data, parameters):
                for result in page["MetricDataResults"]:
                    _check(result)
                    points = zip(result["Timestamps"], result["Values"], strict=True)
                    found[asked[result["Id"]]].update((_utc(at), value) for at, value in points)
        return found

    def _query(self, model: str, version: int, id: str, query: _Query) -> dict[str, Any]:
        metric, stat, length = query
        return {
            "Id": id,
            "MetricStat": {
                "Metric": {
                    "Namespace": NAMESPACE,
                    "MetricName": metric,
                    "Dimensions": self._dimensions(model, version),
                },
                "Period": length,
                "Stat": stat,
            },
        }

    def _dimensions(self, model: str, version: int) -> list[dict[str, str]]:
        values = (self._environment, model, str(version))
        return [
            {"Name": name, "Value": value} for name, value in zip(DIMENSIONS, values, strict=True)
        ]

    def _pages(self, call: Callable[..., Any], parameters: dict[str, Any]) -> Iterator[Any]:
        token: str | None = None
        while True:
            with _answering():
                page = call(**parameters, **({"NextToken": token} if token else {}))
            yield page
            following = page.get("NextToken")
            if not following or following == token:
                return
            token = following


@contextmanager
def _answering() -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "unknown")
        raise ObservationsUnavailableError(f"CloudWatch answers {code}") from error
    except (BotoCoreError, OSError) as error:
        raise ObservationsUnavailableError(type(error).__name__) from error


def _check(result: Mapping[str, Any]) -> None:
    """Raise for a result that is not whole and will not become so with another page."""
    status = result.get("StatusCode", "Complete")
    if status not in ("Complete", "PartialData"):
        raise ObservationsUnavailableError(f"CloudWatch answers {status}")


def _aligned(at: datetime, length: int, *, up: bool) -> datetime:
    """The whole multiple of ``length`` seconds since 1970 at or after (before) ``at``."""
    seconds = at.timestamp()
    whole = -(-seconds // length) if up else seconds // length
    return datetime.fromtimestamp(whole * length, UTC)


def _utc(at: datetime) -> datetime:
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def _mean(points: _Points, counts: _Points) -> float | None:
    weights = {at: counts.get(at, 0.0) for at in points}
    whole = sum(weights.values())
    return sum(value * weights[at] for at, value in points.items()) / whole if whole else None
