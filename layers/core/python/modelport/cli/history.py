"""``modelport log`` and ``status``: what happened, and whether what runs is what shall run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from itertools import islice
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from modelport.cli.console import harmless, short, table
from modelport.cli.finding import when
from modelport.cli.listing import all_routes, routes_of
from modelport.cli.session import AsJson, Bucket, Debug, DeploymentsFile, Session
from modelport.cli.traffic import ModelName, alias_json, change_of, shares
from modelport.deployments import DeploymentEntry, Deployments
from modelport.refs import check_name
from modelport.registry.changes import verify_chain
from modelport.routes import Change, Deployment, Routes

LIMIT = 20


def log(
    context: typer.Context,
    name: ModelName,
    verify: Annotated[
        bool, typer.Option("--verify", help="Check the whole hash chain; exit 6 if it is broken.")
    ] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most this many.")] = LIMIT,
    bucket: Bucket = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Show who changed what, when and why; the newest first.

    Each entry carries the hash of the one before: --verify proves that none was altered or removed.
    """
    session = Session.of(context, as_json, bucket)
    changes = list(islice(session.registry.log(check_name(name)), None if verify else limit))
    if verify:
        verify_chain(name, changes)
    shown = changes[:limit]
    document = {
        "model": name,
        "verified": len(changes) if verify else None,
        "changes": [asdict(change) for change in shown],
    }

    def render(console: Console) -> None:
        rows = [
            (
                c.revision,
                when(c.at),
                c.action,
                _detail(c),
                c.who,
                _commit(c.commit),
                c.message,
                short(c.hash),
            )
            for c in shown
        ]
        headers = ("REVISION", "AT", "ACTION", "WHAT", "WHO", "COMMIT", "WHY", "HASH")
        console.print(table(headers, rows))
        if verify:
            console.print(Text(f"verified: {len(changes)} changes, no gap, no edit", style="green"))

    session.output.result(document, render)


def status(
    context: typer.Context,
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="A model; without it: all.", show_default=False),
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Show rates, latency and rollouts, live, until Ctrl-C.")
    ] = False,
    every: Annotated[
        str, typer.Option("--every", metavar="TIME", help="How often to look: 2s, 1m.")
    ] = "2s",
    bucket: Bucket = None,
    deployments: DeploymentsFile = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Show what runs: models, versions, aliases and weights, and where desired and real differ.

    A version that stands in deployments.toml but does not run, or runs but does not stand there, is
    flagged. With --watch, what versions did in the last minutes: calls, failures, latency by part,
    cold starts, shadows, and what each rollout's guards make of it. A look asks for some 15 metrics
    of each version, of which CloudWatch charges by the thousand.
    """
    session = Session.of(context, as_json, bucket, deployments)
    if watch:
        from modelport.cli import watching  # loads what only it needs

        return watching.watch(session, name, every)
    desired = session.deployments
    found = list(all_routes(session)) if name is None else [routes_of(session, check_name(name))]
    entries = [each for each in desired.deployments if name in (None, each.model)]
    drift = differences(entries, found)
    document = {
        "environment": desired.environment.name,
        "deployments_file": str(session.deployments_path),
        "models": [_model_json(routes) for routes in found],
        "drift": drift,
    }

    def render(console: Console) -> None:
        _print_status(console, desired, found, drift)

    session.output.result(document, render)


def differences(
    entries: Sequence[DeploymentEntry], found: Sequence[Routes]
) -> list[dict[str, Any]]:
    """Where the desired state and the routes disagree, by model and version."""
    wanted = {entry.key: entry for entry in entries}
    running = {(r.model, d.version): d for r in found for d in r.deployments.values()}
    drift = []
    for model, version in sorted(wanted.keys() | running.keys()):
        problem = _difference(wanted.get((model, version)), running.get((model, version)))
        if problem:
            drift.append({"model": model, "version": version, "problem": problem})
    return drift


def _difference(wanted: DeploymentEntry | None, running: Deployment | None) -> str | None:
    if running is None:
        return "not-deployed"
    if wanted is None:
        return "not-in-file"
    return "other-digest" if wanted.digest != running.digest else None


_REMEDIES = {
    "not-deployed": "stands in the file but does not run: modelport deploy {ref}",
    "not-in-file": "runs but does not stand in the file: modelport deploy {ref}, or undeploy {ref}",
    "other-digest": "runs with another content than the file says: modelport deploy {ref}",
}


def _model_json(routes: Routes) -> dict[str, Any]:
    return {
        "model": routes.model,
        "latest": routes.latest,
        "revision": routes.revision,
        "aliases": {name: alias_json(alias) for name, alias in sorted(routes.aliases.items())},
        "policy": routes.policy.to_json(),
        "rollouts": {name: each.to_json() for name, each in sorted(routes.rollouts.items())},
        "proposals": {name: each.to_json() for name, each in sorted(routes.proposals.items())},
        "deployments": [
            {**asdict(deployment), "aliases": shares(routes, deployment.version)}
            for deployment in routes.deployments.values()
        ],
    }


def _print_status(
    console: Console,
    desired: Deployments,
    found: Sequence[Routes],
    drift: Sequence[dict[str, Any]],
) -> None:
    console.print(f"environment {desired.environment.name}", style="bold")
    rows = [row for routes in found for row in _rows(routes)]
    if rows:
        headers = ("MODEL", "VERSION", "TARGET", "TRAFFIC", "RESOURCE", "REVISION")
        console.print(table(headers, rows))
    else:
        console.print("nothing is deployed")
    for routes in found:
        for rollout in routes.active_rollouts:
            at = f"{routes.model}@{rollout.alias}"
            step = f"{rollout.percent:g} % to {rollout.candidate}, {rollout.state}"
            console.print(f"{at}: rollout, {step}: modelport rollout status {routes.model}")
        for proposal in routes.proposals.values():
            at = f"{routes.model}@{proposal.alias}: {change_of(proposal)}"
            who = harmless(proposal.who)
            console.print(f"{at}, proposed by {who}: modelport proposals {routes.model}")
    for item in drift:
        ref = f"{item['model']}:{item['version']}"
        remedy = _REMEDIES[item["problem"]].format(ref=ref)
        console.print(Text(f"! {ref} {remedy}", style="yellow"))


def _rows(routes: Routes) -> list[tuple[object, ...]]:
    if not routes.deployments:
        return [(routes.model, "-", "-", "-", "-", routes.revision)]
    return [
        (
            routes.model,
            deployment.version,
            deployment.target,
            _traffic(shares(routes, deployment.version)),
            deployment.resource,
            routes.revision,
        )
        for deployment in routes.deployments.values()
    ]


def _traffic(shares: dict[str, float]) -> str:
    return "  ".join(f"{name} {share:g}%" for name, share in shares.items()) or "-"


def _detail(change: Change) -> str:
    # Evidence fills a screen, and what it comes to is said by the reason; --json has all of it.
    told = {key: value for key, value in change.detail.items() if key != "evidence"}
    return " ".join(f"{key}={_flat(value)}" for key, value in sorted(told.items()))


def _commit(commit: str) -> str:
    """As git shortens it, with a mark for a folder that was edited."""
    hexdigest, dash, _ = commit.partition("-")
    return hexdigest[:8] + ("*" if dash else "")


def _flat(value: Any) -> str:
    if isinstance(value, list) and all(isinstance(v, dict) and "version" in v for v in value):
        return ",".join(f"{v['version']}:{v.get('weight', 100):g}" for v in value)
    return short(value) if isinstance(value, str) and value.startswith("sha256:") else str(value)
