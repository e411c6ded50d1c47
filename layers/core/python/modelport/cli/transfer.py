"""``modelport export version``, ``import`` and ``copy``: a version leaves, arrives, moves over."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer
from rich.console import Console

from modelport.cli.console import size
from modelport.cli.failures import InvalidUsageError
from modelport.cli.session import AsJson, Bucket, Debug, Message, Session, version_ref
from modelport.manifest import Manifest
from modelport.refs import check_name
from modelport.upkeep import archive
from modelport.upkeep import transfer as between

VersionRef = Annotated[str, typer.Argument(metavar="NAME:V", help="The model and its version.")]
NewName = Annotated[
    str | None,
    typer.Option("--name", metavar="NEW", help="Another name for it there.", show_default=False),
]


def version(
    context: typer.Context,
    ref: VersionRef,
    to: Annotated[Path, typer.Argument(metavar="FILE.modelport", help="A file that is not there.")],
    bucket: Bucket = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Write a version into one file: its record, files, notes and evaluation reports.

    It is an uncompressed tar, the same bytes each time, and appears when everything in it was
    verified, or not at all. Take it in elsewhere with: modelport import FILE.modelport
    """
    session = Session.of(context, as_json, bucket)
    path = (session.world.folder / to).resolve()
    if path.exists():
        raise InvalidUsageError(f"{to} is there already", hint="name another file, or remove it")
    with session.output.transfers() as progress:
        manifest = archive.write(session.registry, *version_ref(ref), path, progress)
    document = {
        "model": manifest.model,
        "version": manifest.version,
        "digest": manifest.digest,
        "file": str(path),
        "bytes": path.stat().st_size,
    }

    def render(console: Console) -> None:
        console.print(f"{ref}: {size(path.stat().st_size)}, now in {path}")

    session.output.result(document, render)


def import_(
    context: typer.Context,
    file: Annotated[
        Path, typer.Argument(metavar="FILE.modelport", help="What export version wrote.")
    ],
    name: NewName = None,
    message: Message = "",
    bucket: Bucket = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Publish a version from a file that export version wrote.

    All of it is verified before anything is published. The same content is the same version; new
    content gets the model's next number here, and its lineage says where it came from.
    """
    session = Session.of(context, as_json, bucket)
    with session.output.transfers() as progress:
        found = archive.read(session.world.folder / file, progress)
    with session.output.transfers() as progress:
        manifest = between.take_in(
            session.registry,
            found,
            name=check_name(name) if name else None,
            who=session.actor(message),
            progress=progress,
        )
    _tell(session, found.manifest, manifest, "imported", session.bucket)


def copy(
    context: typer.Context,
    ref: VersionRef,
    to: Annotated[
        str, typer.Option("--to", metavar="s3://BUCKET[/PREFIX]", help="The other registry.")
    ],
    profile: Annotated[
        str | None,
        typer.Option(
            "--profile",
            metavar="PROFILE",
            help="The AWS profile of the other registry, as in ~/.aws/config.",
            show_default=False,
        ),
    ] = None,
    name: NewName = None,
    message: Message = "",
    bucket: Bucket = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Publish a version in another registry, of this account or another.

    S3 copies where one set of credentials reaches both buckets; else the bytes go through here, a
    few megabytes at a time. What is there already is not sent again, and all of it is verified.
    """
    session = Session.of(context, as_json, bucket)
    model, number = version_ref(ref)
    other = session.world.elsewhere(*_place(to), profile)
    with session.output.transfers() as progress:
        manifest = between.copy(
            session.registry,
            model,
            number,
            other,
            name=check_name(name) if name else None,
            who=session.actor(message),
            progress=progress,
        )
    _tell(session, session.registry.manifest(model, number), manifest, "copied", to)


def _place(text: str) -> tuple[str, str]:
    """Bucket and prefix of ``s3://BUCKET/PREFIX``."""
    parts = urlsplit(text)
    if parts.scheme != "s3" or not parts.netloc or parts.query or parts.fragment:
        raise InvalidUsageError(
            f"{text!r} is no registry", hint="write s3://BUCKET or s3://BUCKET/PREFIX"
        )
    return parts.netloc, parts.path.strip("/")


def _tell(session: Session, source: Manifest, made: Manifest, verb: str, where: str) -> None:
    document = {
        "from": {"model": source.model, "version": source.version},
        "model": made.model,
        "version": made.version,
        "digest": made.digest,
        "bytes": sum(file.size for file in made.files),
        "registry": where,
    }

    def render(console: Console) -> None:
        total = size(sum(file.size for file in made.files))
        console.print(
            f"{source.model}:{source.version} {verb} as {made.model}:{made.version}"
            f" ({total}) in {where}"
        )

    session.output.result(document, render)
