"""What people note about a version after it was published: tags, and a description.

A note is a change of the model: it is committed, and hash-chained, by the write of the routes that
carries it (`modelport.registry.changes`), and the notes document is written behind that, always
before the next change. So no two writers lose anything, and the log has every note ever made. The
document names the revision it stands at: a change is never applied twice.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from modelport.errors import ConcurrentChangeError, IntegrityError
from modelport.manifest import readable
from modelport.registry import keys
from modelport.registry.errors import InvalidNoteError
from modelport.registry.store import Document, Store
from modelport.routes import Change, Routes
from modelport.routes.change import NOTE

SCHEMA = 1
#: `gc` never removes a version with this tag.
KEEP = "keep"
MOST_TAGS = 64
LONGEST_VALUE = 256
LONGEST_DESCRIPTION = 4096
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,63}")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_ATTEMPTS = 20


@dataclass(frozen=True, slots=True)
class NoteEdit:
    """Tags to set (a bare one to ""), tags to take away, a description; None leaves that alone.

    Raises `InvalidNoteError`.
    """

    tags: Mapping[str, str] = field(default_factory=dict)
    untag: tuple[str, ...] = ()
    description: str | None = None

    def __post_init__(self) -> None:
        for key in (*self.tags, *self.untag):
            if not _KEY.fullmatch(key):
                allowed = "1 to 64 of letters, digits, '.', '_', '/' and '-'"
                raise InvalidNoteError(f"tag {key[:80]!r}", allowed)
        for key, value in self.tags.items():
            if len(value) > LONGEST_VALUE or _CONTROL.search(value) or "\n" in value:
                allowed = f"one line of up to {LONGEST_VALUE} characters"
                raise InvalidNoteError(f"the value of tag {key}", allowed)
        if both := self.tags.keys() & set(self.untag):
            raise InvalidNoteError(f"tag {min(both)}", "to be set or removed, not both")
        text = self.description or ""
        if len(text) > LONGEST_DESCRIPTION or _CONTROL.search(text):
            raise InvalidNoteError(
                "the description", f"text of up to {LONGEST_DESCRIPTION} characters"
            )

    def to_json(self) -> dict[str, Any]:
        """As it stands in the log."""
        said = {"tags": dict(self.tags), "untag": list(self.untag), "description": self.description}
        return {name: value for name, value in said.items() if value not in ({}, [], None)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> NoteEdit:
        """Read one; raises `InvalidNoteError`, or TypeError and kin for another shape."""
        return cls(
            dict(data.get("tags", {})), tuple(data.get("untag", ())), data.get("description")
        )


@dataclass(frozen=True, slots=True)
class Notes:
    """All that is noted about a version, and who changed it last, when, with which revision.

    ``description`` None: nobody wrote one since it was published.
    """

    version: int
    revision: int = 0
    tags: Mapping[str, str] = field(default_factory=dict)
    description: str | None = None
    who: str = ""
    at: str = ""

    def edited(self, edit: NoteEdit) -> Notes:
        """The same with ``edit`` in it; raises `InvalidNoteError` when that is too many tags."""
        tags = {key: value for key, value in self.tags.items() if key not in edit.untag}
        tags = dict(sorted({**tags, **edit.tags}.items()))
        if len(tags) > MOST_TAGS:
            raise InvalidNoteError(f"{len(tags)} tags", f"up to {MOST_TAGS} of a version")
        described = self.description if edit.description is None else edit.description
        return replace(self, tags=tags, description=described)

    def after(self, change: Change | None) -> Notes:
        """The same after ``change``, if that is a note about this version and not yet in it."""
        if change is None or change.action != NOTE or change.detail["version"] != self.version:
            return self
        if change.revision <= self.revision:
            return self
        edited = self.edited(NoteEdit.from_json(change.detail))
        return replace(edited, revision=change.revision, who=change.who, at=change.at)

    def to_bytes(self) -> bytes:
        """As it lies in the bucket."""
        return readable({"schema": SCHEMA, **asdict(self)})

    @classmethod
    def from_bytes(cls, body: bytes) -> Notes:
        """Read one; raises `IntegrityError` when it is not one."""
        try:
            data = json.loads(body)
            if data.pop("schema") != SCHEMA:
                raise ValueError("schema")
            notes = cls(**data)
            NoteEdit(notes.tags, (), notes.description)
            whole = type(notes.version) is int and type(notes.revision) is int
            if not whole or len(notes.tags) > MOST_TAGS:
                raise ValueError(data)
        except (ValueError, KeyError, TypeError, AttributeError, InvalidNoteError) as error:
            raise IntegrityError("notes", "tags and a description", f"{error!r}") from None
        return notes


def read(store: Store, model: str, version: int) -> tuple[Notes, Document | None]:
    """The notes of a version as they are written; empty when there are none."""
    document = store.get(keys.notes(model, version))
    if document is None:
        return Notes(version), None
    notes = Notes.from_bytes(document.body)
    if notes.version != version:
        raise IntegrityError(f"notes of {model}:{version}", f"{version}", f"{notes.version}")
    return notes, document


def as_of(store: Store, routes: Routes, version: int) -> Notes:
    """The notes of a version as these routes, just read, have them."""
    return read(store, routes.model, version)[0].after(routes.change)


def settle(store: Store, model: str, change: Change) -> None:
    """Bring the notes that ``change`` is about up to it. Returns only once they are."""
    version = change.detail["version"]
    for _ in range(_ATTEMPTS):
        notes, document = read(store, model, version)
        after = notes.after(change)
        if after is notes:
            return
        key = keys.notes(model, version)
        if document is None:
            written = store.create(key, after.to_bytes())
        else:
            written = store.replace(key, after.to_bytes(), document.etag)
        if written:
            return
    raise ConcurrentChangeError(f"notes of {model}:{version}", _ATTEMPTS)
