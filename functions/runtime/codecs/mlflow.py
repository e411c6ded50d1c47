"""MLflow's scoring protocol: its four JSON keys in, ``{"predictions": …}`` out.

``dataframe_split``, ``dataframe_records``, ``instances`` and ``inputs``, exactly one of them, and
``params``, which an ONNX graph has no use for and MLflow's own onnx flavor passes over too. Answers
keep the caller's layout: records for data frames, rows for ``instances``, whole outputs for
``inputs``; one output of the last two goes without its name, as TensorFlow Serving and MLflow's
other flavors have it. NaN and Infinity are bare tokens both ways, as MLflow writes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import modelport
from modelport.envelope import Request, Response
from modelport.errors import MalformedRequestError
from modelport.grammar import Call
from modelport.signature import Signature

from functions.runtime.codecs.codec import (
    JSON_HEADERS,
    Headers,
    Parsed,
    Subject,
    output_names,
    read_json,
    write_json,
)
from functions.runtime.codecs.v1 import parse_document
from functions.runtime.tensors import Tensors

KEYS = ("dataframe_split", "dataframe_records", "instances", "inputs")
_REQUIRED = (
    "The input must be a JSON dictionary with exactly one of the input fields"
    f" {{{', '.join(map(repr, KEYS))}}}"
)
#: How an answer is laid out.
RECORDS, ROWS, COLUMNS = "records", "rows", "columns"
_LAYOUTS = dict(zip(KEYS, (RECORDS, RECORDS, ROWS, COLUMNS), strict=True))


class MlflowCodec:
    """MLflow scoring 3.x, in JSON."""

    def parse(self, call: Call, request: Request, subject: Subject) -> Parsed:
        return parse_scoring(read_json(request.body), subject.signature)

    def format(self, outputs: Tensors, parsed: Parsed, subject: Subject) -> tuple[Headers, bytes]:
        from functions.runtime.codecs.rows import column_of, records_of, rows_of

        layout, predictions = parsed.form["layout"], None
        if layout == COLUMNS:
            columns = {name: column_of(array) for name, array in outputs.items()}
            predictions = columns if len(columns) > 1 else next(iter(columns.values()))
        elif layout == ROWS and len(outputs) == 1 and next(iter(outputs.values())).ndim:
            predictions = column_of(next(iter(outputs.values())))
        else:
            predictions = list(rows_of(outputs)) if layout == ROWS else records_of(outputs)
        return dict(JSON_HEADERS), write_json({"predictions": predictions})

    def describe(
        self, call: Call, request: Request, subject: Subject
    ) -> Mapping[str, Any] | Response | None:
        text = modelport.__version__ if call.verb == "version" else "\n"
        return Response(200, dict(JSON_HEADERS), text.encode())


def parse_scoring(document: dict[str, Any], signature: Signature) -> Parsed:
    """Read the object of a scoring request."""
    found = [key for key in KEYS if key in document]
    if len(found) != 1:
        keys = ", ".join(map(repr, sorted(document)[:20])) or "none"
        raise MalformedRequestError(f"{_REQUIRED}. Received dictionary with input fields: {keys}")
    params = document.get("params")
    if params is not None and not isinstance(params, dict):
        raise MalformedRequestError("Invalid input. 'params' must be a dictionary.")
    return Parsed(
        _tensors(found[0], document, signature),
        output_names(signature),
        {"layout": _LAYOUTS[found[0]]},
    )


def _tensors(key: str, document: dict[str, Any], signature: Signature) -> Tensors:
    if not key.startswith("dataframe"):
        return parse_document(document, signature).tensors
    from functions.runtime.codecs import dataframes  # here, because many never send one

    read = dataframes.read_split if key == "dataframe_split" else dataframes.read_records
    return read(document[key], signature)
