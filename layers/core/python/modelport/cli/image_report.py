"""What an image is made of, shown: layer by layer, package by package, as a table or a document."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from modelport.cli.console import short, size, table
from modelport.images import cache
from modelport.images.distribution import Repository
from modelport.images.image import Image
from modelport.images.layer import Kind, Layer, Unpacked
from modelport.images.reference import Reference
from modelport.images.report import Row, looked_into, report
from modelport.registry import Progress, silent

#: A larger layer of an image in a registry is not fetched to look into it.
MAX_FETCHED = 256_000_000
MAX_PARTS = 12
BAR = 20
_OURS = "modelport build: "
_KINDS: dict[str, Kind] = {"deps": "deps", "code": "code", "user": "user", "model": "model"}


@dataclass(frozen=True)
class Shown:
    """An image's figures; a layer's unpacked size is 0 where nobody looked into it."""

    name: str
    digest: str
    platform: str
    rows: tuple[Row, ...]

    @property
    def size(self) -> int:
        """Bytes of all layers in a registry."""
        return sum(row.size for row in self.rows)

    @property
    def unpacked(self) -> int | None:
        """Bytes of all layers unpacked; None where that of some is not known."""
        known = all(row.unpacked for row in self.rows)
        return sum(row.unpacked for row in self.rows) if known else None

    @property
    def above_base(self) -> int:
        """Bytes that the layers above the base have in a registry."""
        return sum(row.size for row in self.rows if row.kind != "base")

    def to_json(self) -> dict[str, Any]:
        return {
            "image": self.name,
            "digest": self.digest,
            "platform": self.platform,
            "bytes": self.size,
            "unpacked_bytes": self.unpacked,
            "above_base_bytes": self.above_base,
            "layers": [
                {
                    "kind": row.kind,
                    "digest": row.digest,
                    "bytes": row.size,
                    "unpacked_bytes": row.unpacked or None,
                    "parts": [
                        {"name": part.name, "unpacked_bytes": part.bytes} for part in row.parts
                    ],
                }
                for row in self.rows
            ],
        }

    def render(self, console: Console) -> None:
        """Write the table for people."""
        console.print(f"{self.name} ({self.platform})", style="bold")
        console.print(self._table())
        unpacked = size(self.unpacked) if self.unpacked is not None else "?"
        console.print(
            f"{size(self.size)} in the registry, {size(self.above_base)} of it above the base;"
            f" {unpacked} unpacked; {short(self.digest)}"
        )

    def _table(self) -> Table:
        grid = table(("layer", "compressed", "unpacked", "share"), self._cells())
        for column in grid.columns[1:3]:
            column.justify = "right"
        grid.columns[0].overflow = "ellipsis"
        return grid

    def _cells(self) -> Iterator[tuple[str, str, str, str]]:
        whole = sum(row.unpacked for row in self.rows) or 1
        for row in self.rows:
            unpacked = size(row.unpacked) if row.unpacked else "?"
            share = _bar(row.unpacked / whole)
            yield (f"{row.kind} {row.digest[7:15]}", size(row.size), unpacked, share)
            if row.kind == "base":
                continue  # whose files are not ours to make smaller
            for part in row.parts[:MAX_PARTS]:
                yield (f"  {part.name}", "", size(part.bytes), _bar(part.bytes / whole))
            if rest := row.parts[MAX_PARTS:]:
                weight = sum(part.bytes for part in rest)
                yield (f"  {len(rest)} more", "", size(weight), _bar(weight / whole))


def of_built(name: str, image: Image) -> Shown:
    """The figures of an image that was just built."""
    return Shown(name, image.digest, image.platform, report(image).rows)


def of_stored(
    reference: Reference,
    repository: Repository,
    platform: str,
    workspace: Path,
    progress: Progress,
) -> Shown:
    """The figures of an image in a registry; its layers are kept in ``workspace`` like others."""
    body, digest = repository.manifest_for(reference.which, platform)
    described = json.loads(body)
    told = json.loads(fetched(repository, described["config"], workspace, progress).read_bytes())
    history = [line for line in told.get("history") or () if not line.get("empty_layer")]
    diff_ids = told["rootfs"]["diff_ids"]
    rows = []
    for at, layer in enumerate(described["layers"]):
        said = history[at].get("created_by", "") if at < len(history) else ""
        kind = _KINDS.get(said.removeprefix(_OURS), "base") if said.startswith(_OURS) else "base"
        found = Layer(layer["digest"], diff_ids[at], layer["size"], 0, kind)
        if layer["size"] <= MAX_FETCHED:
            found = _opened(found, fetched(repository, layer, workspace, progress))
        rows.append(Row(kind, found.digest, found.size, found.unpacked, found.parts))
    platform = f"{told.get('os', 'linux')}/{told['architecture']}"
    return Shown(str(reference), digest, platform, tuple(rows))


def _opened(layer: Layer, path: Path) -> Layer:
    with Unpacked(path) as plain:
        plain.drain()
        unpacked = plain.size
    known = Layer(layer.digest, layer.diff_id, layer.size, unpacked, layer.kind, path)
    return known if layer.kind == "base" else looked_into(known)


def fetched(
    repository: Repository, described: dict[str, Any], workspace: Path, progress: Progress = silent
) -> Path:
    """A blob as a manifest describes it, kept in ``workspace`` like others."""
    digest = str(described["digest"])
    kept = cache.Cache(workspace)
    path = kept.path(digest)
    if not kept.holds(digest):
        repository.blob(digest, path, progress, size=int(described["size"]))
    return path


def _bar(share: float) -> str:
    filled = round(share * BAR)
    return f"{'█' * filled}{'░' * (BAR - filled)} {share:4.0%}"
