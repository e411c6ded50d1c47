"""One change of a model's routes, hash-chained to the one before: what the log is made of.

Pure data; the registry decides when one is written, and where.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import Any

from modelport.errors import IntegrityError
from modelport.manifest import canonical, digest_of, readable

GENESIS = "sha256:" + "0" * 64
#: The actions of changes behind which the registry writes one more document.
PUBLISH, NOTE = "publish", "note"


@dataclass(frozen=True, slots=True)
class Change:
    """Who changed what, when and why, from which git commit of theirs ("" when from none).

    ``hash`` covers all of it and the hash of the change before. ``document`` is the digest of the
    routes that it wrote, so that nobody edits them behind the log's back.
    """

    revision: int
    action: str
    detail: dict[str, Any]
    who: str
    at: str
    message: str = ""
    previous_hash: str = GENESIS
    hash: str = ""
    commit: str = ""
    document: str = ""

    def sealed(self) -> Change:
        """The same change with its hash filled in."""
        data = asdict(self)
        del data["hash"]
        for later in ("commit", "document"):
            if data[later] == "":  # entries from before there was one keep their hash
                del data[later]
        return replace(self, hash=digest_of(canonical(data)))

    @property
    def intact(self) -> bool:
        """Whether the hash still covers the change."""
        return self.sealed().hash == self.hash

    def to_bytes(self) -> bytes:
        return readable(asdict(self))

    @classmethod
    def from_bytes(cls, body: bytes) -> Change:
        """Read one log entry; raises `IntegrityError` when it is not one."""
        try:
            return cls(**json.loads(body))
        except (ValueError, TypeError) as error:
            raise IntegrityError("log entry", "a change", f"{error}") from None
