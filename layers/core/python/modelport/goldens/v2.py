"""Goldens in the Open Inference Protocol: ``infer`` in JSON and with binary tensor data."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

from modelport.goldens.agreement import agree_with, bf16_bits, bf16_value
from modelport.goldens.form import (
    JSON,
    Asked,
    Form,
    dumped,
    finite,
    first,
    loaded,
    tensors,
    without,
)
from modelport.goldens.golden import Golden, Tensor
from modelport.signature import DATATYPES

HEADER = "inference-header-content-length"
BINARY = "application/octet-stream"
#: Datatype → struct's letter; BYTES and BF16 are packed by hand.
_LETTERS = {
    "BOOL": "?", "UINT8": "B", "UINT16": "H", "UINT32": "I", "UINT64": "Q",
    "INT8": "b", "INT16": "h", "INT32": "i", "INT64": "q", "FP16": "e", "FP32": "f", "FP64": "d",
}  # fmt: skip


# --- JSON -----------------------------------------------------------------------------------------


def _json_obstacle(golden: Golden, asked: Asked) -> str:
    strict = all(map(finite, tensors(golden)))
    return first(
        without(tensors(golden), "FP16", "BF16"),
        "" if strict else "NaN and infinities have no strict JSON form",
    )


def _build_json(golden: Golden, asked: Asked) -> tuple[dict[str, str], bytes]:
    inputs = [tensor.to_json() for tensor in golden.inputs]
    return {"content-type": JSON}, dumped({"inputs": inputs, **_wanted(golden, asked)})


def _wanted(golden: Golden, asked: Asked) -> dict[str, Any]:
    """Only what the golden knows is asked for; nothing is said where that is everything."""
    names = [tensor.name for tensor in golden.outputs]
    if set(names) == {spec.name for spec in asked.signature.outputs}:
        return {}
    return {"outputs": [{"name": name} for name in names]}


def _check_json(golden: Golden, headers: Mapping[str, str], body: bytes) -> str | None:
    answer, problem = loaded(body)
    if problem:
        return problem
    outputs = _listed(answer)
    if outputs is None:
        return "the answer has no 'outputs'"
    for tensor in golden.outputs:
        have = outputs.get(tensor.name)
        if have is None:
            return f"output {tensor.name!r} is missing"
        flat = list(_flat(have.get("data")))
        problem = agree_with(golden, tensor, have.get("datatype"), have.get("shape"), flat) or ""
        if problem:
            return problem
    return None


def _listed(answer: dict[str, Any]) -> dict[str, dict[str, Any]] | None:
    listed = answer.get("outputs")
    if not isinstance(listed, list):
        return None
    return {str(each.get("name")): each for each in listed if isinstance(each, dict)}


def _flat(data: Any) -> Any:
    if isinstance(data, list):
        for item in data:
            yield from _flat(item)
    else:
        yield data


# --- binary ---------------------------------------------------------------------------------------


def pack(tensor: Tensor) -> bytes:
    """The values as V2 has them on the wire: little-endian, row-major; text with its lengths."""
    if tensor.datatype == "BYTES":
        texts = [value.encode() for value in tensor.data]
        return b"".join(struct.pack("<I", len(text)) + text for text in texts)
    if tensor.datatype == "BF16":
        return struct.pack(f"<{len(tensor.data)}H", *map(bf16_bits, tensor.data))
    return struct.pack(f"<{len(tensor.data)}{_LETTERS[tensor.datatype]}", *tensor.data)


def unpack(datatype: str, body: bytes) -> Sequence[Any]:
    """Values from the wire; raises `ValueError` when the bytes are none of this datatype."""
    if datatype == "BYTES":
        return _texts(body)
    size = DATATYPES[datatype]
    if len(body) % size:
        raise ValueError(f"{len(body)} bytes, which are no whole values of {datatype}")
    count = len(body) // size
    if datatype == "BF16":
        return [bf16_value(bits) for bits in struct.unpack(f"<{count}H", body)]
    return struct.unpack(f"<{count}{_LETTERS[datatype]}", body)


def _texts(body: bytes) -> list[str]:
    texts, at = [], 0
    while at < len(body):
        if at + 4 > len(body):
            raise ValueError("a text without its length")
        (length,) = struct.unpack_from("<I", body, at)
        at += 4 + length
        if at > len(body):
            raise ValueError("a text that ends after its data")
        texts.append(body[at - length : at].decode())
    return texts


def binary(golden: Golden, asked: Asked) -> tuple[bytes, bytes]:
    """JSON and raw tensors of a binary request, which stand one after the other in its body."""
    raw = [pack(tensor) for tensor in golden.inputs]
    inputs = [
        {
            "name": tensor.name,
            "shape": list(tensor.shape),
            "datatype": tensor.datatype,
            "parameters": {"binary_data_size": len(data)},
        }
        for tensor, data in zip(golden.inputs, raw, strict=True)
    ]
    parameters = {"binary_data_output": True}
    header = dumped({"inputs": inputs, "parameters": parameters, **_wanted(golden, asked)})
    return header, b"".join(raw)


def _any(golden: Golden, asked: Asked) -> str:
    return ""


def build_binary(golden: Golden, asked: Asked) -> tuple[dict[str, str], bytes]:
    """A whole binary request."""
    header, raw = binary(golden, asked)
    return {"content-type": BINARY, HEADER: str(len(header))}, header + raw


def _check_binary(golden: Golden, headers: Mapping[str, str], body: bytes) -> str | None:
    told = headers.get(HEADER, "")
    if not told.isdecimal():
        return f"the answer is not binary: it has no header {HEADER}"
    return check_parts(golden, body[: int(told)], body[int(told) :])


def check_parts(golden: Golden, header: bytes, raw: bytes) -> str | None:
    """Judge the JSON and the raw tensors of a binary answer."""
    answer, problem = loaded(header)
    if problem:
        return problem
    outputs = _listed(answer)
    if outputs is None:
        return "the answer has no 'outputs'"
    found, at = {}, 0
    for name, output in outputs.items():
        size = (output.get("parameters") or {}).get("binary_data_size")
        if type(size) is not int or not 0 <= size <= len(raw) - at:
            return f"output {name!r}: binary_data_size {size!r} of {len(raw) - at} bytes left"
        found[name] = raw[at : at + size]
        at += size
    if at != len(raw):
        return f"{len(raw) - at} bytes of the answer belong to no output"
    for tensor in golden.outputs:
        if tensor.name not in found:
            return f"output {tensor.name!r} is missing"
        have = outputs[tensor.name]
        try:
            values = unpack(tensor.datatype, found[tensor.name])
        except ValueError as error:
            return f"output {tensor.name!r}: {error}"
        problem = agree_with(golden, tensor, have.get("datatype"), have.get("shape"), values) or ""
        if problem:
            return problem
    return None


FORMS = (
    Form("v2 json", "v2", "infer", _json_obstacle, _build_json, _check_json),
    Form("v2 binary", "v2", "infer", _any, build_binary, _check_binary),
)
