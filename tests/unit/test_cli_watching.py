"""`status --watch`: what is read of versions, how it is drawn, and how it goes on and ends."""

from __future__ import annotations

import io
import json
import os
import pty
import select
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelport.cli.activity import (
    MOST_MODELS,
    WINDOW_S,
    WINDOWS,
    ModelActivity,
    Snapshot,
    VersionActivity,
    look,
)
from modelport.cli.activity_view import (
    BLOCKS,
    PLAIN_BLOCKS,
    bar,
    document,
    render,
    sparkline,
    split,
)
from modelport.cli.console import Output
from modelport.cli.failures import InvalidUsageError
from modelport.cli.session import Session
from modelport.cli.watching import watch
from modelport.errors import ModelNotFoundError, RegistryUnavailableError
from modelport.registry import Snapshot as RoutesSnapshot
from modelport.routes import Routes
from rich.console import Console

from tests.support.cli_world import Terminal
from tests.support.rollout_world import START, Recorded, deployed, rollout

NOW = START + timedelta(seconds=7)


class Documents:
    """Routes by model, and nothing else of a registry."""

    def __init__(self, *documents: Routes) -> None:
        self.documents = {routes.model: routes for routes in documents}
        self.store: Mapping[str, bytes] = {}

    def routes(self, model: str, *, etag: str | None = None) -> RoutesSnapshot:
        if model not in self.documents:
            raise ModelNotFoundError(model)
        return RoutesSnapshot(self.documents[model], '"1"')


def seen(*documents: Routes, recorded: Recorded | None = None, at: datetime = NOW) -> Snapshot:
    registry: Any = Documents(*documents)
    names = [routes.model for routes in documents]
    return look(registry, recorded or Recorded(), "dev", names, at)


def busy() -> Recorded:
    """Version 1 with 12 calls in the last minute, of which 3 failed; version 2 without any."""
    recorded = Recorded()
    for seconds in (5, 15, 25):
        at = START - timedelta(seconds=seconds)
        recorded.write(
            1, at, requests=4, errors=1, router_ms=2, backend_ms=40, model_ms=30, cold_starts=1
        )
    return recorded


def drawn(snapshot: Snapshot, width: int = 160, plain: bool = False, **console: Any) -> str:
    out = io.StringIO()
    Console(file=out, width=width, **console).print(render(snapshot, width, plain))
    return out.getvalue()


# --- what is read ---------------------------------------------------------------------------------


def test_a_version_shows_the_rate_of_the_last_minute_and_all_windows() -> None:
    (model,) = seen(deployed(1, 2, stable=1), recorded=busy()).models
    first, second = model.versions
    assert (first.version, first.target, first.shares) == (1, "lambda", {"stable": 100.0})
    assert first.requests_per_s == 12 / 60
    assert first.error_rate == 0.25
    assert first.series("requests") == [0.0] * (WINDOWS - 3) + [4.0] * 3
    assert first.percentiles_ms == {50: 100.0, 95: 200.0, 99: 400.0}
    assert (first.mean_ms("backend_ms"), first.mean_ms("model_ms")) == (10.0, 7.5)
    assert (second.requests_per_s, second.error_rate, second.mean_ms("backend_ms")) == (
        0,
        None,
        None,
    )


def test_a_version_that_nobody_called_is_not_asked_for_percentiles() -> None:
    recorded = Recorded()
    (model,) = seen(deployed(1), recorded=recorded).models
    assert recorded.latencies[1]
    assert model.versions[0].percentiles_ms == {}


def test_a_rollout_is_shown_with_what_would_be_decided_now() -> None:
    recorded = Recorded()
    routes = deployed(1, 2, stable=1)
    routes = routes.with_rollout(rollout(observations=recorded))
    (model,) = seen(routes, recorded=recorded, at=START + timedelta(seconds=90)).models
    (shown,) = model.rollouts
    assert (shown["candidate"], shown["decision"]) == (2, "hold")
    assert "210 s to go" in shown["reason"]


def test_metrics_that_cannot_be_read_leave_the_rest_and_are_said() -> None:
    recorded = Recorded()
    routes = deployed(1, 2, stable=1).with_rollout(rollout())
    recorded.away = True
    snapshot = seen(routes, recorded=recorded)
    assert "the test says so" in snapshot.problem
    (model,) = snapshot.models
    assert [version.version for version in model.versions] == [1, 2]
    assert model.rollouts[0]["decision"] == "hold"
    assert "metrics cannot be read" in drawn(snapshot)


def test_so_many_models_are_looked_at_and_no_more() -> None:
    documents = [replace(deployed(1), model=f"m{n}") for n in range(MOST_MODELS + 1)]
    snapshot = seen(*documents)
    assert (len(snapshot.models), snapshot.more) == (MOST_MODELS, True)
    assert "there are more models" in drawn(snapshot)


# --- how it is drawn ------------------------------------------------------------------------------


def test_people_see_rates_latency_and_where_the_time_goes() -> None:
    text = drawn(seen(deployed(1, 2, stable=1), recorded=busy()))
    assert "environment dev  12:00:07 UTC" in text
    head, first, second = (line.split() for line in text.splitlines()[3:6])
    assert head[:4] == ["VERSION", "TRAFFIC", "REQ/S", "LAST"]
    assert first[:4] == ["1", "stable", "100%", "0.2"]
    assert first[4] == "▁" * (WINDOWS - 3) + "███"
    assert first[5:] == ["25%", "100", "200", "400", "3", "0.5+2.5+7.5", "-"]
    assert second == ["2", "-", "0.0", "▁" * WINDOWS, *"-" * 4, "0", "-", "-"]


def test_a_narrow_terminal_gets_what_fits_on_its_lines() -> None:
    text = drawn(seen(deployed(1, stable=1), recorded=busy()), width=80)
    assert "LAST 2 MIN" in text
    assert "ROUTER" not in text
    assert all(len(line) <= 80 for line in text.splitlines())
    assert len([line for line in text.splitlines() if "stable" in line]) == 1


def test_trouble_and_shadows_are_told() -> None:
    recorded = busy()
    at = START - timedelta(seconds=5)
    recorded.write(1, at, crashes=2, throttles=1, fallbacks=3)
    recorded.write(2, at, compared=50, disagreed=2, shadow_requests=60, shadows_lost=4)
    text = drawn(seen(deployed(1, 2, stable=1), recorded=recorded))
    assert "! m:1 2 crashed, 1 throttled, 3 answered by the fallback" in text
    assert "! m:2 4 copies lost" in text
    assert "2 of 50 disagree" in text


def test_a_rollout_shows_its_step_its_time_and_each_guards_evidence() -> None:
    recorded = Recorded()
    running = rollout(("errors", "p95<300ms"), observations=recorded)
    routes = deployed(1, 2, stable=1).with_rollout(running)
    text = drawn(seen(routes, recorded=recorded, at=START + timedelta(seconds=90)))
    assert "rollout of stable: 1 → 2  [1%] → 5% → 25% → 50% → 100%  3m30s left of the step" in text
    for guard in ("errors", "p95<300ms", "crashes"):
        assert guard in text
    assert "░" * 10 in text
    assert "hold: the step has 210 s to go" in text


def test_a_paused_rollout_and_one_whose_time_is_over_say_so() -> None:
    recorded = Recorded()
    running = rollout(observations=recorded)
    for state, said in (("paused", "paused"), ("running", "the step's time is over")):
        routes = deployed(1, 2, stable=1).with_rollout(replace(running, state=state))
        assert said in drawn(seen(routes, recorded=recorded, at=START + timedelta(hours=1)))


def test_a_terminal_without_such_characters_gets_ascii() -> None:
    recorded = busy()
    routes = deployed(1, 2, stable=1).with_rollout(rollout(observations=recorded))
    assert drawn(seen(routes, recorded=recorded), plain=True).isascii()


def test_without_colour_there_are_no_escapes_and_with_it_there_are() -> None:
    snapshot = seen(deployed(1, stable=1), recorded=busy())
    terminal: dict[str, Any] = {"force_terminal": True, "color_system": "standard"}
    assert "\x1b[" in drawn(snapshot, **terminal)
    assert "\x1b[3" not in drawn(snapshot, no_color=True, **terminal)


def test_machines_get_the_same_numbers() -> None:
    found = json.loads(json.dumps(document(seen(deployed(1, stable=1), recorded=busy()))))
    assert (found["environment"], found["window_s"], found["problem"]) == ("dev", WINDOW_S, None)
    (version,) = found["models"][0]["versions"]
    assert version["requests_per_s"] == 0.2
    assert version["error_rate"] == 0.25
    assert version["percentiles_ms"] == {"50": 100.0, "95": 200.0, "99": 400.0}
    assert version["means_ms"] == {"router": 0.5, "backend": 10.0, "model": 7.5}
    assert version["counts"]["cold_starts"] == 3
    assert sum(version["series"]["requests"]) == 12


FLOATS = st.floats(allow_nan=True, allow_infinity=True)


@given(st.lists(FLOATS, max_size=40))
def test_any_values_have_a_sparkline_of_their_length(values: list[float]) -> None:
    for blocks in (BLOCKS, PLAIN_BLOCKS):
        line = sparkline(values, blocks)
        assert len(line) == len(values)
        assert set(line) <= set(blocks)


def test_what_happened_is_never_drawn_as_nothing() -> None:
    assert sparkline([0, 1, 1_000_000]) == "▁▂█"
    assert sparkline([]) == ""


@given(st.floats(0, allow_infinity=True), st.floats(1e-3, 1e12))
def test_a_bar_is_always_ten_characters_and_full_when_all_is_there(
    have: float, need: float
) -> None:
    for counts in (True, False):
        assert len(bar(have, need, counts=counts)) == 10
        assert bar(need, need, counts=counts) == "█" * 10


def test_a_time_in_the_model_that_is_unknown_is_not_made_up() -> None:
    windows = ({"requests": 2.0, "backend_ms": 30.0, "router_ms": 1.0},)
    assert split(VersionActivity(1, "lambda", windows=windows)) == "0.5+15.0+-"
    told = ModelActivity(deployed(1), (VersionActivity(1, "lambda"),))
    assert "-" in drawn(Snapshot("dev", NOW, (told,)))


# --- how it goes on and ends ----------------------------------------------------------------------


class Sleeper:
    """Passes no time; ends the watch after so many looks, as Ctrl-C does."""

    def __init__(self, looks: int, then: Callable[[], None] = lambda: None) -> None:
        self.slept: list[float] = []
        self._looks, self._then = looks, then

    def __call__(self, seconds: float) -> None:
        self.slept.append(seconds)
        self._then()
        if len(self.slept) == self._looks:
            raise KeyboardInterrupt


def watched(terminal: Terminal, sleeper: Sleeper, name: str | None = None) -> list[dict[str, Any]]:
    """The documents of a watch that nobody sees."""
    out = io.StringIO()
    session = Session(terminal.world(out), Output(out, io.StringIO(), terminal.environ))
    watch(session, name, "2s", sleeper, lambda: NOW)
    return [json.loads(line) for line in out.getvalue().splitlines()]


def watching_terminal(tmp_path: Path, recorded: Recorded) -> Terminal:
    terminal = Terminal(tmp_path, observations=lambda environment: recorded)
    terminal.running("magika", 2)
    return terminal


def test_what_nobody_sees_is_one_document_a_line_until_ctrl_c(tmp_path: Path) -> None:
    sleeper = Sleeper(3)
    found = watched(watching_terminal(tmp_path, busy()), sleeper)
    assert [each["models"][0]["model"] for each in found] == ["magika"] * 3
    assert sleeper.slept == [2.0] * 3


def test_a_model_that_is_named_is_watched_alone(tmp_path: Path) -> None:
    terminal = watching_terminal(tmp_path, busy())
    terminal.running("other")
    (found,) = watched(terminal, Sleeper(1), "other")
    assert [model["model"] for model in found["models"]] == ["other"]
    with pytest.raises(ModelNotFoundError):
        watched(terminal, Sleeper(1), "missing")


def test_a_registry_that_fails_later_is_told_and_waited_for(tmp_path: Path) -> None:
    class Failing:
        def __init__(self, inner: Any) -> None:
            self.inner, self.away = inner, False

        def __getattr__(self, name: str) -> Any:
            if self.away:
                raise RegistryUnavailableError("timeout")
            return getattr(self.inner, name)

    terminal = watching_terminal(tmp_path, busy())
    failing: Any = Failing(terminal.registry)
    terminal.registry = failing

    def turn() -> None:
        failing.away = not failing.away

    found = watched(terminal, Sleeper(3, turn))
    assert [bool(each["problem"]) for each in found] == [False, True, False]
    assert found[1]["models"] == found[0]["models"]


def test_a_registry_that_is_away_from_the_start_is_an_error(tmp_path: Path) -> None:
    def away(environment: str) -> Recorded:
        raise RegistryUnavailableError("timeout")

    terminal = Terminal(tmp_path, observations=away)
    terminal.running()
    with pytest.raises(RegistryUnavailableError):
        watched(terminal, Sleeper(1))


@pytest.mark.parametrize("every", ["0.5s", "0s"])
def test_a_look_every_moment_is_refused(tmp_path: Path, every: str) -> None:
    terminal = watching_terminal(tmp_path, busy())
    with pytest.raises(InvalidUsageError, match="too often"):
        watch(terminal.session(), None, every)


def test_the_command_ends_well_at_ctrl_c(tmp_path: Path) -> None:
    def interrupted(environment: str) -> Recorded:
        raise KeyboardInterrupt

    terminal = Terminal(tmp_path, observations=interrupted)
    terminal.running()
    result = terminal("status", "--watch")
    assert (result.code, result.out, result.err) == (0, "", "")


def test_a_reader_that_has_seen_enough_is_a_good_end(tmp_path: Path) -> None:
    terminal = watching_terminal(tmp_path, busy())
    reads, writes = os.pipe()
    os.close(reads)
    with os.fdopen(writes, "w") as out:
        session = Session(terminal.world(out), Output(out, io.StringIO(), terminal.environ))
        watch(session, None, "2s", Sleeper(100), lambda: NOW)
        out.write("what is still to be written goes nowhere")


def test_the_command_refuses_what_is_no_time(tmp_path: Path) -> None:
    result = Terminal(tmp_path)("status", "--watch", "--every", "soon")
    assert result.code == 2
    assert "soon" in result.err


def test_a_terminal_is_drawn_over(tmp_path: Path) -> None:
    terminal = watching_terminal(tmp_path, busy())
    ours, theirs = pty.openpty()
    environ = {**terminal.environ, "TERM": "xterm-256color", "COLUMNS": "140", "LINES": "40"}
    with os.fdopen(theirs, "w") as stream:
        session = Session(terminal.world(stream), Output(stream, io.StringIO(), environ))
        watch(session, "magika", "2s", Sleeper(2), lambda: datetime.now(UTC))
        stream.flush()
        shown = b""
        while select.select([ours], [], [], 0.2)[0]:
            shown += os.read(ours, 1 << 16)
    os.close(ours)
    text = shown.decode()
    assert text.count("magika") >= 2
    assert "\x1b[1A" in text
    assert "REQ/S" in text


def test_status_of_one_model_shows_only_that(tmp_path: Path) -> None:
    terminal = watching_terminal(tmp_path, Recorded())
    terminal.running("other")
    found = terminal.ok("status", "magika", "--json").json
    assert [model["model"] for model in found["models"]] == ["magika"]
    assert {item["model"] for item in found["drift"]} == {"magika"}
