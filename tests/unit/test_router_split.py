"""Weighted splits as callers see them: right shares, sticky, and moved only where they must."""

from __future__ import annotations

from collections import Counter

import pytest
from modelport.routes import Routes, parse_weights

from tests.support.api_events import Event, http_v2, rest_v1
from tests.support.router_world import MODEL, World, deployed

CALLERS = [f"caller-{number}" for number in range(100_000)]
PREDICT = f"/v1/models/{MODEL}:predict"


def sides(routes: Routes) -> list[int]:
    return [routes.resolve(None, None, key).version for key in CALLERS]


@pytest.mark.parametrize("weights", ["1:90,2:10", "1:50,2:30,3:15,4:5", "1:1,2:1,3:1"])
def test_100_000_callers_split_within_half_a_percent_of_the_weights(weights: str) -> None:
    counts = Counter(sides(deployed(1, 2, 3, 4, stable=weights)))
    alias = parse_weights(weights)
    total = sum(part.weight for part in alias)
    for part in alias:
        assert counts[part.version] / len(CALLERS) == pytest.approx(part.weight / total, abs=0.005)


def test_raising_a_weight_moves_callers_only_towards_it() -> None:
    before = sides(deployed(1, 2, 3, stable="1:80,2:10,3:10"))
    after = sides(deployed(1, 2, 3, stable="1:80,2:30,3:10"))
    moved = [(was, now) for was, now in zip(before, after, strict=True) if was != now]
    assert moved
    assert {now for _, now in moved} == {2}


def iam_v2(name: str) -> Event:
    authorizer = {"iam": {"userArn": f"arn:aws:iam::1:user/{name}"}}
    return http_v2("POST", PREDICT, b"{}", authorizer=authorizer)


def jwt_v2(name: str) -> Event:
    return http_v2("POST", PREDICT, b"{}", authorizer={"jwt": {"claims": {"sub": name}}})


def header_v2(name: str) -> Event:
    return http_v2("POST", PREDICT, b"{}", {"X-Modelport-Key": name})


def address_v2(name: str) -> Event:
    return http_v2("POST", PREDICT, b"{}", source_ip=name)


def iam_v1(name: str) -> Event:
    return rest_v1("POST", PREDICT, b"{}", identity={"userArn": f"arn:aws:iam::1:user/{name}"})


def claims_v1(name: str) -> Event:
    return rest_v1("POST", PREDICT, b"{}", authorizer={"claims": {"sub": name}})


def api_key_v1(name: str) -> Event:
    return rest_v1("POST", PREDICT, b"{}", identity={"apiKeyId": name})


def address_v1(name: str) -> Event:
    return rest_v1("POST", PREDICT, b"{}", source_ip=name)


@pytest.mark.parametrize(
    "event",
    [iam_v2, jwt_v2, header_v2, address_v2, iam_v1, claims_v1, api_key_v1, address_v1],
)
def test_a_caller_always_gets_the_same_side_and_callers_differ(event: object) -> None:
    assert callable(event)
    world = World(deployed(1, 2, stable="1:50,2:50"))
    sides = {
        name: {world.send(event(name)).headers["x-modelport-version"] for _ in range(3)}
        for name in (f"10.0.0.{number}" for number in range(16))
    }
    assert all(len(side) == 1 for side in sides.values())
    assert set.union(*sides.values()) == {"1", "2"}


def test_the_header_beats_the_identity() -> None:
    world = World(deployed(1, 2, stable="1:50,2:50"))
    versions = {
        world.post(PREDICT, x_modelport_key="one").headers["x-modelport-version"],
        world.send(
            http_v2("POST", PREDICT, b"{}", {"x-modelport-key": "one"}, source_ip="198.51.100.9")
        ).headers["x-modelport-version"],
    }
    assert len(versions) == 1


def test_a_caller_nobody_knows_is_split_at_random() -> None:
    world = World(deployed(1, 2, stable="1:50,2:50"))
    event = http_v2("POST", PREDICT, b"{}", source_ip="")
    seen = Counter(world.send(event).headers["x-modelport-version"] for _ in range(64))
    assert set(seen) == {"1", "2"}


def test_a_route_change_is_visible_after_the_ttl() -> None:
    world = World(deployed(1, 2, stable="1"))
    assert world.post(PREDICT).headers["x-modelport-version"] == "1"
    routes = world.registry.documents[MODEL]
    world.registry.put(routes.with_alias("stable", parse_weights("2")))
    assert world.post(PREDICT).headers["x-modelport-version"] == "1"
    world.clock.forward(2 * world.settings.routes_ttl_s + 0.1)
    answer = world.post(PREDICT)
    assert answer.headers["x-modelport-version"] == "2"
    assert answer.headers["x-modelport-route"] == "default;rev=2"
