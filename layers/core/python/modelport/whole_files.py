"""Files that appear whole or not at all: written beside their place, synced, then moved there."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedRandom
from pathlib import Path

from modelport.errors import BackendError


@contextmanager
def whole_file(to: Path, size: int | None = None) -> Iterator[BufferedRandom]:
    """Write and read what becomes the file ``to`` when the block ends well; else nothing is left.

    ``size``, in bytes, is for what is said when the disk refuses: then it raises `BackendError`.
    Inside the block only the local disk may raise an OSError.
    """
    part = to.with_name(f".{to.name}.{secrets.token_hex(8)}.part")
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        with part.open("x+b") as handle:
            yield handle
            handle.flush()
            os.fsync(handle.fileno())
        part.replace(to)
        _sync_folder(to.parent)
    except OSError as error:
        large = "" if size is None else f" ({size:,} bytes)"
        raise BackendError(
            f"cannot write {to}{large}: {error.strerror or error}",
            hint="free some space or choose another folder; nothing was left half-written",
        ) from error
    finally:
        with suppress(OSError):
            part.unlink()


def _sync_folder(folder: Path) -> None:
    """Make the move itself survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
