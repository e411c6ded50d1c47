"""A version on its way into a registry: from an archive, or from another registry.

It is published there like any other, exactly once: the same content is the same version, and into
another registry it gets the next number of that one. Its lineage says where it came from; its tags,
description and evaluation reports come along where there are none. Every blob is verified on its
way; what is there already is not moved again, so a transfer that was cut off just goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from modelport.evaluation.report import Report
from modelport.manifest import Draft, File, Manifest
from modelport.registry import Actor, Progress, Registry, keys, silent
from modelport.registry.blobs import StoredSource
from modelport.registry.notes import NoteEdit, Notes
from modelport.registry.store import Source
from modelport.upkeep.acceptance import check_manifest
from modelport.upkeep.archive import Archive, reports_of


def take_in(
    registry: Registry,
    archive: Archive,
    *,
    name: str | None = None,
    who: Actor,
    progress: Progress = silent,
) -> Manifest:
    """Publish what an archive has, under its own name or another."""

    def bring(file: File, renew_after_s: float | None) -> None:
        _upload(registry, archive.source(file), file, renew_after_s, progress)

    published = _publish(registry, archive.manifest, name, who, bring)
    _bring_notes(registry, published, archive.notes, who)
    _bring_reports(registry, published, archive.evaluations())
    return published


def copy(
    source: Registry,
    model: str,
    version: int,
    to: Registry,
    *,
    name: str | None = None,
    who: Actor,
    progress: Progress = silent,
) -> Manifest:
    """Publish a version of one registry in another; its bytes go through here only if they must."""
    manifest = check_manifest(source.manifest(model, version))

    def bring(file: File, renew_after_s: float | None) -> None:
        key = keys.blob(file.digest)
        there = to.store.stat(key)
        missing = there is None or there.size != file.size
        if missing and to.store.adopt(key, source.store, file):
            progress(file.path, file.size, file.size)
            return
        _upload(to, StoredSource(source.store, file), file, renew_after_s, progress)

    published = _publish(to, manifest, name, who, bring)
    _bring_notes(to, published, source.notes(model, version), who)
    _bring_reports(to, published, (report for _, report in reports_of(source, model, version)))
    return published


def _publish(
    registry: Registry,
    manifest: Manifest,
    name: str | None,
    who: Actor,
    bring: Callable[[File, float | None], None],
) -> Manifest:
    origin = {
        "model": manifest.model,
        "version": manifest.version,
        "created": manifest.created,
    }
    # What came from elsewhere before keeps saying so.
    if "origin" in manifest.lineage:
        origin["origin"] = manifest.lineage["origin"]
    lineage = {**manifest.lineage, "origin": origin}
    draft = Draft(manifest.content, {}, lineage, manifest.tuning)

    def supply(renew_after_s: float | None) -> None:
        for file in draft.files:
            bring(file, renew_after_s)

    return registry.publish_supplied(name or manifest.model, draft, who=who, supply=supply)


def _upload(
    registry: Registry, source: Source, file: File, renew_after_s: float | None, progress: Progress
) -> None:
    def advance(done: int) -> None:
        progress(file.path, done, file.size)

    key = keys.blob(file.digest)
    registry.store.upload(key, source, file, advance, renew_after_s=renew_after_s)


def _bring_notes(registry: Registry, published: Manifest, noted: Notes, who: Actor) -> None:
    there = registry.notes(published.model, published.version)
    tags = {key: value for key, value in noted.tags.items() if key not in there.tags}
    description = noted.description if there.description is None else None
    if tags or description is not None:
        edit = NoteEdit(tags, (), description)
        registry.annotate(published.model, published.version, edit, who=who)


def _bring_reports(registry: Registry, published: Manifest, reports: Iterable[Report]) -> None:
    for report in reports:
        if report.digest != published.digest:
            continue  # It says nothing of this version.
        here = replace(report, model=published.model, version=published.version)
        key = keys.evaluation(published.model, published.version, here.id)
        registry.store.create(key, here.to_bytes())
