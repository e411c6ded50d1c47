"""``application/jsonlines``: one row a line, in and out.

A line is the one input's row as a JSON value or under ``features``, or an object with a row for
each input by name. Blank lines say nothing. What is wrong is told with its line.
"""

from __future__ import annotations

import json
from typing import Any

import orjson
from modelport.errors import MalformedRequestError, TensorError
from modelport.signature import Signature, TensorSpec

from functions.runtime.codecs.codec import read_json, write_json
from functions.runtime.codecs.rows import rows_of
from functions.runtime.tensors import Array, Tensors, check_shape, from_json

FEATURES = "features"
_BOM = b"\xef\xbb\xbf"
_ROW_NOTE = " (each line is a row, and the rows are stacked on axis 0)"


def read_lines(body: bytes, signature: Signature) -> Tensors:
    """The inputs in ``body``, a row a line."""
    numbers: list[int] = []
    rows: list[Any] = []
    for number, line in enumerate(body.removeprefix(_BOM).split(b"\n"), 1):
        line = line.strip()
        if line:
            numbers.append(number)
            rows.append(_row(line, number, signature))
    if not rows:
        raise MalformedRequestError("the JSON lines body has no lines")
    return {spec.name: _input(spec, [row[spec.name] for row in rows], numbers)
            for spec in signature.inputs}  # fmt: skip


def write_lines(outputs: Tensors) -> bytes:
    """A row of the outputs a line: the one output's, or an object of all of them."""
    return b"".join(write_json(row) + b"\n" for row in rows_of(outputs))


def _row(line: bytes, number: int, signature: Signature) -> dict[str, Any]:
    """What the line has for each input."""
    value = _value(line, number)
    names = {spec.name for spec in signature.inputs}
    if isinstance(value, dict):
        if value.keys() == names:
            return value
        if len(names) == 1 and value.keys() == {FEATURES}:
            return dict.fromkeys(names, value[FEATURES])
        if len(names) > 1 or value.keys() != {"b64"}:
            keys = ", ".join(sorted(value)[:20]) or "none"
            allowed = f"{', '.join(sorted(names))}" + f" or {FEATURES}" * (len(names) == 1)
            raise MalformedRequestError(f"line {number}: its keys are {keys}; expected {allowed}")
    if len(names) > 1:
        expected = f"an object with the keys {', '.join(sorted(names))}"
        raise MalformedRequestError(f"line {number}: expected {expected}")
    return dict.fromkeys(names, value)


def _value(line: bytes, number: int) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError as error:
        if b"NaN" not in line and b"Infinity" not in line:
            raise MalformedRequestError(
                f"line {number}: JSON Parse error: {error.msg} at offset: {error.pos}"
            ) from None
    try:
        json.loads(line)  # bare NaN is let in as elsewhere, and the line has to be one value
        value = read_json(b'{"line":' + line + b"}")["line"]
    except MalformedRequestError as error:
        raise MalformedRequestError(f"line {number}: {error.message}") from None
    except (ValueError, RecursionError) as error:
        problem = getattr(error, "msg", None) or "not UTF-8, or nested too deep"
        raise MalformedRequestError(f"line {number}: JSON Parse error: {problem}") from None
    return value


def _input(spec: TensorSpec, rows: list[Any], numbers: list[int]) -> Array:
    try:
        array = from_json(spec, rows, b64=True)
    except TensorError:
        at = _first_bad(spec, rows)
        raise MalformedRequestError(f"line {numbers[at]}: {_problem(spec, rows, at)}") from None
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
