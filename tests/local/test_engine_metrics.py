"""What our MiniStack plugin takes for a line with metrics, and how it keeps their numbers."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

import pytest
from engines.ministack_plugin.log_metrics import Datum, Recorder, extracted
from modelport.embedded_metrics import members

AT_MS = 1_700_000_000_900
VERSION = {"environment": "dev", "model": "magika", "version": "3"}


def line(**changed: Any) -> dict[str, Any]:
    """A line as functions write it, with some of it changed."""
    return {**members("dev", "magika", 3, {"requests": 1, "backend_ms": 12.5}, AT_MS), **changed}


def found(document: Any) -> list[Datum]:
    return list(extracted(json.dumps(document)))


def directive(**changed: Any) -> dict[str, Any]:
    known: dict[str, Any] = line()["_aws"]["CloudWatchMetrics"][0]
    return {"_aws": {"Timestamp": AT_MS, "CloudWatchMetrics": [{**known, **changed}]}}


def test_a_functions_line_becomes_its_metrics_of_a_second() -> None:
    assert found(line()) == [
        Datum("modelport", "requests", VERSION, 1_700_000_000, 1.0, "Count"),
        Datum("modelport", "backend_ms", VERSION, 1_700_000_000, 12.5, "Milliseconds"),
    ]


def test_several_values_of_one_metric_are_several_numbers() -> None:
    assert [each.value for each in found(line(requests=[1, 2], backend_ms=None))] == [1.0, 2.0]


def test_without_high_resolution_a_number_is_a_minutes() -> None:
    (datum,) = found({**line(), **directive(Metrics=[{"Name": "requests"}])})
    assert (datum.at, datum.unit) == (1_700_000_000 // 60 * 60, "None")


@pytest.mark.parametrize(
    "document",
    [
        {"message": "no metrics"},
        ["_aws"],
        {"_aws": None},
        {"_aws": {"CloudWatchMetrics": []}},
        line(_aws={"Timestamp": "now", "CloudWatchMetrics": []}),
        line(_aws={"Timestamp": AT_MS, "CloudWatchMetrics": {"Namespace": "x"}}),
        line(version=3),
        line(version=""),
        line(requests="1", backend_ms=True),
        line(requests=[1] * 101, backend_ms=[None]),
        {**line(), **directive(Namespace="")},
        {**line(), **directive(Dimensions=[["environment", "missing"]])},
        {**line(), **directive(Dimensions=[["environment"] * 31])},
        {**line(), **directive(Dimensions=["environment"])},
        {**line(), **directive(Metrics=[{"Name": "requests"}] * 101)},
        {**line(), **directive(Metrics=["requests", {"Name": 1}])},
    ],
)
def test_what_is_no_such_line_or_a_bad_one_has_no_metrics(document: Any) -> None:
    assert found(document) == []


@pytest.mark.parametrize("text", ['{"_aws"', "[" * 100_000 + '"_aws"', 'START "_aws"'])
def test_a_line_that_cannot_be_read_has_no_metrics(text: str) -> None:
    assert list(extracted(text)) == []


def test_numbers_that_are_none_are_left_out() -> None:
    text = json.dumps(line(requests=float("nan"), backend_ms=float("inf")))
    assert list(extracted(text)) == []


def test_equal_numbers_of_a_second_are_counted_at_one_place() -> None:
    store: defaultdict[tuple[str, str, str], list[dict[str, Any]]] = defaultdict(list)
    recorder = Recorder(store.__getitem__, lambda dimensions: dimensions["version"])
    for requests in (1, 1, 1, 2):
        recorder.record(json.dumps(line(requests=requests, backend_ms=None)))
    recorder.record("a plain line")
    assert list(store) == [("modelport", "requests", "3")]
    points = store["modelport", "requests", "3"]
    assert [(point["Value"], point.get("Count", 1.0)) for point in points] == [(1.0, 3.0), (2.0, 1)]
    assert points[0]["Dimensions"] == VERSION
