"""``modelport list`` and ``show``: what is published. Reads only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Console

from modelport import tuning
from modelport.cli.console import facts, short, size, table
from modelport.cli.finding import (
    Page,
    list_matches,
    list_models,
    list_versions,
    tags_told,
    when,
)
from modelport.cli.session import AsJson, Bucket, Debug, Session
from modelport.cli.traffic import alias_json, weights
from modelport.errors import AliasNotFoundError, NoVersionDeployedError
from modelport.evaluation import conditions
from modelport.manifest import Manifest
from modelport.refs import ModelRef, check_alias, check_name, parse_ref
from modelport.routes import STABLE, Routes
from modelport.signature import TensorSpec
from modelport.upkeep.many import side_by_side
from modelport.upkeep.search import Condition, Filter, Row, parse_since, parse_tags

PAGE = 20


def list_(
    context: typer.Context,
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="A model; without it: all.", show_default=False),
    ] = None,
    tags: Annotated[
        list[str] | None,
        typer.Option("--tag", metavar="KEY[=VALUE]", help="With this tag.", show_default=False),
    ] = None,
    metrics: Annotated[
        list[str] | None,
        typer.Option(
            "--metric",
            metavar="NAME>=NUMBER",
            help="With such a metric; also <=, >, <, =, !=.",
            show_default=False,
        ),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            "--since",
            metavar="DATE",
            help="Published since: 2026-01-31, or 7d.",
            show_default=False,
        ),
    ] = None,
    deployed: Annotated[bool, typer.Option("--deployed", help="Only what runs.")] = False,
    alias: Annotated[
        str | None,
        typer.Option("--alias", help="Only what this alias, or stage, names.", show_default=False),
    ] = None,
    input_dtype: Annotated[
        str | None,
        typer.Option(
            "--input-dtype", metavar="FP32", help="With such an input.", show_default=False
        ),
    ] = None,
    text: Annotated[
        str,
        typer.Option(
            "--text",
            metavar="WORDS",
            help="With these words in its name, description, tags or lineage.",
            show_default=False,
        ),
    ] = "",
    page_size: Annotated[int, typer.Option("--page-size", min=1, help="At most this many.")] = PAGE,
    after: Annotated[
        str | None,
        typer.Option(
            "--after", metavar="CURSOR", help="Go on behind a page: its next.", show_default=False
        ),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All pages at once.")] = False,
    bucket: Bucket = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """List the models, or versions: those of one model, or all that filters let through.

    Versions come newest first, all filters must fit, and pages go on with --after. Stages are plain
    aliases: whatever name a team gives one (modelport route NAME staging=3), --alias finds it.
    """
    session = Session.of(context, as_json, bucket)
    wanted = Filter(
        parse_tags(tags or []),
        tuple(Condition.parse(metric) for metric in metrics or ()),
        parse_since(since) if since else None,
        deployed,
        check_alias(alias) if alias else None,
        input_dtype.upper() if input_dtype else None,
        text,
    )
    page = Page(None if everything else page_size, after)
    if name is not None:
        list_versions(session, check_name(name), wanted, page)
    elif wanted == Filter({}):
        list_models(session, page)
    else:
        list_matches(session, wanted, page)


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
    _show(session, Row(manifest, session.registry.notes(target.name, manifest.version)), routes)


def routes_of(session: Session, name: str) -> Routes:
    """The present routes of a model."""
    snapshot = session.registry.routes(name)
    return snapshot.routes if snapshot else Routes(name)


def all_routes(session: Session) -> Iterator[Routes]:
    """The routes of every model, by name."""
    return side_by_side(lambda name: routes_of(session, name), session.registry.models())


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


def _show(session: Session, row: Row, routes: Routes) -> None:
    manifest = row.manifest
    running = routes.deployments.get(manifest.version)
    names = routes.aliases_of(manifest.version)
    document = {
        **manifest.to_json(),
        "latest": routes.latest,
        "notes": {
            "tags": dict(row.notes.tags),
            "description": row.notes.description,
            "who": row.notes.who,
            "at": row.notes.at,
        },
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
            ("description", row.description),
            ("tags", tags_told(dict(row.notes.tags))),
            ("digest", manifest.digest),
            ("created", when(manifest.created)),
            ("metrics", metrics),
            ("gates", conditions.told(content.settings.gates)),
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
