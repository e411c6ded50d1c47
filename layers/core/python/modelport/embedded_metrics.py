"""Metrics inside a line of the log: CloudWatch's embedded metric format, as functions write it.

CloudWatch Logs takes the numbers out of the line when it comes in; nothing is called and nothing
waits (Amazon CloudWatch, "Specification: Embedded metric format"). Pure: whoever logs writes the
line. It must not know what a request is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from math import isfinite
from typing import Any

from modelport.telemetry import DIMENSIONS, NAMESPACE

try:
    import orjson
except ModuleNotFoundError:
    orjson = None  # type: ignore[assignment]

#: Metrics that one directive may name; more stand in a further directive of the same line.
MOST_METRICS = 100
#: Seconds: high resolution, without which a window shorter than a minute has no numbers.
RESOLUTION_S = 1
_encode = json.JSONEncoder(separators=(",", ":"), default=str).encode


def members(
    environment: str, model: str, version: int, counted: Mapping[str, float], at_ms: int
) -> dict[str, Any]:
    """The members that make a JSON object of the log carry ``counted`` as metrics of a version.

    ``counted`` is name (`modelport.telemetry`) → value; what is not a finite number is left out.
    ``at_ms`` is the time of day in milliseconds since 1970. Names become members of the object, so
    it must not use them otherwise; the version is text, because a dimension has to be.

    >>> members("dev", "magika", 3, {"requests": 1}, 0)["_aws"]["CloudWatchMetrics"][0]["Metrics"]
    [{'Name': 'requests', 'Unit': 'Count', 'StorageResolution': 1}]
    """
    finite = {name: value for name, value in counted.items() if isfinite(value)}
    return {
        "environment": environment,
        "model": model,
        "version": str(version),
        **finite,
        "_aws": {"Timestamp": at_ms, "CloudWatchMetrics": _directives(tuple(finite))},
    }


def text(record: Mapping[str, Any]) -> str:
    """A record of the log as one line of JSON, whether it carries metrics or not.

    What says which members are metrics is most of such a line and always the same: it is written
    once, which halves what a line costs. The other members of a line with metrics are text, truth
    and finite numbers, which orjson writes as the standard library does, nine times as fast.
    """
    about = record.get("_aws")
    if about is None or not isinstance(about["CloudWatchMetrics"], _Directives):
        return _encode(record)
    rest = dict(record)
    del rest["_aws"]
    plain, directives = _written(rest), about["CloudWatchMetrics"].text
    stamp = about["Timestamp"]
    return f'{plain[:-1]},"_aws":{{"Timestamp":{stamp},"CloudWatchMetrics":{directives}}}}}'


def _written(members: dict[str, Any]) -> str:
    if orjson is not None:
        try:
            return orjson.dumps(members).decode()
        except TypeError:  # half surrogates, or numbers over 64 bits
            pass
    return _encode(members)


def unit(name: str) -> str:
    """CloudWatch's unit of a metric, which its name says."""
    if name.endswith("_ms") and not name.startswith("slower_than_"):
        return "Milliseconds"
    return "Bytes" if name.startswith("bytes_") else "Count"


class _Directives(list[dict[str, Any]]):
    """What says which members are metrics, with its JSON; one for all lines with the same names."""

    def __init__(self, directives: list[dict[str, Any]]) -> None:
        super().__init__(directives)
        self.text = _encode(directives)


@lru_cache(maxsize=256)
def _directives(names: tuple[str, ...]) -> _Directives:
    return _Directives(
        [
            {
                "Namespace": NAMESPACE,
                "Dimensions": [list(DIMENSIONS)],
                "Metrics": [
                    {"Name": name, "Unit": unit(name), "StorageResolution": RESOLUTION_S}
                    for name in names[start : start + MOST_METRICS]
                ],
            }
            for start in range(0, len(names), MOST_METRICS)
        ]
    )
