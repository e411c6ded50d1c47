"""What a version's answers to a data set come to: each row's outcome, and every metric.

scikit-learn computes the metrics; `modelport.scoring` says what scores and labels mean, and
`modelport.evaluation.bootstrap` how sure the figures are. It asks no version.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from modelport import scoring
from modelport.evaluation import bootstrap
from modelport.evaluation.calibration import calibration
from modelport.evaluation.errors import DataSetError, UnusableAnswerError
from modelport.evaluation.report import Figure, Task
from modelport.raw_tensors import Array

#: Classes up to which a report has the whole confusion matrix.
MOST_CLASSES = 100
#: Of all pairs of classes that are taken for each other, those that are told.
_MOST_CONFUSED = 20
#: An error of a value beyond which squares of errors have no room in FP64.
_FARTHEST = 1e150
_NO_SCORES = "the version answers labels without scores"


@dataclass(frozen=True)
class Evaluated:
    """A task's figures, and what they are made of.

    ``actual`` and ``predicted`` [N] are places among ``classes``, or values; ``chances`` [N,K] are
    probabilities, None without scores; ``outcomes`` [N] is what a paired test compares: whether the
    row is right, or its absolute error.
    """

    task: Task
    actual: Array
    predicted: Array
    outcomes: Array
    metrics: dict[str, Figure]
    left_out: dict[str, str] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    chances: Array | None = None


def evaluated(
    task: Task,
    labels: Sequence[Any],
    answers: Array,
    names: Sequence[str],
    ref: str,
    *,
    resamples: int,
    seed: int,
) -> Evaluated:
    """Every metric of answers [N] or [N,K] to rows with these labels; no intervals if no resamples.

    ``names`` are the classes' names where the version has some, ``ref`` is the version in messages.
    Raises `DataSetError` for a label that is no class, `UnusableAnswerError` for answers without
    metrics.
    """
    if answers.ndim == 2 and answers.shape[1] == 1 and task == "regression":
        answers = answers[:, 0]
    if answers.ndim > 2 or len(answers) != len(labels):
        problem = f"its answers are of shape {list(answers.shape)} to {len(labels)} rows"
        raise UnusableAnswerError(ref, problem)
    if task == "regression":
        return _regression(labels, answers, ref, resamples, seed)
    several = answers.ndim == 2 and answers.shape[1] > 1
    if several and answers.dtype.kind not in "fiu":
        raise UnusableAnswerError(ref, "it answers several labels for each row")
    if several or answers.dtype.kind == "f":
        return _of_scores(labels, answers, names, ref, resamples, seed)
    return _of_labels(labels, answers, names, resamples, seed)


def _regression(
    labels: Sequence[Any], answers: Array, ref: str, resamples: int, seed: int
) -> Evaluated:
    from sklearn import metrics

    if answers.ndim != 1 or answers.dtype.kind not in "fiu":
        raise UnusableAnswerError(ref, "it does not answer one number for each row")
    actual, predicted = np.array(labels, np.float64), answers.astype(np.float64)
    if not (finite := np.isfinite(predicted)).all():
        raise UnusableAnswerError(ref, f"its answer to row {int(np.argmin(finite)) + 1} is not one")
    errors = np.abs(predicted - actual)
    if errors.max() > _FARTHEST:
        problem = f"its answer to row {int(np.argmax(errors)) + 1} is {errors.max():.3g} off"
        raise UnusableAnswerError(ref, f"{problem}: the square of that is no number")
    values = {
        "mae": float(metrics.mean_absolute_error(actual, predicted)),
        "rmse": float(metrics.root_mean_squared_error(actual, predicted)),
    }
    left_out = {}
    if ((actual - actual.mean()) ** 2).sum() > 0:
        values["r2"] = float(metrics.r2_score(actual, predicted))
    if not np.isfinite(values.get("r2", np.nan)):
        values.pop("r2", None)
        left_out["r2"] = "the labels do not vary"
    intervals = {}
    if resamples:
        intervals = bootstrap.of_values(actual, predicted, resamples=resamples, seed=seed)
    return Evaluated("regression", actual, predicted, errors, figures(values, intervals), left_out)


def _of_scores(
    labels: Sequence[Any],
    scores: Array,
    names: Sequence[str],
    ref: str,
    resamples: int,
    seed: int,
) -> Evaluated:
    try:
        chances, rule = scoring.probabilities(scores)
    except ValueError as error:
        raise UnusableAnswerError(ref, f"its scores cannot be ranked: {error}") from None
    count = chances.shape[1]
    try:
        actual = scoring.places(labels, names, count)
    except ValueError as error:
        known = f"called {', '.join(names[:5])} …" if names else "without names"
        raise DataSetError(
            "labels",
            f"{error} is none of the {count} classes of {ref}, numbered from 0, {known}",
            "--classes names them in their order, or a labels.txt in the bundle",
        ) from None
    predicted = scoring.most_probable(scores, chances)
    classes = tuple(names[:count]) + tuple(str(place) for place in range(len(names), count))
    found = _classified(actual, predicted, classes, resamples, seed)
    losses = scoring.log_losses(chances, actual)
    values, left_out = _ranked(actual, chances)
    values["log_loss"] = float(losses.mean())
    calibrated = calibration(chances, actual, predicted)
    values["ece"] = calibrated["ece"]
    intervals = {}
    if resamples:
        intervals["log_loss"] = bootstrap.of_mean(losses, resamples=resamples, seed=seed)
    if resamples and "roc_auc" in values:
        ranked = bootstrap.of_ranks(actual, chances, resamples=resamples, seed=seed)
        intervals |= {"roc_auc": ranked} if ranked else {}
    details = {**found.details, "scores": rule, "calibration": calibrated}
    measured = {**found.metrics, **figures(values, intervals)}
    return Evaluated(
        "classification",
        actual,
        predicted,
        found.outcomes,
        measured,
        left_out,
        details,
        classes,
        chances,
    )


def _ranked(actual: Array, chances: Array) -> tuple[dict[str, float], dict[str, str]]:
    """ROC-AUC: binary, or the mean over the classes that are there, each against the rest."""
    from sklearn import metrics

    there = np.unique(actual)
    if len(there) < 2:
        return {}, {"roc_auc": "the labels are all of one class"}
    if chances.shape[1] == 2:
        return {"roc_auc": float(metrics.roc_auc_score(actual, chances[:, 1]))}, {}
    areas = [metrics.roc_auc_score(actual == place, chances[:, place]) for place in there]
    return {"roc_auc": float(np.mean(areas))}, {}


def _of_labels(
    labels: Sequence[Any], answers: Array, names: Sequence[str], resamples: int, seed: int
) -> Evaluated:
    truth = [scoring.named(label, names) for label in labels]
    if answers.dtype.kind in "iub":  # the version answers numbers: as such labels are read
        truth = [x if x in names else scoring.named(scoring.whole(x), names) for x in truth]
    said = [scoring.named(label, names) for label in answers.reshape(-1).tolist()]
    classes = tuple(sorted({*truth, *said}, key=_numbers_first))
    at = {name: place for place, name in enumerate(classes)}
    actual = np.array([at[name] for name in truth])
    predicted = np.array([at[name] for name in said])
    found = _classified(actual, predicted, classes, resamples, seed)
    for name in ("roc_auc", "log_loss", "ece"):
        found.left_out[name] = _NO_SCORES
    return found


def _numbers_first(name: str) -> tuple[int, int, str]:
    digits = name.isascii() and name.isdigit()
    return (0, len(name), name) if digits else (1, 0, name)


def _classified(
    actual: Array, predicted: Array, classes: tuple[str, ...], resamples: int, seed: int
) -> Evaluated:
    from sklearn import metrics

    there = np.unique(np.concatenate([actual, predicted]))
    values = {"accuracy": float(metrics.accuracy_score(actual, predicted))}
    of_classes = metrics.precision_recall_fscore_support(
        actual, predicted, labels=there, zero_division=0
    )
    for average in (scoring.MACRO, scoring.WEIGHTED):
        found = metrics.precision_recall_fscore_support(
            actual, predicted, labels=there, average=average, zero_division=0
        )
        for name, value in zip(("precision", "recall", "f1"), found[:3], strict=True):
            values[f"{name}_{average}"] = float(value)
    listed = [
        {
            "name": classes[place],
            "precision": float(precision),
            "recall": float(recall),
            "f1": float(f1),
            "rows": int(rows),
        }
        for place, precision, recall, f1, rows in zip(there.tolist(), *of_classes, strict=True)
    ]
    details = {"classes": listed, **_confusion(actual, predicted, there, classes)}
    intervals = {}
    if resamples:
        intervals = bootstrap.of_classes(actual, predicted, resamples=resamples, seed=seed)
    return Evaluated(
        "classification",
        actual,
        predicted,
        actual == predicted,
        figures(values, intervals),
        {},
        details,
        classes,
    )


def _confusion(
    actual: Array, predicted: Array, there: Array, classes: Sequence[str]
) -> dict[str, Any]:
    """The matrix, truth down and answer across, where it is not too large, and its worst cells."""
    from sklearn import metrics

    wrong = actual != predicted
    pairs, counts = np.unique(
        np.stack([actual[wrong], predicted[wrong]], 1), axis=0, return_counts=True
    )
    order = np.argsort(-counts, kind="stable")[:_MOST_CONFUSED]
    confused = [
        {"is": classes[pairs[i][0]], "said": classes[pairs[i][1]], "rows": int(counts[i])}
        for i in order
    ]
    if len(there) > MOST_CLASSES:
        return {"confusion": None, "most_confused": confused}
    matrix = np.array([[len(actual)]])
    if len(there) > 1:  # of one class alone scikit-learn warns
        matrix = metrics.confusion_matrix(actual, predicted, labels=there)
    return {"confusion": matrix.tolist(), "most_confused": confused}


def figures(
    values: Mapping[str, float], intervals: Mapping[str, tuple[float, float]]
) -> dict[str, Figure]:
    """Values with their intervals, where there are some."""
    none = (None, None)
    return {name: Figure(value, *intervals.get(name, none)) for name, value in values.items()}
