"""An image as registries know it: a manifest, a config and layers, in OCI's own words.

The same base, layers and version give the same bytes: no time of building, no name of a machine,
one order. Pure; reads and writes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from modelport.images.base import Base
from modelport.images.layer import Layer
from modelport.manifest import Manifest, canonical, digest_of

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"

CREATED = "1970-01-01T00:00:00Z"
USER = "65532:65532"
WORKDIR = "/var/task"
MODULE = ("-m", "functions.runtime")
COMMAND = ("functions.runtime.handler.handler",)
PORT = "8080/tcp"
STOP_SIGNAL = "SIGTERM"
BUNDLE_DIR = "/opt/model"
#: The environment of every model image; the version's own variables come beside it.
ENVIRONMENT = {
    "PYTHONPATH": "/opt/python:/opt/user-python",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONUNBUFFERED": "1",
    "ORT_DISABLE_TELEMETRY": "1",
    "MODELPORT_BUNDLE_DIR": BUNDLE_DIR,
}
#: What a person may read of an image; the labels of a base about itself go.
LABELS = "org.opencontainers.image."
REQUIREMENTS_LABEL = "modelport.requirements"


@dataclass(frozen=True)
class Image:
    """A single-architecture image, ready to be pushed or written to a folder."""

    manifest: bytes
    config: bytes
    layers: tuple[Layer, ...]
    platform: str
    #: What whoever builds should know, in words.
    notes: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """``sha256:<hex>`` of the manifest: the image's name."""
        return digest_of(self.manifest)

    @property
    def size(self) -> int:
        """Bytes in a registry."""
        packed = sum(layer.size for layer in self.layers)
        return packed + len(self.config) + len(self.manifest)

    @property
    def unpacked(self) -> int:
        """Bytes of all layers unpacked, which is what Lambda's limit counts."""
        return sum(layer.unpacked for layer in self.layers)


def compose(
    version: Manifest,
    base: Base,
    added: tuple[Layer, ...],
    *,
    requirements: str = "",
    notes: tuple[str, ...] = (),
) -> Image:
    """The image of ``version``: the layers of ``base``, then ``added``."""
    layers = (*base.layers, *added)
    config = canonical(_config(version, base, layers, requirements))
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": _descriptor(CONFIG_TYPE, digest_of(config), len(config)),
        "layers": [_descriptor(LAYER_TYPE, layer.digest, layer.size) for layer in layers],
    }
    return Image(canonical(manifest), config, layers, f"linux/{base.architecture}", notes)


def _descriptor(kind: str, digest: str, size: int) -> dict[str, Any]:
    return {"mediaType": kind, "digest": digest, "size": size}


def _config(
    version: Manifest, base: Base, layers: tuple[Layer, ...], requirements: str
) -> dict[str, Any]:
    before = base.config.get("config") or {}
    variables = dict(entry.partition("=")[::2] for entry in before.get("Env") or ())
    variables |= ENVIRONMENT | {
        "MODELPORT_MODEL": version.model,
        "MODELPORT_VERSION": str(version.version),
        "MODELPORT_DIGEST": version.digest,
    }
    variant = base.config.get("variant")
    return {
        "architecture": base.architecture,
        "os": "linux",
        **({"variant": variant} if variant else {}),
        "created": CREATED,
        "config": {
            "User": USER,
            "WorkingDir": WORKDIR,
            "Entrypoint": [base.interpreter, *MODULE],
            "Cmd": list(COMMAND),
            "Env": [f"{name}={value}" for name, value in variables.items()],
            "ExposedPorts": {PORT: {}},
            "StopSignal": STOP_SIGNAL,
            "Labels": _labels(version, base, before.get("Labels") or {}, requirements),
        },
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
        "history": _history(base, layers),
    }


def _labels(
    version: Manifest, base: Base, before: dict[str, str], requirements: str
) -> dict[str, str]:
    # A registry on this machine has another name on every machine, and means nothing elsewhere.
    reference = base.reference
    name = reference.name if reference.is_loopback else f"{reference.registry}/{reference.name}"
    labels = {key: value for key, value in before.items() if not key.startswith(LABELS)}
    labels |= {
        f"{LABELS}title": version.model,
        f"{LABELS}version": str(version.version),
        f"{LABELS}base.name": name,
        f"{LABELS}base.digest": base.digest,
    }
    commit = (version.lineage.get("git") or {}).get("commit")
    if commit:
        labels[f"{LABELS}revision"] = commit
    if requirements:
        labels[REQUIREMENTS_LABEL] = requirements
    return labels


def _history(base: Base, layers: tuple[Layer, ...]) -> list[dict[str, Any]]:
    """One line per layer; a base that tells its own history wrongly gets a plain one."""
    told = base.config.get("history") or []
    if sum(not line.get("empty_layer") for line in told) != len(base.layers):
        told = [{"created": CREATED, "created_by": f"base {base.digest}"} for _ in base.layers]
    ours = [layer for layer in layers if layer.kind != "base"]
    return [*told, *({"created": CREATED, "created_by": created_by(layer)} for layer in ours)]


def created_by(layer: Layer) -> str:
    """What the image's history says of a layer of ours."""
    return f"modelport build: {layer.kind}"
