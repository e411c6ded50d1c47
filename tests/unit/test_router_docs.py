"""Documentation through the router: no model is woken, the manifest is read once, stages fit."""

from __future__ import annotations

from urllib.parse import urljoin

import pytest
from modelport.manifest import Manifest

from tests.support.api_events import rest_v1
from tests.support.router_world import MODEL, Recorder, SwitchableRegistry, World, deployed, outage

DOCUMENT = f"/v2/models/{MODEL}/openapi.json"
PAGE = f"/v2/models/{MODEL}/docs"


@pytest.fixture
def world() -> World:
    return World(deployed(1, 2, stable="1", canary="2"))


def test_a_model_is_described_without_waking_it() -> None:
    model = Recorder()
    world = World(deployed(1), models={1: model})
    answer = world.get(DOCUMENT)
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-modelport-version"] == "1"
    document = answer.json()
    assert f"/v1/models/{MODEL}:predict" in document["paths"]
    assert document["info"]["version"] == "1"
    assert world.get(PAGE).status == 200
    assert model.requests == []


@pytest.mark.parametrize(("selector", "version"), [("2", "2"), ("canary", "2"), ("stable", "1")])
def test_versions_and_aliases_have_documents(world: World, selector: str, version: str) -> None:
    path = f"/v2/models/{MODEL}/versions/{selector}"
    document = world.get(f"{path}/openapi.json").json()
    assert document["info"]["version"] == version
    assert f"{path}/infer" in document["paths"]
    assert world.get(f"{path}/docs").headers["x-modelport-version"] == version


@pytest.mark.parametrize("path", ["/v2/models/nobody/docs", f"/v2/models/{MODEL}/versions/9/docs"])
def test_what_is_not_there_has_no_page(world: World, path: str) -> None:
    answer = world.get(path)
    assert answer.status == 404
    assert answer.error


@pytest.mark.parametrize("path", [DOCUMENT, f"/v2/models/{MODEL}/versions/2/openapi.json"])
@pytest.mark.parametrize("stage", ["", "/live"])
def test_the_server_is_found_from_the_document_behind_any_stage(
    world: World, path: str, stage: str
) -> None:
    server = world.get(path).json()["servers"][0]["url"]
    base = f"https://api.test{stage}"
    assert urljoin(base + path, server).rstrip("/") == base


def test_a_rest_stage_serves_pages_too(world: World) -> None:
    answer = world.send(rest_v1("GET", PAGE, stage="live"))
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert "script-src 'sha256-" in answer.headers["content-security-policy"]
    assert b"<h1>magika" in answer.body


def test_the_list_of_models_links_to_their_pages(world: World) -> None:
    answer = world.get("/docs")
    assert answer.status == 200
    assert b'href="v2/models/magika/docs"' in answer.body
    server = world.get("/openapi.json").json()
    assert "/v2/health/live" in server["paths"]
    assert server["servers"][0]["url"] == "."


class CountingRegistry(SwitchableRegistry):
    """A registry that counts the manifests it was asked for."""

    manifests = 0

    def manifest(self, model: str, version: int) -> Manifest:
        self.manifests += 1
        return super().manifest(model, version)


def test_a_manifest_is_read_once_and_then_not_needed() -> None:
    world = World(registry=(registry := CountingRegistry(deployed(1))))
    for path in (DOCUMENT, PAGE, DOCUMENT):
        assert world.get(path).status == 200
    assert registry.manifests == 1
    registry.failure = outage()
    assert world.get(PAGE).status == 200


def test_a_registry_that_fails_is_said_and_not_remembered(world: World) -> None:
    world.registry.failure = outage()
    assert world.get("/docs").status == 503
    world.registry.failure = None
    assert world.get("/docs").status == 200
    assert world.get(DOCUMENT).status == 200


@pytest.mark.parametrize("path", [DOCUMENT, PAGE, "/docs", "/openapi.json"])
def test_documentation_only_answers_get(world: World, path: str) -> None:
    answer = world.post(path)
    assert (answer.status, answer.headers["allow"]) == (405, "GET")
