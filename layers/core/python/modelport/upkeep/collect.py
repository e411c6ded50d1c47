"""Removing blobs that no version needs: nothing reachable is ever removed, whoever publishes.

What a collection does, in this order:

1. it lists all blobs: every *state* of every object, with its age by the store's own clock;
2. it reads the manifests of all models, those of unfinished publications among them;
3. it removes states listed in 1 that were older than `GRACE_S` then and that no manifest read in 2
   needs: exactly those states. One written since, even of the same bytes, is another state and
   stays. (Of a blob that is needed it removes states that a newer one had replaced.)

What a publication does (`modelport.registry.publish`): it creates the manifest, and *after that*
sees that each of its blobs has a state no older than `RENEW_AFTER_S`, half of the grace; one that
is older, or gone, is written again. Only then is the version committed.

Why no interleaving loses a blob of a published version. Take a state that a publication has seen,
or written, after its manifest was created. A collection could remove it only if it listed it, older
than the grace, at 1. Seen young and listed old, it was listed later than it was seen; and written
after the manifest, it was listed later than that. Either way 1, and so 2, came after the manifest
was created, and listings are strongly consistent: 2 read the manifest, and the state is not removed
in 3. When a newer state replaces it, that one was written after the manifest, too, and the same
holds. This rests on no clock but the store's, on no lock, and on nobody being alive: a collection
may sleep for a week between any two of its requests, or die.

A publication that dies after its manifest was created and before it has looked at its blobs is
covered by the grace: it looked at them, with the same limit, before. What it leaves counts as
needed, since anybody who publishes the same content would finish it.

`tests/unit/test_upkeep_interleavings.py` runs both, request by request, in every order it can find.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from modelport.manifest import File
from modelport.registry import Actor, keys
from modelport.registry.publish import RENEW_AFTER_S
from modelport.registry.store import Store, Stored
from modelport.registry.tombstone import Tombstone, read
from modelport.routes import Routes
from modelport.upkeep.many import THREADS, side_by_side
from modelport.upkeep.retention import bury

GRACE_S = 2 * RENEW_AFTER_S

Version = tuple[str, int]


@dataclass(frozen=True)
class Needs:
    """Which versions need which blobs; and versions removed whose manifest still lies there."""

    users: Mapping[str, set[Version]]
    unburied: tuple[Version, ...] = ()


@dataclass(frozen=True)
class Garbage:
    """States of blobs that may be removed, and bytes of blobs that are unused but too young."""

    states: tuple[Stored, ...] = ()
    young_bytes: int = 0
    #: Bytes of all states of all blobs.
    all_bytes: int = 0

    @property
    def bytes(self) -> int:
        """What removing them frees."""
        return sum(stored.size for stored in self.states)


@dataclass
class Swept:
    """What a collection removed."""

    states: int = 0
    bytes: int = 0
    buried: int = 0
    young_bytes: int = 0


def needs(store: Store, threads: int = THREADS) -> Needs:
    """Read the manifests of all models; raises `IntegrityError` when one cannot be read.

    Then nobody knows what it needs, and nothing may be removed.
    """
    users: defaultdict[str, set[Version]] = defaultdict(set)
    unburied: list[Version] = []
    removed: dict[str, Routes] = {}
    folders = (name[:-1] for name in store.children(keys.MODELS) if name.endswith("/"))
    listed = side_by_side(lambda model: (model, _numbers(store, model)), folders, threads)
    versions = [(model, number) for model, numbers in listed for number in numbers]

    def asked(version: Version) -> tuple[Version, tuple[File, ...] | None]:
        found = read(store, *version)
        if found is None or isinstance(found[0], Tombstone):
            return version, None
        return version, found[0].files

    for version, files in side_by_side(asked, versions, threads):
        if files is None:
            continue
        model, number = version
        if model not in removed:
            removed[model] = _routes(store, model)
        if number in removed[model].removed:
            unburied.append(version)
        for file in files:
            users[file.digest].add(version)
    return Needs(users, tuple(unburied))


def garbage(
    states: Iterable[Stored],
    users: Mapping[str, set[Version]],
    *,
    without: frozenset[Version] = frozenset(),
    grace_s: float = GRACE_S,
) -> Garbage:
    """What of the listed ``states`` may go when nobody but ``users`` needs any.

    ``without`` are versions looked at as if they were removed already.
    """
    listed = list(states)
    readable = {stored.key for stored in listed if stored.current}
    found: list[Stored] = []
    young = whole = 0
    for stored in listed:
        digest = keys.digest_of_blob(stored.key)
        whole += stored.size
        if digest is None:
            continue  # Nobody knows whose it is.
        replaced = not stored.current and stored.key in readable
        # Of one that somebody hid an earlier state is all that there is to restore.
        if users.get(digest, set()) - without and not replaced:
            continue
        if stored.age_s > grace_s:
            found.append(stored)
        else:
            young += stored.size
    return Garbage(tuple(found), young, whole)


def sweep(
    store: Store,
    *,
    who: Actor,
    progress: Callable[[str], None] = lambda text: None,
    grace_s: float = GRACE_S,
    threads: int = THREADS,
) -> Swept:
    """Remove what no version needs; see the module's docstring for the order of things."""
    states = list(store.objects(keys.BLOBS))
    progress(f"{len(states):,} blobs listed, reading manifests")
    found = needs(store, threads)
    swept = Swept()
    for _ in side_by_side(lambda v: bury(store, v[0], v[1], who), found.unburied, threads):
        swept.buried += 1
    waste = garbage(states, found.users, without=frozenset(found.unburied), grace_s=grace_s)
    swept.young_bytes = waste.young_bytes
    removed = side_by_side(lambda each: _removed(store, each), waste.states, threads)
    for stored in removed:
        swept.states += 1
        swept.bytes += stored.size
        if swept.states % 100 == 0:
            progress(f"{swept.states:,} of {len(waste.states):,} blobs removed")
    return swept


def freed(
    versions: Iterable[Version],
    files: Mapping[Version, tuple[File, ...]],
    users: Mapping[str, set[Version]],
) -> Iterator[tuple[Version, int]]:
    """What removing each of ``versions``, in this order, frees on top of those before it."""
    left = {digest: set(who) for digest, who in users.items()}
    for version in versions:
        size = 0
        for file in {file.digest: file for file in files[version]}.values():
            who = left.get(file.digest, set())
            who.discard(version)
            size += 0 if who else file.size
        yield version, size


def _removed(store: Store, stored: Stored) -> Stored:
    store.delete(stored.key, stored.generation)
    return stored


def _numbers(store: Store, model: str) -> list[int]:
    names = store.children(keys.versions(model))
    return [number for number in map(keys.number_of, names) if number is not None]


def _routes(store: Store, model: str) -> Routes:
    document = store.get(keys.routes(model))
    return Routes.from_bytes(document.body) if document else Routes(model)
