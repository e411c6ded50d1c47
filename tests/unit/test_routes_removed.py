"""Versions that are gone for good: a small set of numbers, and what keeps a version from going."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelport.errors import IntegrityError
from modelport.routes import Deployment, Policy, Proposal, Rollout, Routes, Shadow, Weighted
from modelport.routes.errors import VersionHeldError, VersionRemovedError
from modelport.routes.removed import Numbers, held_by, without_versions

sets = st.sets(st.integers(1, 60))


@given(first=sets, second=sets)
def test_numbers_are_a_set(first: set[int], second: set[int]) -> None:
    numbers = Numbers.of(first).with_all(second)
    assert list(numbers) == sorted(first | second)
    assert len(numbers) == len(first | second)
    assert bool(numbers) == bool(first | second)
    assert all((n in numbers) == (n in first | second) for n in range(70))
    assert numbers == Numbers.of(first | second)
    assert Numbers.parse(str(numbers)) == numbers


def test_numbers_are_written_shortly() -> None:
    assert str(Numbers.of([*range(1, 10_001)])) == "1-10000"
    assert str(Numbers.of([3, 1, 2, 7])) == "1-3,7"
    assert str(Numbers()) == ""


@pytest.mark.parametrize(
    "text", ["0", "2-1", "1,1", "1,2", "1-3,2", "x", "1-", "-1", " 1", "01", "1,,2", "1-1", "5,3"]
)
def test_what_was_not_written_like_that_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - a plain one, made an IntegrityError above it
        Numbers.parse(text)


def routes() -> Routes:
    made = Routes("magika")
    for version in range(1, 6):
        made = made.with_published(version)
        made = made.with_deployment(Deployment(version, "lambda", "f", "sha256:" + "0" * 64))
    return made


def undeployed(made: Routes) -> Routes:
    return replace(made, deployments={})


def test_what_runs_or_is_named_stays() -> None:
    made = routes().with_alias("stable", [Weighted(1)]).with_alias("stable", [Weighted(2)])
    made = made.with_policy(Policy(shadows=(Shadow(3),), fallbacks={"stable": 4}))
    assert held_by(made, 5) == ("its deployment",)
    assert held_by(made, 2) == ("alias stable", "its deployment")
    made = undeployed(made)
    assert held_by(made, 1) == ("the history of stable",)
    assert held_by(made, 3) == held_by(made, 4) == ("the model's policy",)
    assert held_by(made, 5) == ()
    with pytest.raises(VersionHeldError, match="the history of stable"):
        without_versions(made, [5, 1])
    assert list(without_versions(made, [5]).removed) == [5]


def test_what_a_rollout_or_a_proposal_names_stays() -> None:
    start = "2026-01-01T00:00:00+00:00"
    rollout = Rollout(
        alias="stable",
        candidate=5,
        stable=4,
        before=(Weighted(3), Weighted(4)),
        steps=(10.0, 100.0),
        every_s=300.0,
        guards=(),
        alpha=0.05,
        min_samples=10,
        window_s=60,
        started=start,
        since=start,
        moved=(start,),
    )
    made = undeployed(routes())
    with_rollout = made.with_rollout(rollout)
    assert [v for v in range(1, 6) if held_by(with_rollout, v)] == [3, 4, 5]
    proposal = Proposal("stable", (), (Weighted(2),), "ada", start, rollout=rollout)
    proposed = made.with_proposal("stable", proposal)
    assert [v for v in range(1, 6) if held_by(proposed, v)] == [2, 4, 5]


def test_a_removed_version_is_never_deployed_again() -> None:
    made = without_versions(undeployed(routes()), [5])
    with pytest.raises(VersionRemovedError):
        made.with_deployment(Deployment(5, "lambda", "f", "sha256:" + "0" * 64))


def test_what_was_removed_is_in_the_document() -> None:
    made = without_versions(undeployed(routes()), [1, 2, 5])
    made = Routes("magika").changed(made, action="remove", detail={}, who="ada", at="2026")
    body = made.to_bytes()
    assert Routes.from_bytes(body) == made
    assert b'"removed": "1-2,5"' in body
    with pytest.raises(IntegrityError):
        Routes.from_bytes(body.replace(b'"1-2,5"', b'"1-2,5,"'))
    with pytest.raises(IntegrityError):
        Routes.from_bytes(body.replace(b'"1-2,5"', b'"1-2"'))
