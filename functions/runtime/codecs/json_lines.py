"""``application/jsonlines``: one row a line, in and out.

A line is the one input's row as a JSON value or under ``features``, or an object with a row for
each input by name. Blank lines say nothing. What is wrong is told with its line.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from itertools import islice
from typing import Any

from modelport.errors import MalformedRequestError, TensorError
from modelport.signature import Signature, TensorSpec

from functions.runtime.codecs.codec import read_value, write_json
from functions.runtime.codecs.rows import rows_of
from functions.runtime.tensors import Array, Tensors, check_shape, from_json

FEATURES = "features"
_BOM = b"\xef\xbb\xbf"
_ROW_NOTE = " (each line is a row, and the rows are stacked on axis 0)"


def read_lines(body: bytes, signature: Signature) -> Tensors:
    """The inputs in ``body``, a row a line."""
    names = [spec.name for spec in signature.inputs]
    columns: dict[str, list[Any]] = {name: [] for name in names}
    for number, line in _lines(body):
        value = _value(line, number)
        if len(names) == 1 and type(value) is not dict:
            columns[names[0]].append(value)
            continue
        for name, row in _named(value, number, names).items():
            columns[name].append(row)
    if not columns[names[0]]:
        raise MalformedRequestError("the JSON lines body has no lines")
    return {spec.name: _input(spec, columns[spec.name], body) for spec in signature.inputs}


def write_lines(outputs: Tensors) -> bytes:
    """A row of the outputs a line: the one output's, or an object of all of them."""
    return b"".join(write_json(row) + b"\n" for row in rows_of(outputs))


def _lines(body: bytes) -> Iterator[tuple[int, bytes]]:
    """The lines that say something, with their numbers; one at a time, because they may be many."""
    for number, line in enumerate(io.BytesIO(body), 1):
        text = line.removeprefix(_BOM).strip() if number == 1 else line.strip()
        if text:
            yield number, text


def _named(value: Any, number: int, names: list[str]) -> dict[str, Any]:
    """What an object has for each input."""
    if not isinstance(value, dict):
        expected = f"an object with the keys {', '.join(sorted(names))}"
        raise MalformedRequestError(f"line {number}: expected {expected}")
    if value.keys() == set(names):
        return value
    if len(names) == 1 and value.keys() == {FEATURES}:
        return {names[0]: value[FEATURES]}
    if len(names) == 1 and value.keys() == {"b64"}:
        return {names[0]: value}
    keys = ", ".join(sorted(value)[:20]) or "none"
    allowed = f"{', '.join(sorted(names))}" + f" or {FEATURES}" * (len(names) == 1)
    raise MalformedRequestError(f"line {number}: its keys are {keys}; expected {allowed}")


def _value(line: bytes, number: int) -> Any:
    try:
        return read_value(line)
    except MalformedRequestError as error:
        raise MalformedRequestError(f"line {number}: {error.message}") from None


def _input(spec: TensorSpec, rows: list[Any], body: bytes) -> Array:
    try:
        array = from_json(spec, rows, b64=True)
    except TensorError:
        at = _first_bad(spec, rows)
        number, _ = next(islice(_lines(body), at, None))
        raise MalformedRequestError(f"line {number}: {_problem(spec, rows, at)}") from None
    return check_shape(spec, array, _ROW_NOTE)


def _first_bad(spec: TensorSpec, rows: list[Any]) -> int:
    """The first row that does not go with those before it, found by halving."""
    good, bad = 0, len(rows)
    while bad - good > 1:
        middle = (good + bad) // 2
        if _fits(spec, rows[:middle]):
            good = middle
        else:
            bad = middle
    return bad - 1


def _fits(spec: TensorSpec, rows: list[Any]) -> bool:
    try:
        from_json(spec, rows, b64=True)
    except TensorError:
        return False
    return True


def _problem(spec: TensorSpec, rows: list[Any], at: int) -> str:
    """What is wrong with the row by itself, or else beside the first."""
    try:
        own = from_json(spec, rows[at], b64=True)
    except TensorError as error:
        return error.message
    first = from_json(spec, rows[0], b64=True)
    return (
        f"input {spec.name!r}: a row of shape {list(own.shape)} after rows of {list(first.shape)}"
    )
