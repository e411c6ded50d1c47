"""A registry in this process's memory, for tests and for trying things out; gone with it."""

from __future__ import annotations

import threading
import time
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from modelport.manifest import File, digest_of
from modelport.registry import blobs
from modelport.registry.bucket import BucketRegistry
from modelport.registry.store import Advance, Document, Source, Store, Stored

_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class _Object:
    body: bytes
    generation: int
    written: float


class MemoryStore:
    """Objects in a dictionary; a lock makes the conditional writes atomic.

    Keeps the current state of each only. ``clock`` gives seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._objects: dict[str, _Object] = {}
        self._keys: list[str] = []
        self._written = 0
        self._clock = clock
        self._lock = threading.Lock()

    def get(self, key: str, *, known: str | None = None) -> Document | None:
        """Read a document."""
        found = self._objects.get(key)
        if found is None:
            return None
        etag = digest_of(found.body)
        return Document(b"" if etag == known else found.body, etag)

    def create(self, key: str, body: bytes) -> bool:
        """Write a document that does not exist yet."""
        with self._lock:
            if key in self._objects:
                return False
            self._put(key, body)
            return True

    def replace(self, key: str, body: bytes, etag: str) -> bool:
        """Write a document that still has ``etag``."""
        with self._lock:
            current = self._objects.get(key)
            if current is None or digest_of(current.body) != etag:
                return False
            self._put(key, body)
            return True

    def children(self, folder: str, *, after: str = "") -> Iterator[str]:
        """Names directly in ``folder``."""
        key = folder + after
        while True:
            with self._lock:
                at = bisect_right(self._keys, key)
                key = self._keys[at] if at < len(self._keys) else ""
            if not key.startswith(folder):
                return
            name, slash, _ = key.removeprefix(folder).partition("/")
            if name + slash > after:
                yield name + slash
            if slash:  # Behind all that is in the folder: "0" is what follows "/".
                key = f"{folder}{name}/\U0010ffff"

    def upload(
        self,
        key: str,
        source: Source,
        file: File,
        advance: Advance,
        *,
        renew_after_s: float | None = None,
    ) -> None:
        """Keep a copy of the bytes."""
        there = self.stat(key)
        old = there is not None and renew_after_s is not None and there.age_s > renew_after_s
        if there is None or there.size != file.size or old:
            body = blobs.read_whole(source, file)
            with self._lock:
                self._put(key, body)
        advance(file.size)

    def read(self, key: str, offset: int = 0, length: int | None = None) -> Iterator[bytes] | None:
        """Stream an object."""
        found = self._objects.get(key)
        if found is None:
            return None
        body = found.body if length is None else found.body[: offset + length]
        starts = [*range(offset, len(body), _CHUNK), len(body)]
        return (body[start:end] for start, end in pairwise(starts))

    def stat(self, key: str) -> Stored | None:
        """The state of an object."""
        found = self._objects.get(key)
        return self._stored(key, found) if found else None

    def objects(self, prefix: str) -> Iterator[Stored]:
        """Everything below ``prefix``."""
        with self._lock:
            found = []
            for key in self._keys[bisect_left(self._keys, prefix) :]:
                if not key.startswith(prefix):
                    break
                found.append(self._stored(key, self._objects[key]))
        return iter(found)

    def check_erasable(self) -> None:
        """It always is."""

    def delete(self, key: str, generation: str) -> None:
        """Remove an object that was not written again."""
        with self._lock:
            found = self._objects.get(key)
            if found is not None and str(found.generation) == generation:
                del self._objects[key]
                self._keys.remove(key)

    def adopt(self, key: str, other: Store, file: File) -> bool:
        """Share the bytes of another store in memory."""
        found = other._objects.get(key) if isinstance(other, MemoryStore) else None
        if found is None or digest_of(found.body) != file.digest:
            return False
        with self._lock:
            self._put(key, found.body)
        return True

    def _put(self, key: str, body: bytes) -> None:
        if key not in self._objects:
            insort(self._keys, key)
        self._written += 1
        self._objects[key] = _Object(body, self._written, self._clock())

    def _stored(self, key: str, found: _Object) -> Stored:
        age = self._clock() - found.written
        return Stored(key, len(found.body), age, str(found.generation))


class MemoryRegistry(BucketRegistry):
    """The whole registry over a `MemoryStore`."""

    def __init__(self) -> None:
        super().__init__(MemoryStore())
