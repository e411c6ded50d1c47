"""The messages of the Open Inference Protocol's gRPC service, as a table.

Names and numbers are those of grpc_predict_v2.proto, which KServe, Triton and their clients share
(`double_param` and `uint64_param` are Triton's), so that no generated code has to fit the installed
protobuf. This module holds no behaviour.
"""

from __future__ import annotations

import re
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE = "inference"
SERVICE = "GRPCInferenceService"

_PARAMETERS = "map<string,InferParameter> parameters"
_TENSOR = f"string name=1; string datatype=2; repeated int64 shape=3; {_PARAMETERS}=4;"
#: What a message holds, in proto's own words; nested messages stand under their full name.
MESSAGES: dict[str, str] = {
    "ServerLiveRequest": "",
    "ServerLiveResponse": "bool live=1",
    "ServerReadyRequest": "",
    "ServerReadyResponse": "bool ready=1",
    "ModelReadyRequest": "string name=1; string version=2",
    "ModelReadyResponse": "bool ready=1",
    "ServerMetadataRequest": "",
    "ServerMetadataResponse": "string name=1; string version=2; repeated string extensions=3",
    "ModelMetadataRequest": "string name=1; string version=2",
    "ModelMetadataResponse": "string name=1; repeated string versions=2; string platform=3;"
    " repeated ModelMetadataResponse.TensorMetadata inputs=4;"
    " repeated ModelMetadataResponse.TensorMetadata outputs=5",
    "ModelMetadataResponse.TensorMetadata": "string name=1; string datatype=2;"
    " repeated int64 shape=3",
    "InferParameter": "bool bool_param=1; int64 int64_param=2; string string_param=3;"
    " double double_param=4; uint64 uint64_param=5",
    "InferTensorContents": "repeated bool bool_contents=1; repeated int32 int_contents=2;"
    " repeated int64 int64_contents=3; repeated uint32 uint_contents=4;"
    " repeated uint64 uint64_contents=5; repeated float fp32_contents=6;"
    " repeated double fp64_contents=7; repeated bytes bytes_contents=8",
    "ModelInferRequest": "string model_name=1; string model_version=2; string id=3;"
    f" {_PARAMETERS}=4; repeated ModelInferRequest.InferInputTensor inputs=5;"
    " repeated ModelInferRequest.InferRequestedOutputTensor outputs=6;"
    " repeated bytes raw_input_contents=7",
    "ModelInferRequest.InferInputTensor": f"{_TENSOR} InferTensorContents contents=5",
    "ModelInferRequest.InferRequestedOutputTensor": f"string name=1; {_PARAMETERS}=2",
    "ModelInferResponse": f"string model_name=1; string model_version=2; string id=3;"
    f" {_PARAMETERS}=4; repeated ModelInferResponse.InferOutputTensor outputs=5;"
    " repeated bytes raw_output_contents=6",
    "ModelInferResponse.InferOutputTensor": f"{_TENSOR} InferTensorContents contents=5",
    "RepositoryIndexRequest": "string repository_name=1; bool ready=2",
    "RepositoryIndexResponse": "repeated RepositoryIndexResponse.ModelIndex models=1",
    "RepositoryIndexResponse.ModelIndex": "string name=1; string version=2; string state=3;"
    " string reason=4",
    "RepositoryModelLoadRequest": "string repository_name=1; string model_name=2",
    "RepositoryModelLoadResponse": "",
    "RepositoryModelUnloadRequest": "string repository_name=1; string model_name=2",
    "RepositoryModelUnloadResponse": "",
}
#: Messages of which only one field is set.
_ONE_OF = {"InferParameter": "parameter_choice"}

_FIELD = re.compile(
    r"(?P<many>repeated )?(?P<map>map<string,)?(?P<kind>[\w.]+)>? (?P<name>\w+)=(?P<number>\d+)"
)
_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "bool": _Field.TYPE_BOOL, "int32": _Field.TYPE_INT32, "int64": _Field.TYPE_INT64,
    "uint32": _Field.TYPE_UINT32, "uint64": _Field.TYPE_UINT64, "float": _Field.TYPE_FLOAT,
    "double": _Field.TYPE_DOUBLE, "string": _Field.TYPE_STRING, "bytes": _Field.TYPE_BYTES,
}  # fmt: skip


def _file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(
        name="modelport/open_inference.proto", package=PACKAGE, syntax="proto3"
    )
    made: dict[str, descriptor_pb2.DescriptorProto] = {}
    for name in sorted(MESSAGES, key=lambda name: name.count(".")):
        outer, _, own = name.rpartition(".")
        message = made[name] = (made[outer].nested_type if outer else file.message_type).add()
        message.name = own
        if name in _ONE_OF:
            message.oneof_decl.add(name=_ONE_OF[name])
        for found in _FIELD.finditer(MESSAGES[name]):
            _add_field(message, f".{PACKAGE}.{name}", found.groupdict(), one_of=name in _ONE_OF)
    return file


def _add_field(
    message: descriptor_pb2.DescriptorProto,
    place: str,
    found: dict[str, str | None],
    *,
    one_of: bool,
) -> None:
    kind, name = str(found["kind"]), str(found["name"])
    field = message.field.add(name=name, number=int(str(found["number"])))
    field.label = _Field.LABEL_REPEATED if found["many"] or found["map"] else _Field.LABEL_OPTIONAL
    if one_of:
        field.oneof_index = 0
    if found["map"]:  # on the wire a map is a list of entries, each a key and a value
        entry = message.nested_type.add(name=f"{name.capitalize()}Entry")
        entry.options.map_entry = True
        entry.field.add(name="key", number=1, type=_Field.TYPE_STRING, label=_Field.LABEL_OPTIONAL)
        value = entry.field.add(name="value", number=2, label=_Field.LABEL_OPTIONAL)
        value.type, value.type_name = _Field.TYPE_MESSAGE, f".{PACKAGE}.{kind}"
        field.type, field.type_name = _Field.TYPE_MESSAGE, f"{place}.{entry.name}"
    elif kind in _SCALARS:
        field.type = _SCALARS[kind]
    else:
        field.type, field.type_name = _Field.TYPE_MESSAGE, f".{PACKAGE}.{kind}"


_POOL = descriptor_pool.DescriptorPool()
_POOL.Add(_file())


def message(name: str) -> Any:
    """The class of a message, such as ``ModelInferRequest``."""
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"{PACKAGE}.{name}"))
