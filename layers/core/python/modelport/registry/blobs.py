"""Files of a bundle: read for upload, written after download, always verified.

Bytes that do not match their digest never get through, in either direction, and a failed download
leaves no file behind. Moving the bytes is the store's business.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from modelport.errors import (
    BlobNotFoundError,
    IntegrityError,
    InvalidBundleError,
    RegistryUnavailableError,
)
from modelport.manifest import File
from modelport.registry import Progress, keys, silent
from modelport.registry.store import Reader, Source, Store
from modelport.whole_files import whole_file

_CHUNK = 1 << 20

# --- to the registry ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LocalSource:
    """A file on this machine."""

    path: Path

    @contextmanager
    def open(self) -> Iterator[Reader]:
        """Open it; what the machine says against it becomes our error."""
        try:
            with self.path.open("rb") as handle:
                yield handle
        except OSError as error:
            raise InvalidBundleError(self.path, f"cannot be read: {error.strerror}") from error

    def check(self, file: File) -> None:
        """Read all of it, in chunks."""
        digest = hashlib.sha256()
        with self.open() as handle:
            while chunk := handle.read(_CHUNK):
                digest.update(chunk)
        check_unchanged(file, "sha256:" + digest.hexdigest())


@dataclass(frozen=True, slots=True)
class StoredSource:
    """A file in another store: read as it is sent on, and never held whole."""

    store: Store
    file: File

    @contextmanager
    def open(self) -> Iterator[Reader]:
        """Begin to read; the end raises `IntegrityError` when they were not the right bytes."""
        yield _Joined(read(self.store, self.file, silent))

    def check(self, file: File) -> None:
        """Nothing beforehand: bytes are verified on their way through."""


class _Joined:
    """Chunks of any length as a reader."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._left = b""

    def read(self, size: int, /) -> bytes:
        parts, missing = [self._left], size - len(self._left)
        while missing > 0 and (chunk := next(self._chunks, b"")):
            parts.append(chunk)
            missing -= len(chunk)
        whole = b"".join(parts)
        self._left = whole[size:]
        return whole[:size]


def read_whole(source: Source, file: File) -> bytes:
    """The bytes of a small file, which must be exactly ``file``."""
    with source.open() as handle:
        # One byte more than announced is enough to know that it grew.
        body = handle.read(file.size + 1)
    # By OpenSSL: what hashes small documents without loading it is three times slower.
    check_unchanged(file, "sha256:" + hashlib.sha256(body).hexdigest())
    return body


def check_unchanged(file: File, digest: str) -> None:
    """Raise `IntegrityError` unless ``digest`` is the one ``file`` was announced with."""
    if digest != file.digest:
        raise IntegrityError(f"{file.path} changed while it was published", file.digest, digest)


# --- from the registry ----------------------------------------------------------------------------


def fetch(store: Store, file: File, to: Path, progress: Progress) -> None:
    """Download ``file`` to ``to``: all of it, verified and on disk, or nothing."""
    with whole_file(to, file.size) as handle:
        handle.writelines(read(store, file, progress))


def read(store: Store, file: File, progress: Progress) -> Iterator[bytes]:
    """The bytes of ``file`` as they come; raises `IntegrityError`, at the end at the latest.

    Until then nobody knows whether they are right: what is made of them must wait for the end.
    """
    what = f"blob of {file.path}"
    digest, done = hashlib.sha256(), 0
    for chunk in _chunks(store, file):
        done += len(chunk)
        if done > file.size:
            raise IntegrityError(what, f"{file.size:,} bytes", "more")
        digest.update(chunk)
        yield chunk
        progress(file.path, done, file.size)
    if done != file.size:
        raise IntegrityError(what, f"{file.size:,} bytes", f"{done:,}")
    if digest.hexdigest() != file.digest.removeprefix("sha256:"):
        raise IntegrityError(what, file.digest, "sha256:" + digest.hexdigest())


def _chunks(store: Store, file: File) -> Iterator[bytes]:
    """The object's bytes; a connection that breaks half-way is picked up where it broke."""
    key, done = keys.blob(file.digest), 0
    while True:
        opened_at = done
        chunks = store.read(key, done)
        if chunks is None:
            raise BlobNotFoundError(file.digest)
        try:
            for chunk in chunks:
                done += len(chunk)
                yield chunk
            return
        except RegistryUnavailableError:
            if done == opened_at:  # No progress since the last time: the store is really away.
                raise
            if done >= file.size:
                return
