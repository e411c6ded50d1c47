"""An evaluation at the terminal: its figures as tables. Decides nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from modelport.cli.console import facts, harmless, short, table
from modelport.cli.finding import when
from modelport.evaluation.conditions import MORE_IS_BETTER
from modelport.evaluation.report import Figure, Report

#: Classes that a table of classes, and of their confusion, has at most.
MOST_ROWS, MOST_COLUMNS = 40, 12
_STYLES = {"better": "green", "worse": "red"}


def show_report(console: Console, report: Report, stored: bool = True) -> None:
    """Everything a report says, for people."""
    ref = f"{report.model}:{report.version}" if report.version else report.model
    console.print(Text(harmless(f"{ref} on {report.data.name}"), style="bold"))
    console.print(_table_of_metrics(report))
    for name, reason in sorted(report.left_out.items()):
        console.print(Text(harmless(f"{name} left out: {reason}"), style="dim"))
    _show_classes(console, report.details)
    _show_folds(console, report.details.get("folds", ()))
    if report.comparison:
        show_comparison(console, ref, report.comparison)
    console.print(
        facts(
            [
                ("task", _task(report)),
                ("data", f"{report.data.rows:,} rows, {short(report.data.digest)}"),
                ("report", report.id if stored else ""),
            ]
        )
    )


def show_reports(console: Console, ref: str, reports: Sequence[Report]) -> None:
    """The latest report on each data set, a line each."""
    if not reports:
        console.print(f"{ref} was never evaluated")
        console.print(Text(f"modelport evaluate {ref} --data FILE --task …", style="dim"))
        return
    rows = [
        (each.data.name, f"{each.data.rows:,}", _headline(each), when(each.at), each.who, each.id)
        for each in reports
    ]
    console.print(table(("DATA", "ROWS", "FIGURES", "AT", "WHO", "REPORT"), rows))


def _headline(report: Report) -> str:
    names = ("accuracy", "f1_macro", "rmse", "r2")
    figures = ((name, report.metrics.get(name)) for name in names)
    return "  ".join(f"{name} {figure.value:.4g}" for name, figure in figures if figure)


def show_comparison(console: Console, ref: str, comparison: Mapping[str, Any]) -> None:
    """How a version did against another one on the same rows."""
    rows = [
        (name, f"{each['value']:+.4g}", interval(each["low"], each["high"]))
        for name, each in comparison["differences"].items()
    ]
    other, test = comparison["version"], comparison["test"]
    console.print(table((f"AGAINST {other}", "DIFFERENCE", "95 % INTERVAL"), rows))
    if "only_this_right" in test:
        won, lost = test["only_this_right"], test["only_other_right"]
        told = f"{won} rows only this one has right, {lost} only version {other}"
        console.print(harmless(told))
    verdict = f"{ref} against {other}: {comparison['verdict']}"
    style = _STYLES.get(comparison["verdict"], "yellow")
    console.print(Text(harmless(f"{verdict} ({test['name']}: p = {test['p']:.3g})"), style=style))


def interval(low: float | None, high: float | None) -> str:
    """An interval, "" where there is none."""
    return "" if low is None or high is None else f"{low:.4g} … {high:.4g}"


def _task(report: Report) -> str:
    rule = report.details.get("scores")
    how = f", scores through {rule}" if rule not in (None, "probabilities") else ""
    return f"{report.task}{how}"


def _table_of_metrics(report: Report) -> Any:
    spread: Mapping[str, float] = report.details.get("spread", {})
    rows = [
        (name, f"{figure.value:.4g}", _sure(figure, spread.get(name)))
        for name in MORE_IS_BETTER
        if (figure := report.metrics.get(name)) is not None
    ]
    return table(("METRIC", "VALUE", "± SD OVER FOLDS" if spread else "95 % INTERVAL"), rows)


def _sure(figure: Figure, deviation: float | None) -> str:
    return interval(figure.low, figure.high) if deviation is None else f"± {deviation:.4g}"


def _show_classes(console: Console, details: Mapping[str, Any]) -> None:
    classes: Sequence[Mapping[str, Any]] = details.get("classes", ())
    if not classes:
        return
    rows = [
        (
            each["name"],
            *(f"{each[name]:.4g}" for name in ("precision", "recall", "f1")),
            each["rows"],
        )
        for each in classes[:MOST_ROWS]
    ]
    console.print(table(("CLASS", "PRECISION", "RECALL", "F1", "ROWS"), rows))
    if len(classes) > MOST_ROWS:
        console.print(Text(f"and {len(classes) - MOST_ROWS} more classes", style="dim"))
    matrix = details.get("confusion")
    if matrix and 1 < len(classes) <= MOST_COLUMNS:
        names = [each["name"] for each in classes]
        rows = [(name, *counts) for name, counts in zip(names, matrix, strict=True)]
        console.print(table(("LABEL \\ ANSWER", *names), rows))
    elif details.get("most_confused"):
        rows = [(each["is"], each["said"], each["rows"]) for each in details["most_confused"]]
        console.print(table(("LABEL", "TAKEN FOR", "ROWS"), rows))


def _show_folds(console: Console, folds: Sequence[Mapping[str, Any]]) -> None:
    if not folds:
        return
    names = [name for name in MORE_IS_BETTER if name in folds[0]["metrics"]]
    rows = [
        (place, fold["rows"], *(_shown(fold["metrics"].get(name)) for name in names))
        for place, fold in enumerate(folds, 1)
    ]
    console.print(table(("FOLD", "ROWS", *(name.upper() for name in names)), rows))


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"
