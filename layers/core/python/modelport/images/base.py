"""The base image a model image stands on: read by digest, verified, understood, and kept.

What the builder must know of it is in its layers, not in its config: which Python it has, where,
and which C library wheels will load. So each layer is streamed once, checked against both of its
digests, and what was learnt is kept beside the blobs; a digest never has to be read twice. It must
not run anything of the base, nor change it.
"""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

from zlib_ng import zlib_ng

from modelport.errors import IntegrityError
from modelport.images import cache
from modelport.images.errors import BaseImageError
from modelport.images.filesystem import Filesystem
from modelport.images.layer import Layer, Unpacked
from modelport.images.reference import Reference
from modelport.images.wheels import Architecture, Platform
from modelport.manifest import digest_of
from modelport.registry import Progress, silent

OLDEST = (3, 11)
_GZIP_LAYERS = (
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
)
_DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin"
#: Where Pythons lie that a base's PATH does not name.
_MORE_PLACES = ("/usr/local/bin", "/usr/bin", "/var/lang/bin")
_PYTHON = re.compile(r"python3\.(\d+)")
_LIBC_FILE = re.compile(r"(?:^|/)libc(?:\.so\.6|-2\.\d+\.so)$")
_LIBC_SAYS = re.compile(rb"GNU C Library[^\n]*?version (2)\.(\d+)")
_MUSL = re.compile(r"(?:^|/)ld-musl-[^/]*\.so")
_LIBC_MAX = 16 << 20
_UNREADABLE: tuple[type[Exception], ...] = (
    tarfile.TarError,
    EOFError,
    OSError,
    cast("type[Exception]", zlib_ng.error),
)


class Source(Protocol):
    """What of a registry's repository the builder reads; `Repository` is one."""

    def manifest_for(self, which: str, platform: str) -> tuple[bytes, str]: ...

    def blob(self, digest: str, to: Path, progress: Progress) -> None: ...


@dataclass(frozen=True)
class Base:
    """A base image: its layers as they are, and what a model image on it must know."""

    reference: Reference
    digest: str
    config: dict[str, Any]
    layers: tuple[Layer, ...]
    python: str
    interpreter: str
    architecture: Architecture
    glibc: tuple[int, int]

    @property
    def platform(self) -> Platform:
        """What wheels of an image on this base must run on."""
        return Platform(self.python, self.architecture, self.glibc)

    @property
    def unpacked(self) -> int:
        """Bytes of its layers, unpacked."""
        return sum(layer.unpacked for layer in self.layers)


def read(
    source: Source,
    reference: Reference,
    architecture: Architecture,
    workspace: Path,
    progress: Progress = silent,
) -> Base:
    """The base image ``reference`` names by digest; what was read once is kept in ``workspace``."""
    if reference.digest is None:
        raise BaseImageError(
            str(reference),
            "must be named by digest: a tag may be another image tomorrow",
            "write HOST/NAME@sha256:…; skopeo inspect tells it",
        )
    manifest, digest = source.manifest_for(reference.digest, f"linux/{architecture}")
    _expect(f"manifest of {reference}", digest, digest_of(manifest))
    described = _described(manifest, reference)
    kept = cache.Cache(workspace)
    config_path = _fetched(source, described["config"], kept, progress)
    config, diff_ids = _configured(config_path.read_bytes(), reference)
    if config.get("architecture") != architecture or config.get("os", "linux") != "linux":
        found = f"{config.get('os', 'linux')}/{config.get('architecture')}"
        raise BaseImageError(str(reference), f"is for {found}, not linux/{architecture}")
    if len(diff_ids) != len(described["layers"]):
        raise IntegrityError(f"base {reference}", f"{len(diff_ids)} layers", "others")
    paths = [_fetched(source, layer, kept, progress) for layer in described["layers"]]

    def learn() -> dict[str, Any]:
        return _learn(
            reference, config, list(zip(described["layers"], diff_ids, paths, strict=True))
        )

    known = cache.remembered(workspace / "bases", digest, learn)
    layers = tuple(cache.located(layer, kept.blobs) for layer in known["layers"])
    glibc = (known["glibc"][0], known["glibc"][1])
    return Base(
        reference,
        digest,
        config,
        layers,
        known["python"],
        known["interpreter"],
        architecture,
        glibc,
    )


def _described(manifest: bytes, reference: Reference) -> dict[str, Any]:
    try:
        described = json.loads(manifest)
        kinds = {layer["mediaType"] for layer in described["layers"] if layer["digest"]}
        complete = bool(described["config"]["digest"])
    except (ValueError, KeyError, TypeError):
        complete = False
    if not complete:
        raise BaseImageError(str(reference), "its manifest is no image's manifest")
    for kind in sorted(kinds - set(_GZIP_LAYERS)):
        raise BaseImageError(
            str(reference),
            f"has a layer of type {kind}; Lambda takes gzip layers only",
            "copy it once with gzip: skopeo copy --dest-compress-format gzip",
        )
    return cast("dict[str, Any]", described)


def _configured(body: bytes, reference: Reference) -> tuple[dict[str, Any], list[str]]:
    """The config and the digests of its layers, unpacked."""
    try:
        config = json.loads(body)
        return config, config["rootfs"]["diff_ids"]
    except (ValueError, KeyError, TypeError):
        raise BaseImageError(str(reference), "its config is no image's config") from None


def _fetched(
    source: Source, described: dict[str, Any], kept: cache.Cache, progress: Progress
) -> Path:
    """The blob on this machine; one that is there with the right bytes is not fetched again."""
    digest: str = described["digest"]
    path = kept.path(digest)
    if not kept.holds(digest):
        kept.blobs.mkdir(parents=True, exist_ok=True)
        source.blob(digest, path, progress)
        _expect(f"blob {digest}", digest, cache.digest_of_file(path))
    return path


def _expect(what: str, expected: str, got: str) -> None:
    if expected != got:
        raise IntegrityError(what, expected, got)


# --- what the layers say --------------------------------------------------------------------------


def _learn(
    reference: Reference, config: dict[str, Any], layers: list[tuple[dict[str, Any], str, Path]]
) -> dict[str, Any]:
    files = Filesystem()
    libc: tuple[int, int] | None = None
    musl = False
    found = []
    for described, diff_id, path in layers:
        files.begin_layer()
        with Unpacked(path) as plain:
            for member, archive in _members(plain, reference):
                files.add(member)
                musl = musl or bool(_MUSL.search(member.name))
                if member.isreg() and _LIBC_FILE.search(member.name):
                    libc = _libc(archive, member) or libc
            plain.drain()
        _expect(f"layer {described['digest']} of {reference}, unpacked", diff_id, plain.digest)
        layer = Layer(described["digest"], diff_id, path.stat().st_size, plain.size, "base")
        found.append(cache.facts(layer))
    if libc is None and musl:
        raise BaseImageError(
            str(reference), "uses musl; wheels of onnxruntime need a base with the GNU C library"
        )
    python, interpreter = _python(files, config, reference)
    return {
        "layers": found,
        "python": python,
        "interpreter": interpreter,
        "glibc": libc or Platform(python, "amd64").glibc,
    }


def _members(
    plain: Unpacked, reference: Reference
) -> Iterator[tuple[tarfile.TarInfo, tarfile.TarFile]]:
    try:
        with tarfile.open(fileobj=cast("BinaryIO", plain), mode="r|") as archive:
            for member in archive:
                yield member, archive
                # tarfile would remember every entry it ever saw
                cast("Any", archive).members = []
    except _UNREADABLE as error:
        raise BaseImageError(str(reference), f"a layer cannot be read: {error}") from None


def _libc(archive: tarfile.TarFile, member: tarfile.TarInfo) -> tuple[int, int] | None:
    file = archive.extractfile(member)
    said = _LIBC_SAYS.search(file.read(_LIBC_MAX)) if file else None
    return (int(said[1]), int(said[2])) if said else None


def _python(files: Filesystem, config: dict[str, Any], reference: Reference) -> tuple[str, str]:
    """The Python a shell in the image would find first, as minor version and absolute path."""
    variables = dict(v.partition("=")[::2] for v in (config.get("config") or {}).get("Env") or ())
    places = [*variables.get("PATH", _DEFAULT_PATH).split(":"), *_MORE_PLACES]
    too_old = []
    for place in dict.fromkeys(place.rstrip("/") for place in places if place.startswith("/")):
        folder = files.resolve(place)
        if folder is None:
            continue
        here = [name for name in files.names(folder) if _PYTHON.fullmatch(name)]
        minors = sorted(
            int(name.partition(".")[2]) for name in here if files.resolve(f"{folder}/{name}")
        )
        too_old += [f"{place}/python3.{minor}" for minor in minors if (3, minor) < OLDEST]
        usual = (files.resolve(f"{folder}/python3") or "").rpartition("/")[2]
        for name in (usual, *(f"python3.{minor}" for minor in reversed(minors))):
            found = _PYTHON.fullmatch(name)
            if found and int(found[1]) in minors and (3, int(found[1])) >= OLDEST:
                return f"3.{found[1]}", f"{place}/{name}"
    had = f"; it has {', '.join(too_old)}" if too_old else ""
    with suppress(KeyError):
        had += f" (entry point {config['config']['Entrypoint']})"
    raise BaseImageError(
        str(reference),
        f"has no Python 3.{OLDEST[1]} or newer{had}",
        "such as public.ecr.aws/lambda/python:3.12 or docker.io/library/python:3.12-slim",
    )
