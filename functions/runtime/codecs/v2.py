"""V2: the Open Inference Protocol's ``infer``, in JSON and in raw tensors, each way as asked.

Datatypes are declared and must match the model's; data is flat or nested, row-major, or raw behind
the JSON. Strict JSON goes out, so NaN is refused with the way out. Parameters are let in and, where
they would change what the numbers mean and nothing here honours them, refused rather than ignored.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from modelport import metadata
from modelport.envelope import Request, Response
from modelport.errors import MalformedRequestError, NotEncodableError, TensorError
from modelport.grammar import Call
from modelport.refusals import not_at_runtime
from modelport.signature import Signature, TensorSpec

from functions.runtime.codecs.codec import (
    JSON,
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

if TYPE_CHECKING:
    from functions.runtime.codecs.v2_binary import Cut, RawTail

BINARY_WAY_OUT = 'ask for it in binary ("parameters": {"binary_data_output": true})'
_HALF_REASON = "the protocol gives {} no JSON form"
_HALVES = ("FP16", "BF16")
_SIZE, _BINARY, _ALL_BINARY, _CLASSES = (
    "binary_data_size",
    "binary_data",
    "binary_data_output",
    "classification",
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """How one output is to be answered."""

    binary: bool = False
    classes: int = 0


_IN_JSON, _IN_BINARY = Wanted(), Wanted(binary=True)


class V2Codec:
    """Open Inference Protocol V2 with its binary and classification extensions."""

    def parse(self, call: Call, request: Request, subject: Subject) -> Parsed:
        signature, headers = subject.signature, request.headers
        if _LENGTH not in headers and _TRITON not in headers.get("content-type", "").lower():
            return parse_document(read_json(request.body), signature)
        from functions.runtime.codecs.v2_binary import RawTail, cut_of  # few send raw tensors

        cut = cut_of(request)
        if cut is None:
            return parse_document(read_json(request.body), signature)
        if not cut.size:
            return _parse_whole(request.body, cut, signature)
        document = read_json(request.body[: cut.size])
        tail = RawTail(memoryview(request.body)[cut.size :])
        return parse_document(document, signature, tail, by_type=cut.by_type)

    def format(self, outputs: Tensors, parsed: Parsed, subject: Subject) -> tuple[Headers, bytes]:
        form = parsed.form
        entries, raws = [], []
        for name, array in outputs.items():
            wanted: Wanted = form["wanted"][name]
            if wanted.classes:
                from functions.runtime.codecs.v2_classes import best_classes

                array = best_classes(array, wanted.classes, subject.labels)
            entry: dict[str, Any] = {
                "name": name,
                "shape": array.shape,
                "datatype": datatype_of(array),
            }
            if wanted.binary:
                raws.append(_raw(name, array))
                entry["parameters"] = {_SIZE: len(raws[-1])}
            else:
                entry["data"] = _data(name, array)
            entries.append(entry)
        answer: dict[str, Any] = {
            "model_name": subject.model,
            "model_version": str(subject.version),
        }
        if form["id"] is not None:
            answer["id"] = form["id"]
        answer["outputs"] = entries
        head = write_json(answer)
        if not raws:
            return {"content-type": JSON}, head
        from functions.runtime.codecs.v2_binary import joined

        return joined(head, raws, form["by_type"])

    def describe(
        self, call: Call, request: Request, subject: Subject
    ) -> Mapping[str, Any] | Response | None:
        verb = call.verb
        if verb == "metadata":
            return metadata.v2_metadata(subject.model, [subject.version], subject.signature)
        if verb == "ready":
            return metadata.v2_model_ready(subject.model)
        if verb == "server-metadata":
            return metadata.v2_server_metadata()
        if verb in ("stats", "server-stats"):
            return subject.statistics.document(subject.model, subject.version)
        if verb == "repository-index":
            metadata.v2_ready_only(request.body)  # this version is, so either has the same answer
            entry = metadata.v2_repository_entry(subject.model, subject.version)
            return Response(200, dict(JSON_HEADERS), write_json([entry]))
        if verb in ("repository-load", "repository-unload"):
            raise not_at_runtime(verb, subject.model)
        return metadata.v2_live() if verb == "server-live" else metadata.v2_server_ready()


def parse_document(
    document: dict[str, Any],
    signature: Signature,
    tail: RawTail | None = None,
    *,
    by_type: bool = False,
) -> Parsed:
    """Read the object of an infer request; ``tail`` has the raw tensors behind it.

    With ``by_type`` a binary answer says by its content type, not by a header, where it is cut.
    """
    tensors = _tensors(document, signature, tail)
    if tail is not None:
        tail.check_all_taken()
    wanted = _wanted(document, signature)
    form = {"id": _id(document), "wanted": wanted, "by_type": by_type}
    return Parsed(tensors, tuple(wanted), form)


#: What a parameter's value may be; a boolean is an int.
_PLAIN = (str, int, float)
#: What makes a body raw, as `v2_binary` has it, which few requests should have to load to know.
_LENGTH = "inference-header-content-length"
_TRITON = "sagemaker-triton"


def _parse_whole(body: bytes, cut: Cut, signature: Signature) -> Parsed:
    from functions.runtime.codecs.v2_binary import read_whole

    tensors = {signature.inputs[0].name: read_whole(signature, body)}
    wanted = dict.fromkeys(output_names(signature), _IN_BINARY)
    return Parsed(tensors, tuple(wanted), {"id": None, "wanted": wanted, "by_type": cut.by_type})


def _id(document: dict[str, Any]) -> str | None:
    found = document.get("id")
    if found is not None and not isinstance(found, str):
        raise MalformedRequestError("'id' must be a string")
    return found


def _entries(document: dict[str, Any], key: str, most: int) -> dict[str, dict[str, Any]]:
    """The list under ``key`` by tensor name, each an object with a name of its own."""
    listed = document.get(key)
    if not isinstance(listed, list):
        raise MalformedRequestError(f"'{key}' must be a list of tensors")
    entries: dict[str, dict[str, Any]] = {}
    for entry in listed[: most + 1]:  # one too many is at fault already
        name = entry.get("name") if isinstance(entry, dict) else None
        if not isinstance(name, str):
            place = len(entries)
            raise MalformedRequestError(f"'{key}'[{place}] must be an object with a 'name'")
        if name in entries:
            raise MalformedRequestError(f"'{key}' names {name!r} twice")
        entries[name] = entry
    return entries


def _parameters(owner: str, container: Mapping[str, Any]) -> Mapping[str, Any]:
    """The parameters of a tensor or a request, each a string, a number or a boolean."""
    parameters = container.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise MalformedRequestError(f"the parameters of {owner} must be an object")
    for key, value in parameters.items():
        if not isinstance(value, _PLAIN):
            raise MalformedRequestError(
                f"parameter {key!r} of {owner} must be a string, a number or a boolean"
            )
        if key.startswith("shared_memory_"):
            raise MalformedRequestError(
                f"parameter {key!r} of {owner} is not supported: callers share no memory with"
                " this server; send the tensor in binary"
            )
    return parameters


def _flag(owner: str, parameters: Mapping[str, Any], key: str, default: bool) -> bool:
    flag = parameters.get(key, default)
    if not isinstance(flag, bool):
        raise MalformedRequestError(f"parameter {key!r} of {owner} must be true or false")
    return flag


def _tensors(document: dict[str, Any], signature: Signature, tail: RawTail | None) -> Tensors:
    entries = _entries(document, "inputs", len(signature.inputs))
    check_names(signature, entries)
    specs = {spec.name: spec for spec in signature.inputs}
    # In the caller's order, which is that of the raw tensors.
    return {name: _tensor(specs[name], entry, tail) for name, entry in entries.items()}


def _tensor(spec: TensorSpec, entry: dict[str, Any], tail: RawTail | None) -> Array:
    shape = _shape(spec, entry.get("shape"))
    datatype = entry.get("datatype")
    if datatype != spec.datatype or not spec.accepts(shape):
        raise TensorError(spec.name, str(spec), _declared(datatype, shape))
    if "parameters" in entry:
        size = _parameters(repr(spec.name), entry).get(_SIZE)
        if size is not None:
            return _raw_tensor(spec, shape, entry, size, tail)
    if "data" not in entry:
        raise TensorError(spec.name, str(spec), "no 'data'")
    if datatype in _HALVES:
        reason = f"JSON: {_HALF_REASON.format(datatype)}; send it in binary ({_SIZE!r})"
        raise TensorError(spec.name, str(spec), reason)
    array = from_json(spec, entry["data"])
    if array.shape != shape and (array.ndim > 1 or array.size != math.prod(shape)):
        got = f"data of shape [{_listed(array.shape)}], {array.size} values"
        raise TensorError(spec.name, _declared(datatype, shape), got)
    try:
        return array.reshape(shape)
    except (ValueError, OverflowError):  # no elements, and yet a dimension beyond all memory
        raise TensorError(spec.name, str(spec), _declared(datatype, shape)) from None


def _declared(datatype: Any, shape: tuple[int, ...]) -> str:
    return f"{datatype} [{_listed(shape)}]"


def _listed(shape: tuple[int, ...]) -> str:
    return ",".join(map(str, shape))


def _raw_tensor(
    spec: TensorSpec,
    shape: tuple[int, ...],
    entry: dict[str, Any],
    size: Any,
    tail: RawTail | None,
) -> Array:
    if "data" in entry:
        raise MalformedRequestError(f"input {spec.name!r} has both 'data' and {_SIZE!r}")
    if tail is None:
        raise MalformedRequestError(
            f"input {spec.name!r} has {_SIZE!r}, but no Inference-Header-Content-Length"
            " says where the JSON ends"
        )
    return tail.tensor(spec, shape, size)


def _shape(spec: TensorSpec, shape: Any) -> tuple[int, ...]:
    if isinstance(shape, list):
        for dim in shape:
            if type(dim) is not int or dim < 0:
                break
        else:
            return tuple(shape)
    raise TensorError(spec.name, str(spec), "a 'shape' that is not a list of whole numbers")


def _wanted(document: dict[str, Any], signature: Signature) -> dict[str, Wanted]:
    """The outputs to answer with, and how; all of them when none is named."""
    binary = False
    if "parameters" in document:
        binary = _flag("the request", _parameters("the request", document), _ALL_BINARY, False)
    if document.get("outputs") in (None, []):
        every = _IN_BINARY if binary else _IN_JSON
        return {spec.name: _checked(spec, every) for spec in signature.outputs}
    entries = _entries(document, "outputs", len(signature.outputs))
    return {name: _as_wanted(name, entry, binary, signature) for name, entry in entries.items()}


def _as_wanted(name: str, entry: dict[str, Any], binary: bool, signature: Signature) -> Wanted:
    spec = signature.output(name)
    if spec is None:
        known = ", ".join(output_names(signature))
        raise MalformedRequestError(
            f"output {name!r} is not an output of the model; outputs: {known}"
        )
    if "parameters" not in entry:
        return _checked(spec, _IN_BINARY if binary else _IN_JSON)
    parameters = _parameters(repr(name), entry)
    binary = _flag(repr(name), parameters, _BINARY, binary)
    return _checked(spec, Wanted(binary, _classes(spec, parameters)))


def _checked(spec: TensorSpec, wanted: Wanted) -> Wanted:
    """``wanted``, or `NotEncodableError` where that is JSON of what has no form in it."""
    if spec.datatype in _HALVES and not (wanted.binary or wanted.classes):
        reason = _HALF_REASON.format(spec.datatype)
        raise NotEncodableError(spec.name, f"{reason}; {BINARY_WAY_OUT}")
    return wanted


def _classes(spec: TensorSpec, parameters: Mapping[str, Any]) -> int:
    classes = parameters.get(_CLASSES, 0)
    if type(classes) is not int or classes < 0:
        raise MalformedRequestError(
            f"parameter {_CLASSES!r} of {spec.name!r} must be a number of classes"
        )
    if classes:
        from functions.runtime.codecs.v2_classes import check_has_classes

        check_has_classes(spec)
    return classes


def _raw(name: str, array: Array) -> bytes | memoryview:
    from functions.runtime.codecs.v2_binary import raw_output

    return raw_output(name, array)


def _data(name: str, array: Array) -> Any:
    check_finite(name, array, BINARY_WAY_OUT)
    flat = array.reshape(-1)
    return flat.tolist() if flat.dtype.kind == "O" else flat
