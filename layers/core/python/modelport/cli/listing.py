"""``modelport list`` and ``show``: what is published. Reads only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import islice
from typing import Annotated, Any

import typer
from rich.console import Console

from modelport import tuning
from modelport.cli.console import facts, short, size, table
from modelport.cli.session import AsJson, Bucket, Debug, Session
from modelport.cli.traffic import alias_json, weights
from modelport.errors import AliasNotFoundError, NoVersionDeployedError
from modelport.manifest import Manifest
from modelport.refs import ModelRef, check_name, parse_ref
from modelport.routes import STABLE, Routes
from modelport.signature import TensorSpec

LIMIT = 20


def list_(
    context: typer.Context,
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="A model; without it: all.", show_default=False),
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", min=1, help="At most this many versions of a model.")
    ] = LIMIT,
    bucket: Bucket = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """List the models, or the versions of one; the newest first."""
    session = Session.of(context, as_json, bucket)
    if name is None:
        _list_models(session)
    else:
        _list_versions(session, check_name(name), limit)


def show(
    context: typer.Context,
    ref: Annotated[
        str, typer.Argument(metavar="NAME[:V|@ALIAS]", help="The model, a version or an alias.")
    ],
    bucket: Bucket = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Show one version: signature, files, goldens, lineage, and where it runs.

    Without a selector that is the version that answers callers who name none, or, when nothing is
    deployed, the newest.
    """
    session = Session.of(context, as_json, bucket)
    target = parse_ref(ref)
    if target.version is not None:
        manifest = session.registry.manifest(target.name, target.version)
        routes = routes_of(session, target.name)
    else:
        routes = routes_of(session, target.name)
        manifest = session.registry.manifest(target.name, chosen(routes, target))
    _show(session, manifest, routes)


def routes_of(session: Session, name: str) -> Routes:
    """The present routes of a model."""
    snapshot = session.registry.routes(name)
    return snapshot.routes if snapshot else Routes(name)


def all_routes(session: Session) -> Iterator[Routes]:
    """The routes of every model, by name."""
    return (routes_of(session, name) for name in session.registry.models())


def chosen(routes: Routes, ref: ModelRef) -> int:
    """The version an alias or a bare name means; of a weighted alias the heaviest."""
    alias = ref.alias or STABLE
    if alias in routes.aliases:
        return max(routes.aliases[alias], key=lambda part: part.weight).version
    if ref.alias is not None:
        raise AliasNotFoundError(routes.model, ref.alias, routes.aliases)
    version = max(routes.deployments, default=routes.latest)
    if not version:
        raise NoVersionDeployedError(routes.model)
    return version


def _list_models(session: Session) -> None:
    found = sorted(all_routes(session), key=lambda r: r.change.at if r.change else "", reverse=True)
    document = {
        "models": [
            {
                "model": routes.model,
                "latest": routes.latest,
                "deployed": sorted(routes.deployments, reverse=True),
                "aliases": {name: alias_json(a) for name, a in sorted(routes.aliases.items())},
                "revision": routes.revision,
                "changed": routes.change.at if routes.change else None,
            }
            for routes in found
        ]
    }

    def render(console: Console) -> None:
        if not found:
            console.print("nothing is published yet: modelport publish PATH --name NAME")
            return
        rows = [
            (
                routes.model,
                routes.latest,
                _joined(sorted(routes.deployments, reverse=True)),
                _aliases(routes),
                when(routes.change.at if routes.change else ""),
            )
            for routes in found
        ]
        console.print(table(("MODEL", "LATEST", "DEPLOYED", "ALIASES", "CHANGED"), rows))

    session.output.result(document, render)


def _list_versions(session: Session, name: str, limit: int) -> None:
    routes = routes_of(session, name)
    numbers = list(islice(session.registry.versions(name), limit))
    found = [session.registry.manifest(name, number) for number in numbers]
    document = {
        "model": name,
        "latest": routes.latest,
        "versions": [
            {
                "version": manifest.version,
                "digest": manifest.digest,
                "created": manifest.created,
                "bytes": manifest.content.size,
                "description": manifest.content.description,
                "metrics": manifest.content.metrics,
                "deployed": manifest.version in routes.deployments,
                "aliases": list(routes.aliases_of(manifest.version)),
            }
            for manifest in found
        ],
    }

    def render(console: Console) -> None:
        rows = [
            (
                manifest.version,
                when(manifest.created),
                size(manifest.content.size),
                "yes" if manifest.version in routes.deployments else "no",
                _joined(routes.aliases_of(manifest.version)),
                short(manifest.digest),
                manifest.content.description,
            )
            for manifest in found
        ]
        headers = ("VERSION", "CREATED", "SIZE", "DEPLOYED", "ALIASES", "DIGEST", "DESCRIPTION")
        console.print(table(headers, rows))

    session.output.result(document, render)


def _show(session: Session, manifest: Manifest, routes: Routes) -> None:
    running = routes.deployments.get(manifest.version)
    names = routes.aliases_of(manifest.version)
    document = {
        **manifest.to_json(),
        "latest": routes.latest,
        "deployment": asdict(running) if running else None,
        "aliases": {name: alias_json(routes.aliases[name]) for name in names},
    }

    def render(console: Console) -> None:
        content = manifest.content
        console.print(f"{manifest.model}:{manifest.version}", style="bold")
        metrics = ", ".join(f"{key}={value:g}" for key, value in content.metrics.items())
        where = f"{running.target} {running.resource}" if running else "not deployed"
        aliases = ", ".join(f"{name}={weights(routes.aliases[name])}" for name in names)
        pairs = [
            ("description", content.description),
            ("digest", manifest.digest),
            ("created", when(manifest.created)),
            ("metrics", metrics),
            ("runs", where),
            ("aliases", aliases),
            ("lineage", _lineage(manifest.lineage)),
            ("packages", _packages(manifest.lineage)),
            ("opened", tuning.told(manifest.tuning)),
            ("goldens", ", ".join(f"{g.name} ({g.kind})" for g in content.goldens)),
        ]
        console.print(facts(pairs))
        _print_signature(console, manifest)
        rows = [(file.path, size(file.size), short(file.digest)) for file in manifest.files]
        console.print()
        console.print(table(("FILE", "SIZE", "DIGEST"), rows))

    session.output.result(document, render)


def _print_signature(console: Console, manifest: Manifest) -> None:
    signature = manifest.content.signature
    rows = [("input", *_spec(spec)) for spec in signature.inputs]
    rows += [("output", *_spec(spec)) for spec in signature.outputs]
    console.print()
    console.print(table(("TENSOR", "NAME", "DATATYPE", "SHAPE"), rows))


def _spec(spec: TensorSpec) -> tuple[str, str, str]:
    return spec.name, spec.datatype, str(list(spec.shape))


def _lineage(lineage: dict[str, Any]) -> str:
    git = lineage.get("git")
    commit = f"{git['commit'][:12]}{' (dirty)' if git.get('dirty') else ''}" if git else ""
    others = [
        f"{k}={_plain(v)}" for k, v in sorted(lineage.items()) if k not in ("git", "packages")
    ]
    return "  ".join([*([f"git={commit}"] if commit else []), *others])


def _plain(value: object) -> str:
    if not isinstance(value, dict):
        return str(value)
    return "(" + ", ".join(f"{key} {part}" for key, part in value.items()) + ")"


def _packages(lineage: dict[str, Any]) -> str:
    return ", ".join(f"{name} {version}" for name, version in lineage.get("packages", {}).items())


def _aliases(routes: Routes) -> str:
    return "  ".join(f"{name}={weights(alias)}" for name, alias in sorted(routes.aliases.items()))


def _joined(values: Sequence[object]) -> str:
    return ", ".join(map(str, values)) or "-"


def when(stamp: str) -> str:
    """An ISO time to the second, for people."""
    return stamp[:19].replace("T", " ")
