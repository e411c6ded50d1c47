"""Figures in words: what was wanted, what was reached, and beside whom; as table and as Markdown.

Says everything in words as well as in colour. Measures nothing and reads no file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from tests.bench.figures import OURS, Figure, Target

REACHED, MISSED, UNMEASURED, TOLD = "reached", "missed", "not measured", "for information"
_COLOURS = {REACHED: "green", MISSED: "red", UNMEASURED: "yellow", TOLD: "dim"}
_HEADS = ("row", "what", "modelport [min–max]", "against", "target", "reached", "verdict")


@dataclass(frozen=True)
class Verdict:
    """One line of the report: a figure held against one target, all of it as text."""

    row: str
    what: str
    ours: str
    against: str
    target: str
    reached: str
    verdict: str

    def cells(self) -> tuple[str, ...]:
        """The line's cells, in the order of the report's columns."""
        return (
            *(self.row, self.what, self.ours, self.against),
            *(self.target, self.reached, self.verdict),
        )


def verdicts(figures: Iterable[Figure]) -> Iterator[Verdict]:
    """Every figure, once for each of its targets, or once for information."""
    for figure in figures:
        head = str(figure.row), figure.what, _ours(figure)
        for target in figure.targets:
            value = figure.reached(target)
            word = {True: REACHED, False: MISSED, None: UNMEASURED}[figure.meets(target)]
            yield Verdict(
                *(*head, _against(figure, target), _bound(figure, target)),
                *(UNMEASURED if value is None else _held(figure, target, value), word),
            )
        if not figure.targets:
            others = (f"{_amount(figure.of(n))} {n}" for n in figure.samples if n != OURS)
            yield Verdict(*head, ", ".join(others), "", "", TOLD)


def table(figures: Iterable[Figure]) -> Table:
    """The report for a terminal."""
    made = Table(*_HEADS, title="Medians; ratios are of one run", title_justify="left")
    for line in verdicts(figures):
        *cells, word = line.cells()
        made.add_row(*map(Text, cells), Text(word, _COLOURS[word]))
    return made


def markdown(figures: Iterable[Figure]) -> str:
    """The report as a Markdown table; what repeats from line to line is said once."""
    lines = ["| " + " | ".join(_HEADS) + " |", "|---" * len(_HEADS) + "|"]
    before: tuple[str, ...] = ("", "", "")
    for line in verdicts(figures):
        head, rest = line.cells()[:3], line.cells()[3:]
        shown = ("", "", "") if head == before else head
        word = f"**{rest[-1]}**" if rest[-1] == MISSED else rest[-1]
        lines.append("| " + " | ".join((*shown, *rest[:-1], word)) + " |")
        before = head
    return "\n".join(lines)


def _ours(figure: Figure) -> str:
    samples = figure.samples.get(OURS)
    if not samples:
        return UNMEASURED
    spread = f"[{_amount(min(samples))}–{_amount(max(samples))}]"
    return f"{_amount(figure.of(OURS))} {figure.unit} {spread}"


def _against(figure: Figure, target: Target) -> str:
    if not any(figure.samples.get(name) for name in target.against):
        return ""
    best = figure.best(target.against)
    return f"{_amount(figure.of(best))} {best}"


def _bound(figure: Figure, target: Target) -> str:
    unit = "×" if target.against else f" {figure.unit}"
    least, most = target.at_least, target.at_most
    bounds = [f"≥ {least:g}{unit}"] if least is not None else []
    return " and ".join(bounds + ([f"≤ {most:g}{unit}"] if most is not None else []))


def _held(figure: Figure, target: Target, value: float) -> str:
    return f"{value:.2f}×" if target.against else f"{_amount(value)} {figure.unit}"


def _amount(value: float) -> str:
    """Three digits that count, and no fraction from 100 on."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
