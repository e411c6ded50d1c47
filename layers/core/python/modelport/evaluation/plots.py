"""The plots of an evaluation, as PNGs in memory: drawn by matplotlib's Agg, without a display.

Figures are made as objects, never through pyplot, so nothing global is left behind.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from modelport.evaluation.evaluated import MOST_CLASSES, Evaluated

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DPI = 110
#: Classes up to which a matrix has numbers and names in it.
_NAMED = 20
#: ROC curves in one plot: the classes with the most rows.
_CURVES = 8
#: Points of a scatter plot.
_POINTS = 5_000
_ACCENT, _QUIET = "#2563eb", "#94a3b8"


def plots(found: Evaluated) -> dict[str, bytes]:
    """The plots that these figures have, by file name."""
    if found.task == "regression":
        return {"residuals.png": _residuals(found)}
    drawn = {}
    if found.details.get("confusion"):
        drawn["confusion.png"] = _confusion(found)
    if found.chances is not None:
        drawn["calibration.png"] = _calibration(found.details["calibration"]["bins"])
        if "roc_auc" in found.metrics:
            drawn["roc.png"] = _roc(found)
    return drawn


def _confusion(found: Evaluated) -> bytes:
    names = [each["name"] for each in found.details["classes"]]
    matrix = np.array(found.details["confusion"])
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    side = min(12.0, 3.0 + 0.45 * min(len(names), MOST_CLASSES))
    figure, axes = _figure(side, side * 0.9)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, shrink=0.8, label="share of the class's rows")
    if len(names) <= _NAMED:
        shown = [_short(name) for name in names]
        axes.set_xticks(range(len(names)), shown, rotation=45, ha="right")
        axes.set_yticks(range(len(names)), shown)
        for down, across in np.ndindex(*matrix.shape):
            colour = "white" if shares[down, across] > 0.5 else "black"
            text = str(matrix[down, across])
            axes.text(across, down, text, ha="center", va="center", color=colour, fontsize=8)
    axes.set(xlabel="answer", ylabel="label", title="Confusion")
    return _png(figure)


def _calibration(bins: Sequence[dict[str, Any]]) -> bytes:
    figure, axes = _figure(5, 5)
    axes.plot([0, 1], [0, 1], color=_QUIET, linestyle="--", label="as it says")
    most = max(each["rows"] for each in bins)
    axes.bar(
        [(each["low"] + each["high"]) / 2 for each in bins],
        [each["rows"] / most for each in bins],
        width=1 / 12,
        color=_QUIET,
        alpha=0.3,
        label="rows (relative)",
    )
    said, held = [b["confidence"] for b in bins], [b["accuracy"] for b in bins]
    axes.plot(said, held, marker="o", color=_ACCENT, label="as it is")
    axes.set(xlabel="probability", ylabel="share of right answers", title="Calibration")
    axes.set(xlim=(0, 1), ylim=(0, 1.02))
    axes.legend(loc="upper left")
    return _png(figure)


def _roc(found: Evaluated) -> bytes:
    from sklearn.metrics import roc_curve

    assert found.chances is not None
    figure, axes = _figure(5.5, 5)
    for place in _curves(found):
        false, true, _ = roc_curve(found.actual == place, found.chances[:, place])
        axes.plot(false, true, label=_short(found.classes[place]))
    axes.plot([0, 1], [0, 1], color=_QUIET, linestyle="--")
    axes.set(xlabel="false positive rate", ylabel="true positive rate", title="ROC")
    axes.legend(loc="lower right", title="class against the rest")
    return _png(figure)


def _curves(found: Evaluated) -> list[int]:
    """The classes that have a curve: of two the second, else those with the most rows."""
    if len(found.classes) == 2:
        return [1]
    rows = np.bincount(found.actual, minlength=len(found.classes))
    order = np.argsort(-rows, kind="stable")[:_CURVES]
    return [int(place) for place in order if 0 < rows[place] < len(found.actual)]


def _residuals(found: Evaluated) -> bytes:
    rows = np.arange(len(found.actual))
    if len(rows) > _POINTS:
        rows = np.random.default_rng(0).choice(rows, _POINTS, replace=False)
    errors = (found.predicted - found.actual)[rows]
    figure, axes = _figure(6, 4.5)
    axes.axhline(0, color=_QUIET)
    axes.scatter(found.predicted[rows], errors, s=8, alpha=0.5, color=_ACCENT)
    axes.set(xlabel="answer", ylabel="answer − label", title="Residuals")
    return _png(figure)


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def _png(figure: Figure) -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings():
        # A letter that no font here has is drawn as a box; that is no news.
        warnings.filterwarnings("ignore", r"Glyph .* missing from font", UserWarning)
        figure.savefig(file, format="png", dpi=_DPI)
    return file.getvalue()


def _short(name: str) -> str:
    """A class's name as matplotlib may have it: short, printable, no mathematics."""
    shown = "".join(letter if letter.isprintable() else "·" for letter in name)
    shown = shown if len(shown) <= 24 else shown[:23] + "…"
    return shown.replace("$", r"\$")
