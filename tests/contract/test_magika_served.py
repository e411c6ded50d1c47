"""The demo's bundles through the real runtime: published, laid out, loaded, asked their goldens."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pytest
from modelport.bundle import load_bundle
from modelport.envelope import Request
from modelport.goldens.forms import asked_of, requests
from modelport.grammar import Call, canonical_path
from modelport.manifest import Manifest
from modelport.registry import Actor
from modelport.registry.memory import MemoryRegistry
from modelport.settings import RuntimeSettings

from functions.runtime.data_plane import DataPlane
from functions.runtime.loading import load
from tests.conftest import ROOT

Served = tuple[Manifest, DataPlane]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> tuple[Served, ...]:
    """Both versions, from bundle to data plane by way of a registry."""
    sys.path.insert(0, str(ROOT / "localstack" / "demo"))
    try:
        make_bundles = importlib.import_module("magika_bundles").make_bundles
    finally:
        sys.path.pop(0)
    home = tmp_path_factory.mktemp("served")
    registry = MemoryRegistry()
    return tuple(serve(registry, bundle, home / bundle.name) for bundle in make_bundles(home / "b"))


def serve(registry: MemoryRegistry, bundle: Path, to: Path) -> Served:
    manifest = registry.publish("magika", load_bundle(bundle), who=Actor("test"))
    to.mkdir()
    for file in manifest.content.files:
        registry.fetch(file, to / file.path)
    (to / "manifest.json").write_bytes(manifest.to_bytes())
    path = list(sys.path)
    try:
        settings = RuntimeSettings("magika", manifest.version, manifest.digest, str(to))
        return manifest, load(settings)
    finally:
        sys.path[:] = path  # the runtime has a process of its own and never puts it back


@pytest.mark.parametrize("version", [1, 2])
def test_every_golden_holds_in_every_form(served: tuple[Served, ...], version: int) -> None:
    manifest, plane = served[version - 1]
    asked = set()
    for golden in manifest.content.goldens:
        for request in requests(golden, asked_of(manifest.content)):
            path = canonical_path(Call(request.protocol, request.verb, "magika"), version)
            answer = plane.handle(Request("POST", path, request.headers, request.body, "r"))
            assert answer.status == 200, answer.body
            assert request.check(answer.headers, answer.body) is None
            asked.add(request.form)
    assert asked == {"v1 columns", "v1 rows", "v2 json", "v2 binary", "raw"}


@pytest.mark.parametrize("content_type", ["application/octet-stream", "application/json", ""])
def test_a_raw_file_goes_in_with_any_content_type(
    served: tuple[Served, ...], content_type: str
) -> None:
    headers = {"content-type": content_type} if content_type else {}
    for _, plane in served:
        answer = plane.handle(
            Request("POST", "/invocations", headers, Path(__file__).read_bytes(), "r")
        )
        assert answer.headers["content-type"] == "application/json"
        told = json.loads(answer.body)
        assert (told["label"], told["mime_type"]) == ("python", "text/x-python")


def test_an_empty_file_is_an_answer_too(served: tuple[Served, ...]) -> None:
    _, plane = served[0]
    headers = {"content-type": "application/octet-stream"}
    answer = plane.handle(Request("POST", "/invocations", headers, b"", "r"))
    assert json.loads(answer.body)["label"] == "empty"


def test_the_versions_share_their_common_files(served: tuple[Served, ...]) -> None:
    (first, _), (second, _) = served
    shared = {file.digest for file in first.content.files} & {
        file.digest for file in second.content.files
    }
    assert (first.version, second.version) == (1, 2)
    assert len(shared) == 3  # inference.py, labels.txt, magika.json
