"""``modelport traffic``: what it writes, what it says, what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from modelport.routes import Policy, Rule, Shadow

from tests.support.cli_world import Terminal


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    terminal = Terminal(tmp_path)
    terminal.running(versions=3)
    terminal.ok("promote", "magika:1")
    terminal.ok("route", "magika", "canary=2")
    return terminal


def policy(terminal: Terminal) -> Policy:
    snapshot = terminal.registry.routes("magika")
    assert snapshot is not None
    return snapshot.routes.policy


@pytest.mark.parametrize(
    ("arguments", "expected", "action"),
    [
        (
            ("sticky", "magika", "header:X-User", "cookie:Session", "caller"),
            Policy(sticky=("header:x-user", "cookie:Session", "caller")),
            "sticky",
        ),
        (("version-header", "magika", "off"), Policy(version_header="off"), "version-header"),
        (
            ("rule", "add", "magika", "X-Tenant=acme", "canary"),
            Policy(rules=(Rule("x-tenant", "acme", "canary"),)),
            "rule-add",
        ),
        (
            ("rule", "add", "magika", "x-tenant=a=b", "3"),
            Policy(rules=(Rule("x-tenant", "a=b", "3"),)),
            "rule-add",
        ),
        (("fallback", "magika", "stable=3"), Policy(fallbacks={"stable": 3}), "fallback"),
        (("shadow", "magika:3"), Policy(shadows=(Shadow(3),)), "shadow"),
        (
            ("shadow", "magika:3", "--percent", "10", "--of", "stable"),
            Policy(shadows=(Shadow(3, 10.0, "stable"),)),
            "shadow",
        ),
    ],
)
def test_each_verb_writes_one_logged_change_of_the_policy(
    terminal: Terminal, arguments: tuple[str, ...], expected: Policy, action: str
) -> None:
    told = terminal.ok("traffic", *arguments, "-m", "because", "--json").json
    assert policy(terminal) == expected
    assert Policy.from_json(told["policy"]) == expected
    assert told["changed"]
    change = next(iter(terminal.registry.log("magika")))
    assert (change.action, change.message, change.who) == (action, "because", "ada")
    again = terminal.ok("traffic", *arguments, "--json").json
    assert (again["changed"], again["revision"]) == (False, told["revision"])


@pytest.mark.parametrize(
    ("added", "removed"),
    [
        (("rule", "add", "magika", "x-t=a", "canary"), ("rule", "remove", "magika", "x-t=a")),
        (("fallback", "magika", "canary=3"), ("fallback", "magika", "canary=")),
        (("shadow", "magika:3"), ("shadow", "magika:3", "--off")),
    ],
)
def test_what_was_added_can_be_removed_once(
    terminal: Terminal, added: tuple[str, ...], removed: tuple[str, ...]
) -> None:
    terminal.ok("traffic", *added)
    terminal.ok("traffic", *removed)
    assert policy(terminal) == Policy()
    result = terminal("traffic", *removed, "--json")
    assert (result.code, result.json["error"]["code"]) == (3, "not-in-policy")


def test_people_read_what_was_done_and_what_holds(terminal: Terminal) -> None:
    said = terminal.ok("traffic", "rule", "add", "magika", "x-tenant=acme", "canary").out
    assert said == "magika: rule-add header=x-tenant value=acme to=canary  (revision 9)\n"
    terminal.ok("traffic", "shadow", "magika:3", "--percent", "2.5")
    terminal.ok("traffic", "fallback", "magika", "stable=2")
    shown = terminal.ok("traffic", "show", "magika").out
    for line in (
        "canary = 2",
        "x-tenant=acme → canary",
        "stable → 2",
        "3 gets 2.5 % of what other versions answer",
        "header:x-modelport-key, caller",
        "routed",
    ):
        assert line in shown, shown
    document = terminal.ok("traffic", "show", "magika", "--json").json
    assert document["aliases"] == {"canary": "2", "stable": "1"}
    assert document["policy"]["fallbacks"] == {"stable": 2}


@pytest.mark.parametrize(
    ("arguments", "code", "name"),
    [
        (("sticky", "magika"), 2, "usage"),
        (("sticky", "magika", "user"), 2, "invalid-policy"),
        (("sticky", "magika", "cookie:"), 2, "invalid-policy"),
        (("sticky", "magika", "caller", "caller"), 2, "invalid-policy"),
        (("version-header", "magika", "maybe"), 2, "usage"),
        (("rule", "add", "magika", "x-tenant", "canary"), 2, "usage"),
        (("rule", "add", "magika", "x-tenant=acme"), 2, "usage"),
        (("rule", "remove", "magika", "x-tenant=acme", "2"), 2, "usage"),
        (("rule", "add", "magika", "x tenant=acme", "2"), 2, "invalid-policy"),
        (("rule", "add", "magika", "x-tenant= acme", "2"), 2, "invalid-policy"),
        (("rule", "add", "magika", "x-modelport-version=1", "2"), 2, "invalid-policy"),
        (("rule", "add", "magika", "Authorization=Bearer x", "2"), 2, "invalid-policy"),
        (("rule", "add", "magika", "x-tenant=acme", "9"), 4, "not-deployed"),
        (("rule", "add", "magika", "x-tenant=acme", "beta"), 3, "alias-not-found"),
        (("rule", "add", "magika", "x-tenant=acme", "be ta"), 2, "invalid-name"),
        (("fallback", "magika", "stable"), 2, "usage"),
        (("fallback", "magika", "stable=9"), 4, "not-deployed"),
        (("fallback", "magika", "stable=x"), 2, "invalid-name"),
        (("fallback", "magika", "beta=1"), 3, "alias-not-found"),
        (("shadow", "magika:9"), 4, "not-deployed"),
        (("shadow", "magika:3", "--percent", "0"), 2, "invalid-policy"),
        (("shadow", "magika:3", "--percent", "nan"), 2, "invalid-policy"),
        (("shadow", "magika:3", "--percent", "101"), 2, "invalid-policy"),
        (("shadow", "magika:3", "--of", "beta"), 3, "alias-not-found"),
        (("show", "nope"), 3, "model-not-found"),
        (("version-header", "nope", "off"), 3, "model-not-found"),
    ],
)
def test_a_refusal_changes_nothing(
    terminal: Terminal, arguments: tuple[str, ...], code: int, name: str
) -> None:
    before = terminal.registry.routes("magika")
    result = terminal("traffic", *arguments, "--json")
    assert (result.code, result.json["error"]["code"]) == (code, name)
    assert terminal.registry.routes("magika") == before


def test_an_alias_that_the_policy_needs_stays(terminal: Terminal) -> None:
    terminal.ok("traffic", "rule", "add", "magika", "x-tenant=acme", "canary")
    terminal.ok("traffic", "fallback", "magika", "canary=3")
    result = terminal("route", "magika", "canary=", "--json")
    assert (result.code, result.json["error"]["code"]) == (4, "alias-in-use")
    assert "the rule x-tenant=acme, its fallback to 3" in result.json["error"]["message"]


@pytest.mark.parametrize(
    ("arguments", "holder"),
    [
        (("rule", "add", "magika", "x-tenant=acme", "3"), "the rule x-tenant=acme"),
        (("fallback", "magika", "stable=3"), "the fallback of stable"),
        (("shadow", "magika:3"), "its shadow traffic"),
    ],
)
def test_a_version_that_the_policy_needs_is_not_undeployed(
    terminal: Terminal, arguments: tuple[str, ...], holder: str
) -> None:
    terminal.ok("traffic", *arguments)
    result = terminal("undeploy", "magika:3", "--json")
    assert (result.code, result.json["error"]["code"]) == (4, "version-in-use")
    assert holder in result.json["error"]["message"]
    assert "modelport traffic show magika" in result.json["error"]["hint"]
