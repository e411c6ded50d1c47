"""Counts of versions through boto3 and moto's CloudWatch: what was written is what is read."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from modelport.rollouts.cloudwatch import CloudWatchObservations
from modelport.telemetry import DIMENSIONS, NAMESPACE
from moto import mock_aws

NOW = datetime.now(UTC).replace(second=0, microsecond=0)


@pytest.fixture
def client() -> Iterator[Any]:
    with mock_aws():
        yield boto3.client(
            "cloudwatch",
            region_name="us-east-1",
            aws_access_key_id="none",
            aws_secret_access_key="none",
        )


def write(client: Any, version: int, metric: str, at: datetime, *values: float) -> None:
    dimensions = [
        {"Name": name, "Value": text}
        for name, text in zip(DIMENSIONS, ("dev", "magika", str(version)), strict=True)
    ]
    for value in values:
        datum = {
            "MetricName": metric,
            "Dimensions": dimensions,
            "Timestamp": at,
            "Value": value,
            "StorageResolution": 1,
        }
        client.put_metric_data(Namespace=NAMESPACE, MetricData=[datum])


def test_sums_are_of_one_version_by_window(client: Any) -> None:
    earlier = NOW - timedelta(minutes=3)
    write(client, 3, "requests", earlier, 1, 1, 1)
    write(client, 3, "requests", earlier + timedelta(seconds=70), 1)
    write(client, 3, "errors", earlier, 1)
    write(client, 4, "requests", earlier, 1)
    seen = CloudWatchObservations(client, "dev")
    found = seen.windows("magika", 3, ["requests", "errors", "crashes"], earlier, NOW, 60)
    assert [(w.start, w.count("requests"), w.count("errors")) for w in found] == [
        (earlier, 3, 1),
        (earlier + timedelta(minutes=1), 1, 0),
    ]
    assert (
        CloudWatchObservations(client, "prod").windows("magika", 3, ["requests"], earlier, NOW, 60)
        == ()
    )


def test_short_windows_are_told_apart(client: Any) -> None:
    at = NOW - timedelta(minutes=1)
    for second in (0, 1, 12):
        write(client, 3, "requests", at + timedelta(seconds=second), 1)
    seen = CloudWatchObservations(client, "dev")
    found = seen.windows("magika", 3, ["requests"], at, at + timedelta(seconds=20), 10)
    assert [window.count("requests") for window in found] == [2, 1]


def test_names_are_those_of_the_version(client: Any) -> None:
    for version, metric in ((3, "predicted_cat"), (3, "requests"), (4, "predicted_dog")):
        write(client, version, metric, NOW, 1)
    seen = CloudWatchObservations(client, "dev")
    assert seen.names("magika", 3, "predicted_") == ("predicted_cat",)
    assert seen.names("magika", 5, "predicted_") == ()
