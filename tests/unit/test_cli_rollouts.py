"""``modelport rollout``: what people type, read and are refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from modelport.registry.active import ActiveRollouts
from modelport.routes import Rollout, Routes, Weighted

from tests.support.cli_world import Terminal
from tests.support.rollout_world import Recorded

MINUTE = timedelta(minutes=1)


class Watched(Terminal):
    """A terminal whose model is observed."""

    observed: Recorded

    def minutes(self, count: int = 7, **candidate: float) -> None:
        """The last minutes, as the rollout sees them, which is made so much older."""
        now = datetime.now(UTC)
        for index in range(count):
            at = now - (index + 2) * MINUTE
            self.observed.write(1, at, requests=900, errors=9)
            self.observed.write(2, at, **{"requests": 100, "errors": 1, **candidate})
        began = (now - (count + 1) * MINUTE).isoformat()
        self.edit(lambda one: one.begun(began))

    def edit(self, change: Any) -> None:
        """Change the record of the rollout behind its back."""

        def edit(routes: Routes) -> Routes:
            return routes.with_rollout(change(routes.rollouts["stable"]))

        actor = self.session().actor()
        self.registry.change("magika", edit, action="test", detail={}, who=actor)

    @property
    def routes(self) -> Routes:
        found = self.registry.routes("magika")
        assert found is not None
        return found.routes

    @property
    def rollout(self) -> Rollout:
        return self.routes.rollouts["stable"]


@pytest.fixture
def terminal(tmp_path: Path) -> Watched:
    observed = Recorded()
    terminal = Watched(tmp_path, observations=lambda environment: observed)
    terminal.observed = observed
    terminal.running(versions=3)
    terminal.ok("promote", "magika:1")
    return terminal


def test_start_takes_the_first_step_and_says_so(terminal: Watched) -> None:
    said = terminal.ok("rollout", "start", "magika:2", "-m", "faster").out
    assert said == "magika@stable: 1 → 1:99,2:1  (revision 8)\n"
    assert terminal.routes.aliases["stable"] == (Weighted(1, 99.0), Weighted(2, 1.0))
    one = terminal.rollout
    assert (one.steps, one.every_s, one.alpha) == ((1, 5, 25, 50, 100), 300, 0.01)
    assert (one.min_samples, [guard.name for guard in one.guards]) == (100, ["errors", "crashes"])
    change = next(iter(terminal.registry.log("magika")))
    assert (change.action, change.who, change.message) == ("rollout-start", "ada", "faster")
    assert change.detail["candidate"] == 2


def test_everything_can_be_said(terminal: Watched) -> None:
    terminal.ok(
        *("rollout", "start", "magika:2", "--steps", "10,100", "--every", "2h"),
        *("--guard", "errors<1%", "--guard", "p95<300ms", "--guard", "p95<=1.2x"),
        *("--alpha", "0.05", "--min-samples", "7", "--max-crashes", "1", "--json"),
    )
    one = terminal.rollout
    assert (one.steps, one.every_s, one.alpha, one.min_samples) == ((10, 100), 7200, 0.05, 7)
    assert [guard.name for guard in one.guards] == [
        *("errors<1%", "p95<300ms", "p95<=1.2x", "crashes"),
    ]
    assert one.guards[-1].limit == 1
    assert one.slow_limits_ms == (200, 240, 300)


def test_tick_does_what_the_controller_would(terminal: Watched) -> None:
    terminal.ok("rollout", "start", "magika:2")
    held = terminal.ok("rollout", "tick", "--json").json["outcomes"]
    assert [(each["action"], each["acted"]) for each in held] == [("hold", False)]
    terminal.minutes()
    assert "advance" in terminal.ok("rollout", "tick").out
    assert terminal.rollout.percent == 5
    terminal.minutes(errors=70)
    (outcome,) = terminal.ok("rollout", "tick", "magika", "--json").json["outcomes"]
    assert (outcome["action"], outcome["acted"]) == ("roll-back", True)
    assert terminal.routes.aliases["stable"] == (Weighted(1),)
    assert terminal.ok("rollout", "tick").out == "no rollout is under way\n"


def test_status_shows_the_evidence_and_what_is_next(terminal: Watched) -> None:
    assert terminal.ok("rollout", "status").out == "no rollout is under way\n"
    terminal.ok("rollout", "start", "magika:2", "--guard", "errors", "--guard", "errors<2%")
    terminal.minutes(count=3)
    told = terminal.ok("rollout", "status").out
    assert "magika@stable 1 → 2" in told
    assert "[1 %] → 5 % → 25 %" in told
    assert "weights       1:99,2:1" in told
    assert "of 100 in this step" in told
    assert "hold: the step has" in told
    assert "errors<2%" in told
    (shown,) = terminal.ok("rollout", "status", "--json").json["rollouts"]
    assert (shown["decision"], shown["state"], shown["step"]) == ("hold", "running", 1)
    assert shown["weights"] == [{"version": 1, "weight": 99.0}, {"version": 2, "weight": 1.0}]
    errors = shown["guards"][0]
    assert (errors["guard"], errors["needed"]) == ("errors", 200)
    assert 0 < errors["candidate"]["of"] == shown["samples"]
    assert errors["stable"]["bad"] > 0


def test_status_of_a_model_shows_what_has_ended_and_why(terminal: Watched) -> None:
    terminal.ok("rollout", "start", "magika:2")
    terminal.minutes(errors=70)
    terminal.ok("rollout", "tick")
    assert terminal.ok("rollout", "status").out == "no rollout is under way\n"
    told = terminal.ok("rollout", "status", "magika").out
    assert "rolled-back" in told
    assert "ALARM" in told
    assert "guard errors: version 2" in told


def test_status_passes_over_a_model_that_is_gone(terminal: Watched) -> None:
    terminal.ok("rollout", "start", "magika:2")
    ActiveRollouts(terminal.registry.store).note("gone", 1)
    assert len(terminal.ok("rollout", "status", "--json").json["rollouts"]) == 1
    assert terminal("rollout", "status", "gone", "--json").code == 3


def test_status_without_metrics_says_that_it_holds(terminal: Watched) -> None:
    terminal.ok("rollout", "start", "magika:2")
    terminal.observed.away = True
    told = terminal.ok("rollout", "status").out
    assert "hold: the metrics cannot be read" in told


def test_pause_resume_and_abort(terminal: Watched) -> None:
    terminal.ok("rollout", "start", "magika:2")
    told = terminal.ok("rollout", "pause", "magika", "-m", "lunch").out
    assert told == "magika@stable: rollout of 2 is paused at 1 %  (revision 9)\n"
    assert terminal.ok("rollout", "pause", "magika", "--json").json["revision"] == 9
    since = terminal.rollout.since
    assert terminal.ok("rollout", "resume", "magika", "--json").json["state"] == "running"
    assert terminal.rollout.since > since
    told = terminal.ok("rollout", "abort", "magika", "-m", "wrong one").out
    assert told == "magika@stable: 1:99,2:1 → 1  (revision 11)\n"
    assert (terminal.rollout.state, terminal.rollout.reason) == ("aborted", "wrong one")
    result = terminal("rollout", "abort", "magika", "--json")
    assert (result.code, result.json["error"]["code"]) == (3, "no-rollout")
    assert "the last one is aborted" in result.json["error"]["message"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("rollout", "start", "magika:3"),
        ("promote", "magika:3"),
        ("route", "magika", "stable=1:1,2:1"),
        ("route", "magika", "stable="),
        ("rollback", "magika"),
    ],
)
def test_nothing_else_moves_an_alias_that_a_rollout_holds(
    terminal: Watched, arguments: tuple[str, ...]
) -> None:
    terminal.ok("rollout", "start", "magika:2")
    result = terminal(*arguments, "--json")
    assert (result.code, result.json["error"]["code"]) == (4, "rollout-in-progress")
    assert "modelport rollout abort magika --alias stable" in result.json["error"]["hint"]


@pytest.mark.parametrize(
    ("arguments", "code", "name", "told"),
    [
        (("magika",), 2, "usage", "names no version"),
        (("nope:1",), 3, "model-not-found", "nope"),
        (("magika:9",), 4, "not-deployed", "version 9"),
        (("magika:1",), 4, "rollout-refused", "means version 1 already"),
        (("magika:2", "--alias", "canary"), 3, "alias-not-found", "aliases: stable"),
        (("magika:2", "--alias", "9"), 2, "invalid-name", "alias"),
        (("magika:2", "--steps", "5,1,100"), 2, "invalid-rollout", "rise to 100"),
        (("magika:2", "--steps", "5,x"), 2, "invalid-rollout", "rise to 100"),
        (("magika:2", "--every", "5"), 2, "invalid-rollout", "5m"),
        (("magika:2", "--every", "1s"), 2, "invalid-rollout", "10s to 7d"),
        (("magika:2", "--guard", "speed<1"), 2, "invalid-guard", "p95<=1.2x"),
        (("magika:2", "--alpha", "1"), 2, "invalid-rollout", "less than 0.5"),
        (("magika:2", "--alpha", "nan"), 2, "invalid-rollout", "less than 0.5"),
        (("magika:2", "--min-samples", "0"), 2, "invalid-rollout", "1 to"),
        (("magika:2", "--max-crashes", "0"), 2, "invalid-rollout", "1 to"),
        (
            ("magika:2", "--steps", "100", "--guard", "p95<=1.2x"),
            *(2, "invalid-rollout", "all of the traffic in the first step"),
        ),
        (
            ("magika:2", "--steps", "100", "--guard", "agreement>=99%"),
            *(2, "invalid-rollout", "all of the traffic in the first step"),
        ),
        (("magika:2", "--guard", "agreement>=99%", "--propose"), 4, "rollout-refused", "no copies"),
        (("magika:2", "--guard", "distribution"), 4, "rollout-refused", "nobody called"),
        (("magika:2", "--guard", "agreement>=99%"), 4, "rollout-refused", "no copies"),
    ],
)
def test_what_cannot_begin_is_refused(
    terminal: Watched, arguments: tuple[str, ...], code: int, name: str, told: str
) -> None:
    before = terminal.routes
    result = terminal("rollout", "start", *arguments, "--json")
    error = result.json["error"]
    assert (result.code, error["code"]) == (code, name), error
    assert told in error["message"]
    assert terminal.routes == before


def test_an_agreement_guard_names_the_command_that_it_needs_and_then_begins(
    terminal: Watched,
) -> None:
    result = terminal("rollout", "start", "magika:2", "--guard", "agreement>=99%", "--json")
    command = result.json["error"]["hint"].partition(": modelport ")[2]
    terminal.ok(*command.split())
    terminal.ok("rollout", "start", "magika:2", "--guard", "agreement>=99%")
    assert terminal.rollout.active


def test_a_protected_alias_wants_a_second_person_and_begins_when_approved(
    terminal: Watched,
) -> None:
    terminal.ok("protect", "magika")
    result = terminal("rollout", "start", "magika:2", "--json")
    assert (result.code, result.json["error"]["code"]) == (4, "approval-needed")
    terminal.ok("rollout", "start", "magika:2", "--propose", "-m", "please")
    assert terminal.routes.aliases["stable"] == (Weighted(1),)
    proposed = terminal.routes.proposals["stable"].at
    terminal.environ = {**terminal.environ, "MODELPORT_USER": "grace"}
    terminal.ok("approve", "magika")
    assert terminal.rollout.active
    assert terminal.rollout.started > proposed
    terminal.minutes()
    (outcome,) = terminal.ok("rollout", "tick", "--json").json["outcomes"]
    assert (outcome["action"], outcome["acted"]) == ("advance", True)


def test_a_world_without_observations_can_still_pause_and_abort(terminal: Watched) -> None:
    terminal.ok("rollout", "start", "magika:2")
    terminal.observations = Terminal(terminal.folder).observations
    terminal.ok("rollout", "pause", "magika")
    assert terminal("rollout", "tick", "--json").code == 5
    terminal.ok("rollout", "abort", "magika")
