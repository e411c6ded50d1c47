"""V2: the Open Inference Protocol's ``infer`` in JSON.

Datatypes are declared and must match the model's; data is flat or nested, row-major. Strict JSON
goes out, so NaN is refused with the way out. Parameters are let in and, where they would change
what the numbers mean, refused rather than ignored.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from modelport import metadata
from modelport.envelope import Request
from modelport.errors import MalformedRequestError, NotEncodableError, TensorError
from modelport.grammar import Call
from modelport.signature import Signature, TensorSpec

from functions.runtime.codecs.codec import (
    JSON_HEADERS,
    Headers,
    Parsed,
    Subject,
    output_names,
    read_json,
    write_json,
)
from functions.runtime.tensors import (
    Array,
    Tensors,
    check_finite,
    check_names,
    datatype_of,
    from_json,
)

BINARY_HEADER = "inference-header-content-length"
_NAN_WAY_OUT = "the V1 path of this model carries them as bare tokens"
_NO_JSON_REASON = {
    "FP16": "the protocol gives FP16 no JSON form; the V1 path of this model carries it",
    "BF16": "the protocol gives BF16 no JSON form",
}
_CHANGES_MEANING = ("classification", "shared_memory_region")


class V2Codec:
    """Open Inference Protocol V2 in JSON."""

    def parse(self, call: Call, request: Request, subject: Subject) -> Parsed:
        signature = subject.signature
        if BINARY_HEADER in request.headers:
            raise MalformedRequestError(
                "binary tensor data is not among this server's extensions (see GET /v2);"
                " send the tensors as JSON 'data'"
            )
        document = read_json(request.body)
        _check_inputs_have_json(signature)
        entries = _entries(document, "inputs")
        check_names(signature, entries)
        tensors = {spec.name: _tensor(spec, entries[spec.name]) for spec in signature.inputs}
        form = {"id": document["id"]} if "id" in document else {}
        if not isinstance(form.get("id", ""), str):
            raise MalformedRequestError("'id' must be a string")
        return Parsed(tensors, _wanted(document, signature), form)

    def format(self, outputs: Tensors, parsed: Parsed, subject: Subject) -> tuple[Headers, bytes]:
        answer = {
            "model_name": subject.model,
            "model_version": str(subject.version),
            **parsed.form,
            "outputs": [_output(name, array) for name, array in outputs.items()],
        }
        return dict(JSON_HEADERS), write_json(answer)

    def describe(self, verb: str, subject: Subject) -> Mapping[str, Any] | None:
        if verb == "metadata":
            return metadata.v2_metadata(subject.model, [subject.version], subject.signature)
        if verb == "ready":
            return metadata.v2_model_ready(subject.model)
        if verb == "server-metadata":
            return metadata.v2_server_metadata()
        return metadata.v2_live() if verb == "server-live" else metadata.v2_server_ready()


def _entries(document: dict[str, Any], key: str) -> dict[str, dict[str, Any]]:
    """The list under ``key`` by tensor name, each an object with a name of its own."""
    listed = document.get(key)
    if not isinstance(listed, list):
        raise MalformedRequestError(f"'{key}' must be a list of tensors")
    entries: dict[str, dict[str, Any]] = {}
    for position, entry in enumerate(listed):
        name = entry.get("name") if isinstance(entry, dict) else None
        if not isinstance(name, str):
            raise MalformedRequestError(f"'{key}'[{position}] must be an object with a 'name'")
        if name in entries:
            raise MalformedRequestError(f"'{key}' names {name!r} twice")
        _check_parameters(name, entry.get("parameters", {}))
        entries[name] = entry
    return entries


def _check_parameters(name: str, parameters: Any) -> None:
    if not isinstance(parameters, dict):
        raise MalformedRequestError(f"the parameters of {name!r} must be an object")
    for key in _CHANGES_MEANING:
        if key in parameters:
            raise MalformedRequestError(f"parameter {key!r} of {name!r} is not supported")


def _check_inputs_have_json(signature: Signature) -> None:
    for spec in signature.inputs:
        if spec.datatype in _NO_JSON_REASON:
            raise TensorError(spec.name, str(spec), f"JSON: {_NO_JSON_REASON[spec.datatype]}")


def _tensor(spec: TensorSpec, entry: dict[str, Any]) -> Array:
    shape = _shape(spec, entry.get("shape"))
    datatype = entry.get("datatype")
    declared = f"{datatype} [{','.join(map(str, shape))}]"
    if datatype != spec.datatype or not spec.accepts(shape):
        raise TensorError(spec.name, str(spec), declared)
    if "data" not in entry:
        raise TensorError(spec.name, str(spec), "no 'data'")
    array = from_json(spec, entry["data"])
    if array.shape != shape and (array.ndim > 1 or array.size != math.prod(shape)):
        listed = "[" + ",".join(map(str, array.shape)) + "]"
        raise TensorError(spec.name, declared, f"data of shape {listed}, {array.size} values")
    try:
        return array.reshape(shape)
    except (ValueError, OverflowError):  # no elements, and yet a dimension beyond all memory
        raise TensorError(spec.name, str(spec), declared) from None


def _shape(spec: TensorSpec, shape: Any) -> tuple[int, ...]:
    if not isinstance(shape, list) or not all(type(dim) is int and dim >= 0 for dim in shape):
        raise TensorError(spec.name, str(spec), "a 'shape' that is not a list of whole numbers")
    return tuple(shape)


def _wanted(document: dict[str, Any], signature: Signature) -> tuple[str, ...]:
    known = output_names(signature)
    wanted = tuple(_entries(document, "outputs")) if document.get("outputs") else known
    for name in wanted:
        spec = signature.output(name)
        if spec is None:
            raise MalformedRequestError(
                f"output {name!r} is not an output of the model; outputs: {', '.join(known)}"
            )
        if spec.datatype in _NO_JSON_REASON:
            raise NotEncodableError(name, _NO_JSON_REASON[spec.datatype])
    return wanted


def _output(name: str, array: Array) -> dict[str, Any]:
    check_finite(name, array, _NAN_WAY_OUT)
    flat = array.reshape(-1)
    return {
        "name": name,
        "shape": list(array.shape),
        "datatype": datatype_of(array),
        "data": flat.tolist() if flat.dtype.kind == "O" else flat,
    }
