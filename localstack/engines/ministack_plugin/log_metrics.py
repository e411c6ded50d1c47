"""The metrics inside lines of the log, as CloudWatch Logs takes them out when a line comes in.

MiniStack keeps the lines of its functions' logs and has a store of metrics, and nothing between
the two. What counts as such a line is the published format's (Amazon CloudWatch, "Specification:
Embedded metric format"); a line that is not one, or is one badly, stays only a line. It knows no
metric of anybody's.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any, TypeGuard

#: The format's bounds: metrics of one directive, dimensions of a metric, values of a member.
MOST_METRICS, MOST_DIMENSIONS, MOST_VALUES = 100, 30, 100
LONGEST_NAME = 1024
_MARK = '"_aws"'


@dataclass(frozen=True, slots=True)
class Datum:
    """One number of a metric; ``at`` in seconds since 1970, whole ones or whole minutes."""

    namespace: str
    name: str
    dimensions: Mapping[str, str]
    at: float
    value: float
    unit: str


def extracted(message: str) -> Iterator[Datum]:
    """The metrics that a line of a log carries; none for any other line."""
    if _MARK not in message:
        return
    try:
        line = json.loads(message)
    except (ValueError, RecursionError):
        return
    about = line.get("_aws") if isinstance(line, dict) else None
    if not isinstance(about, dict) or type(about.get("Timestamp")) is not int:
        return
    for directive in _list(about.get("CloudWatchMetrics")):
        if isinstance(directive, dict):
            yield from _of_directive(directive, line, about["Timestamp"] / 1000)


def _of_directive(directive: dict[str, Any], line: dict[str, Any], at: float) -> Iterator[Datum]:
    namespace, metrics = directive.get("Namespace"), _list(directive.get("Metrics"))
    if not _named(namespace) or len(metrics) > MOST_METRICS:
        return
    for names in _list(directive.get("Dimensions")):
        dimensions = _dimensions(names, line)
        if dimensions is None:
            continue
        for metric in metrics:
            if isinstance(metric, dict) and _named(metric.get("Name")):
                name, unit = metric["Name"], str(metric.get("Unit", "None"))
                length = 1 if metric.get("StorageResolution") == 1 else 60
                for value in _values(line.get(name)):
                    yield Datum(namespace, name, dimensions, at // length * length, value, unit)


def _dimensions(names: Any, line: dict[str, Any]) -> dict[str, str] | None:
    """The values of a set of dimensions; None when the line has not all of them as text."""
    if not isinstance(names, list) or len(names) > MOST_DIMENSIONS:
        return None
    values = {name: line.get(name) for name in names if isinstance(name, str)}
    if len(values) < len(names):
        return None
    found = {name: value for name, value in values.items() if isinstance(value, str) and value}
    return found if len(found) == len(names) else None


def _values(member: Any) -> list[float]:
    """A number, or up to 100 of them; none for anything else."""
    numbers = member if isinstance(member, list) else [member]
    lawful = all(type(each) in (int, float) and math.isfinite(each) for each in numbers)
    return [float(each) for each in numbers] if lawful and len(numbers) <= MOST_VALUES else []


def _named(name: Any) -> TypeGuard[str]:
    return isinstance(name, str) and 0 < len(name) <= LONGEST_NAME


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


class Recorder:
    """Puts data into MiniStack's own store of metrics."""

    def __init__(
        self,
        bucket: Callable[[tuple[str, str, str]], list[dict[str, Any]]],
        key: Callable[[dict[str, str]], str],
    ) -> None:
        """``bucket`` gives the points of a metric, ``key`` what dimensions are told apart by."""
        self._bucket, self._key = bucket, key
        self._lock = Lock()

    def record(self, message: str) -> None:
        """Keep the metrics of a line of the log."""
        for datum in extracted(message):
            dimensions = dict(datum.dimensions)
            with self._lock:
                points = self._bucket((datum.namespace, datum.name, self._key(dimensions)))
                last = points[-1] if points else None
                if last and last["Timestamp"] == datum.at and last["Value"] == datum.value:
                    # Most count requests, one by one: a second needs one point of these.
                    points[-1] = {**last, "Count": last.get("Count", 1.0) + 1.0}
                    continue
                points.append(
                    {
                        "Timestamp": datum.at,
                        "Value": datum.value,
                        "Unit": datum.unit,
                        "Dimensions": dimensions,
                    }
                )
