"""Whether a version may be promoted: what its evaluations show against what is required.

- ``require``: each condition must hold for the value in the latest report on every data set that
  has the metric, and at least one must have it.
- ``no_worse_than``: on every data set that both versions have a report on, and at least one, the
  latest reports are compared. Where both keep the outcomes of their rows, the comparison is paired:
  the version is worse when the exact McNemar test says that it has fewer rows right with p < 0.05
  (classification), or when the 95 % bootstrap interval of the mean difference of absolute errors
  lies above zero (regression). Where they do not, it is worse when its accuracy or macro F1 lies
  below (its MAE or RMSE above) the other's 95 % interval. So a difference that chance explains
  refuses nothing: what must not be less than a figure is for ``require``.

Reports of another content than the version's are no evidence. Reads reports only; what a refusal
means is for who asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from modelport.evaluation.conditions import MORE_IS_BETTER, Condition
from modelport.evaluation.report import Figure, Report

#: The figures that are compared where rows cannot be.
_HEADLINE = {"classification": ("accuracy", "f1_macro"), "regression": ("mae", "rmse")}
#: Resamples of a paired comparison.
RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class Finding:
    """What one gate said: the gate, whether it passed, and the figures behind that."""

    gate: str
    passed: bool
    figures: str

    def __str__(self) -> str:
        return f"{self.gate}: {self.figures}"


@dataclass(frozen=True, slots=True)
class Baseline:
    """What a version must not be worse than: as it was called, and its own latest reports."""

    named: str
    version: int
    reports: Mapping[str, Report]


def required(conditions: tuple[str, ...], reports: Mapping[str, Report]) -> Iterator[Finding]:
    """Judge conditions, valid ones, by the latest report on each data set."""
    for condition in map(Condition.parse, conditions):
        figures = [
            (report, value)
            for report in reports.values()
            if (value := figure_of(report, condition)) is not None
        ]
        missed = [pair for pair in figures if not condition.holds(pair[1])]
        if not figures:
            yield Finding(condition.text, False, _unmeasured(condition, reports))
        else:
            told = ", ".join(_told(report, value) for report, value in missed or figures)
            yield Finding(condition.text, not missed, told)


def no_worse(baseline: Baseline, reports: Mapping[str, Report]) -> Iterator[Finding]:
    """Compare with a baseline on each data set that both have a report on."""
    gate = f"no worse than {baseline.named} (version {baseline.version})"
    shared = [digest for digest in reports if digest in baseline.reports]
    if not shared:
        told = "there is no data set that both versions have a report on"
        yield Finding(gate, False, told)
    for digest in shared:
        passed, told = _compared(reports[digest], baseline.reports[digest])
        yield Finding(gate, passed, f"{told} on {reports[digest].data.name}")


def figure_of(report: Report, condition: Condition) -> float | None:
    """What a report says to a condition's metric; None when it does not have it."""
    if condition.of is None:
        figure = report.metrics.get(condition.metric)
        return None if figure is None else figure.value
    for each in report.details.get("classes", ()):
        if each["name"] == condition.of:
            value: float = each[condition.metric]
            return value
    return None


def _told(report: Report, value: float) -> str:
    return f"{value:.4g} on {report.data.name}"


def _unmeasured(condition: Condition, reports: Mapping[str, Report]) -> str:
    if not reports:
        return "there is no report"
    for report in reports.values():
        if condition.metric in report.left_out:
            return f"not measured: {report.left_out[condition.metric]}"
    return "no report has this metric"


def _compared(ours: Report, theirs: Report) -> tuple[bool, str]:
    """Whether ``ours`` passes as no worse, and the figures."""
    if ours.task != theirs.task:
        return False, f"one was evaluated as {ours.task}, the other as {theirs.task}"
    paired = ours.outcomes and theirs.outcomes and ours.data.rows == theirs.data.rows
    return _by_rows(ours, theirs) if paired else _by_intervals(ours, theirs)


def _by_rows(ours: Report, theirs: Report) -> tuple[bool, str]:
    from modelport.evaluation.outcomes import outcomes_of
    from modelport.evaluation.pairs import SIGNIFICANCE, mcnemar, mean_interval

    mine, other = outcomes_of(ours), outcomes_of(theirs)
    assert mine is not None
    assert other is not None
    if ours.task == "classification":
        won, lost = int((mine & ~other).sum()), int((other & ~mine).sum())
        p = mcnemar(won, lost)
        told = f"{won} rows only this one has right, {lost} only the other, p = {p:.2g}"
        return not (lost > won and p < SIGNIFICANCE), told
    low, high = mean_interval(mine - other, resamples=RESAMPLES, seed=0)
    mean = float((mine - other).mean())
    return low <= 0, f"absolute error {mean:+.4g} [{low:+.4g}, {high:+.4g}]"


def _by_intervals(ours: Report, theirs: Report) -> tuple[bool, str]:
    passed, told = True, []
    for name in _HEADLINE[ours.task]:
        mine, other = ours.metrics.get(name), theirs.metrics.get(name)
        if mine is None or other is None:
            continue
        passed = passed and not _outside(mine, other, MORE_IS_BETTER[name])
        told.append(f"{name} {mine.value:.4g} against {_shown(other)}")
    return passed and bool(told), ", ".join(told) or "they have no metric in common"


def _outside(mine: Figure, other: Figure, more_is_better: bool) -> bool:
    if more_is_better:
        return mine.value < (other.value if other.low is None else other.low)
    return mine.value > (other.value if other.high is None else other.high)


def _shown(figure: Figure) -> str:
    if figure.low is None or figure.high is None:
        return f"{figure.value:.4g}"
    return f"{figure.value:.4g} [{figure.low:.4g}, {figure.high:.4g}]"
