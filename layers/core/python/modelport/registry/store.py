"""The port under a registry: an object store with conditional writes.

An implementation moves bytes and compares ETags; it knows nothing of models, versions or routes.
Whoever calls it cannot tell a bucket from a dictionary. Serving and publishing need the first six
operations; the others are for who looks after a registry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from modelport.manifest import File

#: Called with the bytes of one file that are done so far; may come from threads.
Advance = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Document:
    """A small object, read whole, and the ETag that names this state of it."""

    body: bytes
    etag: str


@dataclass(frozen=True, slots=True)
class Stored:
    """One state of an object: writing it again, even with the same bytes, makes another.

    ``age_s`` is seconds since it was written, by the store's own clock. ``generation`` names this
    state among all that the object ever had. Only the ``current`` state is read.
    """

    key: str
    size: int
    age_s: float
    generation: str
    current: bool = True


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a file: ``size`` bytes, of which ``crc32`` was taken.

    ``read`` gives so many bytes from so far into it, fewer where they are gone, to any thread.
    """

    size: int
    crc32: int
    read: Callable[[int, int], bytes]


class Source(Protocol):
    """Bytes of a file that come from somewhere, and can be had again from the start."""

    def open(self) -> AbstractContextManager[Reader]:
        """Begin to read; errors of wherever they come from are already ours."""
        ...

    def parts(self, file: File, size: int) -> AbstractContextManager[Iterator[Part]]:
        """``file`` in parts of ``size`` bytes, in order; they can be read while it is open.

        Parts with these checksums are ``file``. Else it raises `IntegrityError`, at the latest when
        it is closed: before the first part, where that can be known beforehand.
        """
        ...


class Reader(Protocol):
    """Bytes in order."""

    def read(self, size: int, /) -> bytes:
        """Exactly the next ``size`` bytes, or what is left."""
        ...


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

    def upload(
        self,
        key: str,
        source: Source,
        file: File,
        advance: Advance,
        *,
        renew_after_s: float | None = None,
    ) -> None:
        """Store ``source``, which must be exactly ``file``; does nothing if it is there.

        An upload that was cut off is continued. One that is there, but written longer ago than
        ``renew_after_s``, is written again. Raises `IntegrityError` if ``source`` is not ``file``;
        then nothing is stored.
        """
        ...

    def read(self, key: str, offset: int = 0, length: int | None = None) -> Iterator[bytes] | None:
        """Stream an object from ``offset`` in chunks; None if there is none.

        At most ``length`` bytes; all that are left without it. Behind the end there are none.
        """
        ...

    # --- for who looks after it -------------------------------------------------------------------

    def stat(self, key: str) -> Stored | None:
        """The current state of an object; None if there is none."""
        ...

    def objects(self, prefix: str) -> Iterator[Stored]:
        """Every state of everything below ``prefix``, by key and lazily; the current one first."""
        ...

    def check_erasable(self) -> None:
        """Raise `NotErasableError` where `delete` would."""
        ...

    def delete(self, key: str, generation: str) -> None:
        """Remove exactly this state of an object, if it is still there; others stay.

        Raises `NotErasableError` where a store cannot tell states of an object apart.
        """
        ...

    def adopt(self, key: str, other: Store, file: File) -> bool:
        """Take ``file`` over from the same key of ``other`` without moving its bytes through here.

        False when this store cannot, or cannot prove that they are the right bytes.
        """
        ...
