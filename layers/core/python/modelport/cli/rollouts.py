"""``modelport rollout``: start, watch, pause, resume, abort, and look now.

Thin: what a rollout is and what becomes of it is `modelport.rollouts`' business. `tick` runs the
very code that the scheduled controller runs.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Console

from modelport.cli.console import table
from modelport.cli.gate_options import Force, NoWorseThan, Require, judged
from modelport.cli.listing import routes_of
from modelport.cli.rollout_view import describe, draw
from modelport.cli.session import AsJson, Bucket, Debug, Message, Session, version_ref
from modelport.cli.traffic import (
    AliasName,
    ModelName,
    Propose,
    alias_json,
    change_alias,
    propose_move,
)
from modelport.errors import ModelNotFoundError
from modelport.refs import check_alias, check_name
from modelport.registry.active import ActiveRollouts
from modelport.registry.changes import now
from modelport.rollouts import operations, planning
from modelport.rollouts.controller import Controller
from modelport.rollouts.guards import DEFAULT_GUARDS
from modelport.routes import STABLE, Routes, Weighted

OptionalName = Annotated[
    str | None,
    typer.Argument(metavar="[NAME]", help="A model; without it: all.", show_default=False),
]


def start(
    context: typer.Context,
    ref: Annotated[str, typer.Argument(metavar="NAME:V", help="The version to move to.")],
    alias: AliasName = STABLE,
    steps: Annotated[
        str, typer.Option("--steps", metavar="P,P…,100", help="Its share, in percent.")
    ] = "1,5,25,50,100",
    every: Annotated[
        str, typer.Option("--every", metavar="TIME", help="The least a step lasts: 30s, 5m, 2h.")
    ] = "5m",
    guards: Annotated[
        list[str] | None,
        typer.Option(
            "--guard",
            metavar="GUARD",
            help="What must hold: errors<1%, errors<=1.5x, p95<300ms, p95<=1.2x, agreement>=99%,"
            " distribution; x is held against the present version. May be repeated."
            " [dim]\\[default: errors, which is errors<=1.25x][/dim]",
            show_default=False,
        ),
    ] = None,
    alpha: Annotated[
        float, typer.Option("--alpha", help="The most that good versions are turned back, of 1.")
    ] = 0.01,
    min_samples: Annotated[
        int, typer.Option("--min-samples", help="Requests to see of each version in each step.")
    ] = 100,
    max_crashes: Annotated[
        int, typer.Option("--max-crashes", help="So many deaths of its processes end it at once.")
    ] = 3,
    require: Require = None,
    no_worse_than: NoWorseThan = None,
    force: Force = False,
    propose: Propose = False,
    message: Message = "",
    bucket: Bucket = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Move an alias to a version in steps, each watched; back at once when a guard alarms.

    The first step is taken now, the others by the controller: when a step has lasted, enough calls
    were seen, no guard alarmed and nothing is missing. Guards are judged by a test that may be
    looked at all the time: a version that is no worse is turned back with probability --alpha.
    """
    session = Session.of(context, as_json, bucket)
    name, version = version_ref(ref)
    wanted = planning.Wanted(
        alias=check_alias(alias),
        candidate=version,
        steps=planning.parse_steps(steps),
        every_s=planning.parse_duration(every),
        guards=tuple(guards) if guards else DEFAULT_GUARDS,
        alpha=alpha,
        min_samples=min_samples,
        max_crashes=max_crashes,
    )
    gates = judged(session, name, version, alias, require, no_worse_than, force)
    routes = routes_of(session, name)
    plan = planning.planned(routes, wanted, session.observations, datetime.now(UTC))
    if propose:
        operations.check_possible(routes, plan)  # what could not be approved is not proposed
        to = (Weighted(version),)
        return propose_move(session, name, alias, to, message, rollout=plan, gates=gates)

    def edit(routes: Routes) -> Routes:
        return operations.start(routes, plan)

    detail = {
        "candidate": version,
        "steps": list(plan.steps),
        "guards": [guard.name for guard in plan.guards],
        **gates,
    }
    change_alias(session, name, alias, edit, "rollout-start", message, detail)


def status(
    context: typer.Context,
    name: OptionalName = None,
    bucket: Bucket = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Show rollouts: step, weights, samples, each guard's evidence, and what is decided next.

    With a model those that have ended as well. Evidence is a number that a version no worse than
    tolerated ever brings to what is needed only with probability alpha.
    """
    session = Session.of(context, as_json, bucket)
    names = sorted(ActiveRollouts(session.registry.store).noted()) if name is None else [name]
    shown = []
    for model in names:
        try:
            routes = routes_of(session, check_name(model))
        except ModelNotFoundError:
            if name is not None:
                raise
            continue  # the list of rollouts under way may name too many, never too few
        for rollout in routes.rollouts.values():
            if rollout.active or name is not None:
                decision = _controller(session).look(routes, rollout) if rollout.active else None
                shown.append(describe(routes, rollout, decision))

    def render(console: Console) -> None:
        draw(console, shown)

    session.output.result({"rollouts": shown}, render)


def pause(
    context: typer.Context,
    name: ModelName,
    alias: AliasName = STABLE,
    message: Message = "",
    bucket: Bucket = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Let a rollout take no further step. Its guards go on watching, and it still goes back."""
    session = Session.of(context, as_json, bucket)

    def edit(routes: Routes) -> Routes:
        return operations.paused(routes, alias, message)

    _told(session, name, alias, edit, "rollout-pause", message)


def resume(
    context: typer.Context,
    name: ModelName,
    alias: AliasName = STABLE,
    message: Message = "",
    bucket: Bucket = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Let a paused rollout go on. Its present step begins anew."""
    session = Session.of(context, as_json, bucket)

    def edit(routes: Routes) -> Routes:
        return operations.resumed(routes, alias, now(), message)

    _told(session, name, alias, edit, "rollout-resume", message)


def abort(
    context: typer.Context,
    name: ModelName,
    alias: AliasName = STABLE,
    message: Message = "",
    bucket: Bucket = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """End a rollout and give the alias back what it meant before."""
    session = Session.of(context, as_json, bucket)

    def edit(routes: Routes) -> Routes:
        return operations.aborted(routes, alias, message)

    change_alias(session, check_name(name), check_alias(alias), edit, "rollout-abort", message, {})


def tick(
    context: typer.Context,
    name: OptionalName = None,
    bucket: Bucket = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Look at the rollouts now and do what is due, as the controller does every minute.

    With a model it is looked at even if the list of rollouts under way has lost it.
    """
    session = Session.of(context, as_json, bucket)
    outcomes = _controller(session).tick(None if name is None else [check_name(name)])

    def render(console: Console) -> None:
        if not outcomes:
            console.print("no rollout is under way")
            return
        rows = [
            (
                o.model,
                o.alias or "-",
                o.error or o.decision.action,
                "done" if o.acted else "-",
                o.decision.reason,
            )
            for o in outcomes
        ]
        console.print(table(("MODEL", "ALIAS", "DECISION", "", "WHY"), rows))

    session.output.result({"outcomes": [outcome.to_json() for outcome in outcomes]}, render)


def _controller(session: Session) -> Controller:
    return Controller(session.registry, session.observations)


def _told(
    session: Session,
    name: str,
    alias: str,
    edit: Callable[[Routes], Routes],
    action: str,
    message: str,
) -> None:
    """Change a rollout that keeps its alias as it is, and say how it stands."""
    detail: dict[str, Any] = {"alias": check_alias(alias)}
    who = session.actor(message)
    written = session.registry.change(check_name(name), edit, action=action, detail=detail, who=who)
    rollout = written.rollouts[alias]
    document = {
        "model": name,
        "alias": alias,
        "state": rollout.state,
        "step": rollout.percent,
        "weights": alias_json(written.aliases.get(alias)),
        "revision": written.revision,
        "who": who.who,
    }

    def render(console: Console) -> None:
        console.print(
            f"{name}@{alias}: rollout of {rollout.candidate} is {rollout.state}"
            f" at {rollout.percent:g} %  (revision {written.revision})"
        )

    session.output.result(document, render)
