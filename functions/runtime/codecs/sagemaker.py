"""``/invocations``: the one path that SageMaker's, Triton's and MLflow's clients share.

The media type says how a body is read. JSON is MLflow's (`mlflow`), unless it is an Open Inference
document, or the custom attributes are those of SageMaker's TensorFlow predictor, ``tfs-method`` and
its kind, which then names V1's method. A list without a key, which MLflow refuses and SageMaker's
serializers send, is ``instances``. CSV, npy, JSON lines and raw bytes are a model's rows; what says
where its JSON ends is V2's. ``Accept`` chooses among the same types for the answer, whatever the
request was; who does not mind gets JSON in the layout of the request, or V2's answer to V2.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from modelport.envelope import Request, Response
from modelport.errors import (
    MalformedRequestError,
    ModelNotFoundError,
    NotEncodableError,
    UnsupportedMediaTypeError,
    VersionNotFoundError,
)
from modelport.grammar import Call
from modelport.signature import Signature, TensorSpec

from functions.runtime.codecs import media, v2
from functions.runtime.codecs.codec import (
    JSON,
    Headers,
    Parsed,
    Subject,
    as_object,
    is_list,
    output_names,
    read_json,
    read_value,
)
from functions.runtime.codecs.media import CSV, JSON_LINES, NPY, OCTETS, TRITON, ContentType
from functions.runtime.codecs.mlflow import (
    COLUMNS,
    RECORDS,
    ROWS,
    MlflowCodec,
    parse_scoring,
)
from functions.runtime.codecs.v1 import V1Codec, parse_document, parse_examples
from functions.runtime.codecs.v2 import V2Codec, Wanted
from functions.runtime.json_numbers import Numbers
from functions.runtime.tensors import Tensors

LENGTH_HEADER = "inference-header-content-length"
CUSTOM_ATTRIBUTES = "x-amzn-sagemaker-custom-attributes"
_TFS = re.compile(r"(tfs-[a-z-]+)=([^,]+)")
_METHODS = ("predict", "classify", "regress")
#: How a V2 document begins. Numbers of more than a byte never begin so.
_V2_JSON = re.compile(rb'\s*\{\s*"(?:id|inputs|outputs|parameters)"\s*:')
_ONE_BYTE = ("BYTES", "UINT8", "INT8", "BOOL")
_V1, _V2, _MLFLOW = V1Codec(), V2Codec(), MlflowCodec()


class SageMakerCodec:
    """SageMaker's container contract, with MLflow's scoring protocol on the same path."""

    def parse(self, call: Call, request: Request, subject: Subject) -> Parsed:
        accept = media.choose(request.headers.get("accept"))
        if LENGTH_HEADER in request.headers:  # it speaks louder than the content type
            return _noted(_V2.parse(call, request, subject), _V2, accept)
        kind = media.content_type(request.headers.get("content-type"))
        method = _tfs_method(request, subject)
        if method is not None:
            return _noted(*_parse_tfs(kind, method, request, subject), accept)
        if kind.media == TRITON:
            return _noted(_V2.parse(call, request, subject), _V2, accept)
        if kind.media == JSON:
            return _noted(*_parse_json(request, subject), accept)
        if kind.media == OCTETS and _is_v2_json(request.body, subject.signature):
            document = read_json(request.body)
            read = v2.parse_document(document, subject.signature, by_type=True)
            return _noted(read, _V2, accept)
        return _noted(_rows(kind, request.body, subject.signature), _MLFLOW, accept)

    def format(self, outputs: Tensors, parsed: Parsed, subject: Subject) -> tuple[Headers, bytes]:
        accept, codec = parsed.form["accept"], parsed.form["codec"]
        own = (JSON, OCTETS, TRITON) if codec is _V2 else (JSON,)
        if accept in own:
            answer: tuple[Headers, bytes] = codec.format(outputs, parsed.form["read"], subject)
            return answer
        if accept == TRITON:
            return _write_triton(outputs, subject)
        return {"content-type": accept}, _write(accept, outputs)

    def describe(
        self, call: Call, request: Request, subject: Subject
    ) -> Mapping[str, Any] | Response | None:
        return _MLFLOW.describe(call, request, subject)


def _noted(read: Parsed, codec: V1Codec | V2Codec | MlflowCodec, accept: str) -> Parsed:
    """What ``codec`` read, with what has to be known to answer."""
    return replace(read, form={"read": read, "codec": codec, "accept": accept})


def _tfs_method(request: Request, subject: Subject) -> str | None:
    """The method that SageMaker's TensorFlow predictor asks for; None for all other callers."""
    attributes: dict[str, str] = dict(_TFS.findall(request.headers.get(CUSTOM_ATTRIBUTES, "")))
    if not attributes:
        return None
    name, version = attributes.get("tfs-model-name"), attributes.get("tfs-model-version")
    if name not in (None, subject.model):
        raise ModelNotFoundError(str(name)[:64])
    if version not in (None, str(subject.version)):
        if not (version.isascii() and version.isdigit() and len(version) < 20):
            raise MalformedRequestError("custom attribute tfs-model-version must be a number")
        raise VersionNotFoundError(subject.model, int(version))
    method = attributes.get("tfs-method", "predict")
    if method not in _METHODS:
        allowed = ", ".join(_METHODS)
        raise MalformedRequestError(f"custom attribute tfs-method must be one of {allowed}")
    return method


def _parse_tfs(
    kind: ContentType, method: str, request: Request, subject: Subject
) -> tuple[Parsed, V1Codec | MlflowCodec]:
    if kind.media != JSON:
        if method != "predict":
            raise UnsupportedMediaTypeError(f"{kind.media} for tfs-method={method}", (JSON,))
        return _rows(kind, request.body, subject.signature), _MLFLOW
    document = read_value(request.body)
    if is_list(document):
        document = _instances(document, subject.signature)
    read = parse_document if method == "predict" else partial(parse_examples, method)
    return read(as_object(document), subject.signature), _V1


def _parse_json(request: Request, subject: Subject) -> tuple[Parsed, V2Codec | MlflowCodec]:
    document = read_value(request.body)
    if is_list(document):
        document = _instances(document, subject.signature)
    inputs = as_object(document).get("inputs")
    first = inputs[0] if isinstance(inputs, list) and inputs else None
    if isinstance(first, dict) and {"name", "datatype", "shape"} <= first.keys():
        return v2.parse_document(document, subject.signature, by_type=True), _V2
    return parse_scoring(document, subject.signature), _MLFLOW


def _instances(rows: Any, signature: Signature) -> dict[str, Any]:
    """A list without a key, which SageMaker's serializers send, as V1's instances.

    Its elements are the rows; values where the model's one input has lists are one row.
    """
    flat = len(rows.shape) == 1 if isinstance(rows, Numbers) else not _nested(rows)
    lists = len(signature.inputs) == 1 and len(signature.inputs[0].shape) > 1
    return {"instances": [rows] if flat and lists else rows}


def _nested(rows: list[Any]) -> bool:
    return bool(rows) and (is_list(rows[0]) or isinstance(rows[0], dict))


def _is_v2_json(body: bytes, signature: Signature) -> bool:
    """Whether raw bytes are a V2 document after all, as AWS's examples for Triton send them."""
    return signature.inputs[0].datatype not in _ONE_BYTE and bool(_V2_JSON.match(body))


def _rows(kind: ContentType, body: bytes, signature: Signature) -> Parsed:
    """A body without keys of its own; its readers are imported by those who send one."""
    layout = ROWS
    if kind.media == CSV:
        from functions.runtime.codecs.csv_table import read_csv

        tensors, header = read_csv(body, signature, kind.parameters.get("header"))
        layout = RECORDS if header else ROWS  # a data frame's answer to a data frame
    elif kind.media == NPY:
        from functions.runtime.codecs.npy import read_npy

        spec = _only_input(signature, kind.media)
        tensors = {spec.name: read_npy(body, spec)}
    elif kind.media == OCTETS:
        from functions.runtime.codecs.v2_binary import read_whole

        spec = _only_input(signature, kind.media)
        tensors = {spec.name: read_whole(signature, body)}
    else:
        from functions.runtime.codecs.json_lines import read_lines

        tensors = read_lines(body, signature)
    if len(signature.outputs) == 1 and not signature.outputs[0].shape:
        layout = COLUMNS  # an answer without rows is answered whole
    return Parsed(tensors, output_names(signature), {"layout": layout})


def _only_input(signature: Signature, kind: str) -> TensorSpec:
    if len(signature.inputs) != 1:
        raise UnsupportedMediaTypeError(f"{kind} for a model with several inputs", (JSON, TRITON))
    return signature.inputs[0]


def _write(accept: str, outputs: Tensors) -> bytes:
    if accept not in (CSV, NPY, OCTETS):
        from functions.runtime.codecs.json_lines import write_lines

        return write_lines(outputs)
    if len(outputs) != 1:
        names = ", ".join(outputs)
        raise NotEncodableError(
            names, f"{accept} carries one tensor; accept {JSON} or {JSON_LINES} instead"
        )
    name, array = next(iter(outputs.items()))
    if accept == CSV:
        from functions.runtime.codecs.csv_table import write_csv

        return write_csv(name, array)
    if accept == NPY:
        from functions.runtime.codecs.npy import write_npy

        return write_npy(name, array)
    from modelport.raw_tensors import pack

    return bytes(pack(array))


def _write_triton(outputs: Tensors, subject: Subject) -> tuple[Headers, bytes]:
    """V2's binary answer to a request that was none of V2's."""
    form = {"id": None, "wanted": dict.fromkeys(outputs, Wanted(binary=True)), "by_type": True}
    return _V2.format(outputs, Parsed({}, tuple(outputs), form), subject)
