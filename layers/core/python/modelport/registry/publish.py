"""Publishing, exactly once: the same content is the same version, whoever tries how often.

Every step can be the last before a crash, and a retry, or anyone publishing the same content,
finishes the job:

1. upload the blobs that are missing;
2. create the publication record of this content with the number to count from;
3. from there on, create the manifest under the first free number; numbers are taken without gaps
   and all publishers of one content count from the same start, so they meet at one number;
4. commit the version to the routes (`modelport.registry.changes`), which also
5. notes the version in the publication record, before anything else can be committed on top.
"""

from __future__ import annotations

from typing import Any

from modelport.errors import IntegrityError
from modelport.manifest import Draft, Manifest
from modelport.registry import Actor, Progress, Snapshot, keys, publication
from modelport.registry.changes import PUBLISH, Changes, now
from modelport.registry.store import Store
from modelport.routes import Routes


def publish(
    store: Store, changes: Changes, model: str, draft: Draft, who: Actor, progress: Progress
) -> Manifest:
    """Publish ``draft`` as a version of ``model``; see the module's docstring."""
    _upload(store, draft, progress)
    digest = draft.content.digest
    start = changes.read(model).routes.latest
    record = publication.begin(store, model, digest, start)
    if record.version is not None:
        return _published(store, model, record.version)
    manifest = _claim(store, model, draft, digest, after=record.start)
    _commit(store, changes, manifest, who)
    return manifest


def stored_manifest(store: Store, model: str, version: int) -> Manifest | None:
    """The manifest under a number, verified; None if the number is free."""
    document = store.get(keys.manifest(model, version))
    if document is None:
        return None
    manifest = Manifest.from_bytes(document.body)
    if (manifest.model, manifest.version) != (model, version):
        got = f"{manifest.model}:{manifest.version}"
        raise IntegrityError(f"manifest of {model}:{version}", f"{model}:{version}", got)
    return manifest


def _upload(store: Store, draft: Draft, progress: Progress) -> None:
    for file in draft.files:
        source = draft.sources[file.path]

        def advance(done: int, path: str = file.path, size: int = file.size) -> None:
            progress(path, done, size)

        store.upload(keys.blob(file.digest), source, file, advance)


def _claim(store: Store, model: str, draft: Draft, digest: str, *, after: int) -> Manifest:
    """Take the first free number above ``after``, or find that this content has one already."""
    version = after
    while True:
        version += 1
        ours = Manifest(model, version, draft.content, now(), draft.lineage, draft.tuning, digest)
        if store.create(keys.manifest(model, version), ours.to_bytes()):
            return ours
        theirs = stored_manifest(store, model, version)
        if theirs is not None and theirs.digest == digest:
            return theirs


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
    change = routes.change
    if change is not None and change.action == PUBLISH and change.detail == detail:
        return True
    return publication.version_of(store, routes.model, detail["digest"]) is not None


def _published(store: Store, model: str, version: int) -> Manifest:
    manifest = stored_manifest(store, model, version)
    if manifest is None:
        raise IntegrityError(f"model {model}", f"a manifest of version {version}", "none")
    return manifest
