"""Whether two versions answered a request alike, in whatever protocol it was.

An answer is rows of outputs (`modelport.shadows.reading`), and two answers agree when they have the
same outputs and every row agrees:

- A row of several numbers in floating point that are scores of classes agrees when its highest is
  at the same place. Scores are what lies between 0 and 1, as probabilities do; any numbers of a
  version whose bundle has labels; the label and score pairs of V1's ``classify`` and V2's
  classification (``score:index:label``, the best first).
- Any other number in floating point agrees within tolerances, ``|a - b| <= atol + rtol * |a|``; as
  do scores with their highest elsewhere of which every one does: a tie is not a change.
- Whole numbers, booleans and text agree when they are equal. NaN equals NaN.

So raw scores beyond 0 and 1 (logits) of a version without labels are held to the tolerances: they
cannot be told from amounts, of which the largest alone says nothing.

Of an answer that was too large to travel only its digest and the version's own summary of its
prediction are known: then equal bytes or equal summaries agree, and without either there is nothing
to compare. Nothing in here says what an answer says: reasons name places, not values.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from modelport.shadows.message import Answered, digest_of
from modelport.shadows.reading import MOST_BYTES, Outputs, UnreadableError, read
from modelport.telemetry import PREDICTED_HEADER

#: What tells a candidate from the same model built, rounded or accelerated in another way.
RTOL, ATOL = 1e-2, 1e-3
_CLASS = re.compile(r"-?(?:[0-9][0-9.e+-]*|inf|nan):([0-9]{1,9})(?::.*)?", re.DOTALL)
_LONGEST_NAME = 60
#: What half precision may add to a probability.
_ROUNDED = 1e-3


@dataclass(frozen=True, slots=True)
class Terms:
    """How far numbers in floating point may lie apart, and whether several are ``classes``."""

    rtol: float = RTOL
    atol: float = ATOL
    classes: bool = False


_USUAL = Terms()


@dataclass(frozen=True, slots=True)
class Agreement:
    """What a comparison found: ``agrees`` is None where nothing could be compared.

    ``rows`` were held against each other, ``agreeing`` of them agreed; ``why`` is the first place
    where they did not, or why nothing was compared.
    """

    agrees: bool | None
    rows: int = 0
    agreeing: int = 0
    why: str = ""


def compare(
    live: Answered,
    shadow: Answered,
    terms: Terms = _USUAL,
    most_bytes: int = MOST_BYTES,
) -> Agreement:
    """Hold the answer of a shadow version, which has its body, against what the caller got."""
    answered = shadow.body or b""
    if live.body is None:
        return _by_summary(live, shadow, answered)
    if live.body == answered and _kind(live) == _kind(shadow):
        return Agreement(True, 1, 1)
    try:
        wanted = read(live.headers, live.body, most_bytes)
        found = read(shadow.headers, answered, most_bytes)
    except UnreadableError as error:
        return Agreement(None, why=str(error))
    return compare_outputs(wanted, found, terms)


def compare_outputs(
    wanted: Outputs,
    found: Outputs,
    terms: Terms = _USUAL,
) -> Agreement:
    """The same for answers that have been read."""
    if wanted.keys() != found.keys():
        return Agreement(False, 1, 0, "the answers have other outputs")
    rows = agreeing = 0
    why = ""
    for name, column in wanted.items():
        other = found[name]
        where = f"output {name[:_LONGEST_NAME]!r}, " if name else ""
        if len(column) != len(other):
            rows += max(len(column), len(other))
            why = why or f"{where}{len(column)} rows became {len(other)}"
            continue
        rows += len(column)
        for at, (want, got) in enumerate(zip(column, other, strict=True)):
            if _row_agrees(want, got, terms):
                agreeing += 1
            else:
                why = why or f"{where}row {at}"
    return Agreement(rows == agreeing, rows, agreeing, why)


def _by_summary(live: Answered, shadow: Answered, answered: bytes) -> Agreement:
    if live.digest == digest_of(answered):
        return Agreement(True, 1, 1)
    told, tells = live.headers.get(PREDICTED_HEADER), shadow.headers.get(PREDICTED_HEADER)
    if told is None or tells is None:
        return Agreement(None, why="the caller's answer was too large to travel")
    same = told == tells
    return Agreement(same, 1, int(same), "" if same else "the summaries of the predictions")


def _kind(answered: Answered) -> tuple[str, ...]:
    names = ("content-type", "content-encoding", "inference-header-content-length")
    return tuple(answered.headers.get(name, "") for name in names)


def _row_agrees(want: Any, got: Any, terms: Terms) -> bool:
    if isinstance(want, dict) and isinstance(got, dict):
        return want.keys() == got.keys() and all(
            _row_agrees_flat(value, got[key], terms) for key, value in want.items()
        )
    return _row_agrees_flat(want, got, terms)


def _row_agrees_flat(want: Any, got: Any, terms: Terms) -> bool:
    if _same_best(want, got, terms.classes):
        return True
    return _same(want, got, terms)


def _same_best(want: Any, got: Any, classes: bool) -> bool:
    """Whether both are scores of as many classes, with the highest at the same place."""
    if not (isinstance(want, list) and isinstance(got, list)) or not 0 < len(want) == len(got):
        return False
    ours, theirs = _scores(want, classes), _scores(got, classes)
    if ours is not None and theirs is not None:
        return _best(ours) == _best(theirs)
    first, second = _class_of(want[0]), _class_of(got[0])
    return first is not None and first == second


def _scores(row: list[Any], classes: bool) -> list[Any] | None:
    """The scores in a row; None for what are none."""
    if all(isinstance(pair, list) and len(pair) == 2 for pair in row):  # V1's label and score
        row = [pair[1] for pair in row] if all(type(pair[0]) is str for pair in row) else []
        classes = True
    fractions = False
    for value in row:
        if type(value) is float:
            fractions = True
        elif type(value) is not int:
            return None
    if not fractions or len(row) < 2:
        return None
    return row if classes or all(map(_probable, row)) else None


def _probable(score: float) -> bool:
    """Whether it may be a probability, or was one before something went wrong."""
    return -_ROUNDED <= score <= 1 + _ROUNDED or score != score


def _best(scores: Sequence[Any]) -> tuple[bool, int]:
    """The place of the highest, and whether there is none because one is NaN, as numpy has it."""
    for at, value in enumerate(scores):
        if value != value:
            return True, at
    return False, max(range(len(scores)), key=scores.__getitem__)


def _class_of(text: Any) -> str | None:
    """The class of V2's ``score:index[:label]``."""
    match = _CLASS.fullmatch(text) if isinstance(text, str) else None
    return match[1] if match else None


def _same(want: Any, got: Any, terms: Terms) -> bool:
    """Whether two JSON values are the same within tolerances; no deeper than memory goes."""
    left = [(want, got)]
    while left:
        ours, theirs = left.pop()
        if isinstance(ours, list) and isinstance(theirs, list):
            if len(ours) != len(theirs):
                return False
            left.extend(zip(ours, theirs, strict=True))
        elif isinstance(ours, dict) and isinstance(theirs, dict):
            if ours.keys() != theirs.keys():
                return False
            left.extend((value, theirs[key]) for key, value in ours.items())
        elif not _close(ours, theirs, terms):
            return False
    return True


def _close(want: Any, got: Any, terms: Terms) -> bool:
    if type(want) is float or type(got) is float:
        if type(want) not in (int, float) or type(got) not in (int, float):
            return False
        try:
            want, got = float(want), float(got)
        except OverflowError:  # a whole number that no float is near
            return False
        if not (math.isfinite(want) and math.isfinite(got)):
            return bool(want == got or (want != want and got != got))
        return bool(abs(want - got) <= terms.atol + terms.rtol * abs(want))
    return type(want) is type(got) and bool(want == got)
