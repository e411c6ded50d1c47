"""``modelport build`` and ``modelport image``: images of versions, their parts and their base."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from modelport.cli.console import facts, short, size
from modelport.cli.failures import InvalidUsageError
from modelport.cli.image_report import of_built, of_stored
from modelport.cli.image_works import (
    BASE_SETTINGS,
    DEFAULT_PLATFORM,
    GOOD_BASE,
    ImageWorks,
    Platform,
    named,
)
from modelport.cli.session import AsJson, Bucket, Debug, DeploymentsFile, Session, version_ref
from modelport.deployments import with_base_image
from modelport.images import layout as layouts
from modelport.images.build import LIMIT
from modelport.images.image import Image
from modelport.images.reference import Reference
from modelport.manifest import Manifest

MADE = "What it is made of"
WHERE = "Where it goes"
_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,6})?)\s*(B|kB|MB|GB|KiB|MiB|GiB)?", re.IGNORECASE)
_UNITS = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}

VersionRef = Annotated[str, typer.Argument(metavar="NAME:V", help="The model and its version.")]
OfPlatform = Annotated[
    Platform,
    typer.Option("--platform", help="What it runs on; Lambda functions here run on linux/amd64."),
]

OfAccelerator = Annotated[
    Literal["cpu", "cuda"],
    typer.Option("--accelerator", help="cuda needs a base with CUDA in it.", rich_help_panel=MADE),
]


def build(
    context: typer.Context,
    ref: VersionRef,
    platform: OfPlatform = DEFAULT_PLATFORM,
    base: Annotated[
        str | None,
        typer.Option(
            "--base",
            metavar="REF",
            help="The image to build on. Without it: environment.base_image, or cuda_base_image.",
            rich_help_panel=MADE,
            show_default=False,
        ),
    ] = None,
    accelerator: OfAccelerator = "cpu",
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="HOST/NAME[:TAG]",
            help="The repository to push to. Without it: environment.image_repository,"
            " else the platform's.",
            rich_help_panel=WHERE,
            show_default=False,
        ),
    ] = None,
    layout: Annotated[
        Path | None,
        typer.Option(
            "--layout",
            metavar="FOLDER",
            help="Write an OCI layout there, and push nothing.",
            rich_help_panel=WHERE,
            show_default=False,
        ),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            "--budget",
            metavar="SIZE",
            help="Refuse a larger image, unpacked, such as 500MB. Without it: Lambda's 10 GiB.",
            rich_help_panel=MADE,
            show_default=False,
        ),
    ] = None,
    bucket: Bucket = None,
    deployments: DeploymentsFile = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Build the container image of a version and push it; needs no Docker.

    The same version, base and checkout give the same image, byte for byte. Layers that are made
    already are not made again, and what the repository has is not sent: a new version of a model
    sends its model layer only. They are kept in ~/.cache/modelport (or MODELPORT_CACHE), 10 GB at
    most: those used longest ago go first. Login is docker's own, or AWS's for repositories in ECR.
    """
    session = Session.of(context, as_json, bucket, deployments)
    name, version = version_ref(ref)
    if to and layout:
        raise InvalidUsageError("--to and --layout exclude each other", hint="give one of them")
    limit = parse_size(budget) if budget else LIMIT
    works = ImageWorks(session)
    # Read before anything is built: without a place for it there is nothing to begin.
    manifest = session.registry.manifest(name, version)
    works.base_reference(base, accelerator)
    target = None if layout else works.target(to)
    if layout is not None:
        layouts.check(session.world.folder / layout)
    pushed: Reference | None = None
    sent = 0
    with session.output.transfers() as progress:
        image, found = works.build(
            manifest,
            platform,
            base=base,
            accelerator=accelerator,
            budget=limit,
            progress=progress,
        )
        if layout is not None:
            layouts.write(image, session.world.folder / layout, name=ref)
        elif target is not None:
            pushed, sent = works.push(image, found, target, progress)
    _report(session, manifest, image, pushed, sent, layout)


def show(
    context: typer.Context,
    image: Annotated[
        str,
        typer.Argument(
            metavar="REF|NAME:V|FOLDER",
            help="An image in a registry, a version, or an OCI layout.",
        ),
    ],
    platform: OfPlatform = DEFAULT_PLATFORM,
    base: Annotated[
        str | None,
        typer.Option("--base", metavar="REF", help="What to build a version on to look at it."),
    ] = None,
    bucket: Bucket = None,
    deployments: DeploymentsFile = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Show what an image is made of: bytes per layer, package and file.

    A version is shown as it is deployed; one without an image is built to look at it, and not
    pushed.
    """
    session = Session.of(context, as_json, bucket, deployments)
    works = ImageWorks(session)
    folder = session.world.folder / image
    if layouts.is_layout(folder):
        shown = of_built(image, layouts.read(folder))
        session.output.result(shown.to_json(), shown.render)
        return
    pinned = image
    if "/" not in image:
        name, version = version_ref(image)
        entry = session.deployments.entry(name, version)
        pinned = (entry.image if entry else None) or ""
    with session.output.transfers() as progress:
        if pinned and base is None:
            reference = Reference.parse(pinned)
            with works.open(reference) as repository:
                told = named(progress, "layer")
                shown = of_stored(reference, repository, platform, works.workspace, told)
        else:
            manifest = session.registry.manifest(*version_ref(image))
            # Looked at because it is too large, often: nothing is refused for its size here.
            built, _ = works.build(manifest, platform, base=base, budget=2**63, progress=progress)
            shown = of_built(image, built)
    session.output.result(shown.to_json(), shown.render)


def base(
    context: typer.Context,
    image: Annotated[
        str, typer.Argument(metavar="REF:TAG", help=f"The image, such as {GOOD_BASE}.")
    ],
    accelerator: OfAccelerator = "cpu",
    bucket: Bucket = None,
    deployments: DeploymentsFile = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Choose the image that versions are built on, by its digest today.

    It is read, and refused when it has no glibc or no Python 3.11 or newer; builds find it kept.
    Writes environment.base_image into deployments.toml, with --accelerator cuda cuda_base_image:
    what images for endpoints with a GPU are built on. Images stay what they are when the tag moves
    on; run it again to take the newer one.
    """
    session = Session.of(context, as_json, bucket, deployments)
    reference = Reference.parse(image)
    with session.output.transfers() as progress:
        found, platforms = ImageWorks(session).choose_base(reference, progress)
    chosen = str(found)
    path, setting = session.deployments_path, BASE_SETTINGS[accelerator]
    with_base_image(path, chosen, setting)
    result = {setting: chosen, "platforms": platforms, "file": str(path)}

    def render(console: Console) -> None:
        console.print(f"{path.name} now says {setting} = {chosen!r}")
        kept = ("linux/amd64", "linux/arm64")
        console.print(facts([(name, short(platforms[name])) for name in kept if name in platforms]))

    session.output.result(result, render)


def parse_size(text: str) -> int:
    """Bytes of ``500MB``, ``2GiB`` or ``1000000``; raises `InvalidUsageError`."""
    found = _SIZE.fullmatch(text.strip())
    count = int(float(found[1]) * _UNITS[(found[2] or "B").lower()]) if found else 0
    if count <= 0:
        raise InvalidUsageError(
            f"--budget {text!r} is no size", hint="write bytes, or such as 500MB or 2GiB"
        )
    return count


def _report(
    session: Session,
    manifest: Manifest,
    image: Image,
    pushed: Reference | None,
    sent: int,
    layout: Path | None,
) -> None:
    ref = f"{manifest.model}:{manifest.version}"
    shown = of_built(str(pushed or ref), image)
    where = str(session.world.folder / layout) if layout else None
    document: dict[str, Any] = {
        "model": manifest.model,
        "version": manifest.version,
        **shown.to_json(),
        "pushed": str(pushed) if pushed else None,
        "sent_bytes": sent,
        "layout": where,
    }

    def render(console: Console) -> None:
        console.print(f"built {ref} for {image.platform}", style="bold")
        pairs = [
            ("image", pushed),
            ("layout", where),
            ("digest", image.digest if where else None),
            ("size", f"{size(shown.size)}, {size(shown.above_base)} of it above the base"),
            ("sent", size(sent) if pushed else None),
        ]
        console.print(facts(pairs))
        told = pushed or (shlex.quote(str(layout)) if layout else ref)
        console.print(f"next: modelport image show {told}", style="dim")

    session.output.result(document, render)
