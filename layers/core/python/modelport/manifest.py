"""The immutable record of a version: what it contains, what it takes and gives, where it came from.

`Content` is what a publisher decides and what the digest covers; `Manifest` adds what the registry
decides (the number, the time). Pure data; reads and writes nothing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, field, replace
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from modelport.errors import IntegrityError
from modelport.goldens import Golden
from modelport.records import record
from modelport.signature import Signature

if TYPE_CHECKING:  # no function needs these to start
    from pathlib import Path

    from modelport.registry.checksums import PartChecksums

SCHEMA = 1


@record(frozen=True)
class File:
    """One file of a bundle: relative POSIX path, ``sha256:<hex>``, size in bytes."""

    path: str
    digest: str
    size: int


@record(frozen=True)
class Batching:
    """Dynamic batching: rows gathered at most, and how long the first of them may wait."""

    max_rows: int
    max_delay_ms: float


@record(frozen=True)
class Gates:
    """What a version's evaluation must show before it is promoted, as its publisher said.

    ``require`` has conditions such as ``f1>=0.92``, ``no_worse_than`` an alias or a version;
    `modelport.evaluation.gates` reads and judges them.
    """

    require: tuple[str, ...] = ()
    no_worse_than: str | None = None


@record(frozen=True)
class ModelSettings:
    """How the runtime opens this version, as its publisher said; None leaves it to modelport.

    ``threads`` then follow the memory, ``disable_prepacking`` and ``graph_optimization`` what was
    measured when it was published (`Tuning`), there is no batching, and no gate.
    """

    entry: str = "model.onnx"
    labels: str | None = None
    script: str | None = None
    requirements: str | None = None
    threads: int | None = None
    disable_prepacking: bool | None = None
    graph_optimization: str | None = None
    batching: Batching | None = None
    gates: Gates | None = None

    def to_json(self) -> dict[str, Any]:
        """What was said, without what was left open: a new setting changes no old digest."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> ModelSettings:
        batching, gates = data.get("batching"), data.get("gates")
        return cls(
            **{
                **data,
                "batching": Batching(**batching) if batching else None,
                "gates": Gates(tuple(gates["require"]), gates["no_worse_than"]) if gates else None,
            }
        )


@record(frozen=True)
class Tuning:
    """What publish measured on the goldens and chose, with the figures behind the choice.

    Not part of the content's digest: figures differ from one run to the next, and the same bundle
    must stay the same version. ``graph`` is the model optimised beforehand, if that was chosen: a
    file beside the entry that shares its weights, for the CPU, and for the onnxruntime and kind of
    machine that the figures name. The settings are those to open it with.
    """

    disable_prepacking: bool = False
    graph_optimization: str = "all"
    figures: dict[str, Any] = field(default_factory=dict)
    graph: File | None = None

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Tuning:
        graph = data.get("graph")
        return cls(**{**data, "graph": File(**graph) if graph else None})


@record(frozen=True)
class Content:
    """Everything a publisher decides about a version; `digest` names exactly this."""

    files: tuple[File, ...]
    signature: Signature
    settings: ModelSettings = ModelSettings()
    goldens: tuple[Golden, ...] = ()
    description: str = ""
    metrics: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {
            "files": [asdict(file) for file in self.files],
            "signature": self.signature.to_json(),
            "settings": self.settings.to_json(),
            "goldens": [golden.to_json() for golden in self.goldens],
            "description": self.description,
            "metrics": self.metrics,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Content:
        return cls(
            tuple(File(**file) for file in data["files"]),
            Signature.from_json(data["signature"]),
            ModelSettings.from_json(data["settings"]),
            tuple(Golden.from_json(golden) for golden in data["goldens"]),
            data["description"],
            data["metrics"],
        )

    @property
    def digest(self) -> str:
        """``sha256:<hex>`` over the canonical JSON of this content."""
        return digest_of(canonical(self.to_json()))

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


@record(frozen=True)
class Draft:
    """A content ready to publish: where each of its files lies on this machine.

    ``checksums`` are those of files that were hashed for it: they are not hashed again.
    """

    content: Content
    sources: dict[str, Path]
    lineage: dict[str, Any] = field(default_factory=dict)
    tuning: Tuning | None = None
    checksums: dict[str, PartChecksums] = field(default_factory=dict)

    @property
    def files(self) -> tuple[File, ...]:
        """All files to store: the content's and what was made of it."""
        made = self.tuning.graph if self.tuning else None
        return (*self.content.files, made) if made else self.content.files


@record(frozen=True)
class Manifest:
    """A published version. `digest` is the content's; `created` is ISO 8601 in UTC."""

    model: str
    version: int
    content: Content
    created: str
    lineage: dict[str, Any] = field(default_factory=dict)
    tuning: Tuning | None = None
    digest: str = ""

    def __post_init__(self) -> None:
        if not self.digest:
            object.__setattr__(self, "digest", self.content.digest)

    @property
    def files(self) -> tuple[File, ...]:
        """All files of the version: what was published and what publish made of it."""
        made = self.tuning.graph if self.tuning else None
        return (*self.content.files, made) if made else self.content.files

    @property
    def settings(self) -> ModelSettings:
        """The settings in force: the publisher's word, else what was measured, else defaults."""
        said, tuned = self.content.settings, self.tuning or Tuning()
        # Measured with the graph optimised beforehand, a level says nothing about the entry.
        level = "all" if tuned.graph else tuned.graph_optimization
        return self._tuned(said.entry, said.graph_optimization or level)

    def settings_on(self, onnxruntime: str, kind: str) -> ModelSettings:
        """The same for a CPU: with the graph optimised beforehand as entry, where it was made for
        this release of onnxruntime and this kind of `machine`."""
        tuned = self.tuning
        if tuned is None or tuned.graph is None:
            return self.settings
        made_for = (tuned.figures.get("onnxruntime"), tuned.figures.get("machine"))
        if made_for != (onnxruntime, kind):
            return self.settings
        return self._tuned(tuned.graph.path, tuned.graph_optimization)

    def _tuned(self, entry: str, level: str) -> ModelSettings:
        said, tuned = self.content.settings, self.tuning or Tuning()
        packing = said.disable_prepacking
        return replace(
            said,
            entry=entry,
            disable_prepacking=tuned.disable_prepacking if packing is None else packing,
            graph_optimization=level,
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "model": self.model,
            "version": self.version,
            "digest": self.digest,
            "created": self.created,
            "tuning": asdict(self.tuning) if self.tuning else None,
            "lineage": self.lineage,
            **self.content.to_json(),
        }

    def to_bytes(self) -> bytes:
        """Readable canonical JSON; the same manifest is always the same bytes."""
        return readable(self.to_json())

    @classmethod
    def from_bytes(cls, body: bytes) -> Manifest:
        """Read and verify; raises `IntegrityError` when the record does not match its digest."""
        try:
            data = json.loads(body)
            if data["schema"] != SCHEMA:
                raise IntegrityError("manifest schema", str(SCHEMA), str(data["schema"]))
            manifest = cls(
                data["model"],
                data["version"],
                Content.from_json(data),
                data["created"],
                data["lineage"],
                Tuning.from_json(data["tuning"]) if data["tuning"] else None,
                data["digest"],
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise IntegrityError("manifest", "a version's record", f"{error!r}") from None
        if manifest.content.digest != manifest.digest:
            raise IntegrityError(
                f"manifest of {manifest.model}:{manifest.version}",
                manifest.digest,
                manifest.content.digest,
            )
        return manifest


def machine() -> str:
    """The kind of processor this is, spelled alike on every system: ``x86_64``, ``aarch64``."""
    kind = os.uname().machine
    return "aarch64" if kind == "arm64" else kind


def canonical(data: Any) -> bytes:
    """JSON with sorted keys and no spaces: what digests and hash chains are taken over."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def readable(data: Any) -> bytes:
    """JSON for the bucket: sorted keys, indented, newline at the end."""
    return (json.dumps(data, sort_keys=True, indent=1, ensure_ascii=False) + "\n").encode()


def digest_of(body: bytes) -> str:
    """``sha256:<hex>`` of ``body``, a document; for whole files `hashlib` is ten times as fast."""
    return "sha256:" + str(_sha256()(body).hexdigest())


@cache
def _sha256() -> Callable[[bytes], Any]:
    """Python's own sha256, without hashlib and so OpenSSL: milliseconds of every cold start."""
    for name in ("_sha2", "_sha256"):  # Python 3.12 and later, and before
        with suppress(ImportError, AttributeError):
            found: Callable[[bytes], Any] = import_module(name).sha256
            return found
    hashed: Callable[[bytes], Any] = import_module("hashlib").sha256
    return hashed
