"""The record that makes publishing one content happen once: where to count from, then the number.

It begins as ``{"start": n}`` when the first publisher of a content comes, and ends with a
``version``. When that version is removed later, the next publisher begins it again: from a start
that no earlier publication of the content can reach. Decides nothing; `modelport.registry.publish`
does.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from modelport.errors import ConcurrentChangeError, IntegrityError
from modelport.manifest import readable
from modelport.registry import keys
from modelport.registry.store import Document, Store

_ATTEMPTS = 20


@dataclass(frozen=True, slots=True)
class Publication:
    """How far the publication of a content has come."""

    start: int
    version: int | None = None

    def to_bytes(self) -> bytes:
        """The record as it lies in the bucket."""
        version = {} if self.version is None else {"version": self.version}
        return readable({"start": self.start, **version})

    @classmethod
    def from_bytes(cls, body: bytes) -> Publication:
        """Read one; raises `IntegrityError` when it is not one."""
        try:
            record = cls(**json.loads(body))
            if type(record.start) is not int or type(record.version) not in (int, type(None)):
                raise ValueError(record)
        except (ValueError, TypeError) as error:
            raise IntegrityError("publication record", "start and version", f"{error!r}") from None
        return record


def begin(store: Store, model: str, digest: str, start: int) -> Publication:
    """Create the record of a content; whoever comes later gets what the first one wrote."""
    key = keys.publication(model, digest)
    fresh = Publication(start)
    if store.create(key, fresh.to_bytes()):
        return fresh
    return _read(store, key)[0]


def found(store: Store, model: str, digest: str) -> Publication | None:
    """The record of a content; None if nobody ever began to publish it."""
    document = store.get(keys.publication(model, digest))
    return Publication.from_bytes(document.body) if document else None


def renew(store: Store, model: str, digest: str, removed: int, start: int) -> None:
    """Begin the record again if it still says ``removed``; of several only one does."""
    record, document = _read(store, keys.publication(model, digest))
    if record.version == removed:
        body = Publication(max(start, removed)).to_bytes()
        store.replace(keys.publication(model, digest), body, document.etag)


def version_of(store: Store, model: str, digest: str) -> int | None:
    """The version a content was published as; None while that is not finished."""
    return _read(store, keys.publication(model, digest))[0].version


def finish(store: Store, model: str, digest: str, version: int) -> None:
    """Note the version. Returns only once the record has it, whoever wrote it."""
    key = keys.publication(model, digest)
    for _ in range(_ATTEMPTS):
        record, document = _read(store, key)
        # A version at or below the start belongs to an earlier publication, and was removed.
        if record.version is not None or version <= record.start:
            return
        finished = Publication(record.start, version).to_bytes()
        if store.replace(key, finished, document.etag):
            return
    raise ConcurrentChangeError(f"publication of {model}:{version}", _ATTEMPTS)


def _read(store: Store, key: str) -> tuple[Publication, Document]:
    document = store.get(key)
    if document is None:
        raise IntegrityError(key, "a publication record", "none")
    return Publication.from_bytes(document.body), document
