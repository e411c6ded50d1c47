"""The registry port: what everything else may ask of a registry, and nothing about how.

A registry holds immutable versions and one mutable routes document per model. Implementations:
`modelport.registry.s3.S3Registry` (a bucket) and `modelport.registry.memory.MemoryRegistry`; both
pass the same contract suite.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from modelport.manifest import Draft, File, Manifest
from modelport.registry.store import Store
from modelport.routes import Change, Routes

if TYPE_CHECKING:
    from modelport.registry.notes import NoteEdit, Notes
    from modelport.registry.publish import Supply

__all__ = ["Actor", "Progress", "Registry", "Snapshot", "silent"]

#: Called with what is moving, bytes done and bytes in all; must be quick and may come from threads.
Progress = Callable[[str, int, int], None]


def silent(what: str, done: int, total: int) -> None:
    """A `Progress` that says nothing."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who makes a change, why, and from which git commit ("" when from none)."""

    who: str
    message: str = ""
    commit: str = ""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A routes document and the ETag it was read with."""

    routes: Routes
    etag: str


class Registry(Protocol):
    """Where versions and routes are kept."""

    @property
    def store(self) -> Store:
        """Where the documents lie, for what keeps its own beside a version."""
        ...

    def publish(
        self, model: str, draft: Draft, *, who: Actor, progress: Progress = silent
    ) -> Manifest:
        """Store ``draft`` as the next version; the same content again is the same version."""
        ...

    def publish_supplied(self, model: str, draft: Draft, *, who: Actor, supply: Supply) -> Manifest:
        """The same for a draft whose blobs ``supply`` brings, from anywhere."""
        ...

    def manifest(self, model: str, version: int) -> Manifest:
        """The record of a version; raises `ModelNotFoundError`, `VersionNotFoundError`, or
        `VersionRemovedError` for one that was."""
        ...

    def routes(self, model: str, *, etag: str | None = None) -> Snapshot | None:
        """The routes of a model; None when they still are what ``etag`` named."""
        ...

    def change(
        self,
        model: str,
        edit: Callable[[Routes], Routes],
        *,
        action: str,
        detail: dict[str, Any],
        who: Actor,
    ) -> Routes:
        """Apply ``edit`` to the routes, exactly once, whoever else writes; logged."""
        ...

    def annotate(self, model: str, version: int, edit: NoteEdit, *, who: Actor) -> Notes:
        """Change tags or description of a version; logged."""
        ...

    def notes(self, model: str, version: int) -> Notes:
        """What is noted about a version; empty when nothing is."""
        ...

    def models(self, *, after: str = "") -> Iterator[str]:
        """Names of all models behind ``after``, in one order, lazily: the first cost little."""
        ...

    def versions(self, model: str, *, below: int | None = None) -> Iterator[int]:
        """Numbers of all versions, or of those below a number, newest first; removed ones not."""
        ...

    def log(self, model: str) -> Iterator[Change]:
        """Every change to the model, newest first."""
        ...

    def fetch(self, file: File, to: Path, progress: Progress = silent) -> None:
        """Write a file of a version to ``to``, verified; leaves nothing behind when it fails."""
        ...

    def read(self, file: File, progress: Progress = silent) -> Iterator[bytes]:
        """Stream a file of a version; raises at the end when it was not the right bytes."""
        ...
