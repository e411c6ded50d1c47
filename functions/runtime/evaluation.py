"""``:evaluate``: instances with labels in, metrics out, for sets small enough to send.

The instances are those of ``:predict``; which output is compared with the labels,
`modelport.v1_results.evaluated` says, and what scores and metrics mean, `modelport.scoring`. No
intervals and no curves: `modelport evaluate` has those, for sets of any size. It must not know
HTTP.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from modelport import scoring
from modelport.errors import MalformedRequestError, NotEncodableError
from modelport.signature import TensorSpec
from modelport.v1_results import evaluated

from functions.runtime.codecs import v1
from functions.runtime.codecs.codec import Parsed, Subject, is_list, write_json
from functions.runtime.json_numbers import plain
from functions.runtime.tensors import Array, Tensors, describe

TASKS = ("classification", "regression")
#: Rows of one request.
MOST_ROWS = 10_000
#: Classes up to which the answer has a confusion matrix, and a row for each class.
MOST_CLASSES = 100
_KEYS = frozenset({"instances", "labels", "task", "signature_name"})


def parse(document: dict[str, Any], subject: Subject) -> Parsed:
    """Read the object of a request; raises where it, or this version, cannot be evaluated."""
    task = document.get("task")
    if task not in TASKS:
        raise MalformedRequestError(f"'task' must be one of {', '.join(TASKS)}")
    if unknown := sorted(document.keys() - _KEYS):
        raise MalformedRequestError(
            f"unknown key {unknown[0][:60]!r}; allowed: {', '.join(sorted(_KEYS))}"
        )
    if "instances" not in document:
        raise MalformedRequestError("Missing 'instances' key")
    labels = _labels(document.get("labels"), task)
    output = evaluated(task, subject.signature)
    if output is None:
        raise _cannot(task, subject)
    asked: dict[str, Any] = {
        key: document[key] for key in ("instances", "signature_name") if key in document
    }
    parsed = v1.parse_document(asked, subject.signature)
    rows = next((len(each) for each in parsed.tensors.values() if each.ndim), 0)
    if rows != len(labels):
        raise MalformedRequestError(f"there are {rows} instances and {len(labels)} labels")
    form = {"evaluation": task, "labels": labels}
    return Parsed(parsed.tensors, (output.name,), form)


def results(outputs: Tensors, parsed: Parsed, subject: Subject) -> bytes:
    """The answer's JSON: rows, metrics, and for classification the classes and their confusion."""
    name, labels = parsed.outputs[0], parsed.form["labels"]
    array = outputs[name]
    if not array.ndim or len(array) != len(labels):
        raise MalformedRequestError(
            f"output {name!r} is {describe(array)}, not one row for each of {len(labels)} instances"
        )
    spec = subject.signature.output(name)
    assert spec is not None  # it was chosen from the signature
    if array.ndim > 2:
        raise MalformedRequestError(f"output {name!r} is {describe(array)}, not a row of scores")
    task = parsed.form["evaluation"]
    if task == "regression":
        found = _regression(spec, array, labels)
    elif array.dtype.kind == "f":
        found = _of_scores(spec, array, labels, subject.labels)
    else:
        found = _of_labels(array, labels, subject.labels)
    return write_json({"task": task, "rows": len(labels), **found})


def _regression(spec: TensorSpec, array: Array, labels: Sequence[float]) -> dict[str, Any]:
    values = _column(spec, array).astype(np.float64)
    if not np.isfinite(values).all():
        raise NotEncodableError(spec.name, "a prediction that is not finite has no error")
    with np.errstate(over="ignore"):
        metrics = scoring.regression(np.array(labels, np.float64), values)
    if not np.isfinite(list(metrics.values())).all():
        raise MalformedRequestError("the errors are too large for their squares to be summed up")
    left = {} if "r2" in metrics else {"r2": "the labels do not vary"}
    return {"metrics": metrics, "left_out": left}


def _of_scores(
    spec: TensorSpec, array: Array, labels: Sequence[Any], names: Sequence[str]
) -> dict[str, Any]:
    try:
        chances, rule = scoring.probabilities(array)
    except ValueError as error:
        raise NotEncodableError(spec.name, f"its scores cannot be ranked: {error}") from None
    count = chances.shape[1]
    try:
        actual = scoring.places(labels, names, count)
    except ValueError as error:
        known = ", ".join(names[:5]) + (" …" if len(names) > 5 else "") if names else "no names"
        raise MalformedRequestError(
            f"a label is no class of this version: {error}; it has {count} classes, numbered from"
            f" 0 ({known})"
        ) from None
    predicted = scoring.most_probable(array, chances)
    found = _classified(actual, predicted, [*map(str, range(count))], names, count)
    found["metrics"]["log_loss"] = float(scoring.log_losses(chances, actual).mean())
    return {"scores": rule, **found}


def _of_labels(array: Array, labels: Sequence[Any], names: Sequence[str]) -> dict[str, Any]:
    actual = [scoring.named(label, names) for label in labels]
    predicted = [scoring.named(label, names) for label in array.reshape(-1).tolist()]
    classes = sorted({*actual, *predicted})
    at = {name: place for place, name in enumerate(classes)}
    found = _classified(
        np.array([at[name] for name in actual]),
        np.array([at[name] for name in predicted]),
        classes,
        classes,
        len(classes),
    )
    found["left_out"]["log_loss"] = "the version answers labels without scores"
    return {"scores": None, **found}


def _classified(
    actual: Array, predicted: Array, numbers: Sequence[str], names: Sequence[str], count: int
) -> dict[str, Any]:
    counts = scoring.counts(actual, predicted, count)
    metrics = {name: float(value) for name, value in scoring.averages(*counts).items()}
    there = np.flatnonzero(counts[1] + counts[2])
    answer: dict[str, Any] = {"metrics": metrics, "left_out": {}}
    if len(there) > MOST_CLASSES:
        answer["left_out"]["confusion"] = f"there are more than {MOST_CLASSES} classes"
        return answer
    figures = scoring.class_figures(*counts)
    answer["classes"] = [
        {
            "name": names[place] if place < len(names) else numbers[place],
            **{name: float(values[place]) for name, values in figures.items()},
            "rows": int(counts[1][place]),
        }
        for place in there.tolist()
    ]
    answer["confusion"] = _confusion(actual, predicted, there)
    return answer


def _confusion(actual: Array, predicted: Array, there: Array) -> list[list[int]]:
    """Rows by class (down) and by answer (across), of the classes that are there."""
    size = len(there)
    cells = np.searchsorted(there, actual) * size + np.searchsorted(there, predicted)
    matrix: list[list[int]] = np.bincount(cells, minlength=size * size).reshape(size, -1).tolist()
    return matrix


def _labels(value: Any, task: str) -> list[Any]:
    if not is_list(value):
        raise MalformedRequestError("'labels' must be a list with one label for each instance")
    labels: list[Any] = plain(value)
    if not 0 < len(labels) <= MOST_ROWS:
        raise MalformedRequestError(
            f"{len(labels):,} labels, where 1 to {MOST_ROWS:,} rows can be evaluated at once;"
            " for more there is the command modelport evaluate"
        )
    for row, label in enumerate(labels):
        number = isinstance(label, int | float) and not isinstance(label, bool)
        if task == "regression":
            fits = number and _is_finite(label)
        else:
            fits = isinstance(label, str) or (number and label == label // 1)
        if not fits:
            kinds = "finite numbers" if task == "regression" else "whole numbers or text"
            raise MalformedRequestError(f"label {row + 1} is none: labels are {kinds} here")
    return labels


def _is_finite(number: float) -> bool:
    try:
        return bool(np.isfinite(float(number)))
    except OverflowError:  # a whole number beyond FP64
        return False


def _column(spec: TensorSpec, array: Array) -> Array:
    if array.ndim == 2 and array.shape[1] == 1:
        return array[:, 0]
    if array.ndim != 1:
        raise MalformedRequestError(f"output {spec.name!r} is {describe(array)}, not a value a row")
    return array


def _cannot(task: str, subject: Subject) -> MalformedRequestError:
    outputs = ", ".join(f"{spec.name} {spec}" for spec in subject.signature.outputs)
    wanted: Mapping[str, str] = {
        "classification": "floating of shape [N,K], or labels of shape [N]",
        "regression": "floating of shape [N] or [N,1]",
    }
    return MalformedRequestError(f"for {task} an output must be {wanted[task]}; outputs: {outputs}")
