"""What is asked of CloudWatch for a rollout's counts, and what becomes of its answers."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from modelport.rollouts.cloudwatch import MOST_QUERIES, CloudWatchObservations
from modelport.rollouts.errors import ObservationsUnavailableError
from modelport.rollouts.observations import Window

NOW = datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC)
START = NOW.replace(second=0) - timedelta(minutes=10)


def seconds(count: float) -> timedelta:
    return timedelta(seconds=count)


class Client:
    """CloudWatch with pages that were written before; keeps what it was asked."""

    def __init__(self, answer: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        self.asked: list[dict[str, Any]] = []
        self._answer = answer

    def get_metric_data(self, **parameters: Any) -> Any:
        self.asked.append(parameters)
        return self._answer(parameters)

    list_metrics = get_metric_data


def observations(
    answer: Callable[[dict[str, Any]], dict[str, Any]],
) -> tuple[CloudWatchObservations, Client]:
    client = Client(answer)
    return CloudWatchObservations(client, "dev", lambda: NOW), client


def results(
    *series: tuple[list[datetime], list[float]], status: str = "Complete"
) -> dict[str, Any]:
    return {
        "MetricDataResults": [
            {"Id": f"q{n}", "Timestamps": times, "Values": values, "StatusCode": status}
            for n, (times, values) in enumerate(series)
        ]
    }


def refused(code: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def answer(parameters: dict[str, Any]) -> dict[str, Any]:
        raise ClientError({"Error": {"Code": code, "Message": "arn:secret"}}, "GetMetricData")

    return answer


# --- windows --------------------------------------------------------------------------------------


def test_windows_hold_the_sums_of_one_version_in_order() -> None:
    later = START + seconds(60)
    requests, errors = ([later, START], [7.0, 5.0]), ([later], [1.0])
    seen, client = observations(lambda _: results(requests, errors))
    found = seen.windows("magika", 3, ["requests", "errors"], START, later + seconds(60), 60)
    assert found == (
        Window(START, {"requests": 5.0}, 60),
        Window(later, {"requests": 7.0, "errors": 1.0}, 60),
    )
    assert (found[0].count("errors"), found[1].count("requests")) == (0, 7)
    (asked,) = client.asked
    (first, second) = asked["MetricDataQueries"]
    assert first["MetricStat"] == {
        "Metric": {
            "Namespace": "modelport",
            "MetricName": "requests",
            "Dimensions": [
                {"Name": "environment", "Value": "dev"},
                {"Name": "model", "Value": "magika"},
                {"Name": "version", "Value": "3"},
            ],
        },
        "Period": 60,
        "Stat": "Sum",
    }
    assert second["MetricStat"]["Metric"]["MetricName"] == "errors"


def test_only_whole_windows_are_asked_for_and_given() -> None:
    odd = [START - seconds(10), START, START + seconds(10), START + seconds(20)]
    seen, client = observations(lambda _: results((odd, [1.0, 2.0, 3.0, 4.0])))
    since, until = START - seconds(3), START + seconds(25)
    found = seen.windows("magika", 3, ["requests"], since, until, 10)
    assert [window.count("requests") for window in found] == [2, 3]
    (asked,) = client.asked
    assert (asked["StartTime"], asked["EndTime"]) == (START, START + seconds(20))


@pytest.mark.parametrize("metrics", [[], ["requests"]])
def test_where_no_window_fits_nothing_is_asked(metrics: list[str]) -> None:
    seen, client = observations(lambda _: results())
    until = START if metrics else START + seconds(600)
    assert seen.windows("magika", 3, metrics, START, until, 60) == ()
    assert client.asked == []


@pytest.mark.parametrize(
    ("back", "asked_s", "period"),
    [
        (timedelta(hours=2, minutes=58), 1, 1),
        (timedelta(hours=3), 1, 60),
        (timedelta(hours=3), 300, 300),
        (timedelta(days=15), 60, 300),
        (timedelta(days=63), 1, 3600),
    ],
)
def test_long_ago_only_coarser_windows_are_kept(back: timedelta, asked_s: int, period: int) -> None:
    at = (NOW - timedelta(hours=2)).replace(minute=0, second=0)
    seen, client = observations(lambda _: results(([at], [1.0])))
    (found,) = seen.windows("magika", 3, ["requests"], NOW - back, NOW, asked_s)
    assert (found.length_s, found.end) == (period, at + seconds(period))
    assert client.asked[0]["MetricDataQueries"][0]["MetricStat"]["Period"] == period


def test_more_metrics_than_one_call_takes_are_several_calls() -> None:
    def answer(parameters: dict[str, Any]) -> dict[str, Any]:
        return results(*[([START], [1.0])] * len(parameters["MetricDataQueries"]))

    seen, client = observations(answer)
    metrics = [f"predicted_{n}" for n in range(2 * MOST_QUERIES + 1)]
    (window,) = seen.windows("magika", 3, metrics, START, START + seconds(60), 60)
    assert dict(window.sums) == dict.fromkeys(metrics, 1.0)
    sizes = [len(asked["MetricDataQueries"]) for asked in client.asked]
    assert sizes == [MOST_QUERIES, MOST_QUERIES, 1]


def test_pages_are_put_together() -> None:
    def answer(parameters: dict[str, Any]) -> dict[str, Any]:
        if "NextToken" not in parameters:
            return {**results(([START], [1.0]), status="PartialData"), "NextToken": "more"}
        assert parameters["NextToken"] == "more"
        return results(([START + seconds(60)], [2.0]))

    seen, _ = observations(answer)
    found = seen.windows("magika", 3, ["requests"], START, START + seconds(120), 60)
    assert [window.count("requests") for window in found] == [1, 2]


def test_a_token_that_leads_nowhere_ends() -> None:
    seen, client = observations(lambda _: {**results(([START], [1.0])), "NextToken": "again"})
    seen.windows("magika", 3, ["requests"], START, START + seconds(60), 60)
    assert len(client.asked) == 2


def test_times_without_a_zone_are_utc() -> None:
    naive = START.replace(tzinfo=None)
    seen, _ = observations(lambda _: results(([naive], [1.0])))
    (window,) = seen.windows("magika", 3, ["requests"], START, START + seconds(60), 60)
    assert window.start == START


# --- percentiles ----------------------------------------------------------------------------------


def test_percentiles_are_of_the_whole_time() -> None:
    counts, median, high = ([START], [10.0]), ([START], [20.0]), ([START], [90.0])
    seen, client = observations(lambda _: results(counts, median, high))
    found = seen.percentiles("magika", 3, "backend_ms", (50, 99.9), START, START + seconds(240))
    assert found == {50: 20.0, 99.9: 90.0}
    stats = [query["MetricStat"]["Stat"] for query in client.asked[0]["MetricDataQueries"]]
    assert stats == ["SampleCount", "p50", "p99.9"]
    assert client.asked[0]["MetricDataQueries"][0]["MetricStat"]["Period"] == 300


def test_where_cloudwatch_cuts_the_time_in_two_each_part_weighs_what_it_counts() -> None:
    times = [START, START + seconds(300)]
    seen, _ = observations(lambda _: results((times, [30.0, 10.0]), (times, [100.0, 200.0])))
    found = seen.percentiles("magika", 3, "backend_ms", (95,), START, START + seconds(240))
    assert found == {95: 125.0}


def test_without_calls_there_are_no_percentiles() -> None:
    seen, client = observations(lambda _: results(([], []), ([], [])))
    assert seen.percentiles("magika", 3, "backend_ms", (95,), START, NOW) == {}
    assert seen.percentiles("magika", 3, "backend_ms", (), START, NOW) == {}
    assert seen.percentiles("magika", 3, "backend_ms", (95,), NOW, START) == {}
    assert len(client.asked) == 1


# --- names ----------------------------------------------------------------------------------------


def test_names_are_of_one_version_and_page_on() -> None:
    def answer(parameters: dict[str, Any]) -> dict[str, Any]:
        names = ["requests", "predicted_dog"] if "NextToken" in parameters else ["predicted_cat"]
        page: dict[str, Any] = {"Metrics": [{"MetricName": name} for name in names]}
        return page if "NextToken" in parameters else {**page, "NextToken": "more"}

    seen, client = observations(answer)
    assert seen.names("magika", 3, "predicted_") == ("predicted_cat", "predicted_dog")
    assert client.asked[0]["Namespace"] == "modelport"
    assert {"Name": "version", "Value": "3"} in client.asked[0]["Dimensions"]


# --- faults ---------------------------------------------------------------------------------------


def unreachable(parameters: dict[str, Any]) -> dict[str, Any]:
    raise EndpointConnectionError(endpoint_url="https://monitoring")


def broken(parameters: dict[str, Any]) -> dict[str, Any]:
    raise ConnectionResetError


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (refused("Throttling"), "CloudWatch answers Throttling"),
        (refused("AccessDenied"), "CloudWatch answers AccessDenied"),
        (unreachable, "EndpointConnectionError"),
        (broken, "ConnectionResetError"),
        (lambda _: results(([], []), status="InternalError"), "CloudWatch answers InternalError"),
        (lambda _: results(([], []), status="Forbidden"), "CloudWatch answers Forbidden"),
    ],
)
def test_what_cannot_be_known_is_said_so_and_repeats_no_names(
    answer: Callable[[dict[str, Any]], dict[str, Any]], said: str
) -> None:
    seen, _ = observations(answer)
    with pytest.raises(ObservationsUnavailableError, match=said) as caught:
        seen.windows("magika", 3, ["requests"], START, NOW, 60)
    assert "secret" not in str(caught.value)
    with pytest.raises(ObservationsUnavailableError):
        seen.percentiles("magika", 3, "backend_ms", (95,), START, NOW)


def test_names_that_cannot_be_listed_are_unknown_not_none() -> None:
    seen, _ = observations(refused("Throttling"))
    with pytest.raises(ObservationsUnavailableError):
        seen.names("magika", 3, "predicted_")
