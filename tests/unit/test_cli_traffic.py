"""Moving traffic from the command line: before and after, refusals, the log."""

from __future__ import annotations

from pathlib import Path

import pytest
from modelport.routes import Weighted

from tests.support.cli_world import Terminal


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    terminal = Terminal(tmp_path)
    terminal.running(versions=3)
    return terminal


def alias(terminal: Terminal, name: str = "stable") -> tuple[Weighted, ...]:
    snapshot = terminal.registry.routes("magika")
    assert snapshot is not None
    return snapshot.routes.aliases[name]


def test_route_shows_before_and_after(terminal: Terminal) -> None:
    terminal.ok("promote", "magika:1")
    told = terminal.ok("route", "magika", "stable=1:90,2:10", "-m", "careful", "--json").json
    assert told["before"] == [{"version": 1, "weight": 100.0}]
    assert told["after"] == [{"version": 1, "weight": 90.0}, {"version": 2, "weight": 10.0}]
    assert told["changed"]
    assert alias(terminal) == (Weighted(1, 90.0), Weighted(2, 10.0))
    change = next(iter(terminal.registry.log("magika")))
    assert (change.action, change.message, change.who) == ("route", "careful", "ada")
    assert change.detail == {"alias": "stable", "to": told["after"]}


def test_people_read_one_line(terminal: Terminal) -> None:
    promoted = terminal.ok("promote", "magika:1").out
    assert promoted == "magika@stable: nothing → 1  (revision 7)\n"
    split = ("route", "magika", "stable=1:90,2:10")
    assert terminal.ok(*split).out == "magika@stable: 1 → 1:90,2:10  (revision 8)\n"
    assert terminal.ok(*split).out == "magika@stable: 1:90,2:10  (unchanged, revision 8)\n"


def test_promote_gives_everything_to_one_version(terminal: Terminal) -> None:
    terminal.ok("route", "magika", "stable=1:90,2:10")
    terminal.ok("promote", "magika:2")
    assert alias(terminal) == (Weighted(2, 100.0),)
    terminal.ok("promote", "magika:3", "--alias", "canary")
    assert alias(terminal, "canary") == (Weighted(3, 100.0),)


def test_rollback_goes_one_step_back_each_time(terminal: Terminal) -> None:
    for version in (1, 2, 3):
        terminal.ok("promote", f"magika:{version}")
    assert terminal.ok("rollback", "magika", "--json").json["after"][0]["version"] == 2
    assert terminal.ok("rollback", "magika", "--json").json["after"][0]["version"] == 1
    result = terminal("rollback", "magika", "--json")
    assert (result.code, result.json["error"]["code"]) == (4, "nothing-to-roll-back")


def test_an_alias_can_be_removed(terminal: Terminal) -> None:
    terminal.ok("route", "magika", "canary=2")
    assert terminal.ok("route", "magika", "canary=", "--json").json["after"] is None
    assert terminal("route", "magika", "canary=", "--json").code == 3


@pytest.mark.parametrize(
    ("arguments", "code", "name"),
    [
        (("route", "magika", "stable=9"), 4, "not-deployed"),
        (("route", "magika", "stable=1:-5,2:10"), 2, "invalid-weights"),
        (("route", "magika", "stable=1:0,2:10"), 2, "invalid-weights"),
        (("route", "magika", "stable=1:x"), 2, "invalid-weights"),
        (("route", "magika", "stable=one"), 2, "invalid-weights"),
        (("route", "magika", "stable"), 2, "usage"),
        (("route", "magika", "9=1"), 2, "invalid-name"),
        (("route", "nope", "stable=1"), 3, "model-not-found"),
        (("promote", "magika"), 2, "usage"),
        (("promote", "magika@stable"), 2, "usage"),
        (("promote", "magika:9"), 4, "not-deployed"),
        (("promote", "ma gika:1"), 2, "invalid-name"),
        (("rollback", "magika", "--alias", "canary"), 3, "alias-not-found"),
    ],
)
def test_a_refusal_changes_nothing(
    terminal: Terminal, arguments: tuple[str, ...], code: int, name: str
) -> None:
    before = terminal.registry.routes("magika")
    result = terminal(*arguments, "--json")
    assert (result.code, result.json["error"]["code"]) == (code, name)
    assert terminal.registry.routes("magika") == before
