"""A tar stream that depends on names and contents alone.

Every entry belongs to root, was made at the epoch, is readable by all and writable by its owner;
folders come before what is in them and everything in one order, so neither file times, umask,
locale nor directory order reach the bytes. Names that could leave the layer, or that mean something
to whoever unpacks it, are refused here, at the last edge. Memory does not grow with the files.
"""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from modelport.errors import IntegrityError
from modelport.images.errors import UnsafePathError

_CHUNK = 1 << 20
_BLOCK = 512
#: An archive ends in two empty blocks; no padding to tape records beyond that.
_END = bytes(2 * _BLOCK)
#: A name that starts so deletes a file of a layer below instead of adding one.
_WHITEOUT = ".wh."


@dataclass(frozen=True, slots=True)
class Entry:
    """A file to be: its path below the image's root, its size, and how to open it, once."""

    path: str
    size: int
    open: Callable[[], BinaryIO]
    executable: bool = False


def check_path(path: str) -> str:
    """``path`` if it is a plain relative POSIX path; raises `UnsafePathError`."""
    parts = path.split("/")
    problem = ""
    if path.startswith("/"):
        problem = "is absolute"
    elif not path or any(part in ("", ".", "..") for part in parts):
        problem = "has an empty, '.' or '..' part"
    elif "\\" in path or not path.isprintable():
        problem = "has a backslash or a control character"
    elif any(part.startswith(_WHITEOUT) for part in parts):
        problem = f"starts with {_WHITEOUT!r}, which deletes files of an image"
    elif any(len(part.encode()) > 255 for part in parts):
        problem = "is longer than 255 bytes"
    if problem:
        raise UnsafePathError(path, problem)
    return path


def tree(folder: Path, prefix: str = "") -> Iterator[Entry]:
    """Every file below ``folder`` as an entry below ``prefix``; refuses links and devices."""
    with os.scandir(folder) as listing:
        found = sorted(listing, key=lambda entry: entry.name)
    for entry in found:
        path = Path(entry.path)
        if entry.is_dir(follow_symlinks=False):
            yield from tree(path, f"{prefix}{entry.name}/")
        else:
            yield of_file(path, prefix + entry.name)


def of_file(source: Path, path: str) -> Entry:
    """One file on this machine as an entry; refuses everything that is not a regular file."""
    status = source.lstat()
    if not stat.S_ISREG(status.st_mode):
        raise UnsafePathError(path, "is a link, pipe, socket or device; an image takes files")
    return Entry(path, status.st_size, lambda: source.open("rb"), bool(status.st_mode & 0o111))


def write(entries: Iterable[Entry], out: Callable[[bytes], object]) -> None:
    """Stream the archive of ``entries`` to ``out``."""
    folders: set[str] = set()
    files: set[str] = set()
    for entry in sorted(entries, key=lambda entry: entry.path.split("/")):
        check_path(entry.path)
        if entry.path in files or entry.path in folders:
            raise UnsafePathError(entry.path, "is there twice")
        for parent in _parents(entry.path):
            if parent in files:
                raise UnsafePathError(entry.path, f"lies below the file {parent}")
            if parent not in folders:
                folders.add(parent)
                out(_header(parent, tarfile.DIRTYPE, 0o755, 0))
        files.add(entry.path)
        out(_header(entry.path, tarfile.REGTYPE, 0o755 if entry.executable else 0o644, entry.size))
        _copy(entry, out)
    out(_END)


def _parents(path: str) -> Iterator[str]:
    parts = path.split("/")
    for end in range(1, len(parts)):
        yield "/".join(parts[:end])


def _header(path: str, kind: bytes, mode: int, size: int) -> bytes:
    info = tarfile.TarInfo(path)
    info.type, info.mode, info.size = kind, mode, size
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "strict")


def _copy(entry: Entry, out: Callable[[bytes], object]) -> None:
    left = entry.size
    with entry.open() as file:
        while left:
            chunk = file.read(min(_CHUNK, left))
            if not chunk:
                break
            left -= len(chunk)
            out(chunk)
        if left or file.read(1):
            raise IntegrityError(f"{entry.path} in the image", f"{entry.size:,} bytes", "others")
    if entry.size % _BLOCK:
        out(bytes(_BLOCK - entry.size % _BLOCK))
