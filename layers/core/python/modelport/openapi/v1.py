"""The operations of V1: TensorFlow Serving's REST and KServe's, for one version."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from modelport.openapi import examples, schemas
from modelport.openapi.about import About, Place
from modelport.openapi.operation import JSON, PREDICTION, Operation, json_body, ref
from modelport.openapi.schemas import Schema
from modelport.signature import Signature
from modelport.v1_results import evaluated, result_of

_TASKS = ("classification", "regression")
TAG = "V1: TensorFlow Serving and KServe"
_BARE = (
    "Numbers that JSON cannot spell come and go as bare `NaN`, `Infinity` and `-Infinity`,"
    " as TensorFlow Serving writes them."
)


def operations(about: About, place: Place) -> Iterator[Operation]:
    """Every V1 operation this version has."""
    path = f"/v1/models/{about.model}{place.v1_selector}"
    if all(spec.datatype != "BF16" for spec in (*about.signature.inputs, *about.signature.outputs)):
        yield _predict(about, path)
        examples_fit = _by_example(about.signature)
        if examples_fit and result_of("classify", about.signature):
            yield _examples(about, f"{path}:classify", "v1Classify", "Classify examples")
        if examples_fit and result_of("regress", about.signature):
            yield _examples(about, f"{path}:regress", "v1Regress", "Regress on examples")
        if _tasks(about.signature) and schemas.rows(about.signature) is not None:
            yield _evaluate(path)
    yield Operation(
        "GET", path, TAG, "v1Status", "Which versions run, and whether they are ready",
        answer={JSON: json_body(ref("V1Status"))},
    )  # fmt: skip
    yield Operation(
        "GET", f"{path}/metadata", TAG, "v1Metadata", "Inputs and outputs, as V1 spells them",
        answer={JSON: json_body(ref("V1Metadata"))},
    )  # fmt: skip


def components(about: About) -> Schema:
    """The schemas those operations refer to."""
    return fixed_components() | {
        "V1EvaluateRequest": _evaluation(about.signature),
        "V1PredictRequest": _request(about.signature),
        "V1PredictResponse": _response(about.signature),
    }


def fixed_components() -> Schema:
    """The schemas that are the same for every model."""
    return {
        "V1Status": {
            "type": "object",
            "required": ["name", "ready", "model_version_status"],
            "properties": {
                "name": {"type": "string"},
                "ready": {"type": "boolean"},
                "model_version_status": {"type": "array", "items": _VERSION_STATUS},
            },
        },
        "V1Metadata": {
            "type": "object",
            "required": ["model_spec", "metadata"],
            "properties": {"model_spec": {"type": "object"}, "metadata": {"type": "object"}},
        },
        "V1Examples": {
            "type": "object",
            "required": ["examples"],
            "properties": {
                "signature_name": {"enum": ["", "serving_default"]},
                "context": {"type": "object"},
                "examples": {"type": "array", "minItems": 1, "items": {"type": "object"}},
            },
        },
        "V1Evaluation": {
            "type": "object",
            "required": ["task", "rows", "metrics", "left_out"],
            "properties": {
                "task": {"enum": list(_TASKS)},
                "rows": {"type": "integer"},
                "metrics": {"type": "object", "additionalProperties": {"type": "number"}},
                "left_out": {"type": "object", "additionalProperties": {"type": "string"}},
                "scores": {"enum": ["probabilities", "softmax", "sigmoid", None]},
                "classes": {"type": "array", "items": {"type": "object"}},
                "confusion": {"type": "array", "items": {"type": "array"}},
            },
        },
        "V1Results": {
            "type": "object",
            "required": ["results"],
            "properties": {"results": {"type": "array"}},
        },
    }


def _by_example(signature: Signature) -> bool:
    """Whether examples can be stacked to every input."""
    return bool(signature.inputs) and all(spec.shape for spec in signature.inputs)


def _predict(about: About, path: str) -> Operation:
    golden = about.golden
    return Operation(
        "POST", f"{path}:predict", TAG, "v1Predict", "Predict, by rows or by columns",
        "`instances` has one element for each row, `inputs` whole tensors by name; send one of"
        f" them. {_BARE}",
        request={
            JSON: json_body(
                ref("V1PredictRequest"),
                ("rows", examples.v1_rows(golden)),
                ("columns", examples.v1_columns(golden)),
            )
        },
        answer={
            JSON: json_body(
                ref("V1PredictResponse"),
                ("rows", examples.v1_predictions(golden)),
                ("columns", examples.v1_outputs(golden)),
            )
        },
        answered="`predictions` to `instances`, `outputs` to `inputs`.",
        refusals=PREDICTION,
    )  # fmt: skip


def _examples(about: About, path: str, name: str, summary: str) -> Operation:
    return Operation(
        "POST", path, TAG, name, summary,
        "Each example has its features by input name, one value or a flat list each; `context`"
        " has those that all examples share. " + _BARE,
        request={JSON: json_body(ref("V1Examples"))},
        answer={JSON: json_body(ref("V1Results"))},
        refusals=PREDICTION,
    )  # fmt: skip


def _tasks(signature: Signature) -> list[str]:
    return [task for task in _TASKS if evaluated(task, signature)]


def _evaluate(path: str) -> Operation:
    return Operation(
        "POST", f"{path}:evaluate", TAG, "v1Evaluate", "Compare answers with labels",
        "`labels` has one label for each of `instances`, at most 10,000: a class's name or number,"
        " or a value. Scores that are no probabilities go through softmax (one column: sigmoid).",
        request={JSON: json_body(ref("V1EvaluateRequest"))},
        answer={JSON: json_body(ref("V1Evaluation"))},
        answered="Accuracy, precision, recall, F1 and log loss, or MAE, RMSE and R²; `left_out`"
        " says why one is not there.",
        refusals=PREDICTION,
    )  # fmt: skip


def _evaluation(signature: Signature) -> Schema:
    label = {"type": ["integer", "number", "string"]}
    return {
        "type": "object",
        "required": ["instances", "labels", "task"],
        "properties": {
            "signature_name": {"enum": ["", "serving_default"]},
            "task": {"enum": _tasks(signature) or list(_TASKS)},
            "instances": schemas.rows(signature) or {"type": "array"},
            "labels": {"type": "array", "minItems": 1, "maxItems": 10_000, "items": label},
        },
        "additionalProperties": False,
    }


def _request(signature: Signature) -> Schema:
    signature_name = {"enum": ["", "serving_default"]}
    forms: list[Schema] = [_form("inputs", schemas.columns(signature), "instances")]
    rows = schemas.rows(signature)
    if rows is not None:
        forms.insert(0, _form("instances", rows, "inputs"))
    return {
        "type": "object",
        "properties": {"signature_name": signature_name},
        **({"oneOf": forms} if len(forms) > 1 else forms[0]),
    }


def _form(key: str, schema: Schema, other: str) -> Schema:
    return {
        "type": "object",
        "required": [key],
        "properties": {
            "signature_name": {"enum": ["", "serving_default"]},
            key: schema,
            other: False,
        },
    }


def _response(signature: Signature) -> Schema:
    forms: list[Schema] = [_one_key("outputs", schemas.outputs(signature))]
    predictions = schemas.predictions(signature)
    if predictions is not None:
        forms.insert(0, _one_key("predictions", predictions))
    return {"oneOf": forms} if len(forms) > 1 else forms[0]


def _one_key(key: str, schema: Schema) -> Schema:
    return {"type": "object", "required": [key], "properties": {key: schema}}


_VERSION_STATUS: dict[str, Any] = {
    "type": "object",
    "required": ["version", "state", "status"],
    "properties": {
        "version": {"type": "string"},
        "state": {"enum": ["UNKNOWN", "START", "LOADING", "AVAILABLE", "UNLOADING", "END"]},
        "status": {
            "type": "object",
            "required": ["error_code", "error_message"],
            "properties": {
                "error_code": {"type": "string"},
                "error_message": {"type": "string"},
            },
        },
    },
}
