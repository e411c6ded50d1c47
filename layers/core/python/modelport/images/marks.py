"""Which kept blobs were read and found right, so that a build does not read hundreds of MB again.

A mark tells a file by what the system says of it: its place on the disk, its size and its times. It
holds for the file that was read, until the machine starts anew (what was written just before may be
lost then), and for a day at most, so that a disk that rots in silence is found out. Whatever has
another mark or none is read. Where the system does not say when it started, nothing is marked.
"""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from modelport.images.layer import scratch_file
from modelport.manifest import canonical

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_DAY_S = 86_400
#: Within a tick of the file system's clock a file can change again without its times telling.
_TICK_S = 0.05


def is_right(
    blob: Path,
    folder: Path,
    read: Callable[[Path], bool],
    *,
    clock: Callable[[], float] = time.time,
) -> bool:
    """Whether ``read`` finds ``blob`` right, or did before; marks are below ``folder``."""
    mark = folder / f"{blob.name}.json"
    # Before it is read: what changes meanwhile has another mark afterwards.
    seen = _facts(blob)
    if seen is not None and _agrees(mark, seen, clock()):
        return True
    if not read(blob):
        return False
    if seen is not None and clock() - seen["changed"][-1] / 1e9 > _TICK_S:
        with suppress(OSError):
            _write(mark, canonical({**seen, "marked": int(clock())}))
    return True


def _facts(blob: Path) -> dict[str, Any] | None:
    try:
        status, boot = blob.lstat(), _BOOT.read_text().strip()
    except OSError:
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    return {
        "boot": boot,
        "place": [status.st_dev, status.st_ino],
        "size": status.st_size,
        "changed": [status.st_mtime_ns, status.st_ctime_ns],
    }


def _agrees(mark: Path, seen: dict[str, Any], now: float) -> bool:
    try:
        told = json.loads(mark.read_bytes())
        age = now - told.pop("marked")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
    return bool(0 <= age < _DAY_S and told == seen)


def _write(mark: Path, body: bytes) -> None:
    mark.parent.mkdir(parents=True, exist_ok=True)
    with scratch_file(mark.parent) as (file, part):
        file.write(body)
        file.flush()
        os.replace(part, mark)
