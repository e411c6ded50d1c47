"""Two people for a protected alias: who may do what, and what comes in between."""

from __future__ import annotations

from pathlib import Path

import pytest
from modelport import approvals
from modelport.routes import Routes, Weighted
from modelport.routes.errors import StaleProposalError

from tests.support.cli_world import Terminal


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    terminal = Terminal(tmp_path)
    terminal.running(versions=3)
    terminal.ok("promote", "magika:1")
    terminal.ok("protect", "magika")
    return terminal


def becomes(terminal: Terminal, who: str) -> None:
    terminal.environ = {**terminal.environ, "MODELPORT_USER": who}


def stable(terminal: Terminal) -> tuple[Weighted, ...]:
    return routes_of(terminal).aliases["stable"]


def routes_of(terminal: Terminal) -> Routes:
    snapshot = terminal.registry.routes("magika")
    assert snapshot is not None
    return snapshot.routes


@pytest.mark.parametrize(
    "arguments",
    [
        ("promote", "magika:2"),
        ("route", "magika", "stable=1:9,2:1"),
        ("route", "magika", "stable="),
    ],
)
def test_a_protected_alias_does_not_move_on_one_word(
    terminal: Terminal, arguments: tuple[str, ...]
) -> None:
    result = terminal(*arguments, "--json")
    assert (result.code, result.json["error"]["code"]) == (4, "approval-needed")
    assert stable(terminal) == (Weighted(1),)
    terminal.ok("promote", "magika:2", "--alias", "canary")


def test_somebody_else_approves_and_the_log_names_both(terminal: Terminal) -> None:
    proposed = terminal.ok("promote", "magika:2", "--propose", "-m", "better").out
    assert "1 → 2, proposed" in proposed
    assert "modelport approve magika stable" in proposed
    assert stable(terminal) == (Weighted(1),)
    waiting = terminal.ok("proposals", "magika", "--json").json
    assert waiting["protected"] == ["stable"]
    assert (waiting["proposals"][0]["who"], waiting["proposals"][0]["message"]) == ("ada", "better")

    own = terminal("approve", "magika", "stable", "--json")
    assert (own.code, own.json["error"]["code"]) == (4, "own-proposal")

    becomes(terminal, "grace")
    assert terminal.ok("approve", "magika").out == "magika@stable: 1 → 2  (revision 10)\n"
    assert stable(terminal) == (Weighted(2),)
    change = next(iter(terminal.registry.log("magika")))
    assert (change.action, change.who, change.detail["proposed_by"]) == ("approve", "grace", "ada")
    assert terminal("approve", "magika", "--json").json["error"]["code"] == "nothing-proposed"
    assert terminal.ok("log", "magika", "--verify", "--json").json["verified"] == 10


ROLE = "arn:aws:sts::123456789012:assumed-role/deployer"


def is_to_aws(terminal: Terminal, arn: str) -> None:
    terminal.environ = {**terminal.environ, "MODELPORT_USER": ""}
    terminal.identity = lambda: arn


@pytest.mark.parametrize(
    ("proposer", "approver", "code"),
    [
        (f"{ROLE}/botocore-session-1763710000", f"{ROLE}/botocore-session-1763710007", 4),
        (f"{ROLE}/1763710000123456789", f"{ROLE}/aws-go-sdk-1763710007123456789", 4),
        (f"{ROLE}/ada@example.com", f"{ROLE}/grace@example.com", 0),
        (f"{ROLE}/100000001", f"{ROLE}/100000002", 0),
        (f"{ROLE}/botocore-session-1763710000", f"{ROLE}s/botocore-session-1763710000", 0),
        (f"{ROLE}/ada@example.com", "arn:aws:iam::123456789012:user/grace", 0),
    ],
)
def test_one_role_under_names_that_nobody_gave_is_one_person(
    terminal: Terminal, proposer: str, approver: str, code: int
) -> None:
    is_to_aws(terminal, proposer)
    terminal.ok("promote", "magika:2", "--propose")
    is_to_aws(terminal, approver)
    result = terminal("approve", "magika", "--json")
    assert result.code == code
    assert not code or result.json["error"]["code"] == "own-proposal"


def test_whom_aws_does_not_name_may_be_who_proposed_it(terminal: Terminal) -> None:
    is_to_aws(terminal, "arn:aws:iam::123456789012:user/ada")
    terminal.ok("promote", "magika:2", "--propose")
    is_to_aws(terminal, "ada")  # what the operating system says, where AWS says nothing
    result = terminal("approve", "magika", "--json")
    assert (result.code, result.json["error"]["code"]) == (4, "approver-unknown")
    becomes(terminal, "grace")
    terminal.ok("approve", "magika")


def test_a_rollback_needs_no_approval(terminal: Terminal) -> None:
    terminal.ok("promote", "magika:2", "--propose")
    becomes(terminal, "grace")
    terminal.ok("approve", "magika")
    terminal.ok("rollback", "magika")
    assert stable(terminal) == (Weighted(1),)


def test_what_has_moved_since_is_not_approved(terminal: Terminal) -> None:
    terminal.ok("promote", "magika:2", "--propose")
    becomes(terminal, "grace")
    terminal.ok("approve", "magika")
    terminal.ok("promote", "magika:3", "--propose")
    terminal.ok("rollback", "magika")
    becomes(terminal, "ada")
    result = terminal("approve", "magika", "--json")
    assert (result.code, result.json["error"]["code"]) == (4, "stale-proposal")
    assert stable(terminal) == (Weighted(1),)


def test_the_latest_proposal_counts_and_can_be_withdrawn(terminal: Terminal) -> None:
    terminal.ok("promote", "magika:2", "--propose")
    terminal.ok("route", "magika", "stable=1:50,3:50", "--propose")
    (waiting,) = terminal.ok("proposals", "magika", "--json").json["proposals"]
    assert [part["version"] for part in waiting["to"]] == [1, 3]
    terminal.ok("reject", "magika")
    assert terminal.ok("proposals", "magika").out == "nothing waits for an approval\n"


def test_nobody_rejects_a_proposal_that_came_after_the_one_they_saw(terminal: Terminal) -> None:
    terminal.ok("promote", "magika:2", "--propose")
    seen = routes_of(terminal).proposals["stable"]
    terminal.ok("promote", "magika:3", "--propose")
    with pytest.raises(StaleProposalError):
        approvals.rejected(routes_of(terminal), seen)
    assert routes_of(terminal).proposals["stable"].to == (Weighted(3),)


def test_lifting_the_protection_wants_two_people_too(terminal: Terminal) -> None:
    terminal.ok("protect", "magika", "--lift", "-m", "no longer needed")
    assert terminal("promote", "magika:2").code == 4
    becomes(terminal, "grace")
    terminal.ok("approve", "magika")
    terminal.ok("promote", "magika:2")
    assert stable(terminal) == (Weighted(2),)


@pytest.mark.parametrize(
    ("arguments", "code", "name"),
    [
        (("promote", "magika:9", "--propose"), 4, "not-deployed"),
        (("route", "magika", "stable=", "--propose"), 2, "usage"),
        (("approve", "magika", "other"), 3, "nothing-proposed"),
        (("reject", "magika"), 3, "nothing-proposed"),
        (("approve", "nope"), 3, "model-not-found"),
        (("protect", "magika", "--alias", "9"), 2, "invalid-name"),
        (("protect", "magika", "--alias", "canary"), 3, "alias-not-found"),
    ],
)
def test_what_cannot_be_is_refused(
    terminal: Terminal, arguments: tuple[str, ...], code: int, name: str
) -> None:
    result = terminal(*arguments, "--json")
    assert (result.code, result.json["error"]["code"]) == (code, name)


def test_every_change_names_the_commit_it_was_made_from(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path, commit=lambda folder: "4a1f" * 10 + "-dirty")
    terminal.running()
    terminal.ok("promote", "magika:1")
    entry = terminal.ok("log", "magika", "--verify", "--json").json["changes"][0]
    assert entry["commit"] == "4a1f" * 10 + "-dirty"
    assert "4a1f4a1f*" in terminal.ok("log", "magika").out


def test_the_status_shows_what_waits(terminal: Terminal) -> None:
    terminal.ok("promote", "magika:2", "--propose")
    shown = " ".join(terminal.ok("status").out.split())
    assert "magika@stable: 1 → 2, proposed by ada" in shown
    (model,) = terminal.ok("status", "--json").json["models"]
    assert model["proposals"]["stable"]["who"] == "ada"
