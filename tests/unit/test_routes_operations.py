"""Any operations in any order: each is refused, or leaves a document that can be read again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from modelport.errors import ModelportError
from modelport.routes import Deployment, Policy, Routes, Rule, Shadow, Weighted
from modelport.routes.removed import without_versions

Operation = Callable[[Routes], Routes]

VERSIONS = st.integers(1, 4)
ALIASES = st.sampled_from(["stable", "canary", "beta"])
SPLITS = st.lists(st.builds(Weighted, VERSIONS, st.integers(0, 9)), max_size=3)
HEADERS = st.sampled_from(["x-a", "x-b"])
PLACES = st.sampled_from(["1", "2", "stable", "canary", "beta"])


def deploy(version: int) -> Operation:
    return lambda routes: routes.with_deployment(Deployment(version, "lambda", "f", "sha256:0"))


def policy(edit: Callable[[Policy], Policy]) -> Operation:
    return lambda routes: routes.with_policy(edit(routes.policy))


OPERATIONS: st.SearchStrategy[Operation] = st.one_of(
    st.builds(deploy, VERSIONS),
    st.builds(lambda v: lambda r: r.without_deployment(v), VERSIONS),
    st.builds(lambda v: lambda r: without_versions(r, [v]), VERSIONS),
    st.builds(lambda a, s: lambda r: r.with_alias(a, s), ALIASES, SPLITS),
    st.builds(lambda a: lambda r: r.without_alias(a), ALIASES),
    st.builds(lambda a: lambda r: r.rolled_back(a), ALIASES),
    st.builds(
        lambda h, to: policy(lambda p: p.with_rule(Rule(h, "1", to))),
        HEADERS,
        PLACES,
    ),
    st.builds(lambda h: policy(lambda p: p.without_rule(h, "1")), HEADERS),
    st.builds(lambda a, v: policy(lambda p: p.with_fallback(a, v)), ALIASES, VERSIONS),
    st.builds(lambda a: policy(lambda p: p.without_fallback(a)), ALIASES),
    st.builds(
        lambda v, a: policy(lambda p: p.with_shadow(Shadow(v, 50, a))),
        VERSIONS,
        st.none() | ALIASES,
    ),
    st.builds(lambda v: policy(lambda p: p.without_shadow(v)), VERSIONS),
    st.builds(lambda a: policy(lambda p: replace(p, protected=(*p.protected, a))), ALIASES),
    st.builds(lambda a: lambda r: r.unprotected(a), ALIASES),
)


@settings(max_examples=150)
@given(st.lists(OPERATIONS, max_size=25))
def test_what_is_written_can_be_read_and_every_call_has_a_version(
    operations: list[Operation],
) -> None:
    routes = Routes("m", latest=4)
    for operation in [deploy(1), deploy(2), *operations]:
        try:
            after = operation(routes)
        except ModelportError:
            continue  # said why, changed nothing
        routes = routes.changed(after, action="test", detail={}, who="ada", at="")
        assert Routes.from_bytes(routes.to_bytes()) == routes
        named = [rule.to for rule in routes.policy.rules if rule.version is None]
        for alias in (*routes.aliases, *named, *({None} if routes.deployments else ())):
            assert routes.resolve(None, alias, "ada").version in routes.deployments
        assert routes.policy.versions() <= set(routes.deployments)
