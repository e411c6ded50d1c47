"""gRPC messages ↔ requests and answers of the V2 REST protocol, so that both are one protocol.

`ModelInfer` becomes a V2 ``infer`` with binary tensors: the raw contents are joined behind a JSON
header, as a REST client would have sent them, and come back the same way. The other calls become
the question with the same answer in REST. Nothing here does I/O; a call that cannot be turned
raises `GrpcError`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import numpy as np
import orjson
from google.protobuf.message import DecodeError, Message
from modelport.envelope import Request, Response
from modelport.raw_tensors import DTYPES, pack

from functions.runtime.grpc.messages import PACKAGE, SERVICE, message

HEADER_LENGTH = "inference-header-content-length"
#: What REST says with a status, as gRPC's own code.
STATUSES: Mapping[int, int] = {
    400: 3, 404: 5, 405: 12, 408: 4, 409: 9, 413: 8, 415: 3, 429: 8, 499: 1, 501: 12, 503: 14,
    504: 4,
}  # fmt: skip
INVALID_ARGUMENT, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, UNIMPLEMENTED, INTERNAL = 3, 4, 8, 12, 13

#: The field of `InferTensorContents` that holds each datatype; FP16 and BF16 come raw only.
_CONTENTS = {
    "BOOL": "bool_contents", "INT8": "int_contents", "INT16": "int_contents",
    "INT32": "int_contents", "INT64": "int64_contents", "UINT8": "uint_contents",
    "UINT16": "uint_contents", "UINT32": "uint_contents", "UINT64": "uint64_contents",
    "FP32": "fp32_contents", "FP64": "fp64_contents", "BYTES": "bytes_contents",
}  # fmt: skip

_RAW = {"binary_data": True}


class GrpcError(Exception):
    """A call that ends without an answer: gRPC's status code, and words for the caller."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status
        self.words = words


@dataclass(frozen=True, slots=True)
class Method:
    """One call of the service: what it reads, what it asks in REST, what it makes of the answer."""

    asks: str
    request: Callable[[Any], Request]
    reply: Callable[[Response], Message]


def method_of(path: str) -> Method:
    """The method that an HTTP/2 path names; raises `GrpcError` for one we do not have."""
    name = path.removeprefix(f"/{PACKAGE}.{SERVICE}/")
    if name not in METHODS:
        known = ", ".join(METHODS)
        raise GrpcError(UNIMPLEMENTED, f"{path} is not a method here; {SERVICE} has {known}")
    return METHODS[name]


def asked(method: Method, body: bytes, headers: Mapping[str, str], request_id: str) -> Request:
    """The V2 request that a message of this method means."""
    told = message(method.asks)()
    try:
        told.ParseFromString(body)
    except DecodeError:
        raise GrpcError(INVALID_ARGUMENT, f"the message is not a {method.asks}") from None
    request = method.request(told)
    merged = {**headers, **request.headers}
    return Request(request.method, request.path, merged, request.body, request_id)


def answered(method: Method, response: Response) -> bytes:
    """The message of an answer; raises `GrpcError` where the answer is a refusal."""
    if response.status != 200:
        raise GrpcError(STATUSES.get(response.status, INTERNAL), _words(response))
    return method.reply(response).SerializeToString()


def _words(response: Response) -> str:
    try:
        return str(orjson.loads(response.body)["error"])
    except (ValueError, KeyError, TypeError):
        return f"status {response.status}"


# --- infer ----------------------------------------------------------------------------------------


def _infer(told: Any) -> Request:
    inputs, raw = [], _raw_contents(told)
    for tensor, piece in zip(told.inputs, raw, strict=True):
        parameters = _parameters(tensor.parameters) | {"binary_data_size": len(piece)}
        inputs.append(
            {
                "name": tensor.name,
                "datatype": tensor.datatype,
                "shape": list(tensor.shape),
                "parameters": parameters,
            }
        )
    head: dict[str, Any] = {
        "parameters": _parameters(told.parameters) | {"binary_data_output": True},
        "inputs": inputs,
    }
    if told.id:
        head["id"] = told.id
    if told.outputs:
        head["outputs"] = [
            # a message has its outputs raw, whatever a parameter of the REST protocol's says
            {"name": output.name, "parameters": _parameters(output.parameters) | _RAW}
            for output in told.outputs
        ]
    text = orjson.dumps(head)
    headers = {HEADER_LENGTH: str(len(text)), "content-type": "application/octet-stream"}
    path = f"{_model_path(told.model_name, told.model_version)}/infer"
    return Request("POST", path, headers, b"".join([text, *raw]))


def _raw_contents(told: Any) -> list[Any]:
    """The raw form of each input, in order."""
    if not told.raw_input_contents:
        return [_packed(tensor) for tensor in told.inputs]
    if len(told.raw_input_contents) != len(told.inputs):
        raise GrpcError(
            INVALID_ARGUMENT,
            f"{len(told.raw_input_contents)} raw_input_contents for {len(told.inputs)} inputs:"
            " give every input's contents raw, or none",
        )
    for tensor in told.inputs:
        if tensor.HasField("contents"):
            words = f"input {tensor.name!r} has contents beside raw_input_contents: send one"
            raise GrpcError(INVALID_ARGUMENT, words)
    return list(told.raw_input_contents)


def _packed(tensor: Any) -> Any:
    field = _CONTENTS.get(tensor.datatype)
    if field is None:
        words = f"input {tensor.name!r}: {tensor.datatype or 'no datatype'} comes raw only"
        raise GrpcError(INVALID_ARGUMENT, words)
    others = [found.name for found, _ in tensor.contents.ListFields() if found.name != field]
    if others:
        words = f"input {tensor.name!r} is {tensor.datatype}, so {field}, but has {others[0]}"
        raise GrpcError(INVALID_ARGUMENT, words)
    values = list(getattr(tensor.contents, field))
    if tensor.datatype == "BYTES":
        texts = np.empty(len(values), object)
        texts[:] = values
        return pack(texts)
    try:
        return pack(np.array(values, DTYPES[tensor.datatype]))
    except OverflowError:
        words = f"input {tensor.name!r} has a value out of the range of {tensor.datatype}"
        raise GrpcError(INVALID_ARGUMENT, words) from None


def _inferred(response: Response) -> Message:
    length = int(response.headers[HEADER_LENGTH])
    body = memoryview(response.body)
    head = orjson.loads(body[:length])
    reply = message("ModelInferResponse")(
        model_name=head["model_name"],
        model_version=head.get("model_version", ""),
        id=head.get("id", ""),
    )
    _set_parameters(reply.parameters, head.get("parameters", {}))
    at = length
    for output in head["outputs"]:
        size = output["parameters"].pop("binary_data_size")
        made = reply.outputs.add(
            name=output["name"], datatype=output["datatype"], shape=output["shape"]
        )
        _set_parameters(made.parameters, output["parameters"])
        reply.raw_output_contents.append(bytes(body[at : at + size]))
        at += size
    done: Message = reply
    return done


def _parameters(told: Mapping[str, Any]) -> dict[str, Any]:
    plain = {}
    for name, value in told.items():
        chosen = value.WhichOneof("parameter_choice")
        if chosen is None:
            raise GrpcError(INVALID_ARGUMENT, f"parameter {name!r} has no value")
        plain[name] = getattr(value, chosen)
    return plain


def _set_parameters(into: Any, values: Mapping[str, Any]) -> None:
    kinds = {bool: "bool_param", int: "int64_param", float: "double_param", str: "string_param"}
    for name, value in values.items():
        setattr(into[name], kinds[type(value)], value)


# --- questions ------------------------------------------------------------------------------------


def _get(path: str) -> Callable[[Any], Request]:
    return lambda told: Request("GET", path)


def _about_model(tail: str = "") -> Callable[[Any], Request]:
    return lambda told: Request("GET", _model_path(told.name, told.version) + tail)


def _model_path(name: str, version: str) -> str:
    at = f"/versions/{quote(version, safe='')}" if version else ""
    return f"/v2/models/{quote(name, safe='')}{at}"


def _index(told: Any) -> Request:
    return Request("POST", "/v2/repository/index", body=orjson.dumps({"ready": told.ready}))


def _act(verb: str) -> Callable[[Any], Request]:
    def request(told: Any) -> Request:
        name = quote(told.model_name, safe="")
        return Request("POST", f"/v2/repository/models/{name}/{verb}", body=b"{}")

    return request


def _reply(name: str, *fields: str) -> Callable[[Response], Message]:
    """A reply whose fields are called as the keys of the JSON answer."""

    def reply(response: Response) -> Message:
        document = orjson.loads(response.body) if response.body else {}
        made: Message = message(name)(**{key: document[key] for key in fields if key in document})
        return made

    return reply


def _indexed(response: Response) -> Message:
    models = [
        {key: str(model.get(key, "")) for key in ("name", "version", "state", "reason")}
        for model in orjson.loads(response.body)
    ]
    made: Message = message("RepositoryIndexResponse")(models=models)
    return made


METHODS: Mapping[str, Method] = {
    "ModelInfer": Method("ModelInferRequest", _infer, _inferred),
    "ServerLive": Method(
        "ServerLiveRequest", _get("/v2/health/live"), _reply("ServerLiveResponse", "live")
    ),
    "ServerReady": Method(
        "ServerReadyRequest", _get("/v2/health/ready"), _reply("ServerReadyResponse", "ready")
    ),
    "ModelReady": Method(
        "ModelReadyRequest", _about_model("/ready"), _reply("ModelReadyResponse", "ready")
    ),
    "ServerMetadata": Method(
        "ServerMetadataRequest",
        _get("/v2"),
        _reply("ServerMetadataResponse", "name", "version", "extensions"),
    ),
    "ModelMetadata": Method(
        "ModelMetadataRequest",
        _about_model(),
        _reply("ModelMetadataResponse", "name", "versions", "platform", "inputs", "outputs"),
    ),
    "RepositoryIndex": Method("RepositoryIndexRequest", _index, _indexed),
    "RepositoryModelLoad": Method(
        "RepositoryModelLoadRequest", _act("load"), _reply("RepositoryModelLoadResponse")
    ),
    "RepositoryModelUnload": Method(
        "RepositoryModelUnloadRequest", _act("unload"), _reply("RepositoryModelUnloadResponse")
    ),
}
