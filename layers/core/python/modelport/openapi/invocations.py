"""SageMaker's and MLflow's one operation: ``/invocations``, by media type and by JSON keys."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from modelport.openapi import examples
from modelport.openapi.about import About, Place
from modelport.openapi.operation import JSON, OCTETS, PREDICTION, Operation, json_body, ref
from modelport.openapi.schemas import Schema

TAG = "SageMaker and MLflow"
CSV = "text/csv"
NPY = "application/x-npy"
JSON_LINES = "application/jsonlines"
#: How V2's raw tensors travel where SageMaker strips headers; a parameter has the JSON's size.
TRITON = "application/vnd.sagemaker-triton.binary+json"
_BYTES: Schema = {"type": "string", "format": "binary"}
# Any text there is may be rows of text, so nothing is said of it that could be wrong.
_LINES: Schema = {"description": "A row on each line."}


def operations(about: About, place: Place) -> Iterator[Operation]:
    """``/invocations`` under the path that ``place`` has for it."""
    path = f"/endpoints/{about.model}{place.any_selector}/invocations"
    if not place.router and not place.selector:
        path = "/invocations"
    request, answer = _script(about) if about.script else _tensors(about)
    told = (
        "The bundle's `inference.py` reads the body and writes the answer, whatever they are."
        if about.script
        else "In JSON: `instances`, `inputs`, `dataframe_split` or `dataframe_records`, answered"
        " by `predictions`; a list is `instances`; or a request of V2, answered as V2 does, also"
        " with raw tensors. CSV, JSON lines and npy are rows of input. `Accept` chooses what comes"
        " back."
    )
    yield Operation(
        "POST", path, TAG, "invocations", "Predict, as SageMaker and MLflow ask", told,
        request=request, answer=answer, refusals=PREDICTION, body_needed=not about.script,
    )  # fmt: skip


def components(about: About) -> Schema:
    """The schemas it refers to."""
    return {
        "InvocationsRequest": {
            "anyOf": [
                ref("V1PredictRequest"),
                ref("DataframeSplit"),
                ref("DataframeRecords"),
                ref("V2InferRequest"),
                {"type": "array", "description": "Rows of input, as `instances`.", "minItems": 1},
            ],
        },
        "InvocationsResponse": {
            "anyOf": [
                {"type": "object", "required": ["predictions"]},
                ref("V2InferResponse"),
            ],
        },
        "DataframeSplit": _frame(
            "dataframe_split",
            {
                "type": "object",
                "required": ["columns", "data"],
                "properties": {
                    "columns": {"type": "array", "items": {"type": "string"}},
                    "index": {"type": "array"},
                    "data": {"type": "array", "items": {"type": "array"}},
                },
            },
        ),
        "DataframeRecords": _frame(
            "dataframe_records", {"type": "array", "items": {"type": "object"}}
        ),
    }


def _frame(key: str, schema: Schema) -> Schema:
    return {
        "type": "object",
        "required": [key],
        "properties": {key: schema, "params": {"type": "object"}},
    }


Content = dict[str, dict[str, Any]]


def _tensors(about: About) -> tuple[Content, Content]:
    golden = about.golden
    columns = examples.v1_outputs(golden)
    request: Content = {
        JSON: json_body(
            ref("InvocationsRequest"),
            ("rows", examples.v1_rows(golden)),
            ("columns", examples.v1_columns(golden)),
        ),
        JSON_LINES: {"schema": _LINES},
        TRITON: {"schema": _BYTES},
    }
    answer: Content = {
        JSON: json_body(
            ref("InvocationsResponse"),
            ("rows", examples.v1_predictions(golden)),
            ("columns", columns and {"predictions": columns["outputs"]}),
        ),
        OCTETS: {"schema": _BYTES},
        TRITON: {"schema": _BYTES},
        JSON_LINES: {"schema": _LINES},
        CSV: {"schema": _LINES},
        NPY: {"schema": _BYTES},
    }
    if len(about.signature.inputs) == 1:
        request |= {NPY: {"schema": _BYTES}, OCTETS: {"schema": _BYTES}}
    if all(len(spec.shape) in (1, 2) for spec in about.signature.inputs):
        request[CSV] = json_body(_LINES, ("rows", examples.csv(golden)))
    return request, answer


def _script(about: About) -> tuple[Content, Content]:
    golden = about.golden
    answer: Content = {"*/*": {"schema": {}}}
    if golden is None or golden.kind != "raw":
        return {"*/*": {"schema": {}}}, answer
    media = golden.content_type.partition(";")[0].strip()
    body: Any = golden.body.decode(errors="replace")
    if media == JSON:
        try:
            import json

            body = json.loads(body)
        except ValueError:
            return {"*/*": {"schema": {}}}, answer
    shown = json_body({}, ("golden", body))
    return {media: shown, "*/*": {"schema": {}}}, {
        JSON: json_body({}, ("golden", golden.answer)),
        **answer,
    }
