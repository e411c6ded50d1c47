"""The entry of one version in ``deployments.toml``: what it shall be, and putting it back.

Knows the file and what a command was asked; neither cdk nor the registry.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from modelport.cli.failures import InvalidUsageError
from modelport.deployments import DeploymentEntry, with_entry, without_entry
from modelport.errors import InvalidSettingError
from modelport.manifest import Manifest
from modelport.registry import Actor
from modelport.routes import Deployment

#: Destroying a stack needs no image, but the app makes no stack without one.
UNKNOWN_IMAGE = "image.invalid/unknown@sha256:" + "0" * 64


def entry_for(
    manifest: Manifest,
    before: DeploymentEntry | None,
    asked: dict[str, Any],
    endpoint: Mapping[str, Any] | None = None,
) -> DeploymentEntry:
    """The entry to write: what was asked, else what stood there, else the defaults.

    ``endpoint`` is what was asked of a SageMaker endpoint; asking that of a function is an error.
    """
    kept = before.model_dump(exclude_none=True) if before else {}
    wanted = {name: value for name, value in (endpoint or {}).items() if value is not None}
    target = asked.get("target") or kept.get("target")
    if wanted and target != "sagemaker":
        option = "--" + next(iter(wanted)).replace("_", "-")
        raise InvalidUsageError(
            f"{option} is for endpoints, and {manifest.model}:{manifest.version} is a function",
            hint="add --target sagemaker",
        )
    if wanted:
        kept["sagemaker"] = {**kept.get("sagemaker", {}), **wanted}
    values = {
        **kept,
        **{name: value for name, value in asked.items() if value is not None},
        "model": manifest.model,
        "version": manifest.version,
        "digest": manifest.digest,
    }
    try:
        return DeploymentEntry(**values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"]) or "deployment"
        raise InvalidSettingError(name, first["input"], first["msg"]) from None


def attributed(
    entry: DeploymentEntry, before: DeploymentEntry | None, who: Actor
) -> DeploymentEntry:
    """The entry with who wants it, from which commit and why; one that says nothing new stays."""
    if before == entry and not who.message:
        return entry
    said = {"by": who.who, "commit": who.commit or None, "why": who.message or None}
    return entry.model_copy(update=said)


def entry_of(model: str, running: Deployment) -> DeploymentEntry:
    """An entry for a version that runs but stands in no file, good only for destroying it."""
    return DeploymentEntry(
        model=model, version=running.version, digest=running.digest, image=UNKNOWN_IMAGE
    )


@contextmanager
def edited(path: Path, before: DeploymentEntry | None, entry: DeploymentEntry) -> Iterator[None]:
    """Have ``entry`` in the file during the block; put ``before`` back when the block fails.

    A file that nobody else has written since gets its old bytes back; in any other only this one
    entry is put back, so what others changed meanwhile stays.
    """
    old = path.read_bytes() if path.exists() else None
    with_entry(path, entry)
    ours = path.read_bytes()
    try:
        yield
    except BaseException:
        if path.read_bytes() == ours:
            _restore(path, old)
        elif before is not None:
            with_entry(path, before)
        else:
            without_entry(path, entry.model, entry.version)
        raise


def _restore(path: Path, content: bytes | None) -> None:
    path = path.resolve()  # a link stays one; what it points to changes back
    if content is None:
        path.unlink()
        return
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_bytes(content)
    shutil.copymode(path, fresh)
    os.replace(fresh, path)
