"""``modelport route``, ``promote`` and ``rollback``: move traffic by writing routes.

Seconds, no deploy. Every change is one revision in the model's log.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

import typer
from rich.console import Console

from modelport import approvals
from modelport.cli.failures import InvalidUsageError
from modelport.cli.gate_options import Force, NoWorseThan, Require, judged
from modelport.cli.session import AsJson, Bucket, Debug, Message, Session, version_ref
from modelport.refs import check_alias, check_name
from modelport.registry.changes import now
from modelport.routes import STABLE, Alias, Proposal, Rollout, Routes, Weighted, parse_weights

ModelName = Annotated[str, typer.Argument(metavar="NAME", help="The model.")]
AliasName = Annotated[str, typer.Option("--alias", help="The alias to move.")]
Propose = Annotated[
    bool,
    typer.Option(
        "--propose", help="Only propose it: somebody else approves (see: modelport protect)."
    ),
]


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
    propose: Propose = False,
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

    if propose:
        return propose_move(session, check_name(name), alias, weighted, message)

    def edit(routes: Routes) -> Routes:
        return routes.with_alias(alias, weighted) if weighted else routes.without_alias(alias)

    detail = {"to": alias_json(weighted) or None}
    change_alias(session, check_name(name), alias, edit, "route", message, detail)


def promote(
    context: typer.Context,
    ref: Annotated[str, typer.Argument(metavar="NAME:V", help="The version that shall answer.")],
    alias: AliasName = STABLE,
    require: Require = None,
    no_worse_than: NoWorseThan = None,
    force: Force = False,
    propose: Propose = False,
    message: Message = "",
    bucket: Bucket = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Give a version all of an alias's traffic.

    Without --alias that is stable: what answers callers that name no version.

    Refuses a version that does not pass its gates, those of its model.toml and those given here:
    what modelport evaluate has to have shown. "Worse" means a paired test on the same rows with p <
    0.05, or, where a report does not keep its rows, a figure outside the other's 95 % interval.
    """
    session = Session.of(context, as_json, bucket)
    name, version = version_ref(ref)
    whole = (Weighted(version),)
    check_alias(alias)
    gates = judged(session, name, version, alias, require, no_worse_than, force)
    if propose:
        return propose_move(session, name, alias, whole, message, gates=gates)

    def edit(routes: Routes) -> Routes:
        return routes.with_alias(alias, whole)

    detail = {"to": alias_json(whole), **gates}
    change_alias(session, name, alias, edit, "promote", message, detail)


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

    Again goes one step further back. Refuses when that version is no longer deployed. Needs no
    approval where the alias is protected.
    """
    session = Session.of(context, as_json, bucket)
    check_alias(alias)

    def edit(routes: Routes) -> Routes:
        return routes.rolled_back(alias)

    change_alias(session, check_name(name), alias, edit, "rollback", message, {})


def shares(routes: Routes, version: int) -> dict[str, float]:
    """The version's part, in percent, of the traffic of each alias that names it."""
    found = {}
    for name, alias in sorted(routes.aliases.items()):
        whole = sum(part.weight for part in alias)
        for part in alias:
            if part.version == version:
                found[name] = round(100 * part.weight / whole, 2)
    return found


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


def propose_move(
    session: Session,
    name: str,
    alias: str,
    to: Alias,
    message: str,
    rollout: Rollout | None = None,
    gates: Mapping[str, Any] | None = None,
) -> None:
    """Have a change of an alias wait for somebody else, and say so.

    ``gates`` is what the version's gates said, for the log.
    """
    if not to:
        raise InvalidUsageError(
            "the removal of an alias cannot be proposed",
            hint=f"propose to lift its protection: modelport protect {name} --alias {alias} --lift",
        )
    who, at = session.actor(message), now()

    def edit(routes: Routes) -> Routes:
        return approvals.proposed(
            routes, alias, to, who=who.who, at=at, message=message, rollout=rollout
        )

    detail = {"alias": alias, "to": alias_json(to), "rollout": rollout is not None}
    detail |= gates or {}
    written = session.registry.change(name, edit, action="propose", detail=detail, who=who)
    tell_proposed(session, written, alias)


def tell_proposed(session: Session, routes: Routes, alias: str) -> None:
    """Say what waits for whom."""
    proposal = approvals.proposal_of(routes, alias)
    document = {
        "model": routes.model,
        "alias": alias,
        "proposed": proposal.to_json(),
        "revision": routes.revision,
    }

    def render(console: Console) -> None:
        console.print(f"{routes.model}@{alias}: {change_of(proposal)}, proposed")
        console.print(f"  somebody else: modelport approve {routes.model} {alias}")

    session.output.result(document, render)


def change_of(proposal: Proposal) -> str:
    """What a proposal wants, as people write it."""
    if not proposal.to:
        return "no longer protected"
    how = " by a rollout" if proposal.rollout else ""
    return f"{weights(proposal.before)} → {weights(proposal.to)}{how}"


def change_alias(
    session: Session,
    name: str,
    alias: str,
    edit: Callable[[Routes], Routes],
    action: str,
    message: str,
    detail: dict[str, Any],
) -> None:
    """Change an alias's routes by ``edit`` and say what it meant before and means now."""
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
