"""An evaluation as one HTML page: self-contained, its plots embedded, everything escaped.

No script and no request to anywhere. It computes nothing.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape as escaped
from typing import Any

from modelport.evaluation.conditions import MORE_IS_BETTER
from modelport.evaluation.report import Report

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem;
       color: #0f172a; background: #fff; }
h1 { font-size: 1.5rem; margin-bottom: 0; } h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; margin: .5rem 0; }
th, td { padding: .25rem .75rem; border-bottom: 1px solid #e2e8f0; text-align: left; }
td.n { text-align: right; font-variant-numeric: tabular-nums; }
.quiet { color: #64748b; } img { max-width: 100%; } code { word-break: break-all; }
@media (prefers-color-scheme: dark) {
  body { color: #e2e8f0; background: #0f172a; } th, td { border-color: #334155; }
  img { background: #fff; } }
"""


def page(report: Report, plots: Mapping[str, bytes]) -> str:
    """The page of a report, with plots by file name."""
    title = f"{report.model}:{report.version}" if report.version else report.model
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="quiet">{report.task} on {escape(report.data.name)},'
        f" {report.data.rows:,} rows</p>",
        _metrics(report),
        *([_comparison(report.comparison)] if report.comparison else []),
        *(_plot(name, image) for name, image in plots.items()),
        _classes(report.details.get("classes", ())),
        _folds(report.details.get("folds", ())),
        _facts(report),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8"/>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1"/>\n'
        f"<title>{escape(title)}: evaluation</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(part for part in parts if part)
        + "\n</body>\n</html>\n"
    )


def escape(text: str) -> str:
    """Text as it may stand in a page; what is no character to show is a dot."""
    shown = "".join(letter if letter.isprintable() else "·" for letter in text)
    return escaped(shown)


def _metrics(report: Report) -> str:
    rows = [
        (name, number(figure.value), _ends(figure.low, figure.high))
        for name in MORE_IS_BETTER
        if (figure := report.metrics.get(name)) is not None
    ]
    rows += [(name, "–", reason) for name, reason in sorted(report.left_out.items())]
    return "<h2>Metrics</h2>" + _table(("metric", "value", "95 % interval"), rows, right=(1,))


def _comparison(comparison: Mapping[str, Any]) -> str:
    rows = [
        (name, f"{each['value']:+.4g}", _ends(each["low"], each["high"]))
        for name, each in comparison["differences"].items()
    ]
    test = comparison["test"]
    told = f"{comparison['verdict']} ({test['name']}: p = {test['p']:.3g})"
    return (
        f"<h2>Against version {escape(str(comparison['version']))}</h2><p>{escape(told)}</p>"
        + _table(("metric", "difference", "95 % interval"), rows, right=(1,))
    )


def _plot(name: str, image: bytes) -> str:
    text = base64.b64encode(image).decode("ascii")
    return f'<p><img alt="{escape(name)}" src="data:image/png;base64,{text}"/></p>'


def _classes(classes: Sequence[Mapping[str, Any]]) -> str:
    if not classes:
        return ""
    columns = ("precision", "recall", "f1")
    rows = [
        (each["name"], *(number(each[name]) for name in columns), each["rows"]) for each in classes
    ]
    headers = ("class", *columns, "rows")
    return "<h2>Classes</h2>" + _table(headers, rows, right=(1, 2, 3, 4))


def _folds(folds: Sequence[Mapping[str, Any]]) -> str:
    if not folds:
        return ""
    names = list(folds[0]["metrics"])
    rows = [
        (place + 1, fold["rows"], *(number(fold["metrics"].get(name)) for name in names))
        for place, fold in enumerate(folds)
    ]
    right = tuple(range(len(names) + 2))
    return "<h2>Folds</h2>" + _table(("fold", "rows", *names), rows, right=right)


def _facts(report: Report) -> str:
    facts = [
        ("content", report.digest),
        ("data", report.data.digest),
        ("evaluated", f"{report.at} by {report.who or 'unknown'}"),
        ("commit", report.commit),
        ("through", report.through),
        ("seed", str(report.seed)),
        ("intervals", _intervals(report)),
    ]
    rows = "".join(
        f"<tr><th>{name}</th><td><code>{escape(value)}</code></td></tr>"
        for name, value in facts
        if value
    )
    return f"<h2>Where from</h2><table>{rows}</table>"


def _intervals(report: Report) -> str:
    return f"percentile bootstrap, {report.resamples} resamples" if report.resamples else ""


def _table(
    headers: Sequence[str], rows: Iterable[Sequence[Any]], *, right: Sequence[int] = ()
) -> str:
    head = "".join(f"<th>{escape(header)}</th>" for header in headers)
    body = "".join(
        "<tr>"
        + "".join(
            f"<td{' class=' + chr(34) + 'n' + chr(34) if place in right else ''}>"
            f"{escape(str(cell))}</td>"
            for place, cell in enumerate(row)
        )
        + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def number(value: float | None) -> str:
    """A figure for people: four digits; a dash where there is none."""
    return "–" if value is None else f"{value:.4g}"


def _ends(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{low:.4g} … {high:.4g}"
