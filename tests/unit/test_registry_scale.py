"""Ten thousand versions of a model, and ten thousand models: what is asked of the store stays.

Counted, not timed: see `tests.bench.bench_registry` for times.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest
from modelport.registry import keys
from modelport.registry.bucket import BucketRegistry
from modelport.registry.notes import NoteEdit
from modelport.registry.store import Store
from modelport.routes import Deployment, Routes, Weighted
from modelport.upkeep import search
from modelport.upkeep.retention import Retention, candidates, remove
from modelport.upkeep.search import Filter

from tests.support.large_registry import many_models, many_versions, registry_of
from tests.support.registry_world import ADA, CountingStore, make_draft

FEW, MANY = 10, 10_000
NAME = "magika"


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Store]:
    """By how many versions the model has."""
    folder = tmp_path_factory.mktemp("scale")
    return {n: registry_of(many_versions(NAME, n, folder)).store for n in (FEW, MANY)}


@pytest.fixture(scope="module")
def crowds(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Store]:
    """By how many models there are."""
    folder = tmp_path_factory.mktemp("scale")
    return {n: registry_of(many_models(n, folder)).store for n in (FEW, MANY)}


def deploy(registry: BucketRegistry, version: int) -> Routes:
    deployment = Deployment(version, "lambda", "f", registry.manifest(NAME, version).digest)
    return registry.change(
        NAME,
        lambda r: r.with_deployment(deployment).with_alias("stable", [Weighted(version)]),
        action="deploy",
        detail={"version": version},
        who=ADA,
    )


def a_page(registry: BucketRegistry) -> object:
    routes = deploy(registry, FEW)
    return search.page(search.versions(registry, routes, Filter({})), 5)


Ask = Callable[[BucketRegistry, Path], object]
ON_THE_HOT_PATH: dict[str, Ask] = {
    "publish": lambda r, folder: r.publish(NAME, make_draft(folder, model=b"new"), who=ADA),
    "publish again": lambda r, folder: r.publish(NAME, make_draft(folder, model=b"new"), who=ADA),
    "routes": lambda r, _: r.routes(NAME),
    "manifest": lambda r, _: r.manifest(NAME, FEW),
    "change": lambda r, _: deploy(r, FEW),
    "note": lambda r, _: r.annotate(NAME, FEW, NoteEdit({"a": "b"}), who=ADA),
    "read notes": lambda r, _: r.notes(NAME, FEW),
    "newest of the log": lambda r, _: list(islice(r.log(NAME), 5)),
    "a page of versions": lambda r, _: a_page(r),
    "what is deployed": lambda r, _: list(islice(r.versions(NAME), 1)),
    "remove one": lambda r, _: remove(r, NAME, [3], who=ADA, threads=1),
}


@pytest.mark.parametrize("name", ON_THE_HOT_PATH)
def test_nothing_asked_of_a_model_grows_with_its_versions(
    stores: dict[int, Store], tmp_path: Path, name: str
) -> None:
    asked: dict[int, Counter[str]] = {}
    for count, store in stores.items():
        counting = CountingStore(store)
        ON_THE_HOT_PATH[name](BucketRegistry(counting), tmp_path)
        asked[count] = counting.requests
    if name == "a page of versions":  # Read ahead of the page, where there is so much.
        assert asked[MANY].total() - asked[FEW].total() < 60
        return
    assert asked[FEW] == asked[MANY]
    assert asked[MANY].total() < 30


@pytest.mark.parametrize("name", ["publish", "routes", "manifest", "first models"])
def test_nothing_asked_of_a_registry_grows_with_its_models(
    crowds: dict[int, Store], tmp_path: Path, name: str
) -> None:
    model = "model-00003"
    draft = make_draft(tmp_path, model=b"new")
    ask: dict[str, Callable[[BucketRegistry], object]] = {
        "publish": lambda r: r.publish(model, draft, who=ADA),
        "routes": lambda r: r.routes(model),
        "manifest": lambda r: r.manifest(model, 1),
        "first models": lambda r: list(islice(r.models(after="model-00004"), 3)),
    }
    asked = []
    for store in crowds.values():
        counting = CountingStore(store)
        ask[name](BucketRegistry(counting))
        asked.append(counting.requests)
    assert asked[0] == asked[1]


def test_the_routes_document_does_not_grow_with_what_was_removed(tmp_path: Path) -> None:
    registry = registry_of(many_versions(NAME, 300, tmp_path))
    body = len(registry.store.get(keys.routes(NAME)).body)  # type: ignore[union-attr]
    numbers = [n for n in range(1, 281) if n != 100]
    assert remove(registry, NAME, numbers, who=ADA, threads=1) == numbers
    document = registry.store.get(keys.routes(NAME))
    assert document is not None
    assert len(document.body) < body + 60
    assert str(registry.routes(NAME).routes.removed) == "1-99,101-280"  # type: ignore[union-attr]
    assert list(registry.versions(NAME)) == [*range(300, 280, -1), 100]
    assert registry.verify_log(NAME) == 303


def test_every_version_but_the_newest_is_a_candidate_only_if_it_was_published_as_such(
    tmp_path: Path,
) -> None:
    """Made-up documents without publication records are nobody's published versions."""
    registry = registry_of(many_versions(NAME, 50, tmp_path))
    assert list(candidates(registry, NAME, Retention(), threads=1)) == []
