"""``modelport diff``: what is different between two versions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from modelport.cli.console import harmless, size
from modelport.cli.listing import chosen, routes_of
from modelport.cli.session import AsJson, Bucket, Debug, Session
from modelport.refs import parse_ref
from modelport.upkeep import difference
from modelport.upkeep.difference import Change, Side

_ABSENT = "-"


def diff(
    context: typer.Context,
    first: Annotated[str, typer.Argument(metavar="NAME[:V|@ALIAS]", help="What to compare with.")],
    second: Annotated[str, typer.Argument(metavar="NAME[:V|@ALIAS]", help="What to compare.")],
    bucket: Bucket = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Show what is different between two versions, of one model or of two.

    Signature, files, settings, metrics, evaluations on the same data, goldens, lineage and tags.
    Metrics stand there even when they are equal.
    """
    session = Session.of(context, as_json, bucket)
    before, after = (_side(session, ref) for ref in (first, second))
    changes = difference.changes(before, after)
    document = {
        "from": _named(before),
        "to": _named(after),
        "changes": [{**asdict(change), "delta": change.delta} for change in changes],
    }

    def render(console: Console) -> None:
        if before.row.manifest.digest == after.row.manifest.digest:
            console.print("the same content: it answers alike", style="dim")
        _print(console, (_told(before), _told(after)), changes)

    session.output.result(document, render)


def _side(session: Session, text: str) -> Side:
    ref = parse_ref(text)
    version = ref.version
    if version is None:
        version = chosen(routes_of(session, ref.name), ref)
    return difference.side(session.registry, ref.name, version)


def _named(side: Side) -> dict[str, Any]:
    manifest = side.row.manifest
    return {"model": manifest.model, "version": manifest.version, "digest": manifest.digest}


def _told(side: Side) -> str:
    return f"{side.row.manifest.model}:{side.row.manifest.version}"


def _print(console: Console, names: tuple[str, str], changes: Sequence[Change]) -> None:
    if not changes:
        console.print(f"{names[0]} and {names[1]} do not differ")
        return
    grid = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    for heading in ("", "WHAT", *(name.upper() for name in names), "CHANGE"):
        grid.add_column(heading, overflow="fold")
    for part, group in groupby(changes, key=lambda change: change.part):
        title = part
        for change in group:
            grid.add_row(Text(title, "bold"), Text(harmless(change.name)), *_cells(change))
            title = ""
    console.print(grid)


def _cells(change: Change) -> tuple[Text, Text, Text]:
    """Before, after, and what became of it: red goes, green comes, yellow changes."""
    as_size = change.part == "files"
    old, new = (_value(v, as_size) for v in (change.before, change.after))
    if change.before is None:
        return Text(old, "dim"), Text(new, "green"), Text("added", "green")
    if change.after is None:
        return Text(old, "red"), Text(new, "dim"), Text("removed", "red")
    if change.before == change.after:
        same = as_size or change.part == "goldens"
        told = Text("changed", "yellow") if same else Text("=", "dim")
        return Text(old), Text(new), told
    delta = change.delta
    moved = "changed" if delta is None else _delta(delta, as_size)
    return Text(old), Text(new), Text(moved, "yellow")


def _value(value: Any, as_size: bool) -> str:
    if value is None:
        return _ABSENT
    if as_size:
        return size(value)
    return f"{value:g}" if isinstance(value, float) else harmless(str(value))


def _delta(delta: float, as_size: bool) -> str:
    sign = "+" if delta > 0 else "-"
    return sign + (size(round(abs(delta))) if as_size else f"{abs(delta):g}")
