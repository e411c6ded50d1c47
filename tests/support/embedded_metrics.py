"""A line with metrics as CloudWatch takes it: the published schema of the format, and its reading.

The facts are from Amazon CloudWatch, "Specification: Embedded metric format": its JSON schema, and
what its text says of names that a directive refers to.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

UNITS = {
    "Seconds", "Microseconds", "Milliseconds", "Bytes", "Kilobytes", "Megabytes", "Gigabytes",
    "Terabytes", "Bits", "Kilobits", "Megabits", "Gigabits", "Terabits", "Percent", "Count",
    "None",
}  # fmt: skip
MOST_METRICS, MOST_DIMENSIONS = 100, 30
LONGEST_EVENT = 256 * 1024


def metrics_of(line: Mapping[str, Any]) -> dict[str, float]:
    """The metrics of a line as its reader sees it, every rule of the format checked."""
    text = json.dumps(line, allow_nan=False)
    assert "\n" not in text
    assert len(text.encode()) <= LONGEST_EVENT
    read = json.loads(text)
    about = read["_aws"]
    assert set(about) <= {"Timestamp", "CloudWatchMetrics", "LogGroupName"}
    assert type(about["Timestamp"]) is int
    found: dict[str, float] = {}
    for directive in about["CloudWatchMetrics"]:
        assert set(directive) == {"Namespace", "Dimensions", "Metrics"}
        assert _text(directive["Namespace"], 1024)
        assert not directive["Namespace"].startswith("AWS/")
        assert directive["Dimensions"]
        for names in directive["Dimensions"]:
            _check_dimensions(names, read)
        assert 1 <= len(directive["Metrics"]) <= MOST_METRICS
        for metric in directive["Metrics"]:
            found[metric["Name"]] = _number(metric, read)
    return found


def dimensions_of(line: Mapping[str, Any]) -> tuple[str, ...]:
    """The values of the one set of dimensions that all metrics of a line have."""
    (names,) = {
        tuple(names)
        for directive in line["_aws"]["CloudWatchMetrics"]
        for names in directive["Dimensions"]
    }
    return tuple(line[name] for name in names)


def _check_dimensions(names: Any, line: Mapping[str, Any]) -> None:
    assert len(names) <= MOST_DIMENSIONS
    assert len(set(names)) == len(names)
    for name in names:
        assert _text(name, 250)
        assert _text(line[name], 1024)


def _number(metric: Mapping[str, Any], line: Mapping[str, Any]) -> float:
    assert set(metric) == {"Name", "Unit", "StorageResolution"}
    assert _text(metric["Name"], 1024)
    assert metric["Unit"] in UNITS
    assert metric["StorageResolution"] in (1, 60)
    value = line[metric["Name"]]
    assert type(value) in (int, float)
    assert math.isfinite(value)
    return float(value)


def _text(value: Any, longest: int) -> bool:
    return isinstance(value, str) and 1 <= len(value) <= longest and value.isascii()
