"""What is left under a version's number when the version was removed.

It keeps the number taken, so that none is ever given twice, and says what lay there.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from modelport.errors import IntegrityError
from modelport.manifest import Manifest, readable
from modelport.registry import keys
from modelport.registry.store import Document, Store
from modelport.routes.errors import VersionRemovedError

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Tombstone:
    """A version that was: its content's digest, its size in bytes, who removed it, when and why."""

    model: str
    version: int
    digest: str
    size: int
    who: str
    at: str
    message: str = ""

    def to_bytes(self) -> bytes:
        """As it lies where the manifest lay."""
        return readable({"removed": asdict(self), "schema": SCHEMA})


def parse(body: bytes) -> Tombstone | None:
    """The tombstone in a document; None if it is something else."""
    try:
        data = json.loads(body)
        return Tombstone(**data["removed"]) if data["schema"] == SCHEMA else None
    except (ValueError, KeyError, TypeError):
        return None


def read(store: Store, model: str, version: int) -> tuple[Manifest | Tombstone, Document] | None:
    """What lies under a number, verified, and the document it was in; None if that is free."""
    document = store.get(keys.manifest(model, version))
    if document is None:
        return None
    found = parse(document.body) or Manifest.from_bytes(document.body)
    if (found.model, found.version) != (model, version):
        got = f"{found.model}:{found.version}"
        raise IntegrityError(f"manifest of {model}:{version}", f"{model}:{version}", got)
    return found, document


def stored_manifest(store: Store, model: str, version: int) -> Manifest | None:
    """The manifest under a number; None if that is free. Raises `VersionRemovedError`."""
    found = read(store, model, version)
    if found is None:
        return None
    if isinstance(found[0], Tombstone):
        raise VersionRemovedError(model, version)
    return found[0]
