"""``modelport route``, ``promote`` and ``rollback``: move traffic by writing routes.

Seconds, no deploy. Every change is one revision in the model's log.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer
from rich.console import Console

from modelport.cli.failures import InvalidUsageError
from modelport.cli.session import AsJson, Bucket, Debug, Message, Session, version_ref
from modelport.refs import check_alias, check_name
from modelport.routes import STABLE, Alias, Routes, Weighted, parse_weights

ModelName = Annotated[str, typer.Argument(metavar="NAME", help="The model.")]
AliasName = Annotated[str, typer.Option("--alias", help="The alias to move.")]


def route(
    context: typer.Context,
    name: ModelName,
    assignment: Annotated[
        str,
        typer.Argument(
            metavar="ALIAS=V[:W,V:W…]",
            help="An alias and the version, or weighted versions, it shall mean; nothing after"
            " the = removes the alias.",
        ),
    ],
    message: Message = "",
    bucket: Bucket = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Point an alias at a version, or split it over several by weight.

    Weights are relative and need not add up to 100. A caller stays with its version while weights
    move towards another one. Only deployed versions can be named.
    """
    session = Session.of(context, as_json, bucket)
    alias, weighted = parse_assignment(assignment)

    def edit(routes: Routes) -> Routes:
        return routes.with_alias(alias, weighted) if weighted else routes.without_alias(alias)

    detail = {"to": alias_json(weighted) or None}
    _change(session, check_name(name), alias, edit, "route", message, detail)


def promote(
    context: typer.Context,
    ref: Annotated[str, typer.Argument(metavar="NAME:V", help="The version that shall answer.")],
    alias: AliasName = STABLE,
    message: Message = "",
    bucket: Bucket = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Give a version all of an alias's traffic.

    Without --alias that is stable: what answers callers that name no version.
    """
    session = Session.of(context, as_json, bucket)
    name, version = version_ref(ref)
    whole = (Weighted(version),)
    check_alias(alias)

    def edit(routes: Routes) -> Routes:
        return routes.with_alias(alias, whole)

    _change(session, name, alias, edit, "promote", message, {"to": alias_json(whole)})


def rollback(
    context: typer.Context,
    name: ModelName,
    alias: AliasName = STABLE,
    message: Message = "",
    bucket: Bucket = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Give an alias the value it had before its last change.

    Again goes one step further back. Refuses when that version is no longer deployed.
    """
    session = Session.of(context, as_json, bucket)
    check_alias(alias)

    def edit(routes: Routes) -> Routes:
        return routes.rolled_back(alias)

    _change(session, check_name(name), alias, edit, "rollback", message, {})


def parse_assignment(text: str) -> tuple[str, Alias]:
    """Parse ``ALIAS=WEIGHTS``; no weights mean that the alias shall go."""
    alias, equals, weights = text.partition("=")
    if not equals:
        raise InvalidUsageError(
            f"{text!r} does not assign an alias", hint="write canary=3 or canary=3:90,4:10"
        )
    if weights.strip():
        return check_alias(alias), parse_weights(weights)
    return check_alias(alias), ()


def weights(alias: Alias | None) -> str:
    """An alias as people write it: ``3``, ``3:90,4:10``, or ``nothing``."""
    if not alias:
        return "nothing"
    if len(alias) == 1:
        return str(alias[0].version)
    return ",".join(f"{part.version}:{part.weight:g}" for part in alias)


def alias_json(alias: Alias | None) -> list[dict[str, Any]] | None:
    """An alias as JSON: a list of versions and weights."""
    if alias is None:
        return None
    return [{"version": part.version, "weight": part.weight} for part in alias]


def _change(
    session: Session,
    name: str,
    alias: str,
    edit: Callable[[Routes], Routes],
    action: str,
    message: str,
    detail: dict[str, Any],
) -> None:
    seen: dict[str, Alias | None] = {}

    def noted(routes: Routes) -> Routes:
        # Runs again when another writer was faster: what it saw last is what it changed.
        after = edit(routes)
        seen["before"], seen["after"] = routes.aliases.get(alias), after.aliases.get(alias)
        return after

    who = session.actor(message)
    detail = {"alias": alias, **detail}
    written = session.registry.change(name, noted, action=action, detail=detail, who=who)
    before, after = seen["before"], seen["after"]
    document = {
        "model": name,
        "alias": alias,
        "before": alias_json(before),
        "after": alias_json(after),
        "changed": before != after,
        "revision": written.revision,
        "who": who.who,
    }

    def render(console: Console) -> None:
        moved = weights(after) if before == after else f"{weights(before)} → {weights(after)}"
        remark = "unchanged, " if before == after else ""
        console.print(f"{name}@{alias}: {moved}  ({remark}revision {written.revision})")

    session.output.result(document, render)
