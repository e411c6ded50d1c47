"""What ``modelport list`` finds: pages of models, or of versions that filters let through.

Reads only. The options are `modelport.cli.listing`'s.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from rich.console import Console
from rich.text import Text

from modelport.cli.console import short, size, table
from modelport.cli.failures import InvalidUsageError
from modelport.cli.session import Session
from modelport.cli.traffic import alias_json, weights
from modelport.errors import ModelNotFoundError
from modelport.refs import check_name, parse_ref
from modelport.registry import Registry
from modelport.routes import Routes
from modelport.upkeep import search
from modelport.upkeep.many import side_by_side
from modelport.upkeep.search import Filter, Row


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a listing is asked for: ``size`` None is all that is left behind ``after``."""

    size: int | None
    after: str | None


def list_models(session: Session, page: Page) -> None:
    """A page of models, in the order of their names in the bucket."""
    registry = session.registry
    names = registry.models(after=check_name(page.after) if page.after else "")
    wanted = list(names if page.size is None else islice(names, page.size + 1))
    more = page.size is not None and len(wanted) > page.size
    shown = wanted[: page.size]
    found = [r for r in side_by_side(lambda n: routes_now(registry, n), shown) if r is not None]
    document: dict[str, Any] = {
        "models": [_model_json(routes) for routes in found],
        "next": shown[-1] if more else None,
    }

    def render(console: Console) -> None:
        if not found and not page.after:
            console.print("nothing is published yet: modelport publish PATH --name NAME")
            return
        headers = ("MODEL", "LATEST", "DEPLOYED", "ALIASES", "CHANGED")
        console.print(table(headers, map(_model_row, found)))
        _go_on(console, document["next"])

    session.output.result(document, render)


def list_versions(session: Session, name: str, wanted: Filter, page: Page) -> None:
    """A page of one model's versions, newest first."""
    snapshot = session.registry.routes(name)
    routes = snapshot.routes if snapshot else Routes(name)
    below = _number(page.after) if page.after else None
    rows = search.versions(session.registry, routes, wanted, below=below)
    found, more = (list(rows), None) if page.size is None else search.page(rows, page.size)
    document: dict[str, Any] = {
        "model": name,
        "latest": routes.latest,
        "versions": [_version_json(row, routes) for row in found],
        "next": None if more is None else str(more),
    }

    def render(console: Console) -> None:
        headers = (
            *("VERSION", "CREATED", "SIZE", "DEPLOYED", "ALIASES", "TAGS", "DIGEST"),
            "DESCRIPTION",
        )
        console.print(table(headers, (_version_row(row, routes) for row in found)))
        _go_on(console, document["next"])

    session.output.result(document, render)


def list_matches(session: Session, wanted: Filter, page: Page) -> None:
    """A page of the versions of all models that a filter lets through."""
    rows = _all_versions(session.registry, wanted, page.after)
    taken = list(rows if page.size is None else islice(rows, page.size + 1))
    more = page.size is not None and len(taken) > page.size
    found = taken[: page.size]
    last = found[-1][0].manifest if more else None
    document: dict[str, Any] = {
        "versions": [
            {"model": routes.model, **_version_json(row, routes)} for row, routes in found
        ],
        "next": f"{last.model}:{last.version}" if last else None,
    }

    def render(console: Console) -> None:
        headers = (
            *("MODEL", "VERSION", "CREATED", "SIZE", "DEPLOYED", "ALIASES", "TAGS", "DIGEST"),
            "DESCRIPTION",
        )
        rows = ((routes.model, *_version_row(row, routes)) for row, routes in found)
        console.print(table(headers, rows))
        _go_on(console, document["next"])

    session.output.result(document, render)


def routes_now(registry: Registry, name: str) -> Routes | None:
    """The routes of a model; None when there are none any more."""
    try:
        snapshot = registry.routes(name)
    except ModelNotFoundError:
        return None
    return snapshot.routes if snapshot else None


def joined(values: Sequence[object]) -> str:
    """Values for a cell of a table."""
    return ", ".join(map(str, values)) or "-"


def when(stamp: str) -> str:
    """An ISO time to the second, for people."""
    return stamp[:19].replace("T", " ")


def tags_told(tags: dict[str, str]) -> str:
    """Tags as people write them."""
    return " ".join(f"{key}={value}" if value else key for key, value in tags.items())


def _all_versions(
    registry: Registry, wanted: Filter, after: str | None
) -> Iterator[tuple[Row, Routes]]:
    """What lies behind the version ``after``, model by model."""
    start = parse_ref(after) if after else None
    if start is not None:
        if start.version is None:
            raise InvalidUsageError(f"{after!r} is no cursor", hint="take it from: next")
        routes = routes_now(registry, start.name)
        if routes:
            rows = search.versions(registry, routes, wanted, below=start.version)
            yield from ((row, routes) for row in rows)
    for name in registry.models(after=start.name if start else ""):
        routes = routes_now(registry, name)
        if routes:
            yield from ((row, routes) for row in search.versions(registry, routes, wanted))


def _model_json(routes: Routes) -> dict[str, Any]:
    return {
        "model": routes.model,
        "latest": routes.latest,
        "deployed": sorted(routes.deployments, reverse=True),
        "aliases": {name: alias_json(a) for name, a in sorted(routes.aliases.items())},
        "revision": routes.revision,
        "changed": routes.change.at if routes.change else None,
    }


def _model_row(routes: Routes) -> tuple[object, ...]:
    aliases = "  ".join(f"{name}={weights(a)}" for name, a in sorted(routes.aliases.items()))
    changed = when(routes.change.at if routes.change else "")
    deployed = joined(sorted(routes.deployments, reverse=True))
    return routes.model, routes.latest, deployed, aliases, changed


def _version_json(row: Row, routes: Routes) -> dict[str, Any]:
    manifest = row.manifest
    return {
        "version": manifest.version,
        "digest": manifest.digest,
        "created": manifest.created,
        "bytes": manifest.content.size,
        "description": row.description,
        "tags": dict(row.notes.tags),
        "metrics": manifest.content.metrics,
        "deployed": manifest.version in routes.deployments,
        "aliases": list(routes.aliases_of(manifest.version)),
    }


def _version_row(row: Row, routes: Routes) -> tuple[object, ...]:
    manifest = row.manifest
    return (
        manifest.version,
        when(manifest.created),
        size(manifest.content.size),
        "yes" if manifest.version in routes.deployments else "no",
        joined(routes.aliases_of(manifest.version)),
        tags_told(dict(row.notes.tags)) or "-",
        short(manifest.digest),
        (row.description.splitlines() or [""])[0],
    )


def _number(cursor: str) -> int:
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) <= 10):
        raise InvalidUsageError(
            f"{cursor!r} is no cursor of this listing", hint="take it from: next"
        )
    return int(cursor)


def _go_on(console: Console, cursor: str | None) -> None:
    if cursor:
        console.print(Text(f"there is more: --after {cursor}, or --all", style="dim"))
