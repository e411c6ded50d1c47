"""Images made of a few bytes, for tests of what happens to images on their way."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from modelport.images.distribution import OCI_MANIFEST
from modelport.images.layer import Kind, Layer

from tests.support.oci_registry import OciRegistry, sha256


@dataclass(frozen=True)
class SmallImage:
    """Manifest, config and layers, as the builder hands them on."""

    manifest: bytes
    config: bytes
    layers: tuple[Layer, ...]

    @property
    def digest(self) -> str:
        return sha256(self.manifest)


def noise(size: int, seed: int = 0) -> bytes:
    """Bytes that are the same every time and repeat nowhere."""
    return hashlib.shake_128(seed.to_bytes(4, "big")).digest(size)


def layer(folder: Path, kind: Kind, body: bytes, *, on_disk: bool = True) -> Layer:
    """A layer of these bytes; without a file when it is only in the base's registry."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / sha256(body).removeprefix("sha256:")
    if on_disk:
        path.write_bytes(body)
    return Layer(sha256(body), sha256(body), len(body), len(body), kind, path if on_disk else None)


def image_of(*layers: Layer, name: str = "magika") -> SmallImage:
    """An image of these layers."""
    config = json.dumps({"architecture": "amd64", "os": "linux", "name": name}).encode()
    described = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"digest": sha256(config), "size": len(config), "mediaType": "application/json"},
        "layers": [
            {"digest": found.digest, "size": found.size, "mediaType": "application/x"}
            for found in layers
        ],
    }
    return SmallImage(json.dumps(described).encode(), config, layers)


def small_image(folder: Path, model: bytes = b"weights" * 1000) -> SmallImage:
    """A code layer, a model layer and a config."""
    return image_of(layer(folder, "code", b"code" * 500), layer(folder, "model", model))


def assert_stored(registry: OciRegistry, image: SmallImage, name: str = "team/models") -> None:
    """Every byte of the image is in the registry, as it is."""
    stored = registry.blobs[name]
    assert stored[sha256(image.config)] == image.config
    for found in image.layers:
        assert sha256(stored[found.digest]) == found.digest
        assert len(stored[found.digest]) == found.size
    assert registry.manifests[name][image.digest] == (OCI_MANIFEST, image.manifest)
