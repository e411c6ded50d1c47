"""``modelport export``: a version for other tools: Kubernetes objects, or its files.

`bundle` and `kubernetes` are the verbs of the noun ``export``; they write files or standard output
and change nothing in the registry or a cluster.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Annotated

import typer
import yaml  # type: ignore[import-untyped]
from rich.console import Console

from modelport.cli.console import size
from modelport.cli.failures import InvalidUsageError
from modelport.cli.kubernetes import Document, Workload, documents
from modelport.cli.session import AsJson, Bucket, Debug, DeploymentsFile, Session, version_ref
from modelport.images.reference import Reference
from modelport.images.tar import check_path
from modelport.manifest import Manifest
from modelport.registry import Progress, Registry, silent

_NAMESPACE = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
MOST_REPLICAS, MOST_GPUS = 1_000, 16

MANIFEST = "manifest.json"
VersionRef = Annotated[str, typer.Argument(metavar="NAME:V", help="The model and its version.")]


def bundle(
    context: typer.Context,
    ref: VersionRef,
    to: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new or empty folder.")],
    bucket: Bucket = None,
    deployments: DeploymentsFile = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Write a version's files and its manifest.json into a folder, each verified.

    They are what the registry has: a bundle to look into, or what the Dockerfile of the image takes
    as its context called bundle. The folder appears when everything is in it, or not at all.
    """
    session = Session.of(context, as_json, bucket, deployments)
    manifest = session.registry.manifest(*version_ref(ref))
    folder = (session.world.folder / to).resolve()
    for file in manifest.files:
        check_path(file.path)
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise InvalidUsageError(f"{to} is no empty folder", hint="name a new or empty one")
        with session.output.transfers() as progress:
            write_bundle(session.registry, manifest, folder, progress)
    except OSError as error:
        raise _unwritable(to, error, "folder") from None
    document = {
        "model": manifest.model,
        "version": manifest.version,
        "digest": manifest.digest,
        "folder": str(folder),
        "files": [MANIFEST, *(file.path for file in manifest.files)],
        "bytes": manifest.content.size,
    }

    def render(console: Console) -> None:
        count = len(manifest.files)
        console.print(f"{ref}: {count} files, {size(manifest.content.size)}, now in {folder}")

    session.output.result(document, render)


def write_bundle(
    registry: Registry, manifest: Manifest, folder: Path, progress: Progress = silent
) -> None:
    """Write a version's files and its manifest.json into a new folder, all or nothing."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as scratch:
        made = Path(scratch) / folder.name
        made.mkdir()
        for file in manifest.files:
            registry.fetch(file, made / file.path, progress)
        (made / MANIFEST).write_bytes(manifest.to_bytes())
        made.rename(folder)


def kubernetes(
    context: typer.Context,
    ref: VersionRef,
    image: Annotated[
        str | None,
        typer.Option(
            "--image",
            metavar="HOST/NAME@sha256:…",
            help="The version's image, by digest. Without it: what deployments.toml pins.",
            show_default=False,
        ),
    ] = None,
    namespace: Annotated[
        str | None,
        typer.Option("--namespace", help="Where to. Without it: kubectl's.", show_default=False),
    ] = None,
    replicas: Annotated[
        int,
        typer.Option(
            "--replicas", min=1, max=MOST_REPLICAS, help="How many run always; load adds more."
        ),
    ] = 2,
    gpus: Annotated[
        int,
        typer.Option(
            "--gpu", min=0, max=MOST_GPUS, help="GPUs of each; needs an image built with cuda."
        ),
    ] = 0,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", metavar="FILE", help="Without it: standard output.", show_default=False
        ),
    ] = None,
    bucket: Bucket = None,
    deployments: DeploymentsFile = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Write a version as Kubernetes objects: Deployment, Service and autoscaler.

    The image is named by digest, runs as no root on a read-only file system, and is probed, drained
    and scraped for metrics the way it expects. Apply it with: kubectl apply -f FILE
    """
    session = Session.of(context, as_json, bucket, deployments)
    name, version = version_ref(ref)
    if namespace is not None and not _NAMESPACE.fullmatch(namespace):
        raise InvalidUsageError(
            f"namespace {namespace!r} is not one of Kubernetes",
            hint="at most 63 of a-z, 0-9 and '-', not starting or ending with '-'",
        )
    manifest = session.registry.manifest(name, version)
    workload = Workload(
        name,
        version,
        manifest.digest,
        _pinned(session, name, version, image),
        manifest.content.size,
        namespace,
        replicas,
        gpus,
    )
    found = documents(workload)
    if output is not None:
        path = session.world.folder / output
        try:
            path.write_text(_yaml(found), encoding="utf-8")
        except OSError as error:
            raise _unwritable(output, error, "file") from None
        session.output.note(f"written to {path}; apply it with: kubectl apply -f {output}")
        if not as_json:
            return
    listed = {"apiVersion": "v1", "kind": "List", "items": found}

    def render(console: Console) -> None:
        console.file.write(_yaml(found))

    session.output.result(listed, render)


def _unwritable(to: Path, error: OSError, kind: str) -> InvalidUsageError:
    problem = f"cannot write to {to}: {error.strerror or error}"
    return InvalidUsageError(problem, hint=f"name another {kind}")


def _pinned(session: Session, name: str, version: int, image: str | None) -> str:
    """The image by digest; a tag could be another image tomorrow."""
    entry = session.deployments.entry(name, version)
    named = image or (entry.image if entry else None)
    if named is None:
        raise InvalidUsageError(
            f"no image of {name}:{version} is known",
            hint=f"modelport build {name}:{version}, then give --image with the digest it prints",
        )
    if Reference.parse(named).digest is None:
        raise InvalidUsageError(
            f"image {named!r} has no digest", hint="name it as HOST/NAME@sha256:…"
        )
    return named


def _yaml(found: list[Document]) -> str:
    return str(yaml.dump_all(found, Dumper=_Plain, sort_keys=False, allow_unicode=True, width=100))


class _Plain(yaml.SafeDumper):  # type: ignore[misc]
    """Without anchors: the same labels stand in several places, and people edit them apart."""

    def ignore_aliases(self, data: object) -> bool:
        return True
