"""The routes document: operations, resolution, the split, and its bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelport.errors import (
    AliasNotFoundError,
    IntegrityError,
    InvalidInputError,
    NotDeployedError,
    NothingToRollBackError,
    NoVersionDeployedError,
    VersionInUseError,
)
from modelport.routes import (
    HISTORY,
    Deployment,
    Policy,
    Rollout,
    Routes,
    Rule,
    Shadow,
    Weighted,
    parse_weights,
)
from modelport.routes.errors import AliasInUseError, InvalidPolicyError, NotInPolicyError


def deployed(*versions: int) -> Routes:
    routes = Routes("m")
    for version in versions:
        routes = routes.with_deployment(Deployment(version, "lambda", f"fn-{version}", "sha256:0"))
    return routes


def version_for(routes: Routes, key: str, alias: str | None = None) -> int:
    return routes.resolve(None, alias, key).version


def test_without_selector_stable_answers() -> None:
    routes = deployed(1, 2).with_alias("stable", parse_weights("1"))
    assert version_for(routes, "anyone") == 1


def test_without_selector_and_stable_the_highest_deployed_answers() -> None:
    assert version_for(deployed(2, 10, 9), "anyone") == 10


def test_nothing_deployed_is_said() -> None:
    with pytest.raises(NoVersionDeployedError):
        version_for(Routes("m", latest=3), "anyone")


def test_a_version_that_is_not_deployed_names_those_that_are() -> None:
    with pytest.raises(NotDeployedError, match="deployed: 1, 3"):
        deployed(3, 1).resolve(2, None, "")


def test_an_unknown_alias_names_those_that_exist() -> None:
    with pytest.raises(AliasNotFoundError, match="aliases: stable"):
        version_for(deployed(1).with_alias("stable", parse_weights("1")), "", "canary")


def test_an_alias_points_at_deployed_versions_only() -> None:
    with pytest.raises(NotDeployedError):
        deployed(1).with_alias("stable", parse_weights("1:90,2:10"))


def test_a_version_in_use_cannot_go() -> None:
    routes = deployed(1, 2).with_alias("canary", parse_weights("1:90,2:10"))
    with pytest.raises(VersionInUseError, match="by alias canary"):
        routes.without_deployment(2)
    freed = routes.with_alias("canary", parse_weights("1"))
    assert list(freed.without_deployment(2).deployments) == [1]


def test_every_holder_of_a_version_is_named() -> None:
    at = "2026-01-01T00:00:00+00:00"
    policy = Policy(
        rules=(Rule("x-tenant", "acme", "2"),), fallbacks={"stable": 2}, shadows=(Shadow(2),)
    )
    rollout = Rollout(
        "stable",
        candidate=3,
        stable=1,
        before=(Weighted(1, 50.0), Weighted(2, 50.0)),
        steps=(50.0, 100.0),
        every_s=60.0,
        guards=(),
        alpha=0.01,
        min_samples=10,
        window_s=10,
        started=at,
        since=at,
        moved=(at,),
    )
    routes = deployed(1, 2, 3).with_alias("canary", parse_weights("2"))
    held = routes.with_policy(policy).with_rollout(rollout)
    assert set(held.users_of(2)) == {
        "alias canary",
        "the rule x-tenant=acme",
        "the fallback of stable",
        "its shadow traffic",
        "the rollout of stable",
    }
    assert held.users_of(3) == ("the rollout of stable",)
    with pytest.raises(VersionInUseError, match="its shadow traffic, the fallback of stable"):
        held.without_deployment(2)
    over = routes.with_rollout(rollout.with_(state="aborted"))
    assert over.users_of(3) == ()


def test_a_policy_names_what_is_there_and_keeps_it_there() -> None:
    routes = deployed(1, 2).with_alias("canary", parse_weights("2"))
    with pytest.raises(NotDeployedError):
        routes.with_policy(Policy(fallbacks={"stable": 3}))
    for unknown in (
        Policy(rules=(Rule("x-t", "a", "beta"),)),
        Policy(fallbacks={"beta": 1}),
        Policy(shadows=(Shadow(1, 5, "beta"),)),
    ):
        with pytest.raises(AliasNotFoundError, match="'beta'"):
            routes.with_policy(unknown)
    for needed, by in (
        (Policy(rules=(Rule("x-t", "a", "canary"),)), "the rule x-t=a"),
        (Policy(fallbacks={"canary": 1}), "its fallback to 1"),
        (Policy(shadows=(Shadow(1, 5, "canary"),)), "the shadow version 1"),
    ):
        with pytest.raises(AliasInUseError, match=by):
            routes.with_policy(needed).without_alias("canary")
    assert "canary" not in routes.with_policy(Policy()).without_alias("canary").aliases


def test_rollback_walks_back_through_earlier_values() -> None:
    routes = deployed(1, 2, 3)
    for version in ("1", "2", "3"):
        routes = routes.with_alias("stable", parse_weights(version))
    routes = routes.rolled_back("stable")
    assert version_for(routes, "") == 2
    routes = routes.rolled_back("stable")
    assert version_for(routes, "") == 1
    with pytest.raises(NothingToRollBackError):
        routes.rolled_back("stable")


def test_rollback_to_a_version_that_no_longer_runs_changes_nothing() -> None:
    routes = deployed(1, 2).with_alias("stable", parse_weights("1"))
    routes = routes.with_alias("stable", parse_weights("2")).without_deployment(1)
    with pytest.raises(NotDeployedError):
        routes.rolled_back("stable")


def test_setting_the_same_value_again_is_no_step_to_roll_back() -> None:
    routes = deployed(1, 2).with_alias("stable", parse_weights("1"))
    for _ in range(3):
        routes = routes.with_alias("stable", parse_weights("2"))
    assert version_for(routes.rolled_back("stable"), "") == 1


def test_history_is_bounded() -> None:
    routes = deployed(1, 2)
    for turn in range(100):
        routes = routes.with_alias("stable", parse_weights(str(turn % 2 + 1)))
    assert len(routes.history["stable"]) == HISTORY


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "1:",
        "1:x",
        "1:-5",
        "1:0",
        "1:nan",
        "1:inf",
        "1:1e10",
        "1:50,1:50",
        "1,2",
        "0",
        "1:50,",
        "-1",
    ],
)
def test_weights_that_describe_no_split_are_refused(text: str) -> None:
    with pytest.raises(InvalidInputError, match=r"weight|version"):
        parse_weights(text)


def test_a_key_always_meets_the_same_version() -> None:
    routes = deployed(1, 2, 3).with_alias("stable", parse_weights("1:50,2:30,3:20"))
    for key in map(str, range(100)):
        assert len({version_for(routes, key) for _ in range(3)}) == 1


def revised(routes: Routes, after: Routes, action: str = "route") -> Routes:
    return routes.changed(after, action=action, detail={}, who="me", at="2026-01-01T00:00:00Z")


def test_changes_form_a_chain() -> None:
    first = revised(Routes("m"), deployed(1), "deploy")
    second = revised(first, first.with_alias("stable", parse_weights("1")))
    assert second.revision == 2
    assert first.change is not None
    assert second.change is not None
    assert second.change.previous_hash == first.change.hash
    assert second.change.intact


@given(st.integers(0, 2000))
def test_a_torn_document_is_refused(cut: int) -> None:
    body = revised(Routes("m"), deployed(1)).to_bytes()
    if cut < len(body.rstrip()):
        with pytest.raises(IntegrityError):
            Routes.from_bytes(body[:cut])


@given(st.binary(max_size=200))
def test_any_bytes_are_a_document_or_an_integrity_error(body: bytes) -> None:
    with pytest.raises(IntegrityError):
        Routes.from_bytes(body)


# --- policy ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {"sticky": ("user",)},
        {"sticky": ("header:",)},
        {"sticky": ("header:X-User",)},
        {"sticky": ("header:a b",)},
        {"sticky": ("cookie:a;b",)},
        {"sticky": ("caller:x",)},
        {"sticky": ("caller", "caller")},
        {"sticky": tuple(f"cookie:{n}" for n in range(9))},
        {"version_header": "all"},
        {"rules": (Rule("x", "1", "2"), Rule("x", "1", "3"))},
        {"rules": tuple(Rule("x", str(n), "2") for n in range(101))},
        {"shadows": (Shadow(1), Shadow(1, 5))},
        {"fallbacks": {"1": 1}},
        {"fallbacks": {"stable": 0}},
        {"protected": ("?",)},
    ],
)
def test_a_policy_that_cannot_be_used_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(InvalidInputError):
        Policy(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("header", "value", "to"),
    [
        ("X", "1", "2"),
        ("", "1", "2"),
        ("x y", "1", "2"),
        ("x-modelport-version", "1", "2"),
        ("x", "", "2"),
        ("x", " 1", "2"),
        ("x", "1\n", "2"),
        ("x", "1" * 257, "2"),
        ("x", "1", "0"),
        ("x", "1", "9" * 11),
        ("x", "1", ""),
        ("x", "1", "no alias"),
    ],
)
def test_a_rule_that_cannot_fit_or_lead_anywhere_is_refused(
    header: str, value: str, to: str
) -> None:
    with pytest.raises(InvalidInputError):
        Rule(header, value, to)


@pytest.mark.parametrize("percent", [0, -1, 100.1, float("nan"), float("inf")])
def test_a_shadow_gets_a_part_of_the_calls(percent: float) -> None:
    with pytest.raises(InvalidPolicyError):
        Shadow(1, percent)


def test_policies_change_one_thing_at_a_time() -> None:
    first, second = Rule("x", "1", "2"), Rule("x", "2", "canary")
    policy = Policy().with_rule(first).with_rule(second)
    assert policy.with_rule(Rule("x", "1", "3")).rules == (Rule("x", "1", "3"), second)
    assert policy.without_rule("x", "1").rules == (second,)
    shadowed = policy.with_shadow(Shadow(4)).with_shadow(Shadow(4, 10, "canary"))
    assert shadowed.shadows == (Shadow(4, 10, "canary"),)
    assert shadowed.without_shadow(4) == policy
    spared = policy.with_fallback("stable", 1).with_fallback("stable", 2)
    assert spared.fallbacks == {"stable": 2}
    assert spared.without_fallback("stable") == policy
    with pytest.raises(NotInPolicyError, match="there is no rule x=9"):
        policy.without_rule("x", "9")
    with pytest.raises(NotInPolicyError, match="there is no fallback of alias stable"):
        policy.without_fallback("stable")
    with pytest.raises(NotInPolicyError, match="there is no shadow version 4"):
        policy.without_shadow(4)
