"""Tensors as JSON Schema (2020-12): datatypes with their ranges, shapes as nested arrays.

What a schema cannot say (that free dimensions agree, that ``data`` fits ``shape``) is left to the
server, which says it in its refusals.
"""

from __future__ import annotations

from typing import Any

from modelport.signature import Signature, TensorSpec

Schema = dict[str, Any]

#: Datatypes whose values no JSON of V2 carries.
BINARY_ONLY = frozenset({"FP16", "BF16"})
#: Datatype → the largest value that JSON can bring it; None: whatever JSON can spell.
_FLOATS = {
    "FP16": 65_504.0,
    "BF16": 3.3895313892515355e38,
    "FP32": 3.4028234663852886e38,
    "FP64": None,
}
_FORMATS = {"INT32": "int32", "INT64": "int64", "FP32": "float", "FP64": "double"}


def value(datatype: str, *, b64: bool = False) -> Schema:
    """One element. With ``b64``, text may also be ``{"b64": …}``."""
    if datatype == "BOOL":
        return {"type": "boolean"}
    if datatype == "BYTES":
        text: Schema = {"type": "string"}
        return {"anyOf": [text, base64_text()]} if b64 else text
    if datatype in _FLOATS:
        largest = _FLOATS[datatype]
        bounds = {} if largest is None else {"minimum": -largest, "maximum": largest}
        return {"type": "number", **bounds, **_format(datatype)}
    bits = int(datatype.lstrip("UINT"))
    signed = not datatype.startswith("U")
    most = 2 ** (bits - signed) - 1
    least = -most - 1 if signed else 0
    return {"type": "integer", "minimum": least, "maximum": most, **_format(datatype)}


def answered(datatype: str, *, b64: bool = False) -> Schema:
    """One element of an answer; no bounds, which would only be the model's."""
    if datatype == "BYTES":
        return base64_text() if b64 else {"type": "string"}
    if datatype == "BOOL":
        return {"type": "boolean"}
    kind = "number" if datatype in _FLOATS else "integer"
    return {"type": kind, **_format(datatype)}


def base64_text() -> Schema:
    """``{"b64": "<base64>"}``, TensorFlow Serving's spelling of bytes."""
    return {
        "type": "object",
        "required": ["b64"],
        "properties": {"b64": {"type": "string", "format": "byte"}},
        "additionalProperties": False,
    }


def nested(element: Schema, shape: tuple[int, ...], *, kept: bool = False) -> Schema:
    """Arrays of this shape around ``element``; free dimensions (−1) have any size.

    Only the innermost may be empty, since nothing stands in an empty list that could say its
    rank; none of an answer (``kept``) is bound so.
    """
    schema = element
    for depth, dim in enumerate(reversed(shape)):
        schema = {"type": "array", "items": schema}
        if dim >= 0:
            schema |= {"minItems": dim, "maxItems": dim}
        elif depth and not kept:
            schema["minItems"] = 1
    return schema


def tensor(spec: TensorSpec) -> Schema:
    """An input as V1 takes it."""
    return nested(value(spec.datatype, b64=True), spec.shape) | {"title": f"{spec.name}: {spec}"}


def row(spec: TensorSpec) -> Schema:
    """One instance of an input: all of it but the first dimension."""
    return nested(value(spec.datatype, b64=True), spec.shape[1:]) | {"title": spec.name}


def rows(signature: Signature) -> Schema | None:
    """V1's ``instances``; None when an input has no first dimension to stack them on."""
    inputs = signature.inputs
    if not inputs or any(not spec.shape for spec in inputs):
        return None
    named = _object({spec.name: row(spec) for spec in inputs}, closed=True)
    fixed = [spec.shape[0] for spec in inputs if spec.shape[0] >= 0]
    bounds = {"minItems": min(fixed), "maxItems": min(fixed)} if fixed else {"minItems": 1}
    all_named: Schema = {"type": "array", "items": named, **bounds}
    if len(inputs) > 1:
        return all_named
    return {"anyOf": [{"type": "array", "items": row(inputs[0]), **bounds}, all_named]}


def columns(signature: Signature) -> Schema:
    """V1's ``inputs``: by name, or bare when there is one."""
    named = _object({spec.name: tensor(spec) for spec in signature.inputs}, closed=True)
    if len(signature.inputs) != 1:
        return named
    return {"anyOf": [named, tensor(signature.inputs[0])]}


def predictions(signature: Signature) -> Schema | None:
    """V1's answer to rows; None when an output has no first dimension."""
    outputs = signature.outputs
    if any(not spec.shape for spec in outputs):
        return None
    if len(outputs) == 1:
        return _answer(outputs[0], outputs[0].shape)
    each = {spec.name: _answer(spec, spec.shape[1:]) for spec in outputs}
    return {"type": "array", "items": _object(each)}


def outputs(signature: Signature) -> Schema:
    """V1's answer to columns: by name, or bare when there is one."""
    if len(signature.outputs) == 1:
        return _answer(signature.outputs[0], signature.outputs[0].shape)
    return _object({spec.name: _answer(spec, spec.shape) for spec in signature.outputs})


def v2_input(spec: TensorSpec, *, binary: bool = False) -> Schema:
    """An input of V2 infer; ``data`` is flat or nested. In binary form it follows the JSON."""
    fields: Schema = {
        "name": {"const": spec.name},
        "datatype": {"const": spec.datatype},
        "shape": shape(spec),
        "parameters": {"$ref": "#/components/schemas/Parameters"},
    }
    if not binary:
        flat = {"type": "array", "items": value(spec.datatype)}
        deep = nested(value(spec.datatype), spec.shape)
        fields["data"] = {"anyOf": [flat, deep]} if len(spec.shape) != 1 else flat
    required = ["name", "datatype", "shape"] + ([] if binary else ["data"])
    return {"type": "object", "required": required, "properties": fields}


def v2_output(spec: TensorSpec) -> Schema:
    """An output of V2 infer; without ``data`` when it was asked for in binary form."""
    fields = {
        "name": {"const": spec.name},
        "datatype": {"type": "string"},
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
        "data": {"type": "array"},
        "parameters": {"type": "object"},
    }
    return {"type": "object", "required": ["name", "datatype", "shape"], "properties": fields}


def shape(spec: TensorSpec) -> Schema:
    """A shape that fits: fixed dimensions as they are, free ones of any size."""
    rank = len(spec.shape)
    dims = [{"const": dim} if dim >= 0 else {"type": "integer", "minimum": 0} for dim in spec.shape]
    fixed: Schema = {"type": "array", "minItems": rank, "maxItems": rank}
    return fixed | ({"prefixItems": dims} if dims else {})


def _answer(spec: TensorSpec, shape: tuple[int, ...]) -> Schema:
    element = answered(spec.datatype, b64=spec.name.endswith("_bytes"))
    # An answer may have any rank: graphs declare what they like, and what ran is what is true.
    return nested(element, tuple(-1 for _ in shape), kept=True)


def _object(properties: Schema, *, closed: bool = False) -> Schema:
    schema = {"type": "object", "required": list(properties), "properties": properties}
    return schema | ({"additionalProperties": False} if closed else {})


def _format(datatype: str) -> Schema:
    known = _FORMATS.get(datatype)
    return {"format": known} if known else {}
