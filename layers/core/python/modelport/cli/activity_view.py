"""How a snapshot of activity reads, for people and machines: pure functions of the snapshot.

Numbers and characters only: nothing is read, and nothing decided.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from modelport import telemetry
from modelport.cli.activity import WINDOW_S, WINDOWS, ModelActivity, Snapshot, VersionActivity
from modelport.cli.console import table
from modelport.routes.rollout import CRASHES, PAUSED

BLOCKS = "▁▂▃▄▅▆▇█"
#: The same for a terminal that has no such characters.
PLAIN_BLOCKS = "_.:-=+*#"
_BAR = 10
#: Columns from which on a line has room for everything.
_WIDE = 118
#: Counts that are told where there are any.
_TROUBLE = (
    (telemetry.CRASHES, "crashed"),
    (telemetry.THROTTLES, "throttled"),
    (telemetry.FALLBACKS, "answered by the fallback"),
    (telemetry.SHADOW_ERRORS, "failed in the shadow"),
    (telemetry.SHADOWS_LOST, "copies lost"),
)


def document(snapshot: Snapshot) -> dict[str, Any]:
    """The snapshot as JSON."""
    return {
        "environment": snapshot.environment,
        "at": snapshot.at.isoformat(timespec="milliseconds"),
        "window_s": WINDOW_S,
        "models": [_model_json(model) for model in snapshot.models],
        "problem": snapshot.problem or None,
        "more": snapshot.more,
    }


def _model_json(model: ModelActivity) -> dict[str, Any]:
    return {
        "model": model.routes.model,
        "revision": model.routes.revision,
        "versions": [_version_json(version) for version in model.versions],
        "rollouts": list(model.rollouts),
    }


def _version_json(version: VersionActivity) -> dict[str, Any]:
    return {
        "version": version.version,
        "target": version.target,
        "aliases": dict(version.shares),
        "requests_per_s": round(version.requests_per_s, 3),
        "error_rate": _rounded(version.error_rate),
        "percentiles_ms": {f"{p:g}": _rounded(ms) for p, ms in version.percentiles_ms.items()},
        "means_ms": {name: _rounded(version.mean_ms(metric)) for name, metric in _PARTS},
        "counts": {name: version.total(name) for name in _COUNTS},
        "series": {name: version.series(name) for name in (telemetry.REQUESTS, telemetry.ERRORS)},
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


_PARTS = (
    ("router", telemetry.ROUTER_MS),
    ("backend", telemetry.BACKEND_MS),
    ("model", telemetry.MODEL_MS),
)
_COUNTS = (
    telemetry.REQUESTS,
    telemetry.ERRORS,
    telemetry.COLD_STARTS,
    telemetry.COMPARED,
    telemetry.DISAGREED,
    telemetry.SHADOW_REQUESTS,
    *(name for name, _ in _TROUBLE),
)


def render(snapshot: Snapshot, width: int = _WIDE, plain: bool = False) -> RenderableType:
    """The snapshot for a terminal of ``width`` columns; ``plain`` is one that has only ASCII."""
    head = Text.assemble(
        (f"environment {snapshot.environment}", "bold"), f"  {snapshot.at:%H:%M:%S} UTC"
    )
    parts: list[RenderableType] = [head]
    if snapshot.problem:
        parts.append(Text(f"! {snapshot.problem}", style="yellow"))
    if not snapshot.models:
        parts.append(Text("nothing is deployed"))
    for model in snapshot.models:
        parts += [Text(), *_model(model, snapshot.at, wide=width >= _WIDE, plain=plain)]
    if snapshot.more:
        parts += [Text(), Text("there are more models: name one to watch it", style="dim")]
    return Group(*parts)


def _model(
    model: ModelActivity, now: datetime, *, wide: bool, plain: bool
) -> Iterator[RenderableType]:
    routes = model.routes
    yield Text.assemble((routes.model, "bold cyan"), (f"  revision {routes.revision}", "dim"))
    yield _versions(model.versions, wide=wide, plain=plain)
    for version in model.versions:
        if told := _trouble(version):
            yield Text(f"! {routes.model}:{version.version} {told}", style="yellow")
    for rollout in model.rollouts:
        yield from _rollout(rollout, now, plain=plain)


def _versions(versions: Sequence[VersionActivity], *, wide: bool, plain: bool) -> Table:
    shown = WINDOWS if wide else WINDOWS // 2
    minutes = f"LAST {shown * WINDOW_S // 60} MIN"
    headers = ["VERSION", "TRAFFIC", "REQ/S", minutes, "ERRORS", "P50", "P95", "P99", "COLD"]
    if wide:
        headers += ["ROUTER+WAY+MODEL", "SHADOW"]
    rows = []
    for version in versions:
        series = version.series(telemetry.REQUESTS)[-shown:]
        row = [
            str(version.version),
            "  ".join(f"{name} {share:g}%" for name, share in version.shares.items()) or "-",
            f"{version.requests_per_s:.1f}",
            sparkline(series, PLAIN_BLOCKS if plain else BLOCKS),
            percent(version.error_rate),
            *(_ms(version.percentiles_ms.get(p)) for p in (50, 95, 99)),
            str(version.total(telemetry.COLD_STARTS)),
        ]
        rows.append([*row, split(version), _shadow(version)] if wide else row)
    return table(headers, rows)


def sparkline(values: Sequence[float], blocks: str = BLOCKS) -> str:
    """A character for each value, by its part of the highest; the lowest is for nothing at all.

    >>> sparkline([0, 1, 4, 8])
    '▁▂▅█'
    """
    finite = [value if math.isfinite(value) and value > 0 else 0.0 for value in values]
    highest = max(finite, default=0.0)
    steps = len(blocks) - 1
    return "".join(
        blocks[min(steps, math.ceil(value / highest * steps)) if highest else 0] for value in finite
    )


def percent(rate: float | None) -> str:
    """A rate for people: ``0.25%``; ``-`` for one that nobody knows."""
    return "-" if rate is None else f"{100 * rate:.3g}%"


def split(version: VersionActivity) -> str:
    """Mean milliseconds in the router, on the way to the version and back, and in the model."""
    router, backend, model = (version.mean_ms(metric) for _, metric in _PARTS)
    if backend is None:
        return "-"
    way = backend if model is None else max(backend - model, 0.0)
    return "+".join((_ms(router or 0.0), _ms(way), _ms(model)))


def _shadow(version: VersionActivity) -> str:
    compared, disagreed = (version.total(m) for m in (telemetry.COMPARED, telemetry.DISAGREED))
    if not compared:
        return "-"
    return f"{disagreed} of {compared} disagree"


def _trouble(version: VersionActivity) -> str:
    counts = [(version.total(metric), said) for metric, said in _TROUBLE]
    return ", ".join(f"{count} {said}" for count, said in counts if count)


def _ms(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"


# --- rollouts -------------------------------------------------------------------------------------


def _rollout(rollout: Mapping[str, Any], now: datetime, *, plain: bool) -> Iterator[RenderableType]:
    arrow = " > " if plain else " → "
    steps = arrow.join(
        f"[{step:g}%]" if step == rollout["step"] else f"{step:g}%" for step in rollout["steps"]
    )
    who = f"rollout of {rollout['alias']}: {rollout['stable']}{arrow}{rollout['candidate']}"
    yield Text.assemble((who, "bold"), f"  {steps}  ", (_time_left(rollout, now), "dim"))
    guards = [_guard(guard, plain=plain) for guard in rollout["guards"]]
    if guards:
        yield table(("GUARD", "CANDIDATE", "PRESENT", "EVIDENCE", "", ""), guards)
    decided = rollout["decision"] or rollout["state"]
    style = {"hold": "yellow", "roll-back": "bold red"}.get(decided, "green")
    reason = f": {rollout['reason']}" if rollout["reason"] else ""
    yield Text.assemble((decided, style), reason)


def _time_left(rollout: Mapping[str, Any], now: datetime) -> str:
    if rollout["state"] == PAUSED:
        return "paused"
    ends = datetime.fromisoformat(rollout["since"]) + timedelta(seconds=rollout["every_s"])
    left = math.ceil((ends - now).total_seconds())
    if left <= 0:
        return "the step's time is over"
    minutes, seconds = divmod(left, 60)
    return (f"{minutes}m{seconds:02d}s" if minutes else f"{seconds}s") + " left of the step"


def _guard(guard: Mapping[str, Any], *, plain: bool) -> tuple[str, ...]:
    evidence, needed = guard["evidence"], guard["needed"]
    return (
        guard["guard"] + (f" of {guard['category']}" if guard.get("category") else ""),
        _count(guard["candidate"]),
        _count(guard.get("stable")),
        bar(evidence, needed, counts=guard["guard"] == CRASHES, plain=plain),
        f"{evidence:g} of {needed:g}",
        "ALARM" if guard["alarmed"] else "ok",
    )


def bar(evidence: float, needed: float, *, counts: bool = False, plain: bool = False) -> str:
    """How near evidence is to what is needed: e-values multiply, so by their logarithms.

    >>> bar(10, 100, plain=True)
    '#####.....'
    """
    if counts:
        part = evidence / needed
    else:
        part = math.log(max(evidence, 1.0)) / math.log(needed) if needed > 1 else 1.0
    full = math.floor(min(max(part, 0.0), 1.0) * _BAR)
    on, off = "#." if plain else "█░"
    return on * full + off * (_BAR - full)


def _count(count: Mapping[str, int] | None) -> str:
    if not count:
        return "-"
    share = f" ({percent(count['bad'] / count['of'])})" if count["of"] else ""
    return f"{count['bad']} of {count['of']}{share}"
