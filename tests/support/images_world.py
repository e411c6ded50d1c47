"""A registry of images in memory, small base images to build on, and versions to build.

The base is synthetic: a Python that is an empty file and a C library that only says its version,
which is all the builder ever looks at.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modelport.errors import IntegrityError
from modelport.images.base import Base, read
from modelport.images.errors import ImageNotFoundError
from modelport.images.reference import Reference
from modelport.images.wheels import Architecture
from modelport.manifest import Content, File, Manifest, ModelSettings, canonical, digest_of
from modelport.registry import Progress, silent
from modelport.signature import Signature, TensorSpec

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
LIBC_SAYS = b"GNU C Library (Debian GLIBC 2.36-9) stable release version 2.36.\n"
#: Path → its contents, or a link when it starts with "->"; a folder when None.
Tree = Mapping[str, bytes | str | None]
USUAL: Tree = {
    "usr/bin/python3.11": b"",
    "usr/bin/python3": "->python3.11",
    "bin": "->usr/bin",
    "usr/lib/libc.so.6": LIBC_SAYS,
    "etc/passwd": b"root:x:0:0::/root:/bin/sh\n",
}


@dataclass
class MemoryRepository:
    """One repository of a registry: the part of `Repository` that reads."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, bytes] = field(default_factory=dict)
    read: list[str] = field(default_factory=list)

    def manifest_for(self, which: str, platform: str) -> tuple[bytes, str]:
        if which not in self.manifests:
            raise ImageNotFoundError(which)
        return self.manifests[which], which

    def blob(self, digest: str, to: Path, progress: Progress = silent) -> None:
        self.read.append(digest)
        if digest not in self.blobs:
            raise ImageNotFoundError(digest)
        if digest_of(self.blobs[digest]) != digest:
            raise IntegrityError("blob", digest, digest_of(self.blobs[digest]))
        to.write_bytes(self.blobs[digest])

    def add(self, body: bytes) -> dict[str, Any]:
        """Keep a blob; its digest and size as a descriptor has them."""
        self.blobs[digest_of(body)] = body
        return {"digest": digest_of(body), "size": len(body)}


def tar_of(tree: Tree) -> bytes:
    """A plain layer with these files, links and folders."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for path, content in tree.items():
            info = tarfile.TarInfo(path)
            info.mode = 0o755
            body = b""
            if content is None:
                info.type = tarfile.DIRTYPE
            elif isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content.removeprefix("->")
            else:
                body, info.size = content, len(content)
            archive.addfile(info, io.BytesIO(body))
    return out.getvalue()


def push_base(
    repository: MemoryRepository,
    layers: Sequence[Tree] = (USUAL,),
    *,
    architecture: str = "amd64",
    layer_type: str = OCI_LAYER,
    config: Mapping[str, Any] | None = None,
    diff_ids: Sequence[str] | None = None,
    history: Sequence[Mapping[str, Any]] | None = None,
) -> Reference:
    """Put a base image of these layers into the repository; its reference, by digest."""
    plain = [tar_of(layer) for layer in layers]
    packed = [repository.add(gzip.compress(layer, mtime=0)) for layer in plain]
    body = {
        "architecture": architecture,
        "os": "linux",
        "created": "2026-11-01T10:00:00Z",
        "config": dict(config or {"Env": ["PATH=/usr/local/bin:/usr/bin:/bin"], "Cmd": ["bash"]}),
        "rootfs": {"type": "layers", "diff_ids": list(diff_ids or map(_sha256, plain))},
        **({"history": list(history)} if history is not None else {}),
    }
    manifest = canonical(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {"mediaType": "application/json", **repository.add(canonical(body))},
            "layers": [{"mediaType": layer_type, **layer} for layer in packed],
        }
    )
    digest = digest_of(manifest)
    repository.manifests[digest] = manifest
    return Reference.parse(f"registry.example.com/python@{digest}")


def base_image(
    workspace: Path, layers: Sequence[Tree] = (USUAL,), architecture: Architecture = "amd64"
) -> Base:
    """A base image, read as the builder reads it."""
    repository = MemoryRepository()
    reference = push_base(repository, layers, architecture=architecture)
    return read(repository, reference, architecture, workspace)


@dataclass
class Bundle:
    """Files of a version, in memory, that a registry could bring."""

    files: dict[str, bytes]
    fetched: list[str] = field(default_factory=list)

    def fetch(self, file: File) -> Iterator[bytes]:
        self.fetched.append(file.path)
        yield self.files[file.path]


def version(
    files: Mapping[str, bytes],
    *,
    number: int = 1,
    script: str | None = None,
    requirements: str | None = None,
    lineage: Mapping[str, Any] | None = None,
) -> tuple[Manifest, Bundle]:
    """A published version with these files, and who fetches them."""
    content = Content(
        tuple(File(path, _sha256(body), len(body)) for path, body in sorted(files.items())),
        Signature((TensorSpec("x", "FP32", (-1, 2)),), (TensorSpec("y", "FP32", (-1, 2)),)),
        ModelSettings(script=script, requirements=requirements),
    )
    created = "2026-11-20T12:00:00Z"
    return Manifest("demo", number, content, created, dict(lineage or {})), Bundle(dict(files))


def unpacked(path: Path) -> dict[str, tarfile.TarInfo]:
    """Every entry of a layer by its name, in the layer's order."""
    with tarfile.open(path) as archive:
        return {member.name: member for member in archive}


def config_of(image_config: bytes) -> dict[str, Any]:
    """An image's config, parsed."""
    parsed: dict[str, Any] = json.loads(image_config)
    return parsed


def _sha256(body: bytes) -> str:
    return "sha256:" + hashlib.sha256(body).hexdigest()
