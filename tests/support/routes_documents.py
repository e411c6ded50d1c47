"""Routes documents of every kind, for hypothesis: policies, rollouts, proposals, histories.

Only what the routes' own checks allow is drawn, so every example is a document that could exist.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st
from modelport.routes import Deployment, Guard, Policy, Proposal, Rollout, Routes, Rule, Shadow
from modelport.routes.policy import VERSION_HEADER
from modelport.routes.rollout import STATES
from modelport.routes.weights import Weighted

ALIASES = ("stable", "canary", "beta", "Alias_with-all")
HEADERS = st.sampled_from(["x-user", "x-tenant", "user-agent", "x-modelport-key", "a", "x_y.z"])
TEXT = st.text(max_size=20)
WEIGHTS = st.floats(1e-6, 1e9) | st.integers(1, 100)
TIMES = st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1)).map(
    lambda at: at.replace(tzinfo=UTC).isoformat()
)
#: Built once: patterns are dear to make.
_VALUES = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20)
_COOKIES = st.sampled_from(["cookie:session", "cookie:SID", "cookie:__Host-a"])
_SOURCES = HEADERS.map("header:{}".format) | _COOKIES | st.just("caller")
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
#: What survives JSON: no NaN, which is not itself.
PLAIN_JSON: st.SearchStrategy[Any] = st.dictionaries(
    TEXT, st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT, max_size=3
)


def splits(versions: list[int]) -> st.SearchStrategy[tuple[Weighted, ...]]:
    """Aliases over these versions."""
    named = st.lists(st.sampled_from(versions), min_size=1, max_size=5, unique=True)
    return named.flatmap(
        lambda chosen: st.tuples(*(st.builds(Weighted, st.just(v), WEIGHTS) for v in chosen))
    )


def policies(versions: list[int], aliases: list[str]) -> st.SearchStrategy[Policy]:
    """Policies over these versions and aliases."""
    places = st.sampled_from([*aliases, *map(str, versions)])
    return st.builds(
        Policy,
        sticky=st.lists(_SOURCES, max_size=4, unique=True).map(tuple),
        version_header=st.sampled_from(VERSION_HEADER),
        rules=st.lists(
            st.builds(Rule, HEADERS, _VALUES, places),
            max_size=4,
            unique_by=lambda rule: (rule.header, rule.value),
        ).map(tuple),
        fallbacks=st.dictionaries(
            st.sampled_from([*aliases, "stable"]), st.sampled_from(versions), max_size=3
        ),
        shadows=st.lists(
            st.builds(
                Shadow,
                st.sampled_from(versions),
                st.floats(1e-6, 100),
                st.none() | st.sampled_from(aliases),
            ),
            max_size=3,
            unique_by=lambda shadow: shadow.version,
        ).map(tuple),
        protected=st.lists(st.sampled_from(ALIASES), max_size=2, unique=True).map(tuple),
    )


@st.composite
def rollouts(draw: st.DrawFn, versions: list[int], alias: str) -> Rollout:
    """The record of a rollout of ``alias``, in any state."""
    steps = [*sorted(draw(st.sets(st.floats(0.01, 99), max_size=4))), 100.0]
    every_s = draw(st.floats(10, 86_400))
    return Rollout(
        alias,
        candidate=draw(st.sampled_from(versions)),
        stable=draw(st.sampled_from(versions)),
        before=draw(splits(versions)),
        steps=tuple(steps),
        every_s=every_s,
        guards=draw(
            st.lists(
                st.builds(
                    Guard,
                    TEXT,
                    st.just("latency"),
                    st.floats(0.001, 0.5),
                    slower_than_ms=st.floats(0.1, 1e4),
                    categories=st.lists(TEXT, max_size=2).map(tuple),
                ),
                max_size=3,
                unique_by=lambda guard: guard.name,
            ).map(tuple)
        ),
        alpha=draw(st.floats(0.001, 0.49)),
        min_samples=draw(st.integers(1, 10**6)),
        window_s=draw(st.integers(1, 10)),
        started=draw(TIMES),
        since=draw(TIMES),
        moved=tuple(draw(st.lists(TIMES, max_size=3))),
        state=draw(st.sampled_from(STATES)),
        step=draw(st.integers(0, len(steps) - 1)),
        reason=draw(TEXT),
        evidence=tuple(draw(st.lists(PLAIN_JSON, max_size=2))),
    )


@st.composite
def documents(draw: st.DrawFn) -> Routes:
    """A whole document, at its first revision or a later one."""
    versions = sorted(draw(st.sets(st.integers(1, 60), min_size=1, max_size=6)))
    routes = Routes("m", latest=versions[-1])
    for version in versions:
        where = Deployment(version, "lambda", draw(TEXT), draw(TEXT), draw(PLAIN_JSON))
        routes = routes.with_deployment(where)
    aliases = sorted(draw(st.sets(st.sampled_from(ALIASES), min_size=1)))
    for alias in aliases * draw(st.integers(1, 3)):
        routes = routes.with_alias(alias, draw(splits(versions)))
    routes = routes.with_policy(draw(policies(versions, aliases)))
    for alias in draw(st.sets(st.sampled_from(aliases), max_size=2)):
        routes = routes.with_rollout(draw(rollouts(versions, alias)))
    for alias in draw(st.sets(st.sampled_from(aliases), max_size=2)):
        later = draw(st.none() | rollouts(versions, alias))
        to = draw(splits(versions) | st.just(()))
        told = (draw(TEXT), draw(TIMES), draw(TEXT))
        routes = routes.with_proposal(
            alias, Proposal(alias, routes.aliases[alias], to, *told, later)
        )
    before = Routes("m")
    for _ in range(draw(st.integers(1, 3))):
        before = before.changed(
            routes, action="route", detail=draw(PLAIN_JSON), who=draw(TEXT), at=draw(TIMES)
        )
    return before
