"""``modelport publish``: a bundle on disk becomes the next version of a model."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from modelport import tuning
from modelport.bundle import load_bundle
from modelport.cli.console import facts, short, size
from modelport.cli.failures import InvalidUsageError
from modelport.cli.golden_gate import GoldenGate
from modelport.cli.lineage import lineage
from modelport.cli.session import AsJson, Bucket, Debug, Message, Session
from modelport.errors import ModelNotFoundError
from modelport.manifest import Draft, Manifest
from modelport.refs import check_name

RECORD = "What is recorded with it"


def publish(
    context: typer.Context,
    path: Annotated[
        Path, typer.Argument(help="A .onnx file, or a folder with model.onnx.", show_default=False)
    ],
    name: Annotated[str, typer.Option("--name", "-n", help="The model it is a version of.")],
    description: Annotated[
        str | None,
        typer.Option(
            "--description",
            help="What the model does. Without it: as model.toml says.",
            rich_help_panel=RECORD,
            show_default=False,
        ),
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            "--metric",
            metavar="K=V",
            help="A measure of it, such as accuracy=0.98; may be repeated.",
            rich_help_panel=RECORD,
            show_default=False,
        ),
    ] = None,
    tune: Annotated[
        bool,
        typer.Option(
            "--tune/--no-tune",
            help="Measure how it is opened fastest. Without: as model.toml or onnxruntime says.",
        ),
    ] = True,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify/--no-verify",
            help="Ask the goldens in every protocol first. Without: deploy is the first to ask.",
        ),
    ] = True,
    message: Message = "",
    bucket: Bucket = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Publish a model file or bundle as the next version of a model.

    Uploads only what the registry lacks and gives the version its number. The same content again is
    the same version, so an interrupted publish is finished by running it again. Git commit, package
    versions and who published are recorded. Large weights are laid out in a file of their own, and
    the model is opened and run a few times to find the settings it starts and answers fastest with.

    The goldens are asked in every form of every protocol first, in a process of its own; an answer
    that disagrees refuses the publish. What a form cannot carry is listed with its reason.
    """
    session = Session.of(context, as_json, bucket)
    bundle = session.world.folder / path
    measures = parse_metrics(metric or ())
    gate = GoldenGate(session, name, verify)
    manifest, new = published(
        session, bundle, name, description, measures, tune=tune, message=message, gate=gate
    )
    _report(session, manifest, gate, new=new)


def published(
    session: Session,
    bundle: Path,
    name: str,
    description: str | None = None,
    metrics: Mapping[str, float] | None = None,
    *,
    tune: bool = True,
    message: str = "",
    origin: Mapping[str, Any] | None = None,
    gate: GoldenGate | None = None,
) -> tuple[Manifest, bool]:
    """Publish the bundle; its manifest, and whether the version is new.

    ``origin`` is recorded in the version's lineage beside what is found out here; ``gate`` asks the
    goldens of content that is new. Raises `InvalidBundleError` where one is answered wrongly.
    """
    check_name(name)
    # What is laid out anew is published from this folder, and gone afterwards, whatever happens.
    with tempfile.TemporaryDirectory(prefix="modelport-") as work:
        draft = described(load_bundle(bundle, work=Path(work)), description, metrics or {})
        known = {**draft.lineage, **lineage(bundle), **(origin or {})}
        draft = replace(draft, lineage=known)
        before = _latest(session, name)
        if not _is_latest(session, name, before, draft):
            if tune:
                draft = _measured(session, draft, Path(work))
            (gate or GoldenGate(session, name))(draft, Path(work))
        with session.output.transfers() as progress:
            actor = session.actor(message)
            manifest = session.registry.publish(name, draft, who=actor, progress=progress)
    return manifest, manifest.version > before


def described(draft: Draft, description: str | None, metrics: Mapping[str, float]) -> Draft:
    """The draft with what the command line says of it on top of what the bundle says."""
    content = draft.content
    if description is not None:
        content = replace(content, description=description)
    return replace(draft, content=replace(content, metrics={**content.metrics, **metrics}))


def parse_metrics(pairs: Sequence[str]) -> dict[str, float]:
    """Parse ``K=V`` pairs; raises `InvalidUsageError` naming the one that is none."""
    metrics = {}
    for pair in pairs:
        key, _, text = pair.partition("=")
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not key.strip() or not math.isfinite(value):
            raise InvalidUsageError(
                f"--metric {pair!r} is not a name and a finite number",
                hint="write --metric accuracy=0.98",
            )
        metrics[key.strip()] = value
    return metrics


def _is_latest(session: Session, name: str, latest: int, draft: Draft) -> bool:
    """Whether the newest version is this very content: publishing it again changes nothing."""
    return bool(latest) and session.registry.manifest(name, latest).digest == draft.content.digest


def _measured(session: Session, draft: Draft, work: Path) -> Draft:
    with session.output.working("measuring how it is opened fastest"):
        draft, found = tuning.tune(draft, work, session.world.environ)
    session.output.note(found)
    return draft


def _latest(session: Session, name: str) -> int:
    try:
        snapshot = session.registry.routes(name)
    except ModelNotFoundError:
        return 0
    return snapshot.routes.latest if snapshot else 0


def _report(session: Session, manifest: Manifest, gate: GoldenGate, *, new: bool) -> None:
    document: dict[str, Any] = {
        "model": manifest.model,
        "version": manifest.version,
        "digest": manifest.digest,
        "new": new,
        "files": len(manifest.content.files),
        "bytes": manifest.content.size,
        "goldens": len(manifest.content.goldens),
        # None where there are none, or the same content was published before.
        "verified": gate.to_json(),
        "created": manifest.created,
        "lineage": manifest.lineage,
        "tuning": asdict(manifest.tuning) if manifest.tuning else None,
    }

    def render(console: Console) -> None:
        ref = f"{manifest.model}:{manifest.version}"
        console.print(f"{'published' if new else 'already published as'} {ref}", style="bold")
        files, goldens = document["files"], document["goldens"]
        pairs = [
            ("digest", short(manifest.digest)),
            ("content", f"{files} files, {size(manifest.content.size)}, {goldens} goldens"),
            ("verified", gate.facts()),
        ]
        console.print(facts(pairs))
        gate.render(console)
        console.print(f"next: modelport deploy {ref}", style="dim")

    session.output.result(document, render)
