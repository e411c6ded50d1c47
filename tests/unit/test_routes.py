"""The routes document: operations, resolution, the split, and its bytes."""

from __future__ import annotations

import json

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
from modelport.routes import HISTORY, Deployment, Routes, Weighted, parse_weights


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
    with pytest.raises(VersionInUseError, match="canary"):
        routes.without_deployment(2)
    freed = routes.with_alias("canary", parse_weights("1"))
    assert list(freed.without_deployment(2).deployments) == [1]


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
    ["", "x", "1:", "1:x", "1:-5", "1:0", "1:nan", "1:inf", "1:50,1:50", "1,2", "0", "1:50,", "-1"],
)
def test_weights_that_describe_no_split_are_refused(text: str) -> None:
    with pytest.raises(InvalidInputError, match=r"weight|version"):
        parse_weights(text)


def test_a_key_always_meets_the_same_version() -> None:
    routes = deployed(1, 2, 3).with_alias("stable", parse_weights("1:50,2:30,3:20"))
    for key in map(str, range(100)):
        assert len({version_for(routes, key) for _ in range(3)}) == 1


@pytest.mark.parametrize("text", ["1:90,2:10", "1:1,2:1,3:1", "1:70,2:20,3:9,4:1"])
def test_the_split_follows_the_weights_within_half_a_percent(text: str) -> None:
    alias = parse_weights(text)
    routes = deployed(*(part.version for part in alias)).with_alias("stable", alias)
    callers, total = 100_000, sum(part.weight for part in alias)
    counts = dict.fromkeys((part.version for part in alias), 0)
    for key in range(callers):
        counts[version_for(routes, f"caller-{key}")] += 1
    for part in alias:
        assert abs(counts[part.version] / callers - part.weight / total) < 0.005


@given(
    weights=st.lists(st.integers(1, 100), min_size=2, max_size=5),
    raised=st.integers(0, 4),
    by=st.integers(1, 500),
)
def test_raising_a_weight_moves_callers_only_towards_it(
    weights: list[int], raised: int, by: int
) -> None:
    winner = raised % len(weights) + 1
    routes = deployed(*range(1, len(weights) + 1))
    parts = [Weighted(number + 1, weight) for number, weight in enumerate(weights)]
    before = routes.with_alias("stable", parts)
    parts[winner - 1] = Weighted(winner, weights[winner - 1] + by)
    after = routes.with_alias("stable", parts)
    for key in map(str, range(200)):
        if version_for(before, key) != version_for(after, key):
            assert version_for(after, key) == winner


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


def test_the_document_survives_its_bytes() -> None:
    routes = deployed(1, 2).with_alias("stable", parse_weights("1"))
    routes = routes.with_alias("stable", parse_weights("1:90,2:10"))
    routes = revised(Routes("m"), routes)
    assert Routes.from_bytes(routes.to_bytes()) == routes


def test_a_hand_edited_document_is_refused() -> None:
    routes = revised(Routes("m"), deployed(1).with_alias("stable", parse_weights("1")))
    edits: tuple[dict[str, object], ...] = (
        {"revision": 9},
        {"schema": 2},
        {"deployments": {}},
        {"aliases": {"stable": [{"version": 1, "weight": -1}]}},
        {"change": {"who": "someone else"}},
    )
    for edit in edits:
        data = json.loads(routes.to_bytes())
        data.update(edit)
        with pytest.raises(IntegrityError):
            Routes.from_bytes(json.dumps(data).encode())


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
