"""The registry, once, over any `Store`: documents, blobs and a log, and no server.

Knows nothing of S3. Reading routes or a manifest is one request, and no operation but a listing
costs more as versions accumulate. Functions only read and change routes: what else there is, is
imported where it is used.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelport.errors import ModelNotFoundError, VersionNotFoundError
from modelport.manifest import Draft, File, Manifest
from modelport.refs import check_name
from modelport.registry import Actor, Progress, Snapshot, keys, silent
from modelport.registry.changes import Changes, snapshot
from modelport.registry.store import Store
from modelport.registry.tombstone import stored_manifest
from modelport.routes import Change, Routes
from modelport.routes.change import NOTE, PUBLISH
from modelport.routes.errors import VersionRemovedError

if TYPE_CHECKING:
    from modelport.registry.notes import NoteEdit, Notes
    from modelport.registry.publish import Supply

#: Versions listed at a time; S3 answers with at most a thousand keys.
PAGE = 1000


class BucketRegistry:
    """A `modelport.registry.Registry` in a store."""

    def __init__(self, store: Store, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._store = store
        self._changes = Changes(store, sleep=sleep)

    @property
    def store(self) -> Store:
        """Where the documents lie, for what keeps its own beside a version."""
        return self._store

    def publish(
        self, model: str, draft: Draft, *, who: Actor, progress: Progress = silent
    ) -> Manifest:
        """Store ``draft`` as the next version; the same content again is the same version."""
        from modelport.registry.publish import publish

        return publish(self._store, self._changes, check_name(model), draft, who, progress)

    def publish_supplied(self, model: str, draft: Draft, *, who: Actor, supply: Supply) -> Manifest:
        """The same for a draft whose blobs ``supply`` brings, from anywhere."""
        from modelport.registry.publish import publish_supplied

        return publish_supplied(self._store, self._changes, check_name(model), draft, who, supply)

    def manifest(self, model: str, version: int) -> Manifest:
        """The record of a version; raises `ModelNotFoundError`, `VersionNotFoundError`, or
        `VersionRemovedError` for one that was."""
        manifest = stored_manifest(self._store, check_name(model), version)
        if manifest is None:
            self._existing(model)
            raise VersionNotFoundError(model, version)
        return manifest

    def routes(self, model: str, *, etag: str | None = None) -> Snapshot | None:
        """The routes of a model; None when they still are what ``etag`` named."""
        document = self._store.get(keys.routes(check_name(model)), known=etag)
        if document is None:
            raise ModelNotFoundError(model)
        return None if document.etag == etag else snapshot(model, document)

    def change(
        self,
        model: str,
        edit: Callable[[Routes], Routes],
        *,
        action: str,
        detail: dict[str, Any],
        who: Actor,
    ) -> Routes:
        """Apply ``edit`` to the routes, exactly once, whoever else writes; logged.

        ``edit`` is called again with fresh routes whenever somebody else was faster. One that
        changes nothing writes nothing.
        """
        check_name(model)
        if action in (PUBLISH, NOTE):
            raise ValueError(f"{action!r} is what publish() or annotate() logs; name another")

        def on_existing(before: Snapshot) -> Routes | None:
            if not before.etag:
                raise ModelNotFoundError(model)
            after = edit(before.routes)
            if after == before.routes:
                return None
            if after.active_rollouts:
                from modelport.registry.active import ActiveRollouts

                ActiveRollouts(self._store).note_beginnings(before.routes, after)
            return after

        return self._changes.apply(model, on_existing, action=action, detail=detail, who=who)

    def annotate(self, model: str, version: int, edit: NoteEdit, *, who: Actor) -> Notes:
        """Change tags or description of a version, and log it; what changes nothing is not."""
        from modelport.registry import notes

        self.manifest(model, version)

        def on_existing(before: Snapshot) -> Routes | None:
            if version in before.routes.removed:
                raise VersionRemovedError(model, version)
            noted = notes.as_of(self._store, before.routes, version)
            if noted.edited(edit) == noted:
                # Perhaps said by who died right behind it: then this is the retry.
                self._changes.settle(before.routes)
                return None
            return before.routes

        detail = {"version": version, **edit.to_json()}
        written = self._changes.apply(model, on_existing, action=NOTE, detail=detail, who=who)
        return notes.as_of(self._store, written, version)

    def notes(self, model: str, version: int) -> Notes:
        """What is noted about a version; empty when nothing is."""
        from modelport.registry import notes

        return notes.as_of(self._store, self._existing(model).routes, version)

    def models(self, *, after: str = "") -> Iterator[str]:
        """Names of all models behind ``after``, each with one request.

        In the order of their keys, in which "a-1" comes before "a"; so listing the first few costs
        the same however many there are. One whose first publish never finished is not one.
        """
        # Behind all that can lie in a model's folder.
        behind = f"{after}/~" if after else ""
        for name in self._store.children(keys.MODELS, after=behind):
            if name.endswith("/") and self._store.get(keys.routes(name[:-1])) is not None:
                yield name[:-1]

    def versions(self, model: str, *, below: int | None = None) -> Iterator[int]:
        """Numbers of all versions, or of those below a number, newest first; removed ones not."""
        routes = self._existing(model).routes
        numbers = self._versions(model, routes.latest, below)
        return (number for number in numbers if number not in routes.removed)

    def _versions(self, model: str, latest: int, below: int | None) -> Iterator[int]:
        # Above the latest stand only the numbers of publishers that have not finished.
        if below is None:
            yield from self._numbers_after(model, latest)
        highest = latest if below is None else min(latest, below - 1)
        for end in range(highest, 0, -PAGE):
            start = max(0, end - PAGE)
            yield from self._numbers_after(model, start, count=end - start, end=end)

    def log(self, model: str) -> Iterator[Change]:
        """Every change to the model, newest first."""
        return self._changes.entries(self._existing(model).routes)

    def verify_log(self, model: str) -> int:
        """Check the whole hash chain and return its length; raises `IntegrityError`."""
        return self._changes.verify(self._existing(model).routes)

    def fetch(self, file: File, to: Path, progress: Progress = silent) -> None:
        """Write a file of a version to ``to``, verified; leaves nothing behind when it fails."""
        from modelport.registry import blobs

        blobs.fetch(self._store, file, to, progress)

    def read(self, file: File, progress: Progress = silent) -> Iterator[bytes]:
        """Stream a file of a version; raises at the end when it was not the right bytes."""
        from modelport.registry import blobs

        return blobs.read(self._store, file, progress)

    def _existing(self, model: str) -> Snapshot:
        found = self._changes.read(check_name(model))
        if not found.etag:
            raise ModelNotFoundError(model)
        return found

    def _numbers_after(
        self, model: str, start: int, *, count: int | None = None, end: int | None = None
    ) -> list[int]:
        """Numbers above ``start`` up to ``end``, newest first: at most ``count``, so one page."""
        names = self._store.children(keys.versions(model), after=keys.numbered(start))
        numbers = [keys.number_of(name) for name in islice(names, count)]
        return [n for n in reversed(numbers) if n is not None and (end is None or n <= end)]
