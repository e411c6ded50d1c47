"""The plots of a benchmark's record, as PNGs in memory: drawn by matplotlib without a display.

White behind everything, so they can be read on a light page and a dark one. Rates that span three
orders of magnitude are points on a scale that says it is logarithmic; lengths of bars always start
at zero.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

from tests.bench.contenders import FLOOR
from tests.bench.figures import OURS, Figure
from tests.bench.record import Record

_DPI = 130
_WIDTH = 9.0
_OURS, _FLOOR, _PEER = "#2563eb", "#0f766e", "#94a3b8"


def plots(record: Record) -> Mapping[str, bytes]:
    """The plots that this record has figures for, by file name."""
    drawn: Mapping[str, tuple[list[Figure], Callable[[list[Figure]], bytes]]] = {
        "throughput.png": ([*record.of(1), *record.of(2)], _throughput),
        "image.png": ([*record.of(3)[:1], *record.of(4)], _latency),
        "targets.png": ([figure for figure, _ in record.entries], _targets),
    }
    return {name: draw(figures) for name, (figures, draw) in drawn.items() if figures}


def _throughput(figures: list[Figure]) -> bytes:
    drawing, panels = _panels(figures)
    for axes, figure in zip(panels, figures, strict=True):
        names = sorted(figure.samples, key=figure.of)
        for place, name in enumerate(names):
            low, high = min(figure.samples[name]), max(figure.samples[name])
            axes.plot([low, high], [place, place], color=_colour(name), linewidth=2)
            axes.plot(figure.of(name), place, "o", color=_colour(name), markersize=8)
            label = f"{figure.of(name):,.0f}"
            axes.annotate(label, (high, place), (8, -3), textcoords="offset points", fontsize=9)
        _named(axes, names, figure.what)
        axes.set_ylim(-0.6, len(names) - 0.4)
        axes.set_xscale("log")
        axes.set_xlim(300, 300_000)
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.grid(axis="x", color="#e2e8f0")
    panels[-1].set_xlabel("requests per second, logarithmic: median, and lowest to highest round")
    return _png(drawing)


def _latency(figures: list[Figure]) -> bytes:
    drawing, panels = _panels(figures)
    for axes, figure in zip(panels, figures, strict=True):
        names = sorted(figure.samples, key=figure.of)
        times = [1000 / figure.of(name) for name in names]
        bars = axes.barh(names, times, color=[_colour(name) for name in names], height=0.6)
        axes.bar_label(bars, [f"{time:.1f} ms" for time in times], padding=4, fontsize=9)
        _named(axes, names, figure.what)
        axes.set_xlim(0, max(times) * 1.15)
    panels[-1].set_xlabel("milliseconds per request, model included: median of the rounds")
    return _png(drawing)


def _targets(figures: list[Figure]) -> bytes:
    """How far beyond its bound each ratio is, or how far short of it."""
    lines = [line for figure in figures for line in _margins(figure)]
    drawing = Drawing(figsize=(_WIDTH, 1.2 + 0.3 * len(lines)), layout="constrained")
    axes = drawing.subplots()
    for place, (_, margin, reached) in enumerate(reversed(lines)):
        colour, word = (_OURS, "reached") if reached else ("#c2410c", "missed")
        axes.plot([1, margin], [place, place], color=colour, linewidth=2)
        axes.plot(margin, place, "o" if reached else "X", color=colour, markersize=7)
        right = margin >= 1
        axes.annotate(
            f"{margin:.2f} {word}",
            (margin, place),
            (9 if right else -9, -3),
            textcoords="offset points",
            ha="left" if right else "right",
            fontsize=8,
        )
    axes.axvline(1, color="#334155", linewidth=1)
    _named(axes, [text for text, _, _ in reversed(lines)], "Targets: beyond 1 is better than asked")
    axes.set_xscale("log", base=2)
    margins = [margin for _, margin, _ in lines]
    axes.set_xlim(min([0.5, *margins]) / 2, max([2, *margins]) * 2)
    axes.set_ylim(-0.6, len(lines) - 0.4)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("how much better than asked, logarithmic")
    return _png(drawing)


def _margins(figure: Figure) -> list[tuple[str, float, bool]]:
    """Each measured target of a figure: its words, the margin, whether it is reached."""
    found = []
    for target in figure.targets:
        value, bound = figure.reached(target), target.at_least or target.at_most
        # What is negative or nothing has no place on a scale of ratios.
        if value is None or bound is None or value <= 0:
            continue
        beside = f" / {figure.best(target.against)}" if target.against else ""
        margin = value / bound if target.at_least is not None else bound / value
        found.append((f"{figure.row}  {figure.what}{beside}", margin, bool(figure.meets(target))))
    return found


def _panels(figures: Sequence[Figure]) -> tuple[Drawing, list[Axes]]:
    """One panel per figure, as high as it has contenders."""
    sizes = [len(figure.samples) + 1 for figure in figures]
    height = 0.8 + 0.33 * sum(sizes)
    drawing = Drawing(figsize=(_WIDTH, height), layout="constrained")
    grid = drawing.subplots(len(figures), 1, height_ratios=sizes, squeeze=False)
    return drawing, [row[0] for row in grid]


def _named(axes: Axes, names: Sequence[str], title: str) -> None:
    axes.set_yticks(range(len(names)), names)
    for label in axes.get_yticklabels():
        if label.get_text() == OURS:
            label.set_fontweight("bold")
    axes.set_title(title, loc="left", fontsize=10, fontweight="bold")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)


def _colour(name: str) -> str:
    return {OURS: _OURS, FLOOR: _FLOOR}.get(name, _PEER)


def _png(drawing: Any) -> bytes:
    memory = io.BytesIO()
    drawing.savefig(memory, format="png", dpi=_DPI, facecolor="white", metadata={"Software": None})
    return memory.getvalue()
