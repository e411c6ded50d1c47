"""What an image's layers add up to: which paths there are, and where links lead.

Fed with the entries of each layer from the lowest up; whiteouts take away what lower layers had.
Knows names and kinds only, never contents.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
#: As many links as Linux follows.
_MAX_LINKS = 40
_FOLDER = ""


@dataclass
class Filesystem:
    """Absolute path without the leading slash → where it links to; _FOLDER; or None, a file."""

    _links: dict[str, str | None] = field(default_factory=dict)
    _fresh: set[str] = field(default_factory=set)

    def begin_layer(self) -> None:
        """From here on, entries are those of the next layer."""
        self._fresh = set()

    def add(self, member: tarfile.TarInfo) -> None:
        """Take one entry of the present layer."""
        path = "/".join(part for part in member.name.split("/") if part not in ("", "."))
        folder, _, name = path.rpartition("/")
        if name == _OPAQUE:
            self._remove_below(folder, keep=self._fresh)
        elif name.startswith(_WHITEOUT):
            gone = f"{folder}/{name.removeprefix(_WHITEOUT)}".lstrip("/")
            self._links.pop(gone, None)
            self._remove_below(gone, keep=frozenset())
        elif path:
            if self._links.get(path) == _FOLDER and not member.isdir():
                self._remove_below(path, keep=frozenset())
            self._links[path] = _kind(member)
            self._fresh.add(path)
            self._add_parents(folder)

    def resolve(self, path: str) -> str | None:
        """Where ``path`` ends after every link in it; None if that does not exist."""
        todo = [part for part in reversed(path.split("/")) if part]
        done: list[str] = []
        links = 0
        while todo:
            part = todo.pop()
            if part == ".":
                continue
            if part == "..":
                done = done[:-1]
                continue
            here = "/".join([*done, part])
            target = self._links.get(here)
            if not target:
                done.append(part)
                continue
            links += 1
            if links > _MAX_LINKS:
                return None
            if target.startswith("/"):
                done = []
            todo += [step for step in reversed(target.split("/")) if step]
        found = "/".join(done)
        return found if found in self._links else None

    def names(self, folder: str) -> Iterator[str]:
        """Names directly in ``folder``, which must be resolved."""
        prefix = f"{folder}/"
        for path in self._links:
            if path.startswith(prefix) and "/" not in path[len(prefix) :]:
                yield path[len(prefix) :]

    def _add_parents(self, folder: str) -> None:
        while folder and folder not in self._links:
            self._links[folder] = _FOLDER
            self._fresh.add(folder)
            folder = folder.rpartition("/")[0]

    def _remove_below(self, folder: str, keep: set[str] | frozenset[str]) -> None:
        prefix = f"{folder}/" if folder else ""
        gone = [path for path in self._links if path.startswith(prefix) and path not in keep]
        for path in gone:
            del self._links[path]


def _kind(member: tarfile.TarInfo) -> str | None:
    if member.issym():
        return member.linkname
    return _FOLDER if member.isdir() else None
