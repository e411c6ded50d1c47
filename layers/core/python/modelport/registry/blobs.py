"""Files of a bundle: read for upload, written after download, always verified.

Bytes that do not match their digest never get through, in either direction, and a failed download
leaves no file behind. Moving the bytes is the store's business.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from modelport.errors import (
    BlobNotFoundError,
    IntegrityError,
    InvalidBundleError,
    RegistryUnavailableError,
)
from modelport.manifest import File
from modelport.registry import Progress, keys, silent
from modelport.registry.checksums import PartChecksums
from modelport.registry.store import Part, Reader, Source, Store
from modelport.whole_files import whole_file

_CHUNK = 1 << 20
#: A file of two ranges or more comes side by side: S3 gives one connection a tenth of what the
#: network takes. What is under way at once, and so in memory, is at most all the threads' ranges.
RANGE = 8 << 20
THREADS = 6
#: So many bytes of a file are given to the disk at once while it is written.
SYNC = 32 << 20

# --- to the registry ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LocalSource:
    """A file on this machine, hashed before with these ``checksums``, or yet to be."""

    path: Path
    checksums: PartChecksums | None = None

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """Open it; what the machine says against it becomes our error."""
        try:
            with self.path.open("rb") as handle:
                yield handle
        except OSError as error:
            raise InvalidBundleError(self.path, f"cannot be read: {error.strerror}") from error

    @contextmanager
    def parts(self, file: File, size: int) -> Iterator[Iterator[Part]]:
        """Ranges of it."""
        with self.open() as handle:
            yield ranges(handle, 0, file, checksums_of(handle, file, size, self.checksums))
            _check_size(file, os.fstat(handle.fileno()).st_size)


@dataclass(frozen=True, slots=True)
class StoredSource:
    """A file in another store: read as it is sent on, and never held whole."""

    store: Store
    file: File

    @contextmanager
    def open(self) -> Iterator[Reader]:
        """Begin to read; the end raises `IntegrityError` when they were not the right bytes."""
        yield _Joined(read(self.store, self.file, silent))

    @contextmanager
    def parts(self, file: File, size: int) -> Iterator[Iterator[Part]]:
        """Each in memory: all of them are verified on their way through, behind the last."""
        with self.open() as reader:
            bodies = iter(lambda: reader.read(size), b"")
            yield (Part(len(body), zlib.crc32(body), partial(_slice, body)) for body in bodies)


class _Joined:
    """Chunks of any length as a reader."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._left = b""

    def read(self, size: int, /) -> bytes:
        parts, missing = [self._left], size - len(self._left)
        while missing > 0 and (chunk := next(self._chunks, None)) is not None:
            parts.append(chunk)
            missing -= len(chunk)
        whole = b"".join(parts)
        self._left = whole[size:]
        return whole[:size]


def checksums_of(
    handle: Reader, file: File, size: int, known: PartChecksums | None
) -> PartChecksums:
    """The ``known`` checksums of ``file``, or, for parts of another size, those of ``handle``.

    Then all of that is read, and must be exactly ``file``.
    """
    if known is not None and known.size == size:
        return known
    digest, checksums, done = hashlib.sha256(), PartChecksums(size), 0
    while chunk := handle.read(_CHUNK):
        digest.update(chunk)
        checksums.update(chunk)
        done += len(chunk)
    check_unchanged(file, "sha256:" + digest.hexdigest())
    _check_size(file, done)
    return checksums


def ranges(handle: BinaryIO, at: int, file: File, checksums: PartChecksums) -> Iterator[Part]:
    """The parts of ``file``, which begins ``at`` that byte, to be read while ``handle`` is open."""
    starts = range(0, file.size, checksums.size)
    for start, crc32 in zip(starts, checksums.values, strict=True):
        size = min(checksums.size, file.size - start)
        yield Part(size, crc32, partial(_range_of, handle.fileno(), at + start))


def _range_of(descriptor: int, at: int, offset: int, size: int) -> bytes:
    return os.pread(descriptor, size, at + offset)


def _slice(body: bytes, offset: int, size: int) -> bytes:
    return body[offset : offset + size]


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
        raise changed(file, file.digest, digest)


def _check_size(file: File, size: int) -> None:
    if size != file.size:
        raise changed(file, f"{file.size:,} bytes", f"{size:,}")


def changed(file: File, expected: str, got: str) -> IntegrityError:
    """What is said of a file that is not what it was hashed as."""
    return IntegrityError(f"{file.path} changed while it was published", expected, got)


# --- from the registry ----------------------------------------------------------------------------


def fetch(store: Store, file: File, to: Path, progress: Progress) -> None:
    """Download ``file`` to ``to``: all of it, verified and on disk, or nothing."""
    with whole_file(to, file.size) as handle:
        write(handle, read(store, file, progress))


def write(handle: BinaryIO, chunks: Iterable[bytes], every: int = SYNC) -> None:
    """Write ``chunks``, while the disk is made to take what was written ``every`` so many bytes.

    Else it would begin when the file is synced at the end, with nothing left to do beside it.
    """
    waiting, syncing = 0, None
    with ThreadPoolExecutor(1) as disk:
        for chunk in chunks:
            handle.write(chunk)
            waiting += len(chunk)
            if waiting >= every and (syncing is None or syncing.done()):
                _end(syncing)
                handle.flush()
                waiting, syncing = 0, disk.submit(os.fsync, handle.fileno())
    _end(syncing)


def _end(syncing: Future[None] | None) -> None:
    """Raise what the disk said: it says so only once."""
    if syncing is not None:
        syncing.result()


def read(store: Store, file: File, progress: Progress) -> Iterator[bytes]:
    """The bytes of ``file`` as they come; raises `IntegrityError`, at the end at the latest.

    Until then nobody knows whether they are right: what is made of them must wait for the end.
    """
    what = f"blob of {file.path}"
    digest, done = hashlib.sha256(), 0
    with ThreadPoolExecutor(1) as hasher:
        for chunk in _chunks(store, file):
            done += len(chunk)
            if done > file.size:
                raise IntegrityError(what, f"{file.size:,} bytes", "more")
            # Beside whoever writes the chunk to a disk meanwhile, and no further ahead.
            hashed = hasher.submit(digest.update, chunk)
            yield chunk
            hashed.result()
            progress(file.path, done, file.size)
    if done != file.size:
        raise IntegrityError(what, f"{file.size:,} bytes", f"{done:,}")
    if digest.hexdigest() != file.digest.removeprefix("sha256:"):
        raise IntegrityError(what, file.digest, "sha256:" + digest.hexdigest())


def _chunks(store: Store, file: File) -> Iterator[bytes]:
    """The object's bytes in order; a large one comes in ranges, some of them side by side."""
    if file.size < 2 * RANGE:
        yield from _range(store, file, 0, None)
        return
    under_way: deque[Future[list[bytes]]] = deque()
    pool = ThreadPoolExecutor(THREADS)
    try:
        for start in range(0, file.size, RANGE):
            if len(under_way) == THREADS:
                yield from under_way.popleft().result()
            # The last one is open: an object that is longer than announced is found out.
            length = RANGE if start + RANGE < file.size else None
            under_way.append(pool.submit(_fetched, store, file, start, length))
        while under_way:
            yield from under_way.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _fetched(store: Store, file: File, start: int, length: int | None) -> list[bytes]:
    """A range in memory; never much more of it than ``file`` has."""
    chunks, got = [], 0
    for chunk in _range(store, file, start, length):
        chunks.append(chunk)
        got += len(chunk)
        if start + got > file.size:
            break
    return chunks


def _range(store: Store, file: File, start: int, length: int | None) -> Iterator[bytes]:
    """A part of the object; a connection that breaks half-way is picked up where it broke."""
    key, done = keys.blob(file.digest), start
    end = file.size if length is None else start + length
    while True:
        opened_at = done
        chunks = store.read(key, done, None if length is None else end - done)
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
            if done >= end:
                return
