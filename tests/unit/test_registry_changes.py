"""The change loop and the exactly-once publish under crowds, crashes and losing streaks."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from modelport.errors import ConcurrentChangeError, IntegrityError
from modelport.registry import Actor, Registry
from modelport.registry.bucket import BucketRegistry
from modelport.registry.changes import ATTEMPTS, verify_chain
from modelport.registry.memory import MemoryRegistry, MemoryStore
from modelport.registry.publication import finish
from modelport.registry.store import Document
from modelport.routes import Change, Deployment, Routes

from tests.support.registry_world import ADA, Killed, MortalStore, make_draft

NAME = "magika"


def deployment(version: int) -> Deployment:
    return Deployment(version, "lambda", f"f-{version}", "sha256:" + "0" * 64)


class UnluckyStore(MemoryStore):
    """A store in which somebody else is always faster."""

    def __init__(self) -> None:
        super().__init__()
        self.replaced = 0

    def replace(self, key: str, body: bytes, etag: str) -> bool:
        self.replaced += 1
        return False


def test_a_losing_streak_ends_with_an_error_and_pauses_that_grow_and_stay_bounded(
    tmp_path: Path,
) -> None:
    store, pauses = UnluckyStore(), list[float]()
    registry = BucketRegistry(store, sleep=pauses.append)
    random.seed(1)
    # The first publish commits with a create; noting the version is what never succeeds.
    with pytest.raises(ConcurrentChangeError, match="publication of magika:1"):
        registry.publish(NAME, make_draft(tmp_path, model=b"w"), who=ADA)
    store.create(
        f"models/{NAME}/log/0000000001.json",
        registry.routes(NAME).routes.change.to_bytes(),  # type: ignore[union-attr]
    )
    store.replaced = 0
    with pytest.raises(ConcurrentChangeError, match=f"each of {ATTEMPTS} attempts"):
        registry.change(
            NAME, lambda r: r.with_deployment(deployment(1)), action="d", detail={}, who=ADA
        )
    assert store.replaced == len(pauses) == ATTEMPTS
    assert len(set(pauses)) == ATTEMPTS
    assert max(pauses[:3]) < 0.04
    assert 0.1 < max(pauses) <= 0.5


def test_a_detail_that_is_not_json_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    registry = MemoryRegistry()
    registry.publish(NAME, make_draft(tmp_path, model=b"w"), who=ADA)
    with pytest.raises(TypeError):
        registry.change(
            NAME,
            lambda r: r.with_deployment(deployment(1)),
            action="deploy",
            detail={"at": object()},
            who=ADA,
        )
    assert registry.routes(NAME).routes.revision == 1  # type: ignore[union-attr]


@pytest.mark.parametrize("seed", range(8))
def test_publishers_that_die_at_random_and_come_back_publish_once(
    seed: int, tmp_path: Path
) -> None:
    """Eight threads, four contents, each publisher killed until it gets through."""
    store, numbers = MemoryStore(), random.Random(seed)
    drafts = [make_draft(tmp_path / str(n), model=b"weights %d" % n) for n in range(4)]
    deaths = [[(numbers.randint(1, 7), numbers.random() < 0.5) for _ in range(4)] for _ in range(8)]

    def publisher(number: int) -> int:
        draft = drafts[number % 4]
        for at, after in deaths[number]:
            try:
                mortal = MortalStore(store, at=at, after=after)
                BucketRegistry(mortal).publish(NAME, draft, who=Actor(f"user-{number}"))
            except Killed:
                continue
        return BucketRegistry(store).publish(NAME, draft, who=Actor(f"user-{number}")).version

    with ThreadPoolExecutor(8) as pool:
        versions = list(pool.map(publisher, range(8)))
    assert versions[:4] == versions[4:]
    assert sorted(versions[:4]) == [1, 2, 3, 4]
    registry = BucketRegistry(store)
    assert list(registry.versions(NAME)) == [4, 3, 2, 1]
    published = [c.detail["version"] for c in registry.log(NAME) if c.action == "publish"]
    assert sorted(published) == [1, 2, 3, 4]
    assert registry.verify_log(NAME) == 4


def test_a_publication_whose_record_was_removed_is_said() -> None:
    with pytest.raises(IntegrityError, match="publication record"):
        finish(MemoryStore(), NAME, "sha256:" + "0" * 64, 1)


def test_a_log_entry_that_was_removed_is_said(tmp_path: Path) -> None:
    class Holed(MemoryStore):
        def get(self, key: str, *, known: str | None = None) -> Document | None:
            return None if key.endswith("log/0000000001.json") else super().get(key, known=known)

    registry = BucketRegistry(Holed())
    for number in range(2):
        registry.publish(NAME, make_draft(tmp_path, model=b"%d" % number), who=ADA)
    with pytest.raises(IntegrityError, match="entry 1, got none"):
        list(registry.log(NAME))
    with pytest.raises(IntegrityError, match="entry 1, got none"):
        registry.verify_log(NAME)


# --- the chain ------------------------------------------------------------------------------------


def chain(length: int) -> list[Change]:
    routes = Routes(NAME)
    changes: list[Change] = []
    for number in range(1, length + 1):
        routes = routes.changed(
            routes, action="test", detail={"number": number}, who="ada", at="2026-01-01"
        )
        assert routes.change
        changes.insert(0, routes.change)
    return changes


def test_a_whole_chain_verifies() -> None:
    assert [verify_chain(NAME, chain(length)) for length in (0, 1, 5)] == [0, 1, 5]


@pytest.mark.parametrize("lost", range(4))
def test_a_chain_that_lost_an_entry_does_not(lost: int) -> None:
    changes = chain(5)
    del changes[lost + 1]
    with pytest.raises(IntegrityError, match=f"log entry {5 - lost} "):
        verify_chain(NAME, changes)


def test_a_chain_in_another_order_does_not() -> None:
    changes = chain(5)
    changes[1], changes[2] = changes[2], changes[1]
    with pytest.raises(IntegrityError):
        verify_chain(NAME, changes)


def test_two_histories_joined_do_not() -> None:
    other = chain(3)
    first = Routes(NAME).changed(Routes(NAME), action="other", detail={}, who="eve", at="")
    assert first.change
    with pytest.raises(IntegrityError, match="log entry 2 "):
        verify_chain(NAME, [*other[:2], first.change])


def test_the_implementations_are_registries() -> None:
    registry: Registry = MemoryRegistry()
    assert list(registry.models()) == []
