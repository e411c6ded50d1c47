"""Open Inference V2 as this client writes and reads it: a JSON header, then the tensors raw.

Pure functions between arrays and bytes. What comes back is not trusted: sizes are checked against
the bytes that are there, and whatever does not add up is an `UnreadableAnswerError`. JSON tensors
are read too, for servers that know no other form.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from modelport.client.arrays import declared, widened
from modelport.client.conversation import JSON_TYPE, AnsweredBy, Reply
from modelport.client.errors import InvalidValueError, UnreadableAnswerError
from modelport.errors import ModelportError
from modelport.raw_tensors import MAX_RANK, Array, datatype_of, pack, unpack
from modelport.signature import Signature, TensorSpec

HEADER_LENGTH = "inference-header-content-length"
BINARY_TYPE = "application/octet-stream"
_IN_CONTENT_TYPE = re.compile(r";\s*json-header-size=(\d{1,12})\s*$", re.ASCII)
Parameter = str | int | float | bool


class Outputs(dict[str, Array]):
    """A model's outputs by name, and who made them.

    ``datatypes`` are V2's names of what was sent; ``duration_s`` is the time of the attempt that
    was answered, ``attempts`` how many it took.
    """

    answered_by: AnsweredBy
    request_id: str
    parameters: Mapping[str, Any]
    datatypes: Mapping[str, str]
    duration_s: float
    attempts: int

    def __init__(self, arrays: Mapping[str, Array], document: Mapping[str, Any], reply: Reply):
        super().__init__(arrays)
        self.answered_by = reply.answered_by
        self.request_id = str(document.get("id", ""))
        self.parameters = document.get("parameters") or {}
        self.datatypes = {each["name"]: each["datatype"] for each in document["outputs"]}
        self.duration_s, self.attempts = reply.duration_s, reply.attempts


def infer_body(
    arrays: Mapping[str, Array],
    outputs: Sequence[str] | None,
    parameters: Mapping[str, Parameter],
    request_id: str,
) -> tuple[dict[str, str], bytes]:
    """Headers and body of an infer request; `InvalidValueError` names what cannot be sent."""
    raws, entries = [], []
    for name, array in arrays.items():
        try:
            raw = pack(array)
        except ValueError as error:
            raise InvalidValueError(f"input {name!r}", str(error)) from None
        raws.append(raw)
        entries.append(
            {
                "name": name,
                "shape": array.shape,
                "datatype": datatype_of(array),
                "parameters": {"binary_data_size": len(raw)},
            }
        )
    document: dict[str, Any] = {
        "parameters": {**parameters, "binary_data_output": True},
        "inputs": entries,
    }
    if request_id:
        document["id"] = request_id
    if outputs is not None:
        document["outputs"] = [{"name": name} for name in outputs]
    try:
        head = json.dumps(document, separators=(",", ":")).encode()
    except (TypeError, ValueError) as error:
        raise InvalidValueError("parameters", str(error)) from None
    headers = {"content-type": BINARY_TYPE, HEADER_LENGTH: str(len(head))}
    return headers, b"".join([head, *raws])


def read_outputs(reply: Reply, endpoint: str) -> Outputs:
    """The outputs of an infer answer, each an array of the caller's own."""
    try:
        head, rest = _parts(reply)
        document = _document(head)
        arrays: dict[str, Array] = {}
        for entry in document["outputs"]:
            spec = _spec(entry)
            if spec.name in arrays:
                raise ValueError(f"output {spec.name!r} is there twice")
            size = (entry.get("parameters") or {}).get("binary_data_size")
            if size is None:
                arrays[spec.name] = _from_json(spec, entry)
                continue
            if type(size) is not int or not 0 <= size <= len(rest):
                raise ValueError(f"output {spec.name!r}: size {size!r} of {len(rest)} bytes")
            arrays[spec.name] = widened(_unpacked(spec, rest[:size]))
            rest = rest[size:]
        if len(rest):
            raise ValueError(f"{len(rest)} bytes after the last output")
        return Outputs(arrays, document, reply)
    except (ValueError, RecursionError, ModelportError) as error:
        raise UnreadableAnswerError(endpoint, str(error)[:300] or "it is nested too deep") from None


def read_signature(reply: Reply, endpoint: str) -> Signature:
    """The inputs and outputs in an answer to V2's model metadata."""
    try:
        document = json.loads(reply.body)
        signature = Signature.from_json(document)
        specs = (*signature.inputs, *signature.outputs)
        if all(
            isinstance(spec.name, str)
            and isinstance(spec.datatype, str)
            and all(type(dim) is int for dim in spec.shape)
            for spec in specs
        ):
            return signature
    except (ValueError, TypeError, KeyError, RecursionError):
        pass
    raise UnreadableAnswerError(endpoint, "it is no metadata of a model") from None


def _parts(reply: Reply) -> tuple[bytes | memoryview, memoryview]:
    """The JSON of an answer, and the raw bytes behind it."""
    body = memoryview(reply.body)
    said = reply.headers.get(HEADER_LENGTH)
    if said is None:
        match = _IN_CONTENT_TYPE.search(reply.content_type)
        if match is None:
            return reply.body, body[:0]
        said = match[1]
    if not (said.isascii() and said.isdigit() and len(said) < 13 and int(said) <= len(body)):
        raise ValueError(f"a header of {said[:20]!r} bytes in a body of {len(body)}")
    return body[: int(said)], body[int(said) :]


def _document(head: bytes | memoryview) -> dict[str, Any]:
    try:
        document = json.loads(bytes(head))
    except ValueError:
        raise ValueError(f"it is not {JSON_TYPE}") from None
    outputs = document.get("outputs") if isinstance(document, dict) else None
    if not isinstance(outputs, list) or not all(isinstance(each, dict) for each in outputs):
        raise ValueError("it has no list of outputs")
    if not isinstance(document.get("parameters") or {}, dict):
        raise ValueError("its parameters are no object")
    return dict(document)


def _spec(entry: Mapping[str, Any]) -> TensorSpec:
    name, datatype, shape = entry.get("name"), entry.get("datatype"), entry.get("shape")
    if not isinstance(name, str) or not isinstance(datatype, str) or not isinstance(shape, list):
        raise ValueError("an output without name, datatype and shape")
    if len(shape) > MAX_RANK or not all(type(dim) is int and dim >= 0 for dim in shape):
        raise ValueError(f"output {name!r} has no possible shape")
    if not isinstance(entry.get("parameters") or {}, dict):
        raise ValueError(f"the parameters of output {name!r} are no object")
    return TensorSpec(name, datatype, tuple(shape))


def _unpacked(spec: TensorSpec, raw: memoryview) -> Array:
    try:
        return unpack(spec.datatype, spec.shape, raw)
    except ValueError as error:
        raise ValueError(f"output {spec.name!r}: {error}") from None


def _from_json(spec: TensorSpec, entry: Mapping[str, Any]) -> Array:
    if not isinstance(entry.get("data"), list):
        raise ValueError(f"output {spec.name!r} has no data")
    array = declared(spec, entry["data"])
    if array.size != math.prod(spec.shape):
        raise ValueError(f"output {spec.name!r}: {array.size} values for shape {spec.shape}")
    return widened(array.reshape(spec.shape))
