"""What the router answers by itself, in every protocol: index, statistics, health, refusals."""

from __future__ import annotations

import json
from typing import Any

import pytest
from modelport import __version__, metadata
from modelport.envelope import Request, Response
from modelport.errors import ModelTimeoutError
from modelport.grammar import RULES
from modelport.refusals import error_body

from functions.router.statistics import MAX_KEPT, Statistics
from tests.support.api_events import http_v2
from tests.support.router_world import MODEL, World, deployed, outage

INDEX = "/v2/repository/index"


def entry(name: str, version: int, reason: str = "") -> dict[str, Any]:
    state = "UNAVAILABLE" if reason else "READY"
    return {"name": name, "version": str(version), "state": state, "reason": reason}


def test_the_index_lists_what_answers_and_what_is_only_published() -> None:
    world = World(deployed(1, 2), deployed(model="bare"), deployed(7, model="other"))
    every = [
        entry("bare", 0, "not deployed"),
        entry(MODEL, 1),
        entry(MODEL, 2),
        entry("other", 7),
    ]
    for body in (b"", b"{}", b'{"ready": false}'):
        assert world.post(INDEX, body).json() == every
    assert world.post(INDEX, b'{"ready": true}').json() == every[1:]
    assert world.registry.listings == 1


def test_tritons_client_sends_the_index_no_body_and_no_type() -> None:
    assert World(deployed(1)).send(http_v2("POST", INDEX)).json() == [entry(MODEL, 1)]


@pytest.mark.parametrize("body", [b"[]", b"{", b'{"ready": 1}', b"\xff", b"[" * 100_000])
def test_an_index_request_that_makes_no_sense_is_400(body: bytes) -> None:
    answer = World(deployed(1)).post(INDEX, body)
    assert answer.status == 400
    assert answer.error


def test_the_index_comes_in_pages() -> None:
    world = World(*(deployed(1, model=f"m{number}") for number in range(5)))
    first = world.post(f"{INDEX}?limit=2", b"")
    assert [found["name"] for found in first.json()] == ["m0", "m1"]
    assert first.headers["x-modelport-next"] == "m1"
    last = world.post(f"{INDEX}?limit=3&after=m1", b"")
    assert [found["name"] for found in last.json()] == ["m2", "m3", "m4"]
    assert "x-modelport-next" not in last.headers
    assert len(world.registry.reads) == 5
    for limit in ("0", "-1", "x", "9" * 30, ""):
        assert world.post(f"{INDEX}?limit={limit}", b"").status == 400


def test_a_model_that_is_gone_since_the_names_were_read_is_not_in_the_index() -> None:
    world = World(deployed(1), deployed(1, model="other"))
    assert len(world.get("/v1/models").json()["models"]) == 2
    del world.registry.documents["other"]
    assert world.post(INDEX, b"").json() == [entry(MODEL, 1)]


@pytest.mark.parametrize("verb", ["load", "unload"])
def test_loading_is_not_a_call_and_says_what_is(verb: str) -> None:
    world = World(deployed(1))
    answer = world.post(f"/v2/repository/models/{MODEL}/{verb}", b"")
    assert answer.status == 501
    assert answer.headers["x-modelport-error"] == "not-supported"
    assert f"modelport {'deploy' if verb == 'load' else 'route'} {MODEL}" in answer.error
    assert world.registry.reads == []


def test_explain_is_501_without_waking_the_model() -> None:
    answer = World(deployed(1), models={}).post(f"/v1/models/{MODEL}:explain")
    assert answer.status == 501
    assert "no explainer" in answer.error
    gone = World(deployed(1)).post("/v1/models/gone:explain")
    assert (gone.status, gone.error) == (404, "Servable not found for request: Latest(gone)")


def test_health_version_and_alive() -> None:
    world = World(deployed(1))
    for path, body in (("/health", b"\n"), ("/version", __version__.encode()), ("/ping", b"\n")):
        answer = world.get(path)
        assert (answer.status, answer.body) == (200, body)
    assert world.get("/").json() == {"status": "alive"}
    assert world.get("/v1/models").json() == {"models": [MODEL]}
    world.registry.failure = outage()
    assert world.get("/health").status == 200


# --- statistics -----------------------------------------------------------------------------------


def test_statistics_count_what_was_forwarded_by_version_and_outcome() -> None:
    def slow(request: Request) -> Response:
        world.clock.forward(0.25)
        return Response(400 if request.body == b"bad" else 200, {}, b"{}")

    def late(request: Request) -> Response:
        world.clock.forward(2)
        raise ModelTimeoutError(MODEL, 2, 2)

    world = World(deployed(1, 2), models={1: slow, 2: late})
    assert world.get("/v2/models/stats").json() == {"model_stats": []}
    one = f"/v1/models/{MODEL}/versions/1:predict"
    for body in (b"{}", b"{}", b"bad"):
        world.post(one, body)
    assert world.post(f"/v2/models/{MODEL}/versions/2/infer").status == 504
    first, second = world.get("/v2/models/stats").json()["model_stats"]
    assert (first["name"], first["version"], first["inference_count"]) == (MODEL, "1", 2)
    assert first["inference_stats"]["success"] == {"count": 2, "ns": 500_000_000}
    assert first["inference_stats"]["fail"] == {"count": 1, "ns": 250_000_000}
    assert first["last_inference"] > 1_700_000_000_000
    assert second["inference_stats"]["fail"] == {"count": 1, "ns": 2_000_000_000}
    assert set(first["inference_stats"]) == set(metadata.STATISTICS)


def test_a_versions_own_statistics_are_its_own_and_asking_counts_for_nothing() -> None:
    world = World(deployed(1), models={1: lambda request: Response(200, {}, b'{"own":1}')})
    assert world.get(f"/v2/models/{MODEL}/stats").json() == {"own": 1}
    assert world.get(f"/v2/models/{MODEL}/versions/1/stats").json() == {"own": 1}
    assert world.get("/v2/models/stats").json() == {"model_stats": []}


def test_statistics_forget_who_was_not_asked_for_longest() -> None:
    statistics = Statistics(lambda: 1.0)
    for version in range(1, MAX_KEPT + 10):
        statistics.count("m", version, 0.001, succeeded=True)
        statistics.count("m", 1, 0.001, succeeded=True)
    kept = [int(found["version"]) for found in statistics.document()["model_stats"]]
    assert len(kept) == MAX_KEPT
    assert (kept[0], kept[1], kept[-1]) == (1, 11, MAX_KEPT + 9)


# --- every path, every protocol -------------------------------------------------------------------


def paths() -> list[tuple[str, str, str, str]]:
    """One real path for each row of the grammar."""
    found = []
    for protocol, verb, method, pattern in RULES:
        text = pattern.pattern.replace("\\.", ".").replace("/v2/?", "/v2")
        for group in (r"(?:/versions/(?P<version>[^/:]+)|/labels/(?P<alias>[^/:]+))?",
                      r"(?:/versions/(?P<any>[^/:]+))?"):  # fmt: skip
            text = text.replace(group, "")
        text = text.replace("(?P<job>[^/]+)", 32 * "0")
        found.append((protocol, verb, method, text.replace("(?P<model>[^/:]+)", MODEL)))
    return found


@pytest.mark.parametrize(("protocol", "verb", "method", "path"), paths())
def test_every_path_of_the_grammar_has_an_answer(
    protocol: str, verb: str, method: str, path: str
) -> None:
    answer = World(deployed(1)).send(http_v2(method, path, b"", {"content-type": "text/csv"}))
    if path == "/invocations":  # the container's own; here a path names the model
        assert (answer.status, "/endpoints/M/invocations" in answer.error) == (404, True)
    elif verb in {"explain", "repository-load", "repository-unload"} or protocol == "jobs":
        assert answer.status == 501  # jobs: this router has been given none
    else:
        assert answer.status == 200, answer.body
    wrong = World(deployed(1)).send(http_v2("PATCH", path))
    assert (wrong.status, method in wrong.headers["allow"]) == (405, True)
    if method == "GET":
        head = World(deployed(1)).send(http_v2("HEAD", path))
        assert (head.status, head.body) == (answer.status, b"")


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "BAD_REQUEST"),
        (404, "RESOURCE_DOES_NOT_EXIST"),
        (405, "BAD_REQUEST"),
        (409, "RESOURCE_CONFLICT"),
        (413, "BAD_REQUEST"),
        (415, "BAD_REQUEST"),
        (429, "REQUEST_LIMIT_EXCEEDED"),
        (500, "INTERNAL_ERROR"),
        (501, "NOT_IMPLEMENTED"),
        (502, "INTERNAL_ERROR"),
        (503, "TEMPORARILY_UNAVAILABLE"),
        (504, "DEADLINE_EXCEEDED"),
    ],
)
def test_mlflows_names_for_statuses(status: int, code: str) -> None:
    assert error_body("mlflow", status, "no") == {
        "error": "no",
        "error_code": code,
        "message": "no",
    }
    assert error_body("v2", status, "no") == error_body("", status, "no") == {"error": "no"}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/endpoints/gone/invocations", 404),
        ("POST", "/endpoints/Not_A_Name/invocations", 400),
        ("GET", f"/endpoints/{MODEL}/invocations", 405),
        ("POST", "/invocations", 404),
    ],
)
def test_errors_on_shared_paths_have_mlflows_keys_beside(
    method: str, path: str, status: int
) -> None:
    answer = World(deployed(1)).send(http_v2(method, path))
    assert answer.status == status
    assert list(json.loads(answer.body)) == ["error", "error_code", "message"]
