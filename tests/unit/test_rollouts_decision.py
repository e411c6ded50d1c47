"""What is decided on what was seen: going back, going on, and everything that holds."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from modelport import telemetry
from modelport.rollouts.decision import ADVANCE, HOLD, ROLL_BACK, SUCCEED, Decision, decide
from modelport.rollouts.errors import ObservationsUnavailableError
from modelport.rollouts.observations import Window
from modelport.rollouts.seen import read
from modelport.routes import Rollout

from tests.support.rollout_world import START, Recorded, rollout

MINUTE = timedelta(minutes=1)
#: Seven windows are over and settled, six of them within the first step.
LATER = START + 8 * MINUTE


def watched(candidate: dict[str, float], stable: dict[str, float], *, minutes: int = 8) -> Recorded:
    """Both versions do the same every minute."""
    observations = Recorded()
    for minute in range(minutes):
        at = START + minute * MINUTE + timedelta(seconds=10)
        observations.write(2, at, **candidate)
        observations.write(1, at, **stable)
    return observations


def calls(requests: float, **counts: float) -> dict[str, float]:
    return {telemetry.REQUESTS: requests, **counts}


def decided(observations: Recorded, one: Rollout | None = None, now: datetime = LATER) -> Decision:
    return decide(observations, "m", one or rollout(), now)


def at_last_step(one: Rollout) -> Rollout:
    return one.with_(step=len(one.steps) - 1)


def test_a_good_candidate_takes_the_next_step() -> None:
    decision = decided(watched(calls(50, errors=0), calls(950, errors=9)))
    assert (decision.action, decision.reason) == (
        ADVANCE,
        "step 1 % has passed: on to 5 %",
    )
    (errors, crashes) = decision.evidence
    assert errors["candidate"] == {"bad": 0, "of": 350}
    assert errors["stable"] == {"bad": 63, "of": 6650}
    assert errors["needed"] == 100
    assert not errors["alarmed"]
    assert crashes["candidate"]["bad"] == 0


def test_a_candidate_that_fails_goes_back_and_the_reason_has_the_figures() -> None:
    decision = decided(watched(calls(50, errors=10), calls(950, errors=9)))
    assert decision.action == ROLL_BACK
    assert "guard errors: version 2 70 of 350 (20 %)" in decision.reason
    assert "63 of 6650 (0.947 %) of version 1" in decision.reason
    assert decision.evidence[0]["alarmed"]


def test_going_back_waits_neither_for_time_nor_for_samples_nor_for_a_pause() -> None:
    observations = watched(calls(9, errors=9), calls(950, errors=9), minutes=3)
    for state in ("running", "paused"):
        one = rollout(min_samples=10_000).with_(state=state)
        assert decided(observations, one, START + 4 * MINUTE).action == ROLL_BACK


def test_what_both_versions_suffer_from_is_nobodys_fault() -> None:
    decision = decided(watched(calls(50, errors=25), calls(950, errors=475)))
    assert decision.action == ADVANCE


def test_an_absolute_limit_does_not_care_about_the_other() -> None:
    observations = watched(calls(50, errors=25), calls(950, errors=475))
    assert decided(observations, rollout(["errors<1%"])).action == ROLL_BACK


def test_slow_is_what_the_percentile_says() -> None:
    slow = {telemetry.slower_than(300): 20.0}
    fast = {telemetry.slower_than(300): 1.0}
    one = rollout(["p95<300ms"])
    assert decided(watched(calls(50, **slow), calls(950)), one).action == ROLL_BACK
    assert decided(watched(calls(50, **fast), calls(950)), one).action == ADVANCE


def test_a_factor_holds_each_version_against_its_own_limit() -> None:
    one = rollout(["p95<=1.2x"])
    ours, theirs = telemetry.slower_than(240), telemetry.slower_than(200)
    # A fifth slower throughout: as many of its calls above 240 ms as of the other's above 200.
    fifth = watched(calls(500, **{ours: 25, theirs: 60}), calls(500, **{theirs: 25, ours: 5}))
    assert decided(fifth, one).action == ADVANCE
    twice = watched(calls(500, **{ours: 80}), calls(500, **{theirs: 25, ours: 5}))
    assert decided(twice, one).action == ROLL_BACK


def test_agreement_counts_comparisons() -> None:
    one = rollout(["agreement>=99%"])
    agreed = calls(50, compared=40, disagreed=0)
    assert decided(watched(agreed, calls(950)), one).action == ADVANCE
    assert decided(watched(agreed | {"disagreed": 8}, calls(950)), one).action == ROLL_BACK
    few = decided(watched(agreed | {"compared": 2}, calls(950)), one)
    assert (few.action, few.reason) == (HOLD, "agreement>=99%: 14 of 100 samples in this step")


def predicted(cat: float, dog: float, **others: float) -> dict[str, float]:
    counts = {telemetry.predicted(name): n for name, n in dict(cat=cat, dog=dog, **others).items()}
    return calls(sum(counts.values()), **counts, **{telemetry.PREDICTIONS: sum(counts.values())})


def distribution() -> Rollout:
    observations = Recorded()
    observations.write(1, START - 10 * MINUTE, **predicted(70, 30))
    return rollout(["distribution"], observations=observations)


def test_predictions_that_shift_go_back_in_either_direction() -> None:
    stable = predicted(700, 300)
    assert decided(watched(predicted(68, 32), stable), distribution()).action == ADVANCE
    shifted = decided(watched(predicted(30, 70), stable), distribution())
    assert shifted.action == ROLL_BACK
    assert decided(watched(predicted(95, 5), stable), distribution()).action == ROLL_BACK


def test_a_category_that_was_not_known_at_the_start_is_seen() -> None:
    decision = decided(watched(predicted(50, 22, bird=28), predicted(700, 300)), distribution())
    assert decision.action == ROLL_BACK
    assert decision.evidence[0]["category"] == "(rest)"
    assert "guard distribution of (rest)" in decision.reason


@pytest.mark.parametrize("name", [telemetry.CRASHES, telemetry.SHADOW_CRASHES])
def test_crashes_end_it_at_once_even_unsettled(name: str) -> None:
    observations = watched(calls(1), calls(950), minutes=1)
    observations.write(2, START + timedelta(seconds=30), **{name: 3.0})
    decision = decided(observations, now=START + MINUTE)
    assert (decision.action, decision.reason) == (ROLL_BACK, "version 2 died 3 times")
    observations = watched(calls(50, **{name: 0}), calls(950))
    observations.write(2, START, **{name: 2.0})
    assert decided(observations).action == ADVANCE


@pytest.mark.parametrize(
    ("change", "now", "told"),
    [
        ({}, START + 4 * MINUTE, "the step has 60 s to go"),
        ({"state": "paused"}, LATER, "paused"),
        (
            {"since": (LATER + MINUTE).isoformat()},
            LATER,
            "the step begins later than it is now: a clock is wrong; errors: 0 of 100",
        ),
        ({"min_samples": 400}, LATER, "errors: 350 of 400 samples in this step"),
        ({"since": (START + 2 * MINUTE).isoformat()}, LATER, ""),
        (
            {},
            START + 20 * MINUTE,
            "no metrics of version 2 since 12:08:00 UTC; no metrics of version 1 since 12:08:00",
        ),
    ],
)
def test_what_holds_is_named(change: dict[str, Any], now: datetime, told: str) -> None:
    observations = watched(calls(50), calls(950))
    decision = decided(observations, rollout().with_(**change), now)
    assert decision.reason.startswith(told)
    assert decision.action == (HOLD if told else ADVANCE)


def test_without_any_metrics_it_holds() -> None:
    decision = decided(Recorded())
    assert decision.action == HOLD
    assert decision.reason.startswith(
        "no metrics of version 2 since the start; no metrics of version 1 since the start"
    )


@pytest.mark.parametrize("gone", [1, 2])
def test_without_metrics_of_one_version_it_holds(gone: int) -> None:
    none: dict[str, float] = {}
    observations = watched(none if gone == 2 else calls(50), none if gone == 1 else calls(950))
    decision = decided(observations)
    assert decision.action == HOLD
    assert f"no metrics of version {gone}" in decision.reason


def test_metrics_that_cannot_be_read_are_said() -> None:
    observations = watched(calls(50), calls(950))
    observations.away = True
    with pytest.raises(ObservationsUnavailableError):
        decided(observations)


def test_the_last_step_succeeds_without_anything_to_compare_with() -> None:
    observations = watched(calls(500), {})
    one = at_last_step(rollout(["errors", "agreement>=99%"]))
    decision = decided(observations, one)
    assert (decision.action, decision.reason) == (SUCCEED, "step 100 % has passed, the last one")


def test_a_candidate_that_fails_under_all_of_the_traffic_goes_back() -> None:
    """There is nothing beside it any more, so failures are held against a rate."""
    broken = decided(watched(calls(500, errors=400), {}), at_last_step(rollout()))
    assert broken.action == ROLL_BACK
    assert "guard errors: version 2" in broken.reason
    only = rollout(steps=(100.0,))
    assert decided(watched(calls(500, errors=400), {}), only).action == ROLL_BACK
    assert decided(watched(calls(500, errors=20), {}), only).action == SUCCEED


def test_alone_it_may_fail_as_often_as_the_other_did_before() -> None:
    alone = START + 4 * MINUTE
    one = at_last_step(rollout()).with_(since=alone.isoformat())
    one = one.with_(moved=(*one.moved, alone.isoformat()))
    before, after = watched(calls(50, errors=10), calls(950, errors=190), minutes=4), Recorded()
    before.write(2, alone, **calls(500, errors=115))  # 23 %, of 20 % with odds of 1.25
    assert decided(before, one).action != ROLL_BACK
    after.write(2, alone, **calls(500, errors=115))
    assert decided(after, one).action == ROLL_BACK


def test_callers_that_a_candidate_has_no_room_for_were_failed() -> None:
    full = calls(50, throttles=20)
    assert decided(watched(full, calls(950, errors=9))).action == ROLL_BACK
    assert decided(watched(full, calls(950, throttles=380))).action == ADVANCE


def test_a_call_without_room_says_nothing_of_how_fast_a_version_is() -> None:
    one = rollout(["p95<300ms"])
    decision = decided(watched(calls(50, throttles=50), calls(950)), one)
    assert (decision.action, decision.reason) == (HOLD, "p95<300ms: 0 of 100 samples in this step")


def test_a_relative_guard_wants_as_many_samples_of_the_other_version() -> None:
    observations = watched(calls(950), calls(5))
    decision = decided(observations)
    told = "errors: 35 of 100 samples of version 1 in this step"
    assert (decision.action, decision.reason) == (HOLD, told)
    assert decided(observations, rollout(["errors<1%"])).action == ADVANCE


def test_longer_windows_than_were_asked_for_are_judged_by_their_own_length() -> None:
    """Short ones are soon forgotten, and a long one that has a move in it compares nothing."""
    one = rollout(every_s=100.0)
    assert one.window_s == 10
    moved = one.with_(moved=(*one.moved, (START + timedelta(minutes=3, seconds=20)).isoformat()))
    observations = watched(calls(50), calls(950))
    assert decided(observations, moved).evidence[0]["candidate"]["of"] == 8 * 50
    observations.finest_s = 60
    # Minutes 0, 1, 2, 4, 5 and 6 of 0 to 7.
    assert decided(observations, moved).evidence[0]["candidate"]["of"] == 6 * 50
    now = LATER + 4 * MINUTE + timedelta(seconds=50)
    assert decided(observations, one, now).action == ADVANCE  # last called 290 s ago
    assert "since 12:08:00 UTC" in decided(observations, one, now + MINUTE).reason


@pytest.mark.parametrize(
    ("every_s", "hours", "length_s"),
    [
        *((300, 12, 60), (300, 12.1, 300), (300, 60, 300), (300, 61, 900), (300, 24 * 30, 3600)),
        *((10, 0.2, 1), (10, 0.3, 60), (3600, 12.1, 300), (86_400, 24 * 7, 900)),
    ],
)
def test_a_rollout_that_lasts_is_read_in_longer_windows(
    every_s: float, hours: float, length_s: int
) -> None:
    observations = Recorded()
    for version in (1, 2):
        observations.write(version, START, requests=5, errors=1)
    seen = read(observations, "m", rollout(every_s=every_s), START + timedelta(hours=hours))
    assert (seen.length_s, len(seen.candidate), len(seen.stable)) == (length_s, 1, 1)


def test_one_that_was_held_for_a_week_goes_on_and_goes_back_like_any_other() -> None:
    now = START + timedelta(days=7)
    since = (now - timedelta(hours=1)).isoformat()
    observations = Recorded()
    for minute in range(60):
        at = now - minute * MINUTE
        observations.write(1, at, requests=950, errors=9)
        observations.write(2, at, requests=50)
    one = rollout().with_(since=since)
    assert decided(observations, one, now).action == ADVANCE
    observations.write(2, now - 30 * MINUTE, errors=300)
    assert decided(observations, one, now).action == ROLL_BACK


class Aging(Recorded):
    """Short windows are forgotten between two questions."""

    def windows(self, *asked: Any) -> tuple[Window, ...]:
        """See `Observations`."""
        found = super().windows(*asked)
        self.finest_s = 60
        return found


def test_windows_of_two_lengths_are_not_held_against_each_other() -> None:
    observations = Aging()
    for version in (1, 2):
        observations.write(version, START, requests=5)
    with pytest.raises(ObservationsUnavailableError, match="not of one length"):
        decided(observations, rollout(every_s=100.0))


def test_deaths_do_not_wait_for_the_end_of_a_long_window() -> None:
    one = rollout(every_s=86_400.0)
    assert one.window_s == 900
    observations = watched(calls(1), calls(950), minutes=1)
    observations.write(2, START + timedelta(seconds=30), crashes=3)
    assert decided(observations, one, START + 2 * MINUTE).action == ROLL_BACK


def test_the_last_step_still_wants_calls_of_the_candidate() -> None:
    decision = decided(watched({}, calls(500)), at_last_step(rollout()))
    assert decision.action == HOLD
    assert "no metrics of version 2" in decision.reason


def test_windows_do_not_count_before_the_start_while_weights_move_or_unsettled() -> None:
    began = START + timedelta(seconds=30)
    one = rollout(at=began)
    moved = one.with_(moved=(*one.moved, (START + timedelta(minutes=3, seconds=20)).isoformat()))
    observations = watched(calls(50), calls(950))
    # Minutes 1, 2, 4, 5 and 6 of 0 to 7: not the one it began in, one with a move, nor the newest.
    assert decided(observations, moved).evidence[0]["candidate"]["of"] == 5 * 50


def test_counts_that_contradict_each_other_are_no_crash() -> None:
    odd = calls(5, errors=50, compared=1, disagreed=9)
    one = rollout(["errors", "agreement>=99%"])
    decision = decided(watched(odd, calls(-3, errors=9)), one)
    assert decision.evidence[0]["candidate"] == {"bad": 35, "of": 35}


def test_a_step_lasts_from_the_first_call_on_if_who_started_it_had_a_slow_clock() -> None:
    one = rollout(at=START - timedelta(hours=1))
    observations = watched(calls(50), calls(950))
    early = decided(observations, one, START + 3 * MINUTE)
    assert (early.action, early.reason.partition(";")[0]) == (HOLD, "the step has 60 s to go")
    assert decided(observations, one).action == ADVANCE
