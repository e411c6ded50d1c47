"""A registry in this process's memory, for tests and for trying things out; gone with it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from modelport.manifest import File, digest_of
from modelport.registry import blobs
from modelport.registry.bucket import BucketRegistry
from modelport.registry.store import Advance, Document

_CHUNK = 1 << 20


class MemoryStore:
    """Objects in a dictionary; a lock makes the conditional writes atomic."""

    def __init__(self) -> None:
        self._objects: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def get(self, key: str, *, known: str | None = None) -> Document | None:
        """Read a document."""
        body = self._objects.get(key)
        if body is None:
            return None
        etag = digest_of(body)
        return Document(b"" if etag == known else body, etag)

    def create(self, key: str, body: bytes) -> bool:
        """Write a document that does not exist yet."""
        with self._lock:
            if key in self._objects:
                return False
            self._objects[key] = body
            return True

    def replace(self, key: str, body: bytes, etag: str) -> bool:
        """Write a document that still has ``etag``."""
        with self._lock:
            current = self._objects.get(key)
            if current is None or digest_of(current) != etag:
                return False
            self._objects[key] = body
            return True

    def children(self, folder: str, *, after: str = "") -> Iterator[str]:
        """Names directly in ``folder``."""
        with self._lock:
            inside = [key.removeprefix(folder) for key in self._objects if key.startswith(folder)]
        names = {name[: name.find("/") + 1] or name for name in inside}
        return iter(sorted(name for name in names if name > after))

    def upload(self, key: str, source: Path, file: File, advance: Advance) -> None:
        """Keep a copy of the local file."""
        if key not in self._objects:
            self._objects[key] = blobs.read_whole(source, file)
        advance(file.size)

    def read(self, key: str, offset: int = 0) -> Iterator[bytes] | None:
        """Stream an object."""
        body = self._objects.get(key)
        if body is None:
            return None
        starts = [*range(offset, len(body), _CHUNK), len(body)]
        return (body[start:end] for start, end in pairwise(starts))


class MemoryRegistry(BucketRegistry):
    """The whole registry over a `MemoryStore`."""

    def __init__(self) -> None:
        super().__init__(MemoryStore())
