"""What the builder keeps between builds stays bounded, and what is in use stays."""

from __future__ import annotations

import os
import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelport.images.cache import Cache
from modelport.images.layer import Layer
from modelport.manifest import digest_of

HOURS = 3600


def kept(workspace: Path, *ages: float, size: int = 100) -> list[str]:
    """Blobs last written so many hours ago; their digests."""
    found = []
    for number, age in enumerate(ages):
        body = bytes([number]) * size
        path = Cache(workspace).path(digest_of(body))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
        os.utime(path, (time.time() - age * HOURS,) * 2)
        found.append(digest_of(body))
    return found


def there(workspace: Path, digests: list[str]) -> list[bool]:
    return [Cache(workspace).path(digest).exists() for digest in digests]


def test_what_was_used_longest_ago_goes_first(tmp_path: Path) -> None:
    digests = kept(tmp_path, 30, 10, 20, 40)
    Cache(tmp_path).trim(limit=250)
    assert there(tmp_path, digests) == [False, True, True, False]


def test_what_is_taken_from_here_counts_as_used(tmp_path: Path) -> None:
    digests = kept(tmp_path, 30, 10, 20)
    assert Cache(tmp_path).holds(digests[0])
    Cache(tmp_path).trim(limit=200)
    assert there(tmp_path, digests) == [True, True, False]


def test_what_a_build_may_hold_in_its_hands_stays(tmp_path: Path) -> None:
    digests = kept(tmp_path, 30, 0.5, 20, 10)
    Cache(tmp_path).trim({digests[0]}, limit=0)
    assert there(tmp_path, digests) == [True, True, False, False]


def test_a_blob_that_went_is_made_again_and_leaves_nothing_behind(tmp_path: Path) -> None:
    cache, made = Cache(tmp_path), Counter[str]()

    def make() -> Layer:
        made["layer"] += 1
        (digest,) = kept(tmp_path, 5)
        return Layer(digest, digest, 100, 100, "deps", cache.path(digest))

    layer = cache.layer("deps", {}, make)
    assert cache.layer("deps", {}, make) == layer
    os.utime(tmp_path / "used" / cache.path(layer.digest).name, (0, 0))
    cache.trim(limit=0)
    left = {path.parent.name for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {"layers"}
    assert cache.layer("deps", {}, make) == layer
    assert made["layer"] == 2


@given(st.lists(st.floats(2, 1000), max_size=8, unique=True), st.integers(0, 1000))
def test_no_more_than_the_limit_is_kept_and_always_the_newest(
    tmp_path_factory: pytest.TempPathFactory, ages: list[float], limit: int
) -> None:
    folder = tmp_path_factory.mktemp("cache")
    digests = kept(folder, *ages)
    Cache(folder).trim(limit=limit)
    left = there(folder, digests)
    assert sum(left) == min(len(ages), limit // 100)
    stayed = [age for age, stays in zip(ages, left, strict=True) if stays]
    assert stayed == [age for age in ages if age in sorted(ages)[: len(stayed)]]


def test_an_empty_workspace_is_left_alone(tmp_path: Path) -> None:
    Cache(tmp_path / "none").trim()
    assert list(tmp_path.iterdir()) == []
