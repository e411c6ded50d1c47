"""What the builder keeps between builds: layers by the digest of what went into them.

Everything is written under another name first and renamed, so a build that was killed leaves
nothing half-made, and two builders at once make the same thing twice at worst. What is taken from
here was checked against its digest, now or before (`modelport.images.marks`); bytes that rotted are
simply made again.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from modelport.images import marks
from modelport.images.layer import Kind, Layer, Part, scratch_file
from modelport.manifest import canonical, digest_of

#: What blobs may take together, before those used longest ago go.
KEPT = 10 * 10**9
#: Whatever was used this lately may be in the hands of a build that is still at work.
_IN_USE_S = 3600
#: What folders of a build at work are called.
SCRATCH = ".building-"


@dataclass(frozen=True, slots=True)
class Cache:
    """The layers of one workspace."""

    workspace: Path

    @property
    def blobs(self) -> Path:
        """Where blobs lie, each named by its digest."""
        return self.workspace / "blobs"

    def layer(self, kind: Kind, inputs: dict[str, Any], make: Callable[[], Layer]) -> Layer:
        """The layer that ``make`` makes of ``inputs``, made only if it is not here yet."""
        note = _path(self.workspace / "layers", digest_of(canonical({"kind": kind, **inputs})))
        known = _recalled(note)
        if known is not None and self.holds(known["digest"]):
            return located(known, self.blobs)
        made = make()
        write(note, canonical(facts(made)))
        return made

    def holds(self, digest: str) -> bool:
        """Whether the blob is here with exactly the bytes of ``digest``."""

        def right(blob: Path) -> bool:
            return holds(blob, digest)

        found = marks.is_right(self.path(digest), self.workspace / "marks", right)
        if found:
            with suppress(OSError):
                stamp = self._stamp(self.path(digest))
                stamp.parent.mkdir(exist_ok=True)
                stamp.touch()
        return found

    def trim(self, using: Collection[str] = (), limit: int = KEPT) -> None:
        """Remove the blobs used longest ago until the rest takes no more than ``limit`` bytes.

        Digests in ``using`` stay, and so does what any build used just now.
        """
        safe, kept = time.time() - _IN_USE_S, 0
        for used, size, blob in sorted(self._found(), reverse=True):
            kept += size
            if kept > limit and used < safe and f"sha256:{blob.name}" not in using:
                kept -= size
                for left in (blob, self._stamp(blob), self._mark(blob)):
                    with suppress(OSError):
                        left.unlink()

    def _found(self) -> Iterator[tuple[float, int, Path]]:
        """When each blob was last used, its size, and where it lies."""
        for blob in self.blobs.glob("[!.]*"):
            with suppress(OSError):
                status = blob.lstat()
                used = status.st_mtime
                with suppress(OSError):
                    used = max(used, self._stamp(blob).lstat().st_mtime)
                yield used, status.st_size, blob

    def _stamp(self, blob: Path) -> Path:
        # Beside the blob: a time of its own that is changed looks like a change of its bytes.
        return self.workspace / "used" / blob.name

    def _mark(self, blob: Path) -> Path:
        return self.workspace / "marks" / f"{blob.name}.json"

    def path(self, digest: str) -> Path:
        """Where the blob lies once it is here."""
        return self.blobs / digest.removeprefix("sha256:")


def facts(layer: Layer) -> dict[str, Any]:
    """A layer as JSON, without where it lies."""
    return {**asdict(layer), "path": None}


def located(facts: dict[str, Any], blobs: Path) -> Layer:
    """The layer of such facts, among these blobs."""
    path = blobs / facts["digest"].removeprefix("sha256:")
    return Layer(**{**facts, "path": path, "parts": tuple(Part(**p) for p in facts["parts"])})


def sweep(workspace: Path, older_than_s: float = 86_400) -> None:
    """Remove what builds that were killed left behind; whatever is younger may still be at work."""
    oldest = time.time() - older_than_s
    for left in (*workspace.glob(f"{SCRATCH}*"), *workspace.glob("*/.*.part")):
        with suppress(OSError):
            if left.lstat().st_mtime < oldest:
                shutil.rmtree(left) if left.is_dir() else left.unlink()


def remembered(folder: Path, key: str, learn: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What is known under ``key``, else what ``learn`` says, which is kept."""
    path = _path(folder, key)
    known = _recalled(path)
    if known is None:
        write(path, body := canonical(learn()))
        known = cast("dict[str, Any]", json.loads(body))
    return known


def _recalled(path: Path) -> dict[str, Any] | None:
    try:
        return cast("dict[str, Any]", json.loads(path.read_bytes()))
    except (OSError, ValueError):
        return None


def write(path: Path, body: bytes) -> None:
    """Write a small file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with scratch_file(path.parent) as (file, part):
        file.write(body)
        file.flush()
        os.replace(part, path)


def holds(path: Path, digest: str) -> bool:
    """Whether ``path`` is there with exactly the bytes of ``digest``."""
    try:
        return digest_of_file(path) == digest
    except OSError:
        return False


def digest_of_file(path: Path) -> str:
    """``sha256:<hex>`` of a file."""
    with path.open("rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()


def _path(folder: Path, key: str) -> Path:
    return folder / f"{key.removeprefix('sha256:')}.json"
