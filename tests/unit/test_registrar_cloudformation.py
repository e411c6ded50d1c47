"""CloudFormation gets exactly one answer, whatever happens to the work."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest

from functions.registrar.cloudformation import (
    BACKOFF_S,
    MAX_REASON,
    PUT_TIMEOUT_S,
    PUT_WAITS,
    Event,
    Outcome,
    respond,
)

URL = "https://bucket.example/answer?Signature=secret"


def raw_event(kind: str = "Create", **more: Any) -> dict[str, Any]:
    return {
        "RequestType": kind,
        "ResponseURL": URL,
        "StackId": "arn:aws:cloudformation:eu-central-1:1:stack/modelport-t-m-v1/uuid",
        "RequestId": "r-1",
        "LogicalResourceId": "Registration",
        "ResourceProperties": {"Model": "m"},
        **more,
    }


class Sent:
    """Keeps the answers instead of sending them."""

    def __init__(self) -> None:
        self.answers: list[dict[str, Any]] = []
        self.first = threading.Event()

    def __call__(self, url: str, body: bytes) -> None:
        assert url == URL
        self.answers.append(json.loads(body))
        self.first.set()


def answer(
    work: Any, *, kind: str = "Create", remaining_s: float = 60.0, **more: Any
) -> dict[str, Any]:
    sent = Sent()
    respond(Event.parse(raw_event(kind, **more)), remaining_s, work, sent)
    (only,) = sent.answers
    return only


def test_success_carries_the_stable_id_and_the_attributes() -> None:
    got = answer(lambda event, budget: Outcome("m:1", data={"Verified": "3"}))
    assert got["Status"] == "SUCCESS"
    assert got["PhysicalResourceId"] == "m:1"
    assert got["Data"] == {"Verified": "3"}
    assert (got["StackId"], got["RequestId"]) == (raw_event()["StackId"], "r-1")
    assert got["LogicalResourceId"] == "Registration"


def test_an_outcome_with_a_reason_is_a_failure() -> None:
    got = answer(lambda event, budget: Outcome("m:1", reason="wrong answer"))
    assert (got["Status"], got["Reason"]) == ("FAILED", "wrong answer")


@pytest.mark.parametrize("error", [ValueError("broken"), ImportError("no module named boto3")])
def test_work_that_raises_is_answered(error: Exception) -> None:
    def work(event: Event, budget: float) -> Outcome:
        raise error

    got = answer(work)
    assert got["Status"] == "FAILED"
    assert str(error) in got["Reason"]


def test_a_failed_delete_keeps_the_id_it_was_asked_about() -> None:
    def work(event: Event, budget: float) -> Outcome:
        raise RuntimeError("no")

    assert answer(work, kind="Delete", PhysicalResourceId="m:1")["PhysicalResourceId"] == "m:1"


def test_work_that_outlasts_its_time_is_answered_once_by_the_watchdog() -> None:
    sent = Sent()

    def work(event: Event, budget: float) -> Outcome:
        assert sent.first.wait(30)
        return Outcome("m:1")

    respond(Event.parse(raw_event()), 0.02, work, sent)
    (only,) = sent.answers
    assert only["Status"] == "FAILED"
    assert "not finished within" in only["Reason"]


def test_the_work_gets_less_time_than_the_function_has() -> None:
    budgets = []

    def work(event: Event, budget: float) -> Outcome:
        budgets.append(budget)
        return Outcome("m:1")

    answer(work)
    assert budgets == [45.0]


def test_every_try_of_the_answer_fits_into_what_is_kept_back() -> None:
    budgets = []

    def work(event: Event, budget: float) -> Outcome:
        budgets.append(budget)
        return Outcome("m:1")

    remaining_s = 15 * 60.0
    answer(work, remaining_s=remaining_s)
    assert PUT_WAITS >= 4
    tries = len(BACKOFF_S) + 1
    assert tries * PUT_WAITS * PUT_TIMEOUT_S + sum(BACKOFF_S) < remaining_s - budgets[0]


def test_a_long_reason_fits_what_cloudformation_takes() -> None:
    got = answer(lambda event, budget: Outcome("m:1", reason="x" * 10_000))
    assert len(got["Reason"]) == MAX_REASON
    assert len(json.dumps(got)) < 4096
