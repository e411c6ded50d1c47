"""Large files come in ranges side by side: in order, picked up where one broke, never too long."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from threading import Lock

import pytest
from modelport.errors import BlobNotFoundError, IntegrityError, RegistryUnavailableError
from modelport.manifest import File, digest_of
from modelport.registry import blobs, silent
from modelport.registry.memory import MemoryStore

BODY = b"".join(number.to_bytes(8, "big") for number in range((2 * blobs.RANGE + 4096) // 8))
FILE = File("model.onnx", digest_of(BODY), len(BODY))


class Ranges(MemoryStore):
    """One object, whatever its key; notes what is asked for and may break a range half-way."""

    def __init__(self, body: bytes | None, breaks: int = 0) -> None:
        super().__init__()
        self.body, self.breaks = body, breaks
        self.asked: list[tuple[int, int | None]] = []
        self._lock = Lock()

    def read(self, key: str, offset: int = 0, length: int | None = None) -> Iterator[bytes] | None:
        with self._lock:
            self.asked.append((offset, length))
        if self.body is None:
            return None
        return self._chunks(self.body[offset : None if length is None else offset + length])

    def _chunks(self, body: bytes) -> Iterator[bytes]:
        half = len(body) // 2
        yield body[:half]
        with self._lock:
            self.breaks -= 1
            broken = self.breaks >= 0
        if broken:
            raise RegistryUnavailableError("it broke")
        yield body[half:]


def test_a_large_file_comes_in_order_and_its_last_range_is_open() -> None:
    store = Ranges(BODY)
    assert b"".join(blobs.read(store, FILE, silent)) == BODY
    size = blobs.RANGE
    assert sorted(store.asked) == [(0, size), (size, size), (2 * size, None)]


def test_ranges_that_break_are_picked_up_where_they_broke() -> None:
    store = Ranges(BODY, breaks=3)
    assert b"".join(blobs.read(store, FILE, silent)) == BODY
    assert len(store.asked) == 6
    assert len(set(store.asked)) == 6


@pytest.mark.parametrize(
    "spoil",
    [
        lambda body: body + b"more",
        lambda body: body[:-1],
        lambda body: body[:-8192],
        lambda body: body[:100] + b"x" + body[101:],
    ],
    ids=["longer", "shorter", "without its last range", "other"],
)
def test_an_object_that_is_not_the_file_is_refused(spoil: Callable[[bytes], bytes]) -> None:
    with pytest.raises(IntegrityError):
        list(blobs.read(Ranges(spoil(BODY)), FILE, silent))


def test_an_object_that_is_gone_is_said() -> None:
    with pytest.raises(BlobNotFoundError):
        list(blobs.read(Ranges(None), FILE, silent))


def test_whoever_stops_reading_leaves_nothing_under_way() -> None:
    store = Ranges(BODY)
    chunks = blobs.read(store, FILE, silent)
    assert next(iter(chunks)) == BODY[: blobs.RANGE // 2]
    chunks.close()  # type: ignore[attr-defined]
    assert len(store.asked) <= 3
