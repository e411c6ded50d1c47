"""Which versions may go, and how one goes: decided and committed by one write of the routes.

A version goes only if it is published, not among the newest, old enough, and needed by nothing:
not deployed, not named by an alias, its history, the policy, a rollout or a proposal
(`modelport.routes.removed.held_by`), and not tagged ``keep``. Whoever deploys or tags it meanwhile
changes the routes, so either that comes first and the version stays, or the removal does and they
are told. Behind the commit its manifest is replaced by a tombstone; what that leaves of blobs is
`modelport.upkeep.collect`'s business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice

from modelport.errors import ConcurrentChangeError
from modelport.manifest import Manifest
from modelport.registry import Actor, Registry, keys, notes, publication
from modelport.registry.changes import now
from modelport.registry.notes import KEEP
from modelport.registry.store import Store
from modelport.registry.tombstone import Tombstone, read
from modelport.routes import Routes
from modelport.routes.removed import Numbers, held_by, without_versions
from modelport.upkeep.many import THREADS, side_by_side

KEPT = 20
REMOVE = "remove"
#: Versions removed by one change: whoever else changes the model meanwhile decides again for these.
_BATCH = 100
_ATTEMPTS = 20


@dataclass(frozen=True, slots=True)
class Retention:
    """The newest ``keep`` versions of a model stay, and all younger than ``older_than``."""

    keep: int = KEPT
    older_than: timedelta | None = None

    def spares(self, manifest: Manifest, at: datetime) -> bool:
        """Whether a version is too young to go."""
        if self.older_than is None:
            return False
        return at - datetime.fromisoformat(manifest.created) < self.older_than


def candidates(
    registry: Registry,
    model: str,
    retention: Retention,
    *,
    at: datetime | None = None,
    threads: int = THREADS,
) -> Iterator[Manifest]:
    """The versions of a model that may go now, newest first."""
    snapshot = registry.routes(model)
    routes = snapshot.routes if snapshot else Routes(model)
    store, at = registry.store, at or datetime.now(UTC)
    published = (number for number in registry.versions(model) if number <= routes.latest)
    older = islice(published, retention.keep, None)

    def judged(number: int) -> Manifest | None:
        found = read(store, model, number)
        if found is None or isinstance(found[0], Tombstone):
            return None
        stays = retention.spares(found[0], at) or not may_go(store, routes, number)
        return None if stays or not _finished(store, found[0]) else found[0]

    free = (number for number in older if not held_by(routes, number))
    return (found for found in side_by_side(judged, free, threads) if found is not None)


def may_go(store: Store, routes: Routes, version: int) -> bool:
    """Whether nothing in these routes, as just read, and nobody's tag keeps a version."""
    if version in routes.removed or version > routes.latest or held_by(routes, version):
        return False
    return KEEP not in notes.as_of(store, routes, version).tags


def remove(
    registry: Registry,
    model: str,
    versions: Sequence[int],
    *,
    who: Actor,
    done: Callable[[int], None] = lambda count: None,
    threads: int = THREADS,
) -> list[int]:
    """Remove those of ``versions`` that may still go; returns which that were."""
    gone: list[int] = []
    wanted = sorted(versions)
    for start in range(0, len(wanted), _BATCH):
        batch = _committed(registry, model, wanted[start : start + _BATCH], who, threads)
        for _ in side_by_side(lambda v: bury(registry.store, model, v, who), batch, threads):
            pass
        gone += batch
        done(len(gone))
    return gone


def _committed(
    registry: Registry, model: str, batch: list[int], who: Actor, threads: int
) -> list[int]:
    """Give versions up in one change of the routes: those that may go by these very routes."""
    for _ in range(_ATTEMPTS):
        fewer: list[int] = []

        def edit(
            routes: Routes, wanted: tuple[int, ...] = tuple(batch), left: list[int] = fewer
        ) -> Routes:
            free = side_by_side(lambda v: may_go(registry.store, routes, v), wanted, threads)
            left[:] = [v for v, goes in zip(wanted, free, strict=True) if goes]
            # The log says exactly what went: with others it is another change.
            return without_versions(routes, left) if len(left) == len(wanted) else routes

        detail = {"versions": str(Numbers.of(batch))}
        registry.change(model, edit, action=REMOVE, detail=detail, who=who)
        if len(fewer) == len(batch) or not fewer:
            return fewer
        batch = fewer
    raise ConcurrentChangeError(f"versions of model {model}", _ATTEMPTS)


def bury(store: Store, model: str, version: int, who: Actor) -> bool:
    """Put a tombstone where the manifest of a removed version lies; False if one is there."""
    for _ in range(_ATTEMPTS):
        found = read(store, model, version)
        if found is None or isinstance(found[0], Tombstone):
            return False
        manifest, document = found[0], found[1]
        stone = Tombstone(
            model,
            version,
            manifest.digest,
            sum(file.size for file in manifest.files),
            who.who,
            now(),
            who.message,
        )
        if store.replace(keys.manifest(model, version), stone.to_bytes(), document.etag):
            return True
    raise ConcurrentChangeError(f"manifest of {model}:{version}", _ATTEMPTS)


def _finished(store: Store, manifest: Manifest) -> bool:
    """Whether the version's publication was committed: one that was not may yet be."""
    record = publication.found(store, manifest.model, manifest.digest)
    return record is not None and record.version == manifest.version
