"""The port under a registry: an object store with conditional writes, in six operations.

An implementation moves bytes and compares ETags; it knows nothing of models, versions or routes.
Whoever calls it cannot tell a bucket from a dictionary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from modelport.manifest import File

#: Called with the bytes of one file that are done so far; may come from threads.
Advance = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Document:
    """A small object, read whole, and the ETag that names this state of it."""

    body: bytes
    etag: str


class Store(Protocol):
    """Where objects are kept; every method raises `RegistryUnavailableError` when that is away."""

    def get(self, key: str, *, known: str | None = None) -> Document | None:
        """Read a document; None if there is none.

        With the ETag ``known`` still current, the answer has that ETag and an empty body.
        """
        ...

    def create(self, key: str, body: bytes) -> bool:
        """Write a document that does not exist yet; False, and nothing written, if it does."""
        ...

    def replace(self, key: str, body: bytes, etag: str) -> bool:
        """Write a document that still has ``etag``; False, and nothing written, if it has not."""
        ...

    def children(self, folder: str, *, after: str = "") -> Iterator[str]:
        """Names directly in ``folder``, ascending and lazily; a name ending in ``/`` is a folder.

        ``after`` is a file's name, present or not: the listing starts behind it.
        """
        ...

    def upload(self, key: str, source: Path, file: File, advance: Advance) -> None:
        """Store the local ``source``, which must be exactly ``file``; does nothing if it is there.

        An upload that was cut off is continued. Raises `IntegrityError` if ``source`` is not
        ``file``; then nothing is stored.
        """
        ...

    def read(self, key: str, offset: int = 0) -> Iterator[bytes] | None:
        """Stream an object from ``offset`` in chunks; None if there is none."""
        ...
