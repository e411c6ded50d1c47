"""``modelport gc`` and ``verify``: what may go, and whether all that stays is whole.

Both ask for more than any function may: they run with the rights of who calls them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from modelport.cli.console import facts, size, table
from modelport.cli.failures import INTEGRITY, InvalidUsageError
from modelport.cli.finding import when
from modelport.cli.session import AsJson, Bucket, Debug, DeploymentsFile, Message, Session
from modelport.manifest import Manifest
from modelport.refs import check_name, parse_ref
from modelport.registry import keys
from modelport.upkeep import collect
from modelport.upkeep.collect import Garbage, Swept, Version
from modelport.upkeep.integrity import Checked, Inspection
from modelport.upkeep.retention import KEPT, Retention, candidates, remove
from modelport.upkeep.search import parse_age

_EVERY_S = 0.5


def gc(
    context: typer.Context,
    keep: Annotated[
        int, typer.Option("--keep", min=1, help="So many of each model's newest versions stay.")
    ] = KEPT,
    older_than: Annotated[
        str | None,
        typer.Option(
            "--older-than", metavar="90d", help="Younger versions stay, too.", show_default=False
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="NAME", help="Only versions of this.", show_default=False),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; else it is only shown.")] = False,
    message: Message = "",
    bucket: Bucket = None,
    deployments: DeploymentsFile = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Show which versions can go, and with --yes remove them and all that nothing needs.

    What runs, or is named by deployments.toml, an alias, its history, a policy, a rollout or a
    proposal stays, and so does what has the tag keep. Numbers are never given again. Files stay a
    day longer than whatever needed them, so nobody who publishes meanwhile loses one.
    """
    session = Session.of(context, as_json, bucket, deployments)
    retention = Retention(keep, _age(older_than))
    with session.output.working("looking for what can go") as say:
        plan = _planned(session, retention, check_name(model) if model else None)
        say(f"{len(plan.versions)} versions")
    swept = None
    if yes:
        # Before any version goes: a bucket that cannot remove states exactly is refused.
        session.registry.store.check_erasable()
        swept = _carry_out(session, plan, message)
    _tell(session, plan, swept)


def verify(
    context: typer.Context,
    ref: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME[:V]]", help="A model or a version; without it: all.", show_default=False
        ),
    ] = None,
    hashing: Annotated[
        bool, typer.Option("--blobs", help="Read and hash every file, too.")
    ] = False,
    bucket: Bucket = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Check that everything in the registry is whole; exit 6 if anything is wrong.

    Routes, the log's hash chain, manifests, numbers without holes, publication records, notes,
    evaluation reports, and that every file is there in its size; with --blobs also in its content.
    """
    session = Session.of(context, as_json, bucket)
    with session.output.working("checking") as say:
        inspection = Inspection(session.registry, hashing=hashing, progress=_now_and_then(say))
        checked = _checked(inspection, ref)
    document = {"wrong": checked.wrong, **asdict(checked)}

    def render(console: Console) -> None:
        if checked.findings:
            rows = [
                ("wrong" if f.wrong else "unfinished", f.where, f.problem, f.next)
                for f in checked.findings
            ]
            console.print(table(("", "WHERE", "PROBLEM", "NEXT"), rows))
        console.print(_summary(checked, hashing))

    session.output.result(document, render)
    if checked.wrong:
        raise typer.Exit(INTEGRITY)


@dataclass(frozen=True)
class _Plan:
    """What would go: versions, newest first by model, what each frees, and blobs already unused."""

    versions: list[tuple[Manifest, int]]
    unused: Garbage
    all_bytes: int

    @property
    def bytes(self) -> int:
        return self.unused.bytes + sum(freed for _, freed in self.versions)


def _planned(session: Session, retention: Retention, only: str | None) -> _Plan:
    registry = session.registry
    states = list(registry.store.objects(keys.BLOBS))
    found = collect.needs(registry.store)
    models = [only] if only else list(registry.models())
    desired = {entry.key for entry in session.deployments.deployments}
    going: dict[Version, Manifest] = {}
    for name in models:
        for manifest in candidates(registry, name, retention):
            if (name, manifest.version) not in desired:
                going[name, manifest.version] = manifest
    files = {version: manifest.files for version, manifest in going.items()}
    freed = collect.freed(going, files, found.users)
    unused = collect.garbage(states, found.users, without=frozenset(found.unburied))
    return _Plan([(going[v], size) for v, size in freed], unused, unused.all_bytes)


def _carry_out(session: Session, plan: _Plan, message: str) -> Swept:
    who = session.actor(message)
    numbers: dict[str, list[int]] = {}
    for manifest, _ in plan.versions:
        numbers.setdefault(manifest.model, []).append(manifest.version)
    with session.output.working("removing") as say:
        for model, versions in numbers.items():
            remove(
                session.registry,
                model,
                versions,
                who=who,
                done=lambda count, m=model: say(f"{m}: {count} versions removed"),  # type: ignore[misc]
            )
        return collect.sweep(session.registry.store, who=who, progress=say)


def _tell(session: Session, plan: _Plan, swept: Swept | None) -> None:
    document: dict[str, Any] = {
        "dry_run": swept is None,
        "versions": [
            {
                "model": manifest.model,
                "version": manifest.version,
                "created": manifest.created,
                "digest": manifest.digest,
                "frees_bytes": freed,
            }
            for manifest, freed in plan.versions
        ],
        "unused": {"files": len(plan.unused.states), "bytes": plan.unused.bytes},
        "too_young_bytes": plan.unused.young_bytes,
        "frees_bytes": plan.bytes,
        "stored_bytes": plan.all_bytes,
        "removed": asdict(swept) if swept else None,
    }

    def render(console: Console) -> None:
        if plan.versions:
            console.print(table(("VERSION", "CREATED", "FREES"), _rows(plan.versions)))
            console.print()
        unused = f"{len(plan.unused.states)}, {size(plan.unused.bytes)}"
        pairs = [
            ("versions", f"{len(plan.versions)} can go" if swept is None else len(plan.versions)),
            ("unused files", unused),
            ("too young", size(plan.unused.young_bytes) if plan.unused.young_bytes else ""),
            ("frees", f"{size(plan.bytes)} of {size(plan.all_bytes)}" if swept is None else ""),
            ("freed", f"{size(swept.bytes)}, {swept.states} files" if swept else ""),
        ]
        console.print(facts(pairs))
        if swept is None and plan.bytes + len(plan.versions):
            console.print(Text("nothing was removed: do it with --yes", style="yellow"))

    session.output.result(document, render)


def _rows(versions: Sequence[tuple[Manifest, int]]) -> list[tuple[str, str, str]]:
    return [(f"{m.model}:{m.version}", when(m.created), size(freed)) for m, freed in versions]


def _checked(inspection: Inspection, text: str | None) -> Checked:
    if text is None:
        return inspection.everything()
    ref = parse_ref(text)
    if ref.alias is not None:
        raise InvalidUsageError(
            "an alias has no record of its own", hint=f"modelport verify {ref.name}"
        )
    if ref.version is not None:
        return inspection.version(ref.name, ref.version)
    return inspection.model(ref.name)


def _summary(checked: Checked, hashing: bool) -> Text:
    looked = (
        f"{checked.models:,} models, {checked.versions:,} versions, {checked.removed:,} removed,"
        f" {checked.changes:,} changes, {checked.blobs:,} files of {size(checked.bytes)}"
        + (", all read and hashed" if hashing else "")
    )
    wrong = sum(finding.wrong for finding in checked.findings)
    if wrong:
        return Text(f"{wrong} wrong; looked at {looked}", style="bold red")
    return Text(f"nothing is wrong: {looked}", style="green")


def _now_and_then(say: Callable[[str], None]) -> Callable[[str], None]:
    """``say``, but not more often than people read; a log would have a line for each model."""
    due = time.monotonic() + _EVERY_S

    def said(text: str) -> None:
        nonlocal due
        if time.monotonic() >= due:
            due = time.monotonic() + _EVERY_S
            say(text)

    return said


def _age(text: str | None) -> timedelta | None:
    if text is None:
        return None
    age = parse_age(text)
    if age is None:
        raise InvalidUsageError(f"--older-than {text}: not a time", hint="write 12h, 90d or 8w")
    return age
