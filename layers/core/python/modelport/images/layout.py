"""An image as an OCI layout folder: what skopeo, umoci and podman read without a registry.

Blobs appear whole or not at all, and the index that names them is written last. Asks no registry.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from modelport.errors import IntegrityError, InvalidInputError
from modelport.images import cache
from modelport.images.image import MANIFEST_TYPE, Image
from modelport.images.layer import Kind, Layer, Unpacked, scratch_file
from modelport.images.report import looked_into
from modelport.manifest import canonical, digest_of

_MARK = canonical({"imageLayoutVersion": "1.0.0"})
_INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
_NAME = "org.opencontainers.image.ref.name"
_OURS = "modelport build: "
_ANOTHER = "name a new folder for the image"


def write(image: Image, folder: Path, *, name: str | None = None) -> None:
    """Write ``image`` to ``folder``, new, empty or such a layout already; it replaces the index."""
    check(folder)
    try:
        _write(image, folder, name)
    except OSError as error:
        raise _unwritable(folder, error) from None


def check(folder: Path) -> None:
    """Raise where no layout can be written; what only writing tells, is told then."""
    try:
        if folder.is_dir():
            if any(folder.iterdir()) and not is_layout(folder):
                raise InvalidInputError(f"{folder} is not empty and no OCI layout", hint=_ANOTHER)
        elif folder.exists():
            raise InvalidInputError(f"{folder} is no folder", hint=_ANOTHER)
    except OSError as error:
        raise _unwritable(folder, error) from None


def is_layout(folder: Path) -> bool:
    """Whether the folder says of itself that it is a layout."""
    return (folder / "oci-layout").is_file()


def _unwritable(folder: Path, error: OSError) -> InvalidInputError:
    return InvalidInputError(
        f"cannot write an OCI layout to {folder}: {error.strerror or error}", hint=_ANOTHER
    )


def _write(image: Image, folder: Path, name: str | None) -> None:
    for layer in image.layers:
        _copy(layer, _blob(folder, layer.digest))
    for body in (image.config, image.manifest):
        cache.write(_blob(folder, digest_of(body)), body)
    os_name, _, architecture = image.platform.partition("/")
    described: dict[str, Any] = {
        "mediaType": MANIFEST_TYPE,
        "digest": image.digest,
        "size": len(image.manifest),
        "platform": {"architecture": architecture, "os": os_name},
    }
    if name:
        described["annotations"] = {_NAME: name}
    index = {"schemaVersion": 2, "mediaType": _INDEX_TYPE, "manifests": [described]}
    cache.write(folder / "oci-layout", _MARK)
    cache.write(folder / "index.json", canonical(index))


def read(folder: Path) -> Image:
    """The image in ``folder``; raises `IntegrityError` when a blob is not what its digest says."""
    try:
        return _read(folder)
    except (OSError, EOFError, ValueError, KeyError, TypeError, IndexError) as error:
        raise InvalidInputError(
            f"{folder} is no OCI layout of one image with gzip layers: {type(error).__name__}",
            hint="write it again: modelport build NAME:V --layout FOLDER",
        ) from None


def _read(folder: Path) -> Image:
    index = json.loads((folder / "index.json").read_bytes())
    described = index["manifests"][0]
    manifest = _checked(folder, described["digest"])
    body = json.loads(manifest)
    config = _checked(folder, body["config"]["digest"])
    told = json.loads(config)
    kinds = [
        _kind(line.get("created_by", "")) for line in told["history"] if not line.get("empty_layer")
    ]
    layers = tuple(
        _layer(folder, layer, diff_id, kind)
        for layer, diff_id, kind in zip(
            body["layers"], told["rootfs"]["diff_ids"], kinds, strict=True
        )
    )
    return Image(manifest, config, layers, f"{told['os']}/{told['architecture']}")


def _blob(folder: Path, digest: str) -> Path:
    return folder / "blobs" / "sha256" / digest.removeprefix("sha256:")


def _copy(layer: Layer, to: Path) -> None:
    if layer.path is None:
        raise IntegrityError(f"layer {layer.digest}", "a file on this machine", "none")
    if cache.holds(to, layer.digest):
        return
    to.parent.mkdir(parents=True, exist_ok=True)
    with scratch_file(to.parent) as (file, part), layer.path.open("rb") as source:
        shutil.copyfileobj(source, file, 1 << 20)
        file.flush()
        os.replace(part, to)


def _checked(folder: Path, digest: str) -> bytes:
    body = _blob(folder, digest).read_bytes()
    if digest_of(body) != digest:
        raise IntegrityError(f"blob in {folder}", digest, digest_of(body))
    return body


def _layer(folder: Path, described: dict[str, Any], diff_id: str, kind: Kind) -> Layer:
    path = _blob(folder, described["digest"])
    if not cache.holds(path, described["digest"]):
        raise IntegrityError(f"blob in {folder}", described["digest"], "other bytes")
    unpacked = _unpacked(path)
    found = Layer(described["digest"], diff_id, described["size"], unpacked, kind, path)
    return found if kind == "base" else looked_into(found)


def _unpacked(path: Path) -> int:
    with Unpacked(path) as plain:
        plain.drain()
        return plain.size


def _kind(created_by: str) -> Kind:
    kinds: dict[str, Kind] = {"deps": "deps", "code": "code", "user": "user", "model": "model"}
    return kinds.get(created_by.removeprefix(_OURS), "base")
