"""V1: TensorFlow Serving's REST ``:predict``, ``:classify`` and ``:regress``, and KServe's V1.

``:evaluate`` is modelport's own: `functions.runtime.evaluation`.

Row form (``instances``) and columnar form (``inputs``); NaN and Infinity come and go as bare
tokens; text may be ``{"b64": …}``, and outputs named ``…_bytes`` are answered so. Messages follow
http_rest_api_util.cc and json_tensor.cc where clients match on them. KServe reads ``inputs`` as
another word for ``instances``; whoever wants that asks with ``?dialect=kserve``.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from modelport import metadata
from modelport.envelope import Request
from modelport.errors import MalformedRequestError, NotEncodableError, TensorError
from modelport.grammar import Call
from modelport.refusals import no_explainer
from modelport.signature import Signature

from functions.runtime.codecs.codec import (
    JSON,
    Headers,
    Parsed,
    Subject,
    is_list,
    output_names,
    read_json,
    write_bare,
    write_json,
)
from functions.runtime.tensors import Array, Tensors, check_names, check_shape, from_json

SIGNATURE_NAME = "serving_default"
TFS, KSERVE = "tfs", "kserve"
DIALECTS = (KSERVE, TFS)
_NO_FORM = "which has no form for BF16; send it as raw tensors to /v2/models/MODEL/infer"
_ROW_NOTE = " (row form stacks the instances on axis 0; columnar 'inputs' does not)"


class V1Codec:
    """TensorFlow Serving REST and KServe V1."""

    def parse(self, call: Call, request: Request, subject: Subject) -> Parsed:
        kserve = bool(call.query) and _dialect(call) == KSERVE
        document = read_json(request.body)
        if call.verb == "predict":
            return parse_document(document, subject.signature, kserve=kserve)
        if call.verb == "evaluate":
            from functions.runtime import evaluation  # few ever ask

            return evaluation.parse(document, subject)
        return parse_examples(call.verb, document, subject.signature)

    def format(self, outputs: Tensors, parsed: Parsed, subject: Subject) -> tuple[Headers, bytes]:
        form = parsed.form
        if "row" in form:
            named = _named_rows(outputs) if form["row"] else _named_columns(outputs)
            return {"content-type": JSON}, write_json(named)
        if "evaluation" in form:
            from functions.runtime import evaluation

            return {"content-type": JSON}, evaluation.results(outputs, parsed, subject)
        from functions.runtime.codecs import v1_examples

        return {"content-type": JSON}, v1_examples.results(outputs, parsed, subject)

    def describe(self, call: Call, request: Request, subject: Subject) -> Mapping[str, Any]:
        verb = call.verb
        if verb == "alive":
            return metadata.alive()
        if verb == "list":
            return metadata.v1_list([subject.model])
        if verb == "explain":
            raise no_explainer()
        if verb == "metadata":
            return metadata.v1_metadata(subject.model, subject.version, subject.signature)
        return metadata.v1_status(subject.model, [subject.version])


def parse_document(
    document: dict[str, Any], signature: Signature, *, kserve: bool = False
) -> Parsed:
    """Read the object of a predict request; with ``kserve``, ``inputs`` are ``instances``."""
    check_signature_name(document)
    check_has_form(signature)
    if "instances" in document and "inputs" in document:
        raise MalformedRequestError(
            "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist"
        )
    row = "instances" in document or (kserve and "inputs" in document)
    if row:
        key = "instances" if "instances" in document else "inputs"
        tensors = _parse_rows(document[key], signature, key)
    elif "inputs" in document:
        tensors = _parse_columns(document["inputs"], signature)
    else:
        raise MalformedRequestError("Missing 'inputs' or 'instances' key")
    return Parsed(tensors, output_names(signature), {"row": row})


def parse_examples(verb: str, document: dict[str, Any], signature: Signature) -> Parsed:
    """Read the object of a classify or regress request."""
    from functions.runtime.codecs import v1_examples  # few ever ask

    check_signature_name(document)
    check_has_form(signature)
    return v1_examples.parse(verb, document, signature)


def _dialect(call: Call) -> str:
    dialect = call.option("dialect")
    if dialect is None or dialect in DIALECTS:
        return dialect or TFS
    raise MalformedRequestError(
        f"dialect {dialect!r} is not known; allowed: {', '.join(DIALECTS)}"
        f" (nothing said means {TFS})"
    )


def check_signature_name(document: dict[str, Any]) -> None:
    """Raise as TensorFlow Serving does unless the request means the one signature there is."""
    if "signature_name" not in document:
        return
    name = document["signature_name"]
    if not isinstance(name, str):
        raise MalformedRequestError("'signature_name' key must be a string value.")
    if name not in ("", SIGNATURE_NAME):
        raise MalformedRequestError(f'Serving signature name: "{name}" not found in signature def')


def check_has_form(signature: Signature) -> None:
    """Raise for a tensor that V1's JSON has no form for, with the way out."""
    for spec in signature.inputs:
        if spec.datatype == "BF16":
            raise TensorError(spec.name, str(spec), f"JSON, {_NO_FORM}")
    for spec in signature.outputs:
        if spec.datatype == "BF16":
            raise NotEncodableError(spec.name, f"this protocol is JSON, {_NO_FORM}")


def _parse_rows(instances: Any, signature: Signature, key: str) -> Tensors:
    if not is_list(instances):
        raise MalformedRequestError(f"Excepting '{key}' to be an list/array")
    if isinstance(instances, list) and not instances:
        raise MalformedRequestError(f"No values in '{key}' array")
    if isinstance(instances, list) and is_object(instances[0]):
        columns = _gather(instances, signature)
    else:
        if len(signature.inputs) > 1:
            raise MalformedRequestError(
                "instances is a plain list, but expecting list of objects as multiple "
                "input tensors required as per tensorinfo_map"
            )
        columns = {signature.inputs[0].name: instances}
    try:
        return {
            spec.name: check_shape(spec, from_json(spec, columns[spec.name], b64=True), _ROW_NOTE)
            for spec in signature.inputs
        }
    except TensorError:
        _check_plain(instances)
        raise


def _check_plain(instances: Any) -> None:
    """Raise TensorFlow Serving's error for an object among rows that are none."""
    if not isinstance(instances, list) or is_object(instances[0]):
        return
    for position, row in enumerate(instances):
        if is_object(row):
            raise MalformedRequestError(
                f"Expecting value/list but got object at item {position} of input list"
            )


def _gather(instances: list[Any], signature: Signature) -> dict[str, list[Any]]:
    names = {spec.name for spec in signature.inputs}
    for position, row in enumerate(instances):
        if not is_object(row):
            raise MalformedRequestError(
                f"Expecting object but got list at item {position} of input list"
            )
        if row.keys() != names:
            raise MalformedRequestError(
                f"Failed to process element: {position} of 'instances' list. JSON object with keys"
                f" {','.join(sorted(row))}: keys must be equal to: {','.join(sorted(names))}"
            )
    return {name: [row[name] for row in instances] for name in names}


def _parse_columns(inputs: Any, signature: Signature) -> Tensors:
    if is_object(inputs):
        for spec in signature.inputs:
            if spec.name not in inputs:
                raise MalformedRequestError(f"Missing named input: {spec.name} in 'inputs' object.")
        check_names(signature, inputs)
    elif len(signature.inputs) > 1:
        raise MalformedRequestError(
            "inputs is a plain value/list, but expecting an object as multiple "
            "input tensors required as per tensorinfo_map"
        )
    else:
        inputs = {signature.inputs[0].name: inputs}
    return {
        spec.name: check_shape(spec, from_json(spec, inputs[spec.name], b64=True))
        for spec in signature.inputs
    }


def is_object(value: Any) -> bool:
    """Whether this is a JSON object, ``{"b64": …}`` not being one."""
    return isinstance(value, dict) and not (len(value) == 1 and isinstance(value.get("b64"), str))


def _named_rows(outputs: Tensors) -> dict[str, Any]:
    size: int | None = None
    for name, array in outputs.items():
        if not array.ndim:
            raise MalformedRequestError(f"Tensor name: {name} has no shape information ")
        if size is not None and len(array) != size:
            raise MalformedRequestError(
                f"Tensor name: {name} has inconsistent batch size: {len(array)} expecting: {size}"
            )
        size = len(array)
    if len(outputs) == 1:
        return {"predictions": _column(name, array)}
    cells = zip(*(_cells(name, array) for name, array in outputs.items()), strict=True)
    return {"predictions": [dict(zip(outputs, row, strict=True)) for row in cells]}


def _named_columns(outputs: Tensors) -> dict[str, Any]:
    columns = {name: _column(name, array) for name, array in outputs.items()}
    return {"outputs": columns if len(columns) > 1 else next(iter(columns.values()))}


def _cells(name: str, array: Array) -> Iterable[Any]:
    """One JSON-able value per row."""
    if array.dtype.kind == "O":
        return _column(name, array)  # type: ignore[no-any-return]
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        return [write_bare(array[row, ...]) for row in range(array.shape[0])]
    return array


def _column(name: str, array: Array) -> Any:
    if array.dtype.kind != "O":
        return write_bare(array)
    texts = array.tolist()
    return _as_b64(texts) if name.endswith("_bytes") else texts


def _as_b64(texts: Any) -> Any:
    if isinstance(texts, list):
        return [_as_b64(text) for text in texts]
    return {"b64": base64.b64encode(texts.encode()).decode("ascii")}
