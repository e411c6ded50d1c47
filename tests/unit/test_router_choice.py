"""Which version a call gets: sticky keys, the version header, rules, and what is refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
from modelport.routes import Rule, Shadow, parse_weights

from tests.support.api_events import Event, http_v2, rest_v1
from tests.support.router_world import MODEL, Answer, Recorder, World, deployed, ruled

PREDICT = f"/v1/models/{MODEL}:predict"
INFER = f"/v2/models/{MODEL}/infer"
INVOKE = f"/endpoints/{MODEL}/invocations"


def split_by(*sources: str) -> World:
    """A world whose callers are split in halves by these sources."""
    return World(ruled(deployed(1, 2, stable="1:50,2:50"), sticky=sources))


def version(answer: Answer) -> str:
    assert answer.status == 200, answer.body
    return answer.headers["x-modelport-version"]


# --- sticky ---------------------------------------------------------------------------------------


def by_header(name: str) -> Event:
    return http_v2("POST", PREDICT, b"{}", {"X-User": name}, source_ip="192.0.2.1")


def by_cookie(name: str) -> Event:
    # An HTTP API takes the cookies out of the headers.
    return http_v2("POST", PREDICT, b"{}") | {"cookies": ["theme=dark", f"session={name}"]}


def by_cookie_v1(name: str) -> Event:
    return rest_v1("POST", PREDICT, b"{}", {"Cookie": f"theme=dark; session={name}; x"})


def by_cookies_sent_apart(name: str) -> Event:
    event = by_cookie_v1("")
    event["multiValueHeaders"]["Cookie"] = ["theme=dark", f"session={name}"]
    return event


def by_address(name: str) -> Event:
    return http_v2("POST", PREDICT, b"{}", source_ip=name)


@pytest.mark.parametrize(
    ("source", "event"),
    [
        ("header:x-user", by_header),
        ("cookie:session", by_cookie),
        ("cookie:session", by_cookie_v1),
        ("cookie:session", by_cookies_sent_apart),
        ("caller", by_address),
    ],
)
def test_each_source_keeps_a_caller_on_its_side_and_tells_callers_apart(
    source: str, event: Callable[[str], Event]
) -> None:
    world = split_by(source)
    sides = {
        name: {version(world.send(event(name))) for _ in range(4)}
        for name in (f"user-{number}" for number in range(24))
    }
    assert all(len(side) == 1 for side in sides.values())
    assert set.union(*sides.values()) == {"1", "2"}


def test_the_first_source_that_says_something_counts() -> None:
    both, header = split_by("header:x-user", "cookie:session"), split_by("header:x-user")
    cookie = split_by("cookie:session")
    for number in range(24):
        with_both = by_header(f"u{number}") | {"cookies": [f"session=s{number}"]}
        assert version(both.send(with_both)) == version(header.send(with_both))
        bare = by_cookie(f"s{number}")
        assert version(both.send(bare)) == version(cookie.send(bare))


@pytest.mark.parametrize("cookie", ["", "session", "session=", "Session=a", "xsession=a", ";=;"])
def test_a_cookie_that_is_not_there_leaves_it_to_chance(cookie: str) -> None:
    world = split_by("cookie:session")
    event = rest_v1("POST", PREDICT, b"{}", {"Cookie": cookie})
    assert set(Counter(version(world.send(event)) for _ in range(64))) == {"1", "2"}


def test_without_sources_every_call_goes_its_own_way() -> None:
    world = split_by()
    assert {version(world.post(PREDICT, x_modelport_key="k")) for _ in range(64)} == {"1", "2"}


def test_nobody_is_asked_who_they_are_where_there_is_no_split() -> None:
    class Shy(dict[str, object]):
        def get(self, *_: object) -> object:
            raise AssertionError("asked for the caller")

    world = World(deployed(1, 2, stable="2", canary="1:50,2:50"))
    event = http_v2("POST", PREDICT, b"{}")
    answer = world.send(
        {**event, "requestContext": event["requestContext"] | {"authorizer": Shy()}}
    )
    assert version(answer) == "2"


def test_what_a_caller_is_known_by_is_not_passed_on() -> None:
    model = Recorder()
    routes = ruled(deployed(1), sticky=("header:x-user", "cookie:session"))
    world = World(routes, models={1: model})
    world.post(PREDICT, x_user="ada", cookie="session=1", x_modelport_key="k")
    sent = " ".join([*model.requests[0].headers, *model.requests[0].headers.values()])
    assert "ada" not in sent
    assert "session" not in sent
    assert "x-modelport-key" not in sent


# --- the version header ---------------------------------------------------------------------------


def versions_world(allowed: str) -> World:
    routes = deployed(1, 2, 3, 4, stable="1", canary="1:90,2:10")
    return World(ruled(routes, version_header=allowed, shadows=(Shadow(3),)))


@pytest.mark.parametrize("path", [PREDICT, INFER, INVOKE])
@pytest.mark.parametrize(
    ("allowed", "named", "got"),
    [
        ("routed", "1", "1"),
        ("routed", "2", "2"),
        ("routed", " 2 ", "2"),
        ("routed", "3", "3"),
        ("routed", "4", None),
        ("any", "4", "4"),
        ("any", "9", None),
        ("any", "stable", "1"),
        ("off", "1", None),
        ("off", "stable", None),
        ("routed", "stable", "1"),
        ("routed", "beta", None),
        ("routed", "", None),
        ("any", "-1", None),
        ("any", "1.0", None),
        ("any", "9" * 400, None),
        ("any", "²", None),
        ("any", "__class__", None),
    ],
)
def test_the_header_hits_a_version_as_far_as_the_policy_allows(
    path: str, allowed: str, named: str, got: str | None
) -> None:
    answer = versions_world(allowed).post(path, x_modelport_version=named)
    if got is not None:
        assert version(answer) == got
        assert answer.headers["x-modelport-route"].startswith(f"{named.strip()};")
        return
    assert answer.status == 400
    assert answer.headers["x-modelport-error"] == "version-not-offered"
    offered = {
        "off": "choose none by header",
        "routed": "allowed: canary, stable, 3, 2, 1",
        "any": "allowed: canary, stable, 4, 3, 2, 1",
    }
    assert answer.error.endswith(offered[allowed])
    assert len(answer.error) < 300


@pytest.mark.parametrize(
    ("path", "got"),
    [
        (f"/v1/models/{MODEL}/versions/2:predict", "2"),
        (f"/v1/models/{MODEL}/labels/stable:predict", "1"),
        (f"/v2/models/{MODEL}/versions/2/infer", "2"),
        (f"/endpoints/{MODEL}/versions/stable/invocations", "1"),
    ],
)
def test_what_the_path_selects_wins_over_the_header(path: str, got: str) -> None:
    for named in ("4", "nonsense"):
        assert version(versions_world("off").post(path, x_modelport_version=named)) == got


def test_sagemakers_variant_is_as_good_as_a_path() -> None:
    answer = versions_world("off").post(
        INVOKE, x_amzn_sagemaker_target_variant="2", x_modelport_version="4"
    )
    assert version(answer) == "2"


def test_the_version_is_told_to_the_model_and_never_what_the_caller_said() -> None:
    model = Recorder()
    world = World(deployed(1, 2, stable="1:1", canary="2"), models={2: model})
    world.post(PREDICT, x_modelport_version="canary", x_modelport_fallback="from=1")
    headers = model.requests[0].headers
    assert headers["x-modelport-version"] == "2"
    assert "x-modelport-fallback" not in headers


def test_questions_about_a_model_follow_the_header_too() -> None:
    world = versions_world("routed")
    assert (
        world.get(f"/v2/models/{MODEL}", x_modelport_version="2").headers["x-modelport-version"]
        == "2"
    )
    status = world.get(f"/v1/models/{MODEL}", x_modelport_version="2").json()
    assert [each["version"] for each in status["model_version_status"]] == ["2"]


def test_a_refusal_names_no_more_versions_than_one_can_read() -> None:
    routes = deployed(*range(1, 200), stable="1")
    world = World(ruled(routes, version_header="any"))
    answer = world.post(PREDICT, x_modelport_version="999")
    assert answer.error.endswith("stable, 199, " + ", ".join(map(str, range(198, 179, -1))))


# --- rules ----------------------------------------------------------------------------------------


def rules_world(*rules: Rule) -> World:
    return World(ruled(deployed(1, 2, 3, stable="1", canary="2"), rules=rules))


def test_the_first_rule_that_fits_decides() -> None:
    world = rules_world(
        Rule("x-tenant", "acme", "canary"), Rule("x-tenant", "acme2", "3"), Rule("x-beta", "1", "3")
    )
    assert version(world.post(PREDICT)) == "1"
    assert version(world.post(PREDICT, x_tenant="acme")) == "2"
    assert version(world.post(INFER, X_Tenant="acme2")) == "3"
    assert version(world.post(INVOKE, x_tenant="acme", x_beta="1")) == "2"
    assert version(world.post(PREDICT, x_tenant="Acme")) == "1"
    assert version(world.post(PREDICT, x_tenant="acme ")) == "1"


def test_rules_are_for_calls_that_select_nothing() -> None:
    world = rules_world(Rule("x-tenant", "acme", "3"))
    path = f"/v1/models/{MODEL}/labels/stable:predict"
    assert version(world.post(path, x_tenant="acme")) == "1"
    assert version(world.post(PREDICT, x_tenant="acme", x_modelport_version="canary")) == "2"


def test_a_rule_to_a_split_alias_splits_those_callers() -> None:
    routes = deployed(1, 2, 3, stable="1", canary="2:50,3:50")
    world = World(ruled(routes, rules=(Rule("x-tenant", "acme", "canary"),)))
    seen = {
        version(world.post(PREDICT, x_tenant="acme", x_modelport_key=str(number)))
        for number in range(32)
    }
    assert seen == {"2", "3"}


def test_status_lists_all_versions_for_callers_that_a_rule_sends_elsewhere() -> None:
    world = rules_world(Rule("x-tenant", "acme", "3"))
    status = world.get(f"/v1/models/{MODEL}", x_tenant="acme").json()["model_version_status"]
    assert len(status) == 3


def test_a_changed_policy_is_seen_without_a_deploy() -> None:
    world = rules_world()
    assert version(world.post(PREDICT, x_tenant="acme")) == "1"
    routes = world.registry.documents[MODEL]
    policy = routes.policy.with_rule(Rule("x-tenant", "acme", "3"))
    world.registry.put(routes.with_policy(policy).with_alias("canary", parse_weights("3")))
    world.clock.forward(world.settings.routes_ttl_s + 0.1)
    answer = world.post(PREDICT, x_tenant="acme")
    assert version(answer) == "3"
    assert answer.headers["x-modelport-route"] == "default;rev=2"
