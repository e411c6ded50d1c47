"""A version as one file, and back: a tar of its manifest, notes, evaluation reports and blobs.

The same version is always the same bytes, as long as its notes and reports are: members stand in
one order and have nothing but name, size and content. What is read is exactly what would be
written, header for header, so there is no room for a path, a link, a size that lies or a member
nobody asked for. Neither way holds a blob in memory or writes a blob beside the file.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar

from modelport.beside import Beside
from modelport.errors import InvalidBundleError
from modelport.evaluation.report import Report
from modelport.evaluation.reports import Reports
from modelport.manifest import File, Manifest
from modelport.registry import Progress, Registry, blobs, silent
from modelport.registry.checksums import PartChecksums
from modelport.registry.errors import InvalidArchiveError
from modelport.registry.notes import Notes
from modelport.registry.store import Part, Reader
from modelport.upkeep.acceptance import check_manifest
from modelport.whole_files import whole_file

MANIFEST, NOTES, EVALUATIONS, BLOBS = "manifest.json", "notes.json", "evaluations/", "blobs/"
#: Documents are read whole, so they are bounded; blobs are not.
MOST_DOCUMENT_BYTES = 64 << 20
#: Of a version that has more reports the latest go along.
MOST_REPORTS = 1000
_BLOCK, _CHUNK = 512, 1 << 20
_END = bytes(2 * _BLOCK)
_OCTAL_LIMIT = 8 << 30
Document = TypeVar("Document")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,70}")


@dataclass(frozen=True, slots=True)
class Archive:
    """A file that was read through: every digest in it is right.

    ``blobs`` says where they are, and their checksums, by digest; ``reports`` where evaluation
    reports are, and their sizes, by id.
    """

    path: Path
    manifest: Manifest
    notes: Notes
    reports: dict[str, tuple[int, int]]
    blobs: dict[str, tuple[int, PartChecksums]]

    def source(self, file: File) -> ArchivedSource:
        """A file of the version, to be read from the archive."""
        return ArchivedSource(self.path, file, *self.blobs[file.digest])

    def evaluations(self) -> Iterator[Report]:
        """The evaluation reports, one after the other: all at once may be more than memory."""
        with _opened(self.path) as handle:
            for place, size in self.reports.values():
                handle.seek(place)
                yield Report.from_bytes(handle.read(size))


@dataclass(frozen=True, slots=True)
class ArchivedSource:
    """One blob in an archive, hashed when that was read through."""

    path: Path
    file: File
    offset: int
    checksums: PartChecksums | None = None

    @contextmanager
    def open(self) -> Iterator[Reader]:
        """Begin to read it."""
        with _opened(self.path) as handle:
            handle.seek(self.offset)
            yield _Part(handle, self.file.size)

    @contextmanager
    def parts(self, file: File, size: int) -> Iterator[Iterator[Part]]:
        """Ranges of the archive."""
        with self.open() as reader:
            checksums = blobs.checksums_of(reader, file, size, self.checksums)
        with _opened(self.path) as handle:
            yield blobs.ranges(handle, self.offset, file, checksums)


class _Part:
    def __init__(self, handle: BinaryIO, size: int) -> None:
        self._handle, self._left = handle, size

    def read(self, size: int, /) -> bytes:
        body = self._handle.read(min(size, self._left))
        self._left -= len(body)
        return body


# --- out ------------------------------------------------------------------------------------------


def write(
    registry: Registry, model: str, version: int, to: Path, progress: Progress = silent
) -> Manifest:
    """Write a version to the file ``to``: all of it, verified and on disk, or nothing."""
    manifest = registry.manifest(model, version)
    with whole_file(to) as handle:
        handle.writelines(_members(registry, manifest, progress))
    return manifest


def _members(registry: Registry, manifest: Manifest, progress: Progress) -> Iterator[bytes]:
    model, version = manifest.model, manifest.version
    yield from _document(MANIFEST, manifest.to_bytes())
    noted = registry.notes(model, version)
    if noted.revision:
        yield from _document(NOTES, noted.to_bytes())
    for id, report in reports_of(registry, model, version, most=MOST_REPORTS):
        if report.digest == manifest.digest:
            yield from _document(f"{EVALUATIONS}{id}.json", report.to_bytes())
    for file in _unique(manifest.files):
        yield header(BLOBS + _hex(file), file.size)
        yield from blobs.read(registry.store, file, progress)
        yield _padding(file.size)
    yield _END


def reports_of(
    registry: Registry, model: str, version: int, *, most: int | None = None
) -> Iterator[tuple[str, Report]]:
    """The evaluation reports of a version by id, in order: all, or so many of the latest.

    Raises `IntegrityError` for one that is none, or lies where another one should.
    """
    reports = Reports(registry.store)
    for id in deque(reports.ids(model, version), most):
        yield id, reports.report(model, version, id)


def _document(name: str, body: bytes) -> Iterator[bytes]:
    yield header(name, len(body))
    yield body
    yield _padding(len(body))


def header(name: str, size: int) -> bytes:
    """The one header a member of that name and size has: ustar, root's, readable, at the epoch.

    Sizes from 8 GiB on are in base 256, as GNU tar writes them.
    """
    length = b"%011o\0" % size if size < _OCTAL_LIMIT else b"\x80" + size.to_bytes(11, "big")
    parts = (
        name.encode().ljust(100, b"\0"),
        b"0000644\0" + b"0000000\0" * 2,
        length,
        b"%011o\0" % 0,
        b" " * 8,
        b"0" + bytes(100),
        b"ustar\x0000",
        bytes(64),
        b"0000000\0" * 2,
    )
    block = b"".join(parts).ljust(_BLOCK, b"\0")
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


# --- in -------------------------------------------------------------------------------------------


def read(path: Path, progress: Progress = silent) -> Archive:
    """Read an archive through and verify all of it; raises `InvalidArchiveError`."""
    with _opened(path) as handle:
        return _Reading(path, handle, progress).archive()


class _Reading:
    """One pass over an archive."""

    def __init__(self, path: Path, handle: BinaryIO, progress: Progress) -> None:
        self._path, self._handle, self._progress = path, handle, progress
        self._size = os.fstat(handle.fileno()).st_size

    def archive(self) -> Archive:
        """All of it, in the order in which it is written."""
        name, size = self._next()
        if name != MANIFEST:
            raise self._broken(f"{MANIFEST} first", repr(name))
        manifest = check_manifest(self._parsed(name, size, Manifest.from_bytes))
        noted, found = Notes(manifest.version), dict[str, tuple[int, int]]()
        name, size = self._next()
        if name == NOTES:
            noted = self._parsed(name, size, Notes.from_bytes)
            name, size = self._next()
        while name.startswith(EVALUATIONS):
            self._add_report(found, manifest, name, size)
            name, size = self._next()
        blobs: dict[str, tuple[int, PartChecksums]] = {}
        for file in _unique(manifest.files):
            blobs[file.digest] = self._blob(file, name, size)
            name, size = self._next()
        if name or self._handle.read(1):
            raise self._broken("its end", repr(name) if name else "more")
        return Archive(self._path, manifest, noted, found, blobs)

    def _next(self) -> tuple[str, int]:
        """Name and size of the next member; an empty name at the end."""
        block = self._handle.read(_BLOCK)
        if block + self._handle.read(_BLOCK if block == bytes(_BLOCK) else 0) == _END:
            return "", 0
        name = block[:100].rstrip(b"\0").decode("ascii", "replace")
        field = block[124:136]
        try:
            big = field[:1] == b"\x80"
            size = int.from_bytes(field[1:], "big") if big else int(field[:11], 8)
        except ValueError:
            size = -1
        # What this product writes under that name, or something else.
        if size < 0 or not name.isascii() or len(name) > 100 or header(name, size) != block:
            raise self._broken("a member as it is written here", "something else")
        if self._handle.tell() + size > self._size:
            raise self._broken(f"{size:,} bytes of {name}", "less")
        return name, size

    def _add_report(
        self, found: dict[str, tuple[int, int]], manifest: Manifest, name: str, size: int
    ) -> None:
        id = name.removeprefix(EVALUATIONS).removesuffix(".json")
        ordered = not found or id > max(found)
        if not (name.endswith(".json") and _ID.fullmatch(id) and ordered):
            raise self._broken("evaluation reports in order", repr(name))
        if len(found) == MOST_REPORTS:
            raise self._broken(f"up to {MOST_REPORTS} evaluation reports", "more")
        place = self._handle.tell()
        report = self._parsed(name, size, Report.from_bytes)
        if report.digest != manifest.digest or report.id != id:
            raise self._broken(f"report {id} of this version", "one of another")
        found[id] = place, size

    def _parsed(self, name: str, size: int, parse: Callable[[bytes], Document]) -> Document:
        if size > MOST_DOCUMENT_BYTES:
            raise self._broken(f"up to {MOST_DOCUMENT_BYTES:,} bytes of {name}", f"{size:,}")
        try:
            parsed = parse(self._handle.read(size))
        except RecursionError:
            raise self._broken(f"a readable {name}", "one without a bottom") from None
        self._pad(size)
        return parsed

    def _blob(self, file: File, name: str, size: int) -> tuple[int, PartChecksums]:
        if (name, size) != (BLOBS + _hex(file), file.size):
            raise self._broken(
                f"{BLOBS}{_hex(file)} of {file.size:,} bytes", f"{name!r} of {size:,}"
            )
        place, digest, checksums, done = self._handle.tell(), hashlib.sha256(), PartChecksums(), 0
        with Beside(digest.update) as hashing:
            while done < size and (chunk := self._handle.read(min(_CHUNK, size - done))):
                hashing.take(chunk)
                checksums.update(chunk)
                done += len(chunk)
                self._progress(file.path, done, size)
        if digest.hexdigest() != _hex(file):
            raise self._broken(file.digest, "sha256:" + digest.hexdigest())
        self._pad(size)
        return place, checksums

    def _pad(self, size: int) -> None:
        if self._handle.read(len(_padding(size))) != _padding(size):
            raise self._broken("nothing behind a member", "something")

    def _broken(self, expected: str, got: str) -> InvalidArchiveError:
        return InvalidArchiveError(str(self._path), expected, got)


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        with path.open("rb") as handle:
            yield handle
    except OSError as error:
        raise InvalidBundleError(path, f"cannot be read: {error.strerror}") from error


def _unique(files: Iterable[File]) -> list[File]:
    return list({file.digest: file for file in sorted(files, key=lambda f: f.digest)}.values())


def _hex(file: File) -> str:
    return file.digest.removeprefix("sha256:")


def _padding(size: int) -> bytes:
    return bytes(-size % _BLOCK)
