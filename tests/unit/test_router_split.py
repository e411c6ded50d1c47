"""Weighted splits as callers see them: right shares, sticky, and moved only where they must."""

from __future__ import annotations

import hashlib
import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelport.routes import Routes, Weighted, parse_weights
from modelport.routes.weights import HEAVIEST, pick, score, uniform

from tests.support.api_events import Event, http_v2, rest_v1
from tests.support.router_world import MODEL, World, deployed

CALLERS = [f"caller-{number}" for number in range(100_000)]
#: The sides of caller-0, caller-1 and so on of 1:50,2:30,3:20.
RECORDED = "3232222112131113313223122132112113112131"
PREDICT = f"/v1/models/{MODEL}:predict"


def sides(routes: Routes) -> list[int]:
    return [routes.resolve(None, None, key).version for key in CALLERS]


@pytest.mark.parametrize("weights", ["1:90,2:10", "1:50,2:30,3:15,4:5", "1:1,2:1,3:1", "1:99,2:1"])
def test_100_000_callers_split_within_half_a_percent_of_the_weights(weights: str) -> None:
    counts = Counter(sides(deployed(1, 2, 3, 4, stable=weights)))
    alias = parse_weights(weights)
    total = sum(part.weight for part in alias)
    for part in alias:
        assert counts[part.version] / len(CALLERS) == pytest.approx(part.weight / total, abs=0.005)


def test_a_split_over_50_versions_keeps_its_weights_too() -> None:
    alias = tuple(Weighted(number, 1 + number % 5) for number in range(1, 51))
    total = sum(part.weight for part in alias)
    counts = Counter(pick(MODEL, alias, caller) for caller in CALLERS[:20_000])
    for part in alias:
        assert counts[part.version] / 20_000 == pytest.approx(part.weight / total, abs=0.005)


def test_raising_a_weight_moves_as_many_callers_as_it_must_and_only_towards_it() -> None:
    before = sides(deployed(1, 2, 3, stable="1:80,2:10,3:10"))
    after = sides(deployed(1, 2, 3, stable="1:80,2:30,3:10"))
    moved = [(was, now) for was, now in zip(before, after, strict=True) if was != now]
    assert {now for _, now in moved} == {2}
    assert len(moved) / len(CALLERS) == pytest.approx(30 / 120 - 10 / 100, abs=0.005)


#: Whole percents, as people write them, and anything else.
WEIGHT = st.integers(1, 100).map(float) | st.floats(1e-3, 1e6)


@given(
    weights=st.dictionaries(st.integers(1, 500), WEIGHT, min_size=2, max_size=50),
    raised=st.integers(0, 49),
    by=st.floats(1e-3, 1e6),
    keys=st.lists(st.text(min_size=1), min_size=20, max_size=20),
)
def test_raising_any_weight_never_takes_a_caller_from_the_raised_version(
    weights: dict[int, float], raised: int, by: float, keys: list[str]
) -> None:
    winner = sorted(weights)[raised % len(weights)]
    before = tuple(Weighted(version, weight) for version, weight in weights.items())
    after = tuple(
        Weighted(version, weight + by if version == winner else weight)
        for version, weight in weights.items()
    )
    for key in (*keys, *map(str, range(30))):
        was, now = pick(MODEL, before, key), pick(MODEL, after, key)
        assert now in (was, winner)


@given(
    weights=st.dictionaries(st.integers(1, 500), WEIGHT, min_size=3, max_size=20),
    removed=st.integers(0, 19),
)
def test_who_was_elsewhere_stays_when_a_version_leaves_the_split(
    weights: dict[int, float], removed: int
) -> None:
    gone = sorted(weights)[removed % len(weights)]
    before = tuple(Weighted(version, weight) for version, weight in weights.items())
    after = tuple(part for part in before if part.version != gone)
    for key in map(str, range(50)):
        was = pick(MODEL, before, key)
        assert was == gone or pick(MODEL, after, key) == was


def test_the_hash_is_the_documented_one() -> None:
    """Everybody's side would change with it; these sides are on record."""
    alias = parse_weights("1:50,2:30,3:20")
    assert "".join(str(pick("magika", alias, f"caller-{n}")) for n in range(40)) == RECORDED
    digest = hashlib.blake2b(b"magika\x002\x00ada", digest_size=8).digest()
    n = int.from_bytes(digest, "big") >> 12
    expected = -30 / math.log((n + 0.5) / 2**52)
    assert score("magika", Weighted(2, 30), "ada") == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("digest", [b"\0" * 8, b"\xff" * 8])
def test_no_hash_is_so_extreme_that_its_score_could_not_be_computed(digest: bytes) -> None:
    assert 0 < uniform(digest) < 1
    assert math.isfinite(HEAVIEST / math.log(uniform(digest)))


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


def test_a_route_change_is_visible_to_the_first_request_after_the_ttl() -> None:
    world = World(deployed(1, 2, stable="1"))
    assert world.post(PREDICT).headers["x-modelport-version"] == "1"
    routes = world.registry.documents[MODEL]
    world.registry.put(routes.with_alias("stable", parse_weights("2")))
    assert world.post(PREDICT).headers["x-modelport-version"] == "1"
    world.clock.forward(world.settings.routes_ttl_s + 0.1)
    answer = world.post(PREDICT)
    assert answer.headers["x-modelport-version"] == "2"
    assert answer.headers["x-modelport-route"] == "default;rev=2"
