"""Documentation from the runtime itself: its one version, from the bundle's own manifest."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from modelport.envelope import Request, Response
from modelport.goldens import Golden, Tensor
from modelport.manifest import Manifest

from functions.runtime.data_plane import DataPlane
from functions.runtime.loading import load
from tests.support import runtime_bundles as bundles

DOCUMENT = "/v2/models/demo/openapi.json"
PATHS = (DOCUMENT, "/v2/models/demo/versions/3/docs", "/openapi.json", "/docs")
GOLDEN = Golden(
    "g",
    (Tensor("x", "FP32", (1, 2), (1.0, 2.0)),),
    (Tensor("y", "FP32", (1, 2), (2.0, 4.0)),),
)


@pytest.fixture
def plane(tmp_path: Path) -> DataPlane:
    """A version whose publisher described it and gave a golden."""
    settings = bundles.write_bundle(tmp_path, bundles.DOUBLE)
    path = tmp_path / "manifest.json"
    manifest = Manifest.from_bytes(path.read_bytes())
    content = replace(manifest.content, description="Twice as much.", goldens=(GOLDEN,))
    manifest = replace(manifest, content=content, digest="")
    path.write_bytes(manifest.to_bytes())
    return load(replace(settings, digest=manifest.digest))


def get(plane: DataPlane, path: str, method: str = "GET") -> Response:
    response = plane.handle(Request(method, path))
    assert isinstance(response, Response)
    return response


def test_the_document_is_of_the_bundle(plane: DataPlane) -> None:
    answer = get(plane, DOCUMENT)
    document = json.loads(answer.body)
    assert answer.headers["content-type"] == "application/json"
    assert document["info"]["summary"] == "Twice as much."
    assert document["info"]["x-modelport-digest"] == answer.headers["x-modelport-digest"]
    infer = document["paths"]["/v2/models/demo/infer"]["post"]
    example = infer["requestBody"]["content"]["application/json"]["examples"]["golden"]["value"]
    asked = Request("POST", "/v2/models/demo/infer", {}, json.dumps(example).encode())
    answered = infer["responses"]["200"]["content"]["application/json"]["examples"]["golden"]
    assert json.loads(plane.handle(asked).body) == answered["value"]


def test_pages_are_html_under_their_policy(plane: DataPlane) -> None:
    for path in ("/v2/models/demo/docs", "/docs"):
        answer = get(plane, path)
        assert answer.status == 200
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert b"Twice as much." in get(plane, "/v2/models/demo/docs").body


@pytest.mark.parametrize("path", PATHS)
def test_head_and_other_methods(plane: DataPlane, path: str) -> None:
    head = get(plane, path, "HEAD")
    assert (head.status, head.body) == (200, b"")
    other = get(plane, path, "POST")
    assert (other.status, other.headers["allow"]) == (405, "GET")


@pytest.mark.parametrize("path", ["/v2/models/other/docs", "/v2/models/demo/versions/4/docs"])
def test_another_version_is_described_elsewhere(plane: DataPlane, path: str) -> None:
    assert get(plane, path).status == 404
