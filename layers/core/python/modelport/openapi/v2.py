"""The operations of the Open Inference Protocol V2, for one version."""

from __future__ import annotations

from collections.abc import Iterator

from modelport.openapi import examples, schemas
from modelport.openapi.about import About, Place
from modelport.openapi.operation import (
    JSON,
    OCTETS,
    PREDICTION,
    QUESTION,
    Operation,
    json_body,
    ref,
)
from modelport.openapi.schemas import Schema

TAG = "V2: Open Inference Protocol"
HEADER_LENGTH = "Inference-Header-Content-Length"
_TEXT: Schema = {"type": "string"}
#: One event of the stream: the text made since the last, or an error.
_EVENT: Schema = {
    "type": "object",
    "required": ["data"],
    "properties": {
        "data": {
            "type": "string",
            "contentMediaType": JSON,
            "contentSchema": {"anyOf": [ref("V2GenerateResponse"), ref("Error")]},
        }
    },
}
_BINARY = (
    f" Tensors may also be sent as raw bytes, little-endian and row-major, behind the JSON: the"
    f" header `{HEADER_LENGTH}` then says how long the JSON is, each such input has the parameter"
    " `binary_data_size` in place of `data`, and `binary_data` of an output, or"
    " `binary_data_output` of the request, asks for the answer so. An element of BYTES is its"
    " length in 4 bytes, then its bytes."
)


def operations(about: About, place: Place) -> Iterator[Operation]:
    """Every V2 operation this version has."""
    path = f"/v2/models/{about.model}{place.any_selector}"
    yield _infer(about, f"{path}/infer")
    if about.script:
        yield _generate(f"{path}/generate", "v2Generate", "Generate, and wait for all of it", JSON)
        yield _generate(
            f"{path}/generate_stream", "v2GenerateStream", "Generate, and read along",
            "text/event-stream",
        )  # fmt: skip
    yield Operation(
        "GET", path, TAG, "v2Metadata", "Inputs and outputs, as V2 spells them",
        answer={JSON: json_body(ref("V2Metadata"))},
    )  # fmt: skip
    yield Operation(
        "GET", f"{path}/ready", TAG, "v2Ready", "Whether it is ready",
        answer={JSON: json_body(ref("V2Ready"))},
    )  # fmt: skip
    yield Operation(
        "GET", f"{path}/stats", TAG, "v2Stats", "How many requests it had, and how long they took",
        "Counted by the process that answers, since it started; another may have other figures.",
        answer={JSON: json_body(ref("V2Statistics"))},
        refusals=(*QUESTION, 429, 501, 502, 504),
    )  # fmt: skip


def _infer(about: About, path: str) -> Operation:
    signature, golden = about.signature, about.golden
    # The header goes with this form alone, which a parameter of the operation could not say.
    raw = {"type": "string", "format": "binary", "description": f"JSON of `{HEADER_LENGTH}` bytes,"}
    raw["description"] += (
        " then the tensors in their order; 0 bytes: one raw input, all outputs raw."
    )
    binary = {OCTETS: {"schema": raw}}
    plain = json_body(ref("V2InferRequest"), ("golden", examples.v2_request(golden)))
    answer = json_body(
        ref("V2InferResponse"),
        ("golden", examples.v2_answer(golden, about.model, about.version)),
    )
    in_json = all(spec.datatype not in schemas.BINARY_ONLY for spec in signature.inputs)
    return Operation(
        "POST", path, TAG, "v2Infer", "Infer, in JSON or with raw tensors",
        "Each input says its name, datatype and shape; `data` is flat or nested, row-major. `id`"
        " comes back as it is, `outputs` chooses among the outputs." + _BINARY,
        request=({JSON: plain} if in_json else {}) | binary,
        answer={JSON: answer} | binary,
        refusals=PREDICTION,
    )  # fmt: skip


def _generate(path: str, name: str, summary: str, media: str) -> Operation:
    body = json_body(ref("V2GenerateRequest"), ("prompt", {"text_input": "text"}))
    answer = json_body(ref("V2GenerateResponse")) if media == JSON else {"schema": _EVENT}
    return Operation(
        "POST", path, TAG, name, summary,
        "The `generate_fn` of the bundle's `inference.py` answers; without one this is refused. An"
        " error after the first event comes as an event.",
        request={JSON: body},
        answer={media: answer},
        refusals=PREDICTION,
    )  # fmt: skip


def components(about: About) -> Schema:
    """The schemas those operations refer to."""
    signature = about.signature
    names = [spec.name for spec in signature.outputs]
    inputs = [schemas.v2_input(spec) for spec in signature.inputs]
    return fixed_components() | {
        "V2InferRequest": {
            "type": "object",
            "required": ["inputs"],
            "properties": {
                "id": {"type": ["string", "null"]},
                "parameters": ref("Parameters"),
                "inputs": _each_once(inputs, len(inputs)),
                "outputs": {
                    "type": ["array", "null"],
                    "items": _requested(names),
                    "uniqueItems": True,
                },
            },
        },
        "V2InferResponse": {
            "type": "object",
            "required": ["model_name", "outputs"],
            "properties": {
                "model_name": {"const": about.model},
                "model_version": {"const": str(about.version)},
                "id": _TEXT,
                "parameters": {"type": "object"},
                "outputs": {
                    "type": "array",
                    "items": {"anyOf": [schemas.v2_output(spec) for spec in signature.outputs]},
                },
            },
        },
    }


def fixed_components() -> Schema:
    """The schemas that are the same for every model."""
    tensors = {"type": "array", "items": _TENSOR_METADATA}
    texts = {"type": "array", "items": _TEXT}
    return {
        # What is left out may also be null: clients made from classes send it so.
        "Parameters": {
            "type": ["object", "null"],
            "additionalProperties": {"type": ["string", "number", "boolean"]},
        },
        "V2Metadata": _object(
            {"name": _TEXT, "versions": texts, "platform": _TEXT}
            | {"inputs": tensors, "outputs": tensors}
        ),
        "V2Ready": _object({"name": _TEXT, "ready": {"type": "boolean"}}),
        "V2Statistics": _object({"model_stats": {"type": "array", "items": {"type": "object"}}}),
        "V2GenerateRequest": {
            "type": "object",
            "required": ["text_input"],
            "properties": {
                "id": {"type": ["string", "null"]},
                "text_input": _TEXT,
                "parameters": ref("Parameters"),
            },
        },
        "V2GenerateResponse": {
            "type": "object",
            "properties": {
                "id": _TEXT, "model_name": _TEXT, "model_version": _TEXT, "text_output": _TEXT,
            },
        },
    }  # fmt: skip


def _each_once(items: list[Schema], count: int) -> Schema:
    """A list with one of each, in any order."""
    listed: Schema = {"type": "array", "minItems": count, "maxItems": count}
    if len(items) == 1:
        return listed | {"items": items[0]}
    named = [{"contains": {"properties": {"name": item["properties"]["name"]}}} for item in items]
    return listed | {"items": {"anyOf": items}} | ({"allOf": named} if named else {})


def _requested(names: list[str]) -> Schema:
    return {
        "type": "object",
        "required": ["name"],
        "properties": {"name": {"enum": names}, "parameters": ref("Parameters")},
    }


def _object(properties: Schema) -> Schema:
    return {"type": "object", "required": list(properties), "properties": properties}


_TENSOR_METADATA = _object(
    {
        "name": _TEXT,
        "datatype": _TEXT,
        "shape": {"type": "array", "items": {"type": "integer", "minimum": -1}},
    }
)
