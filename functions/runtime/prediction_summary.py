"""What a prediction said, in a few words: which category how many of its rows fell into.

A header of the answer (`HEADER`), counted by who carries the answer on, so that the predictions of
two versions can be held against each other without anyone keeping them. Of each version always the
same output is told about, the first there is of:

1. numbers of [N, K], K > 1, in floating point: the place of each row's highest, which is the class;
2. whole numbers or text of [N] or [N, 1]: the class itself, or a number's bucket;
3. numbers of [N] or [N, 1] in floating point: each value's bucket.

A class goes by its label where the bundle has one that fits a header, else by its number. A bucket
is a sign and a power of ten: ``1e2`` for 100 up to 1000, ``-1e0``, and ``0`` for less than 1e-9;
``nan``, ``inf`` and ``-inf`` are what they say. Costs microseconds, and nothing for large outputs,
which are left out. It must not fail, whatever a model gives, and never repeats an input.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from modelport.signature import Signature, TensorSpec

from functions.runtime.tensors import Array

HEADER = "x-modelport-predicted"
#: Categories, ``other`` for the rows of all that are not named among them, and characters in all.
MOST_CATEGORIES, LONGEST = 32, 200
#: Elements and rows from which on an output is not looked at.
MOST_ELEMENTS, MOST_ROWS = 2**16, 2**10
#: Whole numbers below this are classes; others are amounts.
MOST_CLASSES = 10_000
#: Powers of ten beyond which buckets end.
_LEAST, _MOST = -9, 9
_FIT = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_OTHER = "other"


class PredictionSummary:
    """Tells about the predictions of one version; safe to call from several threads at once."""

    def __init__(self, signature: Signature, labels: Sequence[str] = ()) -> None:
        self._output = _told_output(signature.outputs)
        self._labels = labels
        self._names: dict[int, str] = {}

    def of(self, outputs: Mapping[str, Array]) -> str | None:
        """The header's value, ``cat=3,dog=1``; None where there is nothing to tell."""
        array = outputs.get(self._output) if self._output is not None else None
        if not isinstance(array, np.ndarray) or not 0 < array.size <= MOST_ELEMENTS:
            return None
        shape = array.shape
        if len(shape) not in (1, 2) or shape[0] > MOST_ROWS:
            return None
        if len(shape) == 2 and shape[0] == 1 < shape[1]:
            return self._single(array)
        counted = self._counted(array)
        return None if counted is None else _written(counted)

    def _counted(self, array: Array) -> Mapping[str, int] | None:
        kind = array.dtype.kind
        if array.ndim == 2 and array.shape[1] > 1:
            return self._classes(array) if kind == "f" else None
        values = array.reshape(-1).tolist()
        if kind in "iu":
            return Counter(map(self._whole, values))
        if kind == "f":
            return Counter(map(bucket, values))
        return Counter(map(_text, values)) if kind == "O" else None

    def _single(self, array: Array) -> str | None:
        """What `_classes` says of one row, which most requests are."""
        if array.dtype.kind != "f":
            return None
        best = int(array.argmax())
        # numpy takes NaN for the highest, so it is NaN if one is there.
        return "nan=1" if math.isnan(array.item(best)) else f"{self._name(best)}=1"

    def _classes(self, array: Array) -> Mapping[str, int]:
        best_of = array.argmax(axis=1)
        places = best_of.tolist()
        highest = array[np.arange(len(array)), best_of].tolist()
        return Counter(
            self._name(place) if value == value else "nan"
            for place, value in zip(places, highest, strict=True)
        )

    def _whole(self, value: int) -> str:
        return self._name(value) if 0 <= value < MOST_CLASSES else bucket(value)

    def _name(self, place: int) -> str:
        name = self._names.get(place)
        if name is None:
            name = self._names[place] = self._named(place)
        return name

    def _named(self, place: int) -> str:
        label = self._labels[place] if place < len(self._labels) else ""
        # A label of digits would pass for another class's number.
        usable = _FIT.fullmatch(label) and not label.isdigit() and label not in (_OTHER, "nan")
        return label if usable else str(place)


def bucket(value: float) -> str:
    """The sign and power of ten of a number, as a category.

    >>> bucket(250.0), bucket(-0.3), bucket(0)
    ('1e2', '-1e-1', '0')
    """
    if not math.isfinite(value):
        return "nan" if value != value else "inf" if value > 0 else "-inf"
    amount = abs(value)
    if amount < 10.0**_LEAST:
        return "0"
    power = math.floor(math.log10(amount))
    return f"{'-' if value < 0 else ''}1e{min(power, _MOST)}"


def _text(value: Any) -> str:
    return value if isinstance(value, str) and _FIT.fullmatch(value) else _OTHER


def _written(counted: Mapping[str, int]) -> str:
    """Categories with their rows, those with the most first, within the header's bounds."""
    if len(counted) == 1:
        (category, rows), *_ = counted.items()
        return f"{category}={rows}"
    ranked = sorted(counted.items(), key=lambda item: (item[0] == _OTHER, -item[1], item[0]))
    room = LONGEST - len(f",{_OTHER}={sum(counted.values())}")
    parts: list[str] = []
    for at, (category, rows) in enumerate(ranked):
        part = f"{category}={rows}"
        room -= len(part) + 1
        last = at == MOST_CATEGORIES - 1 and len(ranked) > MOST_CATEGORIES
        if category == _OTHER or last or room < 0:
            parts.append(f"{_OTHER}={sum(rows for _, rows in ranked[at:])}")
            break
        parts.append(part)
    return ",".join(parts)


def _told_output(outputs: Sequence[TensorSpec]) -> str | None:
    """The one output that is told about; None when there is none of the kinds above."""
    for fits in (_scores, _classes, _amounts):
        for spec in outputs:
            if fits(spec):
                return spec.name
    return None


def _scores(spec: TensorSpec) -> bool:
    return _floating(spec) and len(spec.shape) == 2 and spec.shape[1] != 1


def _classes(spec: TensorSpec) -> bool:
    return not _floating(spec) and spec.datatype not in ("BOOL", "BF16") and _one_each(spec)


def _amounts(spec: TensorSpec) -> bool:
    return _floating(spec) and _one_each(spec)


def _floating(spec: TensorSpec) -> bool:
    return spec.datatype in ("FP16", "FP32", "FP64")


def _one_each(spec: TensorSpec) -> bool:
    return len(spec.shape) == 1 or (len(spec.shape) == 2 and spec.shape[1] in (1, -1))
