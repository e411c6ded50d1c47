"""What ``/metrics`` says: one sum over all workers, in a text that Prometheus reads."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from modelport.grammar import RULES

from functions.runtime.metrics import Metrics, shared_memory

LABELS = {"model": "demo", "version": "3"}
SAMPLE = re.compile(r'(modelport_\w+)\{((?:\w+="[^"]*",?)*)\} (\d+(?:\.\d+)?(?:e-?\d+)?)')


def line(**changed: Any) -> dict[str, Any]:
    return {
        "protocol": "v1",
        "verb": "predict",
        "status": 200,
        "duration_ms": 4.0,
        "model_ms": 2.0,
        "cold_start": False,
        "bytes_in": 10,
        "bytes_out": 20,
    } | changed


def read(metrics: Metrics) -> dict[str, float]:
    """The samples by name and labels; fails on anything that is neither sample nor comment."""
    samples = {}
    typed = set()
    for text in metrics.render().decode().splitlines():
        if text.startswith("# TYPE "):
            typed.add(text.split()[2])
        if text.startswith("#"):
            continue
        match = SAMPLE.fullmatch(text)
        assert match, text
        name, labels, value = match.groups()
        assert name in typed or re.sub("_(bucket|sum|count)$", "", name) in typed, name
        assert labels.startswith('model="demo",version="3"')
        rest = labels.removeprefix('model="demo",version="3"').strip(",")
        samples[f"{name.removeprefix('modelport_')}{{{rest}}}"] = float(value)
    return samples


@pytest.fixture
def workers() -> Iterator[tuple[Metrics, Metrics]]:
    memory = shared_memory(2)
    yield Metrics(memory, 0, LABELS), Metrics(memory, 1, LABELS)
    os.close(memory)


def test_requests_are_summed_over_workers(workers: tuple[Metrics, Metrics]) -> None:
    one, two = workers
    one.requests([line(cold_start=True)])
    two.requests([line(duration_ms=70.0)])
    two.requests([line(status=400, model_ms=0)])
    two.requests([line(protocol="sagemaker", verb="invocations")])
    samples = read(one)
    assert samples == read(two)
    predicted = 'protocol="v1",verb="predict"'
    assert samples[f'requests_total{{{predicted},status="200"}}'] == 2
    assert samples[f'requests_total{{{predicted},status="400"}}'] == 1
    assert samples[f"request_duration_seconds_count{{{predicted}}}"] == 3
    assert samples[f"request_duration_seconds_sum{{{predicted}}}"] == pytest.approx(0.078)
    assert samples[f'request_duration_seconds_bucket{{{predicted},le="0.005"}}'] == 2
    assert samples[f'request_duration_seconds_bucket{{{predicted},le="0.1"}}'] == 3
    assert samples[f"model_duration_seconds_count{{{predicted}}}"] == 2
    assert samples["cold_requests_total{}"] == 1
    assert (samples["request_bytes_total{}"], samples["response_bytes_total{}"]) == (40, 80)


def test_what_has_no_place_of_its_own_counts_as_other(workers: tuple[Metrics, Metrics]) -> None:
    one, _ = workers
    one.requests([line(protocol="unknown", verb="unknown", status=404)])
    one.requests([line(status=418)])
    one.refused(413)
    samples = read(one)
    assert samples['requests_total{protocol="other",verb="other",status="404"}'] == 1
    assert samples['requests_total{protocol="other",verb="other",status="413"}'] == 1
    assert samples['requests_total{protocol="v1",verb="predict",status="other"}'] == 1


def test_buckets_only_grow(workers: tuple[Metrics, Metrics]) -> None:
    one, two = workers
    for rows in (1, 3, 32, 5000):
        one.batch(rows, 0.001 * rows)
        two.batch(rows, 100.0)
    samples = read(one)
    for name in ("batch_rows", "batch_duration_seconds"):
        counts = [value for key, value in samples.items() if key.startswith(f"{name}_bucket")]
        assert counts[-1] == samples[f"{name}_count{{}}"] == 8
        assert all(before <= after for before, after in pairwise(counts))
    assert samples["batch_rows_sum{}"] == 2 * (1 + 3 + 32 + 5000)
    assert samples['batch_rows_bucket{le="1"}'] == 2


def test_a_worker_that_is_gone_keeps_its_counts_and_holds_nothing(
    workers: tuple[Metrics, Metrics],
) -> None:
    one, two = workers
    for worker, seconds in ((one, 0.5), (two, 2.5)):
        worker.loaded(seconds)
        worker.entered()
        worker.requests([line()])
    samples = read(two)
    gauges = ("workers_ready{}", "requests_in_flight{}", "load_seconds{}", "model_loaded{}")
    assert [samples[name] for name in gauges] == [2, 2, 2.5, 1]
    two.unready()
    one.left()
    samples = read(one)
    assert [samples[name] for name in gauges] == [1, 0, 0.5, 1]
    assert samples['requests_total{protocol="v1",verb="predict",status="200"}'] == 2
    one.unready()
    assert read(one)["model_loaded{}"] == 0


def test_every_verb_of_every_protocol_has_a_line_of_its_own(
    workers: tuple[Metrics, Metrics],
) -> None:
    one, _ = workers
    calls = {(protocol, verb) for protocol, verb, *_ in RULES}
    for protocol, verb in calls:
        one.requests([line(protocol=protocol, verb=verb, status=501)])
    samples = read(one)
    for protocol, verb in calls:
        name = f'requests_total{{protocol="{protocol}",verb="{verb}",status="501"}}'
        assert samples[name] == 1
