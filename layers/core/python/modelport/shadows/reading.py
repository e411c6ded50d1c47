"""An answer of any protocol as rows by output's name, so that two of them can be compared.

V1, V2 (JSON and raw tensors), SageMaker's and MLflow's JSON, JSON lines, CSV, numpy's files, and
whatever JSON a script answers. Plain Python, because the functions have no numpy. An answer is not
trusted: its size is bounded before anything is made of it, and what cannot be read is an
`UnreadableError`. What names the answer and not its content (``id``, ``model_version``) is left
out.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from modelport.shadows.raw_values import npy_of, values_of

#: Bytes of an answer that is read; a message carries half of that at most.
MOST_BYTES = 2 * 1024 * 1024
_IDENTITY = ("id", "model_name", "model_version")
#: What rows stand under in V1, SageMaker's and MLflow's JSON.
_ROWS = ("outputs", "predictions", "results")
_LENGTH = "inference-header-content-length"
_TRITON = re.compile(
    r"application/vnd\.sagemaker-triton\.binary\+json;\s*json-header-size=([0-9]{1,12})"
)
_LINES = frozenset({"application/jsonlines", "application/jsonl", "application/x-ndjson"})
_WHOLE = re.compile(r"-?[0-9]{1,20}")
_WINDOW = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}

#: By output's name, "" for the only one that has none: a value for each row.
Outputs = dict[str, Sequence[Any]]


class UnreadableError(Exception):
    """Why an answer cannot be compared, in words that repeat nothing of it."""


def read(headers: Mapping[str, str], body: bytes, most: int = MOST_BYTES) -> Outputs:
    """The outputs in an answer of at most ``most`` bytes; raises `UnreadableError`."""
    plain = _decoded(headers.get("content-encoding", ""), body, most)
    kind = headers.get("content-type", "").lower()
    try:
        if (size := _json_size(headers, kind)) is not None:
            return _v2(_parsed(plain[:size]), plain[size:])
        media = kind.partition(";")[0].strip()
        if media == "application/json" or media.endswith("+json"):
            return _document(_parsed(plain))
        if media in _LINES:
            return {"": [_parsed(line) for line in plain.splitlines() if line.strip()]}
        if media == "application/x-npy":
            return {"": shaped(*npy_of(plain))}
        if media == "text/csv":
            return {"": [_cells(row) for row in csv.reader(io.StringIO(plain.decode())) if row]}
    except (ValueError, TypeError, LookupError, OverflowError, RecursionError, csv.Error):
        raise UnreadableError("an answer is not what its type says") from None
    raise UnreadableError(f"answers of type {media[:60] or 'unknown'} have no form to compare")


def _decoded(coding: str, body: bytes, most: int) -> bytes:
    if coding.strip().lower() in ("", "identity"):
        plain = body
    elif (window := _WINDOW.get(coding.strip().lower())) is not None:
        try:
            plain = zlib.decompressobj(window).decompress(body, most + 1)
        except zlib.error:
            raise UnreadableError("an answer is not compressed as it says") from None
    else:
        raise UnreadableError("an answer is compressed in an unknown way")
    if len(plain) > most:
        raise UnreadableError(f"an answer has more than {most:,} bytes")
    return plain


def _json_size(headers: Mapping[str, str], kind: str) -> int | None:
    """Bytes of JSON before raw tensors, in either of the two ways that V2 says so."""
    if (said := headers.get(_LENGTH)) is not None:
        return int(said)
    match = _TRITON.match(kind)
    return int(match[1]) if match else None


def _parsed(text: bytes) -> Any:
    return json.loads(text.decode())


def _document(document: Any) -> Outputs:
    if isinstance(document, list):
        return {"": document}
    if not isinstance(document, dict):
        return {"": [document]}
    outputs = document.get("outputs")
    if isinstance(outputs, list) and outputs and all(map(_is_tensor, outputs)):
        return _v2(document, b"")
    rest = {name: value for name, value in document.items() if name not in _IDENTITY}
    if len(rest) == 1:
        ((key, value),) = rest.items()
        if key in _ROWS and isinstance(value, dict):
            return {name: _rows(column) for name, column in value.items()}
        if key in _ROWS:
            return {"": _rows(value)}
    return {"": [rest]}


def _rows(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _is_tensor(entry: Any) -> bool:
    return isinstance(entry, dict) and {"name", "datatype", "shape"} <= entry.keys()


def _v2(document: Any, raw: bytes) -> Outputs:
    found: Outputs = {}
    for entry in document["outputs"]:
        size = (entry.get("parameters") or {}).get("binary_data_size")
        datatype, shape = entry["datatype"], entry["shape"]
        values: Sequence[Any]
        if size is None:
            values = _flat(entry["data"])
        else:
            if type(size) is not int or not 0 <= size <= len(raw):
                raise ValueError("a raw tensor is longer than the body")
            values, raw = values_of(datatype, raw[:size]), raw[size:]
        if datatype.startswith("FP") or datatype == "BF16":
            values = [float(value) for value in values]
        found[str(entry["name"])] = shaped(values, shape)
    return found


def shaped(values: Sequence[Any], shape: Sequence[int]) -> Sequence[Any]:
    """Flat values as rows: a value each for [N], a list for [N, K], a list in a list beyond."""
    if any(type(size) is not int or size < 0 for size in shape) or math.prod(shape) != len(values):
        raise ValueError("a tensor has another number of values than its shape")
    if len(shape) < 2 or not values:
        return values
    width = len(values) // shape[0]
    rows = (values[at : at + width] for at in range(0, len(values), width))
    return [list(row) if len(shape) == 2 else [list(row)] for row in rows]


def _flat(data: Any) -> list[Any]:
    level = data if isinstance(data, list) else [data]
    while level and isinstance(level[0], list):
        level = [value for inner in level for value in inner]
    return level


def _cells(row: list[str]) -> list[Any]:
    try:
        if all(map(_WHOLE.fullmatch, row)):
            return [int(cell) for cell in row]
        return [float(cell) for cell in row]
    except ValueError:
        return list(row)
