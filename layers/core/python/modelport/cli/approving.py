"""``modelport protect``, ``proposals``, ``approve`` and ``reject``: two people for what matters.

Thin: what may be approved by whom is `modelport.approvals`' business.
"""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from modelport import approvals
from modelport.cli.console import table
from modelport.cli.finding import when
from modelport.cli.listing import routes_of
from modelport.cli.session import AsJson, Bucket, Debug, Message, Session
from modelport.cli.traffic import (
    AliasName,
    ModelName,
    alias_json,
    change_alias,
    change_of,
    tell_proposed,
)
from modelport.refs import check_alias, check_name
from modelport.registry.changes import now
from modelport.rollouts.operations import started
from modelport.routes import STABLE, Rollout, Routes
from modelport.routes.errors import ApproverUnknownError

#: How the names begin that AWS gives to callers.
_ARN = "arn:"
AliasArgument = Annotated[str, typer.Argument(metavar="ALIAS", help="The protected alias.")]


def protect(
    context: typer.Context,
    name: ModelName,
    alias: AliasName = STABLE,
    lift: Annotated[
        bool, typer.Option("--lift", help="Propose to let it move freely again.")
    ] = False,
    message: Message = "",
    bucket: Bucket = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Let an alias move only when a second person approves.

    From then on route, promote and rollout start want --propose for it. A rollback needs no
    approval: it goes back to what was approved before. Lifting the protection needs one.
    """
    session = Session.of(context, as_json, bucket)
    check_alias(alias)
    who, at = session.actor(message), now()

    def edit(routes: Routes) -> Routes:
        if not lift:
            return approvals.protected(routes, alias)
        return approvals.proposed(routes, alias, (), who=who.who, at=at, message=message)

    detail = {"alias": alias, "lift": lift}
    action = "propose" if lift else "protect"
    written = session.registry.change(check_name(name), edit, action=action, detail=detail, who=who)
    if lift:
        return tell_proposed(session, written, alias)
    document = {
        "model": name,
        "protected": list(written.policy.protected),
        "revision": written.revision,
    }

    def render(console: Console) -> None:
        console.print(f"{name}@{alias}: protected  (revision {written.revision})")

    session.output.result(document, render)


def proposals(
    context: typer.Context,
    name: ModelName,
    bucket: Bucket = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Show what waits for an approval."""
    session = Session.of(context, as_json, bucket)
    routes = routes_of(session, check_name(name))
    waiting = sorted(routes.proposals.values(), key=lambda each: each.at)
    document = {
        "model": name,
        "protected": list(routes.policy.protected),
        "proposals": [each.to_json() for each in waiting],
    }

    def render(console: Console) -> None:
        if not waiting:
            console.print("nothing waits for an approval")
            return
        rows = [(p.alias, change_of(p), p.who, when(p.at), p.message) for p in waiting]
        console.print(table(("ALIAS", "CHANGE", "WHO", "AT", "WHY"), rows))

    session.output.result(document, render)


def approve(
    context: typer.Context,
    name: ModelName,
    alias: AliasArgument = STABLE,
    message: Message = "",
    bucket: Bucket = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Do what somebody else has proposed for a protected alias.

    Somebody else is who the log would name otherwise: the AWS caller, or MODELPORT_USER. Refused
    when the alias has moved since.
    """
    session = Session.of(context, as_json, bucket)
    waiting = approvals.proposal_of(routes_of(session, check_name(name)), check_alias(alias))
    who = session.actor().who
    if waiting.who.startswith(_ARN) and not who.startswith(_ARN) and not session.named:
        raise ApproverUnknownError(waiting.who)

    def edit(routes: Routes) -> Routes:
        def start(free: Routes, rollout: Rollout) -> Routes:
            return started(free, rollout.begun(now()))  # not when it was proposed

        return approvals.approved(routes, waiting, who=who, start=start)

    detail = {"to": alias_json(waiting.to), "proposed_by": waiting.who}
    change_alias(session, name, alias, edit, "approve", message, detail)
    if not waiting.to:
        session.output.note(f"{name}@{alias} is no longer protected")


def reject(
    context: typer.Context,
    name: ModelName,
    alias: AliasArgument = STABLE,
    message: Message = "",
    bucket: Bucket = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Drop what was proposed for a protected alias; whoever proposed it may do so too."""
    session = Session.of(context, as_json, bucket)
    waiting = approvals.proposal_of(routes_of(session, check_name(name)), check_alias(alias))

    def edit(routes: Routes) -> Routes:
        return approvals.rejected(routes, waiting)

    detail = {"to": alias_json(waiting.to), "proposed_by": waiting.who}
    change_alias(session, name, alias, edit, "reject", message, detail)
