"""Servers hold what their OpenAPI documents say, as Schemathesis sees it over real sockets.

Good and bad data, unknown methods, every documented operation: no answer outside the document, no
5xx. The models answer finite numbers, since V1's bare NaN is no JSON that a schema could judge.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from modelport.backends import CallableBackend
from modelport.envelope import Request
from modelport.manifest import Manifest
from modelport.settings import RouterSettings

from functions.router.app import create_app
from functions.router.router import router_over
from functions.runtime.loading import load
from tests.support import runtime_bundles as bundles
from tests.support.conformance import complaints
from tests.support.jobs_world import JobsWorld
from tests.support.router_world import SwitchableRegistry, deployed
from tests.support.runtime_world import HttpRuntime

MODEL = "/v2/models/demo/openapi.json"
SERVER = "/openapi.json"
SINGLE = bundles.model(
    [bundles.node("Neg", ["x"], ["y"])],
    [("x", bundles.FLOAT, ["N"])],
    [("y", bundles.FLOAT, ["N"])],
)
SCRIPT = """
def input_fn(data, content_type):
    return data

def predict_fn(data, model):
    return {"bytes": len(data)}

def generate_fn(prompt, parameters, model):
    yield from ("some", " text")
"""
MODELS: dict[str, tuple[bytes, str | None]] = {
    "floats": (bundles.NEGATE, None),
    "text": (bundles.TEXT, None),
    "fixed": (bundles.COUNT, None),
    "scripted": (SINGLE, SCRIPT),
}


@pytest.mark.parametrize("kind", MODELS)
def test_the_runtime_holds_what_its_documents_say(tmp_path: Path, kind: str) -> None:
    body, script = MODELS[kind]
    runtime = HttpRuntime(bundles.write_bundle(tmp_path, body, script=script))
    try:
        runtime.ready()
        for path in (MODEL, SERVER):
            document = json.loads(runtime.send(Request("GET", path)).body)
            sent, wrong = complaints(document, f"http://127.0.0.1:{runtime.port}", examples=5)
            assert not wrong, "\n".join(wrong)
            assert sent > 100
    finally:
        runtime.close()


@pytest.mark.parametrize(
    "path", [MODEL, "/v2/models/demo/versions/3/openapi.json", SERVER], ids=["any", "pinned", "all"]
)
def test_the_router_holds_what_its_documents_say(tmp_path: Path, path: str) -> None:
    with served(router(tmp_path)) as url:
        document = httpx.get(url + path, timeout=30).json()
        sent, wrong = complaints(document, url, examples=5)
    assert not wrong, "\n".join(wrong)
    assert sent > 100


class OneVersion(SwitchableRegistry):
    """A registry whose one version has the manifest of a bundle."""

    def __init__(self, manifest: Manifest) -> None:
        super().__init__(deployed(manifest.version, model=manifest.model))
        self._manifest = manifest

    def manifest(self, model: str, version: int) -> Manifest:
        return self._manifest


def router(folder: Path) -> FastAPI:
    """The router's app over a real model in this process."""
    plane = load(bundles.write_bundle(folder, bundles.NEGATE))
    manifest = Manifest.from_bytes((folder / "manifest.json").read_bytes())
    router = router_over(
        OneVersion(manifest),
        {"lambda": CallableBackend({3: plane.handle})},
        settings=RouterSettings("bucket", "test"),
        log=lambda record: None,
        jobs=lambda: JobsWorld().jobs,
    )
    return create_app(router)


@contextmanager
def served(app: Any) -> Iterator[str]:
    """The app in uvicorn on a free port; its URL."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()
