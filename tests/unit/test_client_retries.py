"""When a call is tried again: the conversation with a clock that stands still, nothing sent."""

from __future__ import annotations

from dataclasses import replace
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelport.client.conversation import LostError, Reply, Send, Wait, retry_after
from modelport.client.errors import DeadlineError, ServerFailedError, TooBusyError
from modelport.client.retries import Budget, Retries, Terms, persistent

REQUEST = Send("POST", "http://api/x", {}, b"", 60.0)
GOOD = Reply(200, {}, b"{}")


class Clock:
    """Moves only as far as it is told."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def walk(
    outcomes: list[Any], clock: Clock, retries: Retries | None = None, **changes: Any
) -> tuple[Reply, list[float]]:
    """Play a call: each outcome is (seconds it takes, reply or error); the reply and the pauses."""
    chosen = replace(retries or Retries(), clock=clock, jitter=lambda: 1.0)
    terms = Terms("http://api", chosen, Budget(), changes.pop("sign", None))
    steps = persistent(replace(REQUEST, **changes), terms)
    waits: list[float] = []
    left = iter(outcomes)
    step = next(steps)
    try:
        while True:
            if isinstance(step, Wait):
                waits.append(step.seconds)
                clock.now += step.seconds
                step = next(steps)
                continue
            took, outcome = next(left)
            clock.now += took
            step = steps.throw(outcome) if isinstance(outcome, Exception) else steps.send(outcome)
    except StopIteration as end:
        return end.value, waits


def busy(**headers: str) -> Reply:
    return Reply(503, {name.replace("_", "-"): value for name, value in headers.items()}, b"")


def test_pauses_grow_and_end() -> None:
    many = [(0, busy())] * 9
    reply, waits = walk([*many, (0, GOOD)], Clock(), Retries(attempts=10, longest_pause_s=1.0))
    assert reply.attempts == 10
    assert waits == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0, 1.0, 1.0]


def test_what_the_server_asks_for_is_waited_for_and_a_bit_more() -> None:
    _, waits = walk([(0, busy(retry_after="7")), (0, GOOD)], Clock())
    assert waits == [7.1]


def test_all_tries_share_the_deadline() -> None:
    with pytest.raises(TooBusyError):
        walk([(30, busy()), (29.9, busy())], Clock())


def test_a_late_answer_is_the_end() -> None:
    with pytest.raises(DeadlineError, match=r"2 attempts\); the last one: time ran out"):
        walk([(1, busy()), (59, LostError("time ran out", late=True))], Clock())


@pytest.mark.parametrize(("took", "again"), [(27, True), (40, False)])
def test_a_gateway_timeout_is_tried_again_if_there_is_as_much_time(
    took: float, again: bool
) -> None:
    outcomes = [(took, Reply(504, {}, b"")), (1, GOOD)]
    if again:
        assert walk(outcomes, Clock())[0].attempts == 2
    else:
        with pytest.raises(ServerFailedError):
            walk(outcomes, Clock())


def test_every_try_is_signed_anew() -> None:
    signed: list[str] = []

    def sign(method: str, url: str, headers: Any, body: bytes) -> dict[str, str]:
        signed.append(url)
        return {"authorization": str(len(signed))}

    walk([(0, busy()), (0, LostError("cut")), (0, GOOD)], Clock(), sign=sign)
    assert len(signed) == 3


def test_a_budget_is_earned_back_by_calls_that_go_through() -> None:
    budget = Budget()
    assert [budget.spend() for _ in range(11)] == [True] * 10 + [False]
    for _ in range(11):
        budget.earn()
    assert [budget.spend(), budget.spend()] == [True, False]


@given(st.text(max_size=40))
def test_any_retry_after_is_read_or_left(text: str) -> None:
    found = retry_after(text)
    assert found is None or found >= 0


def test_a_retry_after_may_be_a_date() -> None:
    from datetime import UTC, datetime, timedelta

    later = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    found = retry_after(later)
    assert found is not None
    assert 90 < found <= 100
    assert retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0


@pytest.mark.parametrize("year", ["99999999999", "99999999999999999999", "9999999"])
def test_a_date_beyond_all_calendars_is_none(year: str) -> None:
    assert retry_after(f"Wed, 21 Oct {year} 07:28:00 GMT") is None
