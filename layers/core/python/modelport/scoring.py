"""What answers and labels come to: probabilities, classes, and the metrics made of counts alone.

The one home of these rules, for ``:evaluate`` in the runtime and for `modelport evaluate`, so that
both mean the same by a score and by F1. Needs numpy and nothing else. Definitions are those of
scikit-learn with ``zero_division=0``: a class's precision or recall is 0 where it is undefined, and
means go over the classes that are there, in truth or in answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from modelport.raw_tensors import Array

#: How far from 1 a row of probabilities may sum to: half precision, rounded once for each class.
SUM_TOLERANCE = 1e-2
#: What single scores stand for; how [N,K] scores became probabilities.
AS_THEY_ARE, SOFTMAX, SIGMOID = "probabilities", "softmax", "sigmoid"
MACRO, WEIGHTED = "macro", "weighted"
_PER_CLASS = ("precision", "recall", "f1")


def probabilities(scores: Array) -> tuple[Array, str]:
    """Scores [N], [N,1] or [N,K] as probabilities [N,2] or [N,K] (FP64), and the rule applied.

    One column is the second class's score: a probability where all lie within 0 … 1, else a logit
    (``sigmoid``). Of several columns all rows are probabilities where none is negative and each row
    sums to 1, within `SUM_TOLERANCE`; else they are logits (``softmax``). The rule is chosen for
    all rows at once. Raises ValueError, with the first such row, for what is not finite.
    """
    scores = np.asarray(scores, np.float64)
    if scores.ndim == 1:
        scores = scores[:, None]
    if not (finite := np.isfinite(scores).all(1)).all():
        raise ValueError(f"row {int(np.argmin(finite)) + 1} is not finite")
    if scores.shape[1] == 1:
        return _of_one_column(scores[:, 0])
    sums = scores.sum(1)
    if scores.min(initial=0.0) >= 0 and (np.abs(sums - 1) <= SUM_TOLERANCE).all():
        return scores / sums[:, None], AS_THEY_ARE
    powers = np.exp(scores - scores.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True), SOFTMAX


def most_probable(scores: Array, chances: Array) -> Array:
    """The place [N] of the class that is answered, the first of equals, from both of the above.

    Of several columns it is the highest score: powers round differences away.
    """
    several = scores.ndim == 2 and scores.shape[1] > 1
    found: Array = (scores if several else chances).argmax(1)
    return found


def _of_one_column(scores: Array) -> tuple[Array, str]:
    rule = AS_THEY_ARE
    if ((scores < 0) | (scores > 1)).any():
        # Of the two forms of the sigmoid the one whose power cannot overflow.
        power = np.exp(-np.abs(scores))
        scores, rule = np.where(scores >= 0, 1, power) / (1 + power), SIGMOID
    return np.stack([1 - scores, scores], 1), rule


def named(label: Any, names: Sequence[str]) -> str:
    """A label as text: a whole number that is no name but a place among ``names`` is that name."""
    text = _text(label)
    if not names or text in names or not _is_number(text):
        return text
    return names[int(text)] if int(text) < len(names) else text


def whole(text: str) -> str:
    """A whole number that text spells otherwise, as tables are written: ``1.0``, ``True``.

    >>> whole("1.0"), whole("True"), whole("1.5")
    ('1', '1', '1.5')
    """
    number, _, rest = text.partition(".")
    if rest and not rest.strip("0") and _is_number(number):
        return number
    return {"true": "1", "false": "0"}.get(text.lower(), text)


def places(labels: Sequence[Any], names: Sequence[str], count: int) -> Array:
    """Labels as places [N] among ``count`` classes: by name, else by number, however it is spelt.

    Raises ValueError, with the first such row, for one that is neither.
    """
    known = {name: place for place, name in reversed([*enumerate(names[:count])])}
    found: dict[str, int] = {}
    result = np.empty(len(labels), np.int64)
    for row, label in enumerate(labels):
        text = _text(label)
        place = found.get(text)
        if place is None:
            place = found[text] = _place(text, known, count, row)
        result[row] = place
    return result


def _place(text: str, known: Mapping[str, int], count: int, row: int) -> int:
    for said in (text, whole(text)):
        if said in known:
            return known[said]
        if _is_number(said) and int(said) < count:
            return int(said)
    raise ValueError(f"row {row + 1}: {text[:60]!r}")


def _is_number(text: str) -> bool:
    # Ten digits are more than any model has classes.
    return text.isascii() and text.isdigit() and len(text) < 10


def _text(label: Any) -> str:
    if isinstance(label, bool | np.bool_):
        return str(int(label))
    if isinstance(label, float | np.floating) and float(label).is_integer():
        return str(int(label))
    return str(label)


def counts(actual: Array, predicted: Array, count: int) -> tuple[Array, Array, Array]:
    """Rows that are right, are, and are said to be of each class [K], from places [N]."""
    right = np.bincount(actual[actual == predicted], minlength=count)
    there = np.bincount(actual, minlength=count)
    return right, there, np.bincount(predicted, minlength=count)


def class_figures(right: Array, there: Array, said: Array) -> dict[str, Array]:
    """Precision, recall and F1 of each class, from counts [..., K]."""
    return {
        "precision": _ratio(right, said),
        "recall": _ratio(right, there),
        "f1": _ratio(2 * right, said + there),
    }


def averages(right: Array, there: Array, said: Array) -> dict[str, Array]:
    """Accuracy, and precision, recall and F1 as means over classes, from counts [..., K].

    ``macro`` weighs all classes that are there alike, ``weighted`` by the rows they have.
    """
    figures = class_figures(right, there, said)
    present = (there + said) > 0
    rows = there.sum(-1)
    found = {"accuracy": right.sum(-1) / rows}
    for name in _PER_CLASS:
        found[f"{name}_{MACRO}"] = (figures[name] * present).sum(-1) / present.sum(-1)
        found[f"{name}_{WEIGHTED}"] = (figures[name] * there).sum(-1) / rows
    return found


def log_losses(chances: Array, actual: Array) -> Array:
    """−log of the right class's probability for each row [N]; at most 36, that of FP64's epsilon.

    The mean is scikit-learn's log loss.
    """
    epsilon = np.finfo(np.float64).eps
    right = chances[np.arange(len(actual)), actual]
    losses: Array = -np.log(np.clip(right, epsilon, 1 - epsilon))
    return losses


def regression(actual: Array, predicted: Array) -> dict[str, float]:
    """MAE, RMSE and R² of values [N]; no R² where the truth does not vary."""
    errors = predicted - actual
    squares = float((errors**2).sum())
    found = {
        "mae": float(np.abs(errors).mean()),
        "rmse": float(np.sqrt(squares / len(errors))),
    }
    spread = float(((actual - actual.mean()) ** 2).sum())
    if spread > 0:
        found["r2"] = 1 - squares / spread
    return found


def _ratio(part: Array, whole: Array) -> Array:
    result: Array = part / np.where(whole == 0, 1, whole)
    return result
