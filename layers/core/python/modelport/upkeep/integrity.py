"""Whether everything in a registry is what it should be, and what to do about what is not.

Reads only. A finding is either wrong, so that something is lost or was tampered with, or it is
unfinished: somebody's crash left it, and who comes next puts it right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from modelport.errors import IntegrityError, ModelNotFoundError, ModelportError
from modelport.manifest import File, Manifest
from modelport.registry import Registry, blobs, keys, notes, publication, silent
from modelport.registry.changes import verify_chain
from modelport.registry.publication import Publication
from modelport.registry.store import Store
from modelport.registry.tombstone import Tombstone, read
from modelport.routes import Change, Routes
from modelport.upkeep.archive import reports_of
from modelport.upkeep.many import THREADS, side_by_side

EARLIER = "restore an earlier state of the object: the bucket keeps its versions"
_AGAIN = "publish the bundle again: that restores what is missing"
_COLLECT = "modelport gc --yes finishes it"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be: where, what, and the next step."""

    where: str
    problem: str
    next: str
    wrong: bool = True


@dataclass
class Checked:
    """How much was looked at, and what was found."""

    models: int = 0
    versions: int = 0
    removed: int = 0
    changes: int = 0
    blobs: int = 0
    bytes: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def wrong(self) -> bool:
        """Whether anything is lost or was tampered with."""
        return any(finding.wrong for finding in self.findings)


class Inspection:
    """One look through a registry, or through a part of it."""

    def __init__(
        self,
        registry: Registry,
        *,
        hashing: bool = False,
        threads: int = THREADS,
        progress: Callable[[str], None] = lambda text: None,
    ) -> None:
        """With ``hashing`` every blob is read and hashed; else only looked at."""
        self._store: Store = registry.store
        self._registry = registry
        self._hashing, self._threads, self._progress = hashing, threads, progress
        self._needed: dict[str, tuple[File, str]] = {}
        self.checked = Checked()

    def everything(self) -> Checked:
        """All models, and all blobs that any version needs."""
        names = (name[:-1] for name in self._store.children(keys.MODELS) if name.endswith("/"))
        for model in names:
            self._progress(model)
            self._model(model)
        sizes = {
            digest: stored.size
            for stored in self._store.objects(keys.BLOBS)
            if stored.current and (digest := keys.digest_of_blob(stored.key))
        }
        return self._blobs(sizes)

    def model(self, model: str) -> Checked:
        """One model and its blobs; raises `ModelNotFoundError`."""
        if not self._model(model):
            raise ModelNotFoundError(model)
        return self._blobs(None)

    def version(self, model: str, version: int) -> Checked:
        """One version and its blobs; raises what reading its manifest raises."""
        self._registry.manifest(model, version)
        routes = self._routes(model)
        if routes is not None:
            self._version(routes, version)
        self._reports(model, version)
        return self._blobs(None)

    # --- a model ----------------------------------------------------------------------------------

    def _model(self, model: str) -> bool:
        numbers = self._numbers(model)
        if self._store.get(keys.routes(model)) is None and not numbers:
            return False
        self.checked.models += 1
        routes = self._routes(model)
        if routes is None:
            return True
        self._log(routes)
        for _ in side_by_side(lambda n: self._version(routes, n), numbers, self._threads):
            pass
        self._holes(routes, set(numbers))
        self._all_reports(model)
        for version, deployment in routes.deployments.items():
            found = self._read(model, version)
            if isinstance(found, Manifest) and found.digest != deployment.digest:
                self._find(
                    f"{model}:{version}",
                    "runs with another content",
                    f"modelport deploy {model}:{version}",
                )
        return True

    def _routes(self, model: str) -> Routes | None:
        try:
            snapshot = self._registry.routes(model)
        except ModelNotFoundError:
            self._find(
                model,
                "has versions and no routes.json: its first publication never finished",
                "publish that bundle again",
                wrong=False,
            )
            return None
        except ModelportError as error:
            self._find(f"{model} routes.json", error.message, EARLIER)
            return None
        return snapshot.routes if snapshot else None

    def _log(self, routes: Routes) -> None:
        """The chain of all changes, and that the latest one stands in the log, too."""
        if routes.change is None:
            return
        where = f"{routes.model} log"
        latest = self._store.get(keys.log_entry(routes.model, routes.revision))
        if latest is None:
            self._find(
                where,
                f"entry {routes.revision} is not written yet",
                "the next change writes it",
                wrong=False,
            )
        revisions = range(routes.revision - 1, 0, -1)
        try:
            if latest and Change.from_bytes(latest.body) != routes.change:
                raise IntegrityError(
                    f"log entry {routes.revision}", "what routes.json says", "another"
                )
            entries = side_by_side(lambda r: self._entry(routes.model, r), revisions, self._threads)
            self.checked.changes += verify_chain(routes.model, self._chain(routes.change, entries))
        except IntegrityError as error:
            self._find(where, error.message, EARLIER)

    def _chain(self, latest: Change, entries: Iterator[Change]) -> Iterator[Change]:
        yield latest
        yield from entries

    def _entry(self, model: str, revision: int) -> Change:
        document = self._store.get(keys.log_entry(model, revision))
        if document is None:
            raise IntegrityError(f"log of model {model}", f"entry {revision}", "none")
        return Change.from_bytes(document.body)

    def _holes(self, routes: Routes, numbers: set[int]) -> None:
        missing = [n for n in range(1, routes.latest + 1) if n not in numbers]
        for number in missing:
            self._find(
                f"{routes.model}:{number}", "has neither a manifest nor a tombstone", EARLIER
            )

    def _all_reports(self, model: str) -> None:
        """The evaluation reports of all versions that have any."""
        names = (name[:-1] for name in self._store.children(keys.evaluated(model)))
        for version in (int(name) for name in names if name.isascii() and name.isdigit()):
            self._reports(model, version)

    def _reports(self, model: str, version: int) -> None:
        try:
            for _ in reports_of(self._registry, model, version):
                pass
        except IntegrityError as error:
            self._find(f"{model}:{version} evaluations", error.message, EARLIER)

    # --- a version --------------------------------------------------------------------------------

    def _version(self, routes: Routes, version: int) -> None:
        where, found = f"{routes.model}:{version}", self._read(routes.model, version)
        if isinstance(found, Tombstone):
            self.checked.removed += 1
            if version not in routes.removed:
                self._find(where, "has a tombstone, and the routes say nothing of it", EARLIER)
            return
        if not isinstance(found, Manifest):
            return
        if version in routes.removed:
            self._find(
                where, "was removed, and its manifest still lies there", _COLLECT, wrong=False
            )
            return
        self.checked.versions += 1
        for file in found.files:
            self._needed.setdefault(file.digest, (file, where))
        self._publication(routes, found, where)
        try:
            notes.read(self._store, routes.model, version)
        except IntegrityError as error:
            self._find(f"{where} notes", error.message, EARLIER)

    def _read(self, model: str, version: int) -> Manifest | Tombstone | None:
        try:
            found = read(self._store, model, version)
        except ModelportError as error:
            self._find(f"{model}:{version} manifest", error.message, EARLIER)
            return None
        return found[0] if found else None

    def _publication(self, routes: Routes, manifest: Manifest, where: str) -> None:
        """The record names the version, or its publication is not finished."""
        try:
            record: Publication | None = publication.found(
                self._store, routes.model, manifest.digest
            )
        except IntegrityError as error:
            self._find(f"{where} publication", error.message, EARLIER)
            return
        if record is None:
            self._find(f"{where} publication", "its record is missing", EARLIER)
        elif record.version is None and not _is_latest(routes, manifest):
            self._find(
                where, "its publication never finished", "publish the bundle again", wrong=False
            )
        elif record.version not in (None, manifest.version):
            self._find(
                f"{where} publication", f"its record names version {record.version}", EARLIER
            )

    # --- blobs ------------------------------------------------------------------------------------

    def _blobs(self, sizes: Mapping[str, int] | None) -> Checked:
        """``sizes`` of all blobs there are; None to ask for each."""

        def judged(item: tuple[str, tuple[File, str]]) -> None:
            digest, (file, where) = item
            size = self._size(digest) if sizes is None else sizes.get(digest)
            self.checked.blobs += 1
            self.checked.bytes += size or 0
            if size != file.size:
                got = "is missing" if size is None else f"has {size:,} bytes, not {file.size:,}"
                self._find(f"{where} {file.path}", f"its blob {got}", _AGAIN)
            elif self._hashing:
                self._hash(file, where)

        for _ in side_by_side(judged, self._needed.items(), self._threads):
            pass
        self.checked.findings.sort(key=lambda each: (not each.wrong, each.where))
        return self.checked

    def _size(self, digest: str) -> int | None:
        stored = self._store.stat(keys.blob(digest))
        return stored.size if stored else None

    def _hash(self, file: File, where: str) -> None:
        self._progress(f"{where} {file.path}")
        try:
            for _ in blobs.read(self._store, file, silent):
                pass
        except IntegrityError as error:
            # A publication would find a blob of this size and leave it as it is.
            self._find(
                f"{where} {file.path}",
                error.message,
                f"{EARLIER}, or remove it and publish the bundle again",
            )

    def _numbers(self, model: str) -> list[int]:
        names = self._store.children(keys.versions(model))
        return [number for number in map(keys.number_of, names) if number is not None]

    def _find(self, where: str, problem: str, next: str, *, wrong: bool = True) -> None:
        self.checked.findings.append(Finding(where, problem, next, wrong))


def _is_latest(routes: Routes, manifest: Manifest) -> bool:
    """Whether the change on top published it: its record is then written next."""
    detail: dict[str, Any] = routes.change.detail if routes.change else {}
    return detail == {"version": manifest.version, "digest": manifest.digest}
