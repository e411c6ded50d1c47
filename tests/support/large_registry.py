"""Registries with many versions or models, made at once: documents as publishing would leave them.

Publishing ten thousand versions takes a while; what it leaves behind is known. `written` gives
each document to whoever can put it somewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from modelport.manifest import Manifest
from modelport.registry import keys
from modelport.registry.bucket import BucketRegistry
from modelport.registry.memory import MemoryStore
from modelport.registry.store import Store
from modelport.routes import Routes

from tests.support.registry_world import ADA, make_draft

WRITTEN = "2026-01-01T00:00:00.000000+00:00"


#: Stands in a document for what it is about, and nowhere else in it.
_NUMBER, _NAME = 1_777_777_777, "model-zzzzz"
_CHAINED = 1000


def many_versions(model: str, count: int, folder: Path) -> Iterator[tuple[str, bytes]]:
    """Keys and documents of a model with ``count`` versions; their blob is all the same one.

    The log's newest thousand entries are a chain that verifies; older ones only lie there.
    """
    draft = make_draft(folder / "many", model=b"weights")
    digest = draft.content.digest
    manifest = Manifest(model, _NUMBER, draft.content, WRITTEN).to_bytes()
    for version in range(1, count + 1):
        yield keys.manifest(model, version), manifest.replace(b"%d" % _NUMBER, b"%d" % version)
    unread = max(0, count - _CHAINED)
    yield from ((keys.log_entry(model, revision), b"{}") for revision in range(1, unread + 1))
    routes = Routes(model, revision=unread, latest=unread)
    for version in range(unread + 1, count + 1):
        routes = routes.changed(
            routes.with_published(version),
            action="publish",
            detail={"version": version, "digest": digest},
            who=ADA.who,
            at=WRITTEN,
        )
        assert routes.change
        yield keys.log_entry(model, version), routes.change.to_bytes()
    yield keys.routes(model), routes.to_bytes()


def many_models(count: int, folder: Path) -> Iterator[tuple[str, bytes]]:
    """Keys and documents of ``count`` models with a version each; the first ten can be read."""
    for number in range(min(count, 10)):
        yield from many_versions(f"model-{number:05d}", 1, folder)
    documents = list(many_versions(_NAME, 1, folder))
    for number in range(10, count):
        name = f"model-{number:05d}"
        for key, body in documents:
            yield key.replace(_NAME, name), body.replace(_NAME.encode(), name.encode())


def written(documents: Iterator[tuple[str, bytes]], store: Store) -> None:
    """Put documents into a store."""
    for key, body in documents:
        assert store.create(key, body)


def registry_of(documents: Iterator[tuple[str, bytes]]) -> BucketRegistry:
    """A registry in memory with these documents."""
    store = MemoryStore()
    written(documents, store)
    return BucketRegistry(store)
