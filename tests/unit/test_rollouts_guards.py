"""Guards and plans as people write them, and what is refused."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelport import telemetry
from modelport.errors import AliasNotFoundError, NotDeployedError
from modelport.rollouts.errors import InvalidGuardError, RolloutRefusedError
from modelport.rollouts.guards import Wish, parse_guard
from modelport.rollouts.operations import start
from modelport.rollouts.planning import Wanted, parse_duration, parse_steps, planned
from modelport.routes import Guard, Rollout, Routes, parse_weights
from modelport.routes.errors import InvalidRolloutError, RolloutInProgressError

from tests.support.rollout_world import START, Recorded, deployed, rollout


@pytest.mark.parametrize(
    ("text", "wish"),
    [
        ("errors", Wish("errors", "errors", 1.25, "x")),
        ("errors<1%", Wish("errors<1%", "errors", 0.01, "%")),
        ("errors <= 0.5 %", Wish("errors<=0.5%", "errors", 0.005, "%")),
        ("errors<=2x", Wish("errors<=2x", "errors", 2.0, "x")),
        ("p95<300ms", Wish("p95<300ms", "latency", 300.0, "ms", 95.0)),
        ("p99.9<1.5s", Wish("p99.9<1.5s", "latency", 1500.0, "ms", 99.9)),
        ("p50<=1.2x", Wish("p50<=1.2x", "latency", 1.2, "x", 50.0)),
        ("agreement>=99%", Wish("agreement>=99%", "agreement", 0.01, "%")),
        ("distribution", Wish("distribution", "distribution", 1.5, "x")),
        ("distribution<=3x", Wish("distribution<=3x", "distribution", 3.0, "x")),
    ],
)
def test_a_guard_is_read(text: str, wish: Wish) -> None:
    assert parse_guard(text) == wish


@pytest.mark.parametrize(
    "text",
    [
        *("", "error<1%", "errors>1%", "errors<1", "errors<0%", "errors<100%", "errors<=0.5x"),
        *("errors<1ms", "errors<nan%", "errors<1e3%", "p95", "p95<5%", "p0<1s", "p100<1s"),
        *("p95>300ms", "p95<0ms", "p95<=0.9x", "agreement", "agreement<99%", "agreement>=100%"),
        *("agreement>=2x", "distribution<5%", "crashes<3", "p95<" + "9" * 99 + "ms", "p95<300ms;"),
    ],
)
def test_what_is_no_guard_is_refused_and_says_what_is(text: str) -> None:
    with pytest.raises(InvalidGuardError, match=r"p95<=1\.2x.*agreement>=99%"):
        parse_guard(text)


@given(st.text("erosp95<=>%xmagntdibu.0123 ·", max_size=24))
def test_any_text_is_a_guard_or_refused(text: str) -> None:
    with suppress(InvalidGuardError):
        parse_guard(text)


def test_a_relative_latency_asks_each_version_against_its_own_limit() -> None:
    (guard, _) = rollout(["p95<=1.2x"]).guards
    assert guard == Guard("p95<=1.2x", "latency", 1.0, True, 240.0, 200.0)
    assert rollout(["p95<=1.2x", "p99<300ms"]).slow_limits_ms == (200.0, 240.0, 300.0)


def test_an_absolute_latency_tolerates_the_part_above_its_percentile() -> None:
    (guard, crashes) = rollout(["p99<300ms"], max_crashes=5).guards
    assert guard == Guard("p99<300ms", "latency", 0.01, slower_than_ms=300.0)
    assert crashes == Guard("crashes", "crashes", 5.0)


def test_categories_are_the_stable_versions_most_frequent() -> None:
    observations = Recorded()
    for number in range(30):
        at = START - timedelta(minutes=10)
        observations.write(1, at, **{telemetry.predicted(f"c{number:02}"): float(number)})
    (guard, _) = rollout(["distribution"], observations=observations).guards
    assert guard.categories == tuple(f"c{number:02}" for number in range(10, 30))


@pytest.mark.parametrize("guard", ["p95<=1.2x", "distribution"])
def test_what_nothing_is_known_of_cannot_be_relative_to_it(guard: str) -> None:
    observations = Recorded()
    observations.latencies.clear()
    with pytest.raises(RolloutRefusedError, match="which nobody called in the last hour"):
        rollout([guard], observations=observations)


@pytest.mark.parametrize(
    "steps", ["", "1", "1,5", "5,1,100", "0,100", "-1,100", "1,1,100", "1,101", "1,nan,100", "a"]
)
def test_steps_rise_to_a_hundred(steps: str) -> None:
    with pytest.raises(InvalidRolloutError, match="1,5,25,50,100"):
        rollout(steps=parse_steps(steps))


def test_steps_are_bounded() -> None:
    with pytest.raises(InvalidRolloutError):
        parse_steps(",".join(["1"] * 10_000))
    with pytest.raises(InvalidRolloutError):
        rollout(steps=(*(float(each) for each in range(1, 60)), 100.0))


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30), ("5m", 300), ("1.5h", 5400), ("2d", 172_800)]
)
def test_a_duration_is_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "5 minutes", "-5m", "5w", "1e9s", "∞s", "9" * 50 + "s"])
def test_what_is_no_duration_says_what_is(text: str) -> None:
    with pytest.raises(InvalidRolloutError, match="5m"):
        parse_duration(text)


@pytest.mark.parametrize(
    "wanted",
    [
        {"every_s": 9.0},
        {"every_s": 1e9},
        {"every_s": float("nan")},
        {"alpha": 0.0},
        {"alpha": 0.5},
        {"alpha": float("nan")},
        {"min_samples": 0},
        {"max_crashes": 0},
        {"guards": ["errors", "errors"]},
        {"guards": [f"p{percent}<1s" for percent in range(10, 40)]},
    ],
)
def test_numbers_that_make_no_rollout_are_refused(wanted: dict[str, object]) -> None:
    with pytest.raises(InvalidRolloutError, match="allowed"):
        rollout(**wanted)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("every_s", "window_s"),
    [(10, 1), (30, 5), (60, 10), (180, 30), (300, 60), (3600, 300), (86_400, 900)],
)
def test_windows_are_some_to_a_step(every_s: float, window_s: int) -> None:
    assert rollout(every_s=every_s).window_s == window_s


@pytest.mark.parametrize(
    ("routes", "error", "told"),
    [
        (deployed(1, 2), AliasNotFoundError, "no alias 'stable'"),
        (deployed(1, stable=1), NotDeployedError, "version 2"),
        (deployed(1, 2, stable=2), RolloutRefusedError, "means version 2 already"),
        (
            deployed(1, 2, 3).with_alias("stable", parse_weights("1:50,3:50")),
            RolloutRefusedError,
            "it is split",
        ),
    ],
)
def test_what_cannot_begin_is_refused_before_anything_is_read(
    routes: Routes, error: type[Exception], told: str
) -> None:
    observations = Recorded()
    observations.away = True
    with pytest.raises(error, match=told):
        planned(routes, Wanted("stable", 2, guards=("p95<=2x",)), observations, START)


def test_a_plan_survives_its_json() -> None:
    plan = rollout(["errors<1%", "p95<=1.2x"])
    assert Rollout.from_json(plan.to_json()) == plan


def test_the_alias_that_a_rollout_holds_takes_no_other() -> None:
    routes = start(deployed(1, 2, 3, stable=1), rollout())
    with pytest.raises(RolloutInProgressError) as refused:
        start(routes, rollout())
    assert "modelport rollout abort m --alias stable" in refused.value.hint
