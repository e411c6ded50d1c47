"""Publishing, exactly once: the same content is the same version, whoever tries how often.

Every step can be the last before a crash, and a retry, or anyone publishing the same content,
finishes the job:

1. upload the blobs that are missing;
2. create the publication record of this content with the number to count from;
3. from there on, create the manifest under the first free number; numbers are taken without gaps
   and all publishers of one content count from the same start, so they meet at one number;
4. see that the blobs are all there, and young (`RENEW_AFTER_S`): only now can no `gc` miss who
   needs them, see `modelport.upkeep.collect`;
5. commit the version to the routes (`modelport.registry.changes`), which also
6. notes the version in the publication record, before anything else can be committed on top.

A content whose version was removed begins again at 2: whoever finds the tombstone begins its record
again from the latest number, which is above the removed one, and all publishers go on from there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from modelport.errors import ConcurrentChangeError, IntegrityError
from modelport.manifest import Draft, Manifest
from modelport.registry import Actor, Progress, Snapshot, blobs, keys, publication
from modelport.registry.changes import Changes, now
from modelport.registry.store import Store
from modelport.registry.tombstone import Tombstone, read, stored_manifest
from modelport.routes import Routes
from modelport.routes.change import PUBLISH
from modelport.routes.errors import VersionRemovedError

#: A blob written longer ago is written again for a new version: `gc` removes none that is younger
#: than twice this.
RENEW_AFTER_S = 12 * 3600.0
_ATTEMPTS = 20

#: Sees that all blobs of a draft are in the store, and written no longer ago than it is told.
Supply = Callable[[float | None], None]


def publish(
    store: Store, changes: Changes, model: str, draft: Draft, who: Actor, progress: Progress
) -> Manifest:
    """Publish ``draft`` as a version of ``model``; see the module's docstring."""

    def supply(renew_after_s: float | None) -> None:
        for file in draft.files:
            source = blobs.LocalSource(draft.sources[file.path], draft.checksums.get(file.path))

            def advance(done: int, path: str = file.path, size: int = file.size) -> None:
                progress(path, done, size)

            key = keys.blob(file.digest)
            store.upload(key, source, file, advance, renew_after_s=renew_after_s)

    return publish_supplied(store, changes, model, draft, who, supply)


def publish_supplied(
    store: Store, changes: Changes, model: str, draft: Draft, who: Actor, supply: Supply
) -> Manifest:
    """The same for blobs that come from elsewhere: ``draft.sources`` is not looked at."""
    digest = draft.content.digest
    for _ in range(_ATTEMPTS):
        begun = publication.found(store, model, digest)
        # What is published already only needs what is missing.
        supply(RENEW_AFTER_S if begun is None or begun.version is None else None)
        routes = changes.read(model).routes
        record = publication.begin(store, model, digest, routes.latest)
        try:
            if record.version is not None:
                return _published(store, routes, record.version)
            manifest = _claim(store, model, draft, digest, after=record.start)
        except VersionRemovedError:
            _begin_again(store, changes, model, digest)
            continue
        supply(RENEW_AFTER_S)
        _commit(store, changes, manifest, who)
        return manifest
    raise ConcurrentChangeError(f"publication {digest} of model {model}", _ATTEMPTS)


def _claim(store: Store, model: str, draft: Draft, digest: str, *, after: int) -> Manifest:
    """Take the first free number above ``after``, or find that this content has one already.

    Raises `VersionRemovedError` when it had one: then ``after`` is out of date.
    """
    version = after
    while True:
        version += 1
        ours = Manifest(model, version, draft.content, now(), draft.lineage, draft.tuning, digest)
        if store.create(keys.manifest(model, version), ours.to_bytes()):
            return ours
        found = read(store, model, version)
        if found is None or found[0].digest != digest:
            continue
        if isinstance(found[0], Tombstone):
            raise VersionRemovedError(model, version)
        return found[0]


def _begin_again(store: Store, changes: Changes, model: str, digest: str) -> None:
    """Let the record of a content whose version was removed count from the latest number."""
    record = publication.found(store, model, digest)
    # Read after the record: at or above every version that the record can name.
    routes = changes.read(model).routes
    if record and record.version is not None and _is_gone(store, routes, record.version):
        publication.renew(store, model, digest, record.version, routes.latest)


def _commit(store: Store, changes: Changes, manifest: Manifest, who: Actor) -> None:
    detail = {"version": manifest.version, "digest": manifest.digest}

    def edit(before: Snapshot) -> Routes | None:
        if _committed(store, before.routes, detail):
            changes.settle(before.routes)
            return None
        return before.routes.with_published(manifest.version)

    changes.apply(manifest.model, edit, action=PUBLISH, detail=detail, who=who)


def _committed(store: Store, routes: Routes, detail: dict[str, Any]) -> bool:
    """Whether these routes, as just read, already contain this publication.

    Either it is their latest change, or its record was finished before they were written: nobody
    commits on top of a publication without finishing it. So the record must be read after them.
    """
    if routes.latest < detail["version"]:
        return False
    if detail["version"] in routes.removed:
        return True
    change = routes.change
    if change is not None and change.action == PUBLISH and change.detail == detail:
        return True
    return publication.version_of(store, routes.model, detail["digest"]) is not None


def _published(store: Store, routes: Routes, version: int) -> Manifest:
    """The manifest of a version that was published; raises `VersionRemovedError` if it is gone."""
    if version in routes.removed:
        raise VersionRemovedError(routes.model, version)
    manifest = stored_manifest(store, routes.model, version)
    if manifest is None:
        raise IntegrityError(f"model {routes.model}", f"a manifest of version {version}", "none")
    return manifest


def _is_gone(store: Store, routes: Routes, version: int) -> bool:
    try:
        _published(store, routes, version)
    except VersionRemovedError:
        return True
    return False
