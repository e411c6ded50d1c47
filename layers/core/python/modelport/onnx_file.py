"""What an ``.onnx`` file says about itself: inputs, outputs, versions, files beside it.

Reads the file in place (`modelport.onnx_wire`), so a file of any size costs a few pages of memory
and needs no ``onnx`` package. It must not load, run or check the model's mathematics, and whatever
the bytes are it ends in an `OnnxInfo` or in one `InvalidOnnxError` that says what is wrong and,
where bytes are broken, at which offset.
"""

from __future__ import annotations

import mmap
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from modelport.errors import InvalidOnnxError
from modelport.onnx_external import external_files
from modelport.onnx_wire import DamagedError, Field, Wire, signed
from modelport.signature import Signature, TensorSpec

__all__ = ["MAX_IR_VERSION", "MAX_OPSETS", "OnnxInfo", "read_onnx"]

#: What onnxruntime 1.31 loads; a test holds these against the installed onnxruntime.
MAX_IR_VERSION = 13
MAX_OPSETS: Mapping[str, int] = {"ai.onnx": 26, "ai.onnx.ml": 5, "com.microsoft": 1}

_MAX_FILE = 2**31 - 1  # protobuf, and so onnxruntime, reads no larger message
# TensorProto.DataType → V2 datatype.
_DATATYPES = {
    1: "FP32", 2: "UINT8", 3: "INT8", 4: "UINT16", 5: "INT16", 6: "INT32", 7: "INT64", 8: "BYTES",
    9: "BOOL", 10: "FP16", 11: "FP64", 12: "UINT32", 13: "UINT64", 16: "BF16",
}  # fmt: skip
# Element types that exist in ONNX and in no protocol; named so that the error can say which.
_NOT_SERVABLE = {
    14: "COMPLEX64", 15: "COMPLEX128", 17: "FLOAT8E4M3FN", 18: "FLOAT8E4M3FNUZ", 19: "FLOAT8E5M2",
    20: "FLOAT8E5M2FNUZ", 21: "UINT4", 22: "INT4", 23: "FLOAT4E2M1", 24: "FLOAT8E8M0", 25: "UINT2",
    26: "INT2", 27: "FLOAT6E2M3", 28: "FLOAT6E3M2",
}  # fmt: skip
# TypeProto's field number → what it is; only 1, a dense tensor, can be served.
_KINDS = {4: "a sequence", 5: "a map", 7: "opaque", 8: "a sparse tensor", 9: "an optional"}
# What people hand over by mistake: offset, first bytes, what it is, the way out.
_STRANGERS = (
    (0, b"version https://git-lfs", "a Git LFS pointer", "fetch the file itself: git lfs pull"),
    (0, b"PK\x03\x04", "a ZIP archive (PyTorch or Keras?)", "export the model to ONNX"),
    (0, b"\x80\x02", "a Python pickle", "export the model to ONNX"),
    (0, b"\x89HDF\r\n", "an HDF5 file (Keras?)", "export the model to ONNX"),
    (0, b"GGUF", "a GGUF file", "export the model to ONNX"),
    (4, b"ORTM", "a model in ORT format", "publish the .onnx file it was made from"),
    (4, b"TFL3", "a TensorFlow Lite model", "convert it with tf2onnx"),
)


@dataclass(frozen=True, slots=True)
class OnnxInfo:
    """Signature, versions and external data files (paths relative to the model's folder)."""

    signature: Signature
    ir_version: int
    opsets: Mapping[str, int]
    external_data: tuple[str, ...]


def read_onnx(path: Path) -> OnnxInfo:
    """Read the facts of the model in ``path``; InvalidOnnxError when it cannot be served."""
    try:
        _check_regular(path)
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _model(Wire(data), path.parent)
    except DamagedError as damage:
        raise InvalidOnnxError(path, damage.problem, damage.hint) from None
    except OSError as error:
        problem = "no such file" if isinstance(error, FileNotFoundError) else str(error.strerror)
        raise InvalidOnnxError(path, problem) from error


def _check_regular(path: Path) -> None:
    """Refuse what is no plain file before opening it: opening a pipe waits for a writer."""
    info = path.stat()
    if not stat.S_ISREG(info.st_mode):
        raise DamagedError("not a file")
    if info.st_size == 0:
        raise DamagedError("not an ONNX file: it is empty")
    if info.st_size > _MAX_FILE:
        raise DamagedError(
            f"{info.st_size:,} bytes; no ONNX file may be over {_MAX_FILE:,} bytes",
            "save the weights beside it: onnx.save(model, path, save_as_external_data=True)",
        )


def _model(wire: Wire, folder: Path) -> OnnxInfo:
    fields = _top_level(wire)
    ir_version = next((f.value for f in fields if f.is_varint(1)), 0)
    graphs = [f for f in fields if f.is_bytes(7)]
    if ir_version == 0:
        raise _stranger(wire, "it has no IR version")
    if ir_version > MAX_IR_VERSION:
        raise DamagedError(
            f"IR version {ir_version}; onnxruntime 1.31 loads up to {MAX_IR_VERSION}",
            f"set model.ir_version = {MAX_IR_VERSION} and save it again",
        )
    if not graphs:
        raise DamagedError("no graph in it: cut off, or not a model")
    opsets = _opsets(wire, (f for f in fields if f.is_bytes(8)))
    signature = _signature(wire, graphs)
    functions = (f for f in fields if f.is_bytes(25))
    return OnnxInfo(signature, ir_version, opsets, external_files(wire, graphs, functions, folder))


def _top_level(wire: Wire) -> list[Field]:
    fields: list[Field] = []
    try:
        fields.extend(wire.fields(wire.whole()))
    except DamagedError as damage:
        # Every writer puts the IR version first; without it nothing says this was ever ONNX.
        if wire.starts_with(b"\x08") and not wire.starts_with(b"\x08\x00"):
            raise
        raise _stranger(wire, damage.problem) from None
    return fields


def _stranger(wire: Wire, problem: str) -> DamagedError:
    for offset, magic, what, hint in _STRANGERS:
        if wire.starts_with(magic, offset):
            return DamagedError(f"not an ONNX file but {what}", hint)
    return DamagedError(f"not an ONNX file: {problem.removeprefix('damaged: ')}")


def _opsets(wire: Wire, imports: Iterable[Field]) -> dict[str, int]:
    opsets: dict[str, int] = {}
    for entry in imports:
        version = 0
        for field in wire.fields(entry):
            version = signed(field.value) if field.is_varint(2) else version
        opsets[wire.text(entry, 1) or "ai.onnx"] = version
    if not opsets:
        raise DamagedError("it names no opset: cut off, or not a model")
    for domain, version in opsets.items():
        limit = MAX_OPSETS.get(domain)
        if limit is not None and not 1 <= version <= limit:
            raise DamagedError(
                f"opset {version} of {domain}; onnxruntime 1.31 loads 1 to {limit}",
                f"export the model with opset {limit}",
            )
    return opsets


@dataclass(frozen=True, slots=True)
class _Value:
    """One graph input or output, as far as the file describes it."""

    name: str
    kind: int  # TypeProto's field: 1 = dense tensor; 0 = no type at all
    element: int
    shape: tuple[int, ...] | None


def _signature(wire: Wire, graphs: list[Field]) -> Signature:
    initialized: set[str] = set()
    inputs: list[_Value] = []
    outputs: list[_Value] = []
    for graph in graphs:
        for field in wire.parts(graph, 5, 11, 12, 15):
            if field.number == 5:
                initialized.add(wire.text(field, 8))
            elif field.number == 15:
                initialized.update(wire.text(values, 8) for values in wire.parts(field, 1))
            else:
                (inputs if field.number == 11 else outputs).append(_value(wire, field))
    if not outputs:
        raise DamagedError("the graph has no outputs")
    # Weights listed as inputs (always so before IR version 4) have their value already.
    needed = [value for value in inputs if value.name not in initialized]
    return Signature(_specs("input", needed), _specs("output", outputs))


def _value(wire: Wire, message: Field) -> _Value:
    kind = element = 0
    shape: tuple[int, ...] | None = None
    for typed in wire.parts(message, 2):
        for field in wire.parts(typed, 1, *_KINDS):
            kind = field.number
            for part in wire.fields(field) if kind == 1 else ():
                if part.is_varint(1):
                    element = part.value
                elif part.is_bytes(2):
                    shape = tuple(_dim(wire, dim) for dim in wire.parts(part, 1))
    return _Value(wire.text(message, 1), kind, element, shape)


def _dim(wire: Wire, message: Field) -> int:
    size = -1
    for field in wire.fields(message):
        if field.is_varint(1):
            size = max(-1, signed(field.value))
        elif field.is_bytes(2):  # a symbolic name: any size
            size = -1
    return size


def _specs(role: str, values: list[_Value]) -> tuple[TensorSpec, ...]:
    names: set[str] = set()
    for value in values:
        if not value.name or value.name in names:
            raise DamagedError(f"{role} {value.name!r}: every {role} needs a name of its own")
        names.add(value.name)
    return tuple(_spec(f"{role} {value.name!r}", value) for value in values)


def _spec(what: str, value: _Value) -> TensorSpec:
    infer = "fill it in: onnx.shape_inference.infer_shapes(model)"
    if value.kind == 0:
        raise DamagedError(f"{what} has no type", infer)
    if value.kind != 1:
        # scikit-learn's converter wraps probabilities in a sequence of maps unless told not to.
        hint = "scikit-learn: convert with options={'zipmap': False}" if value.kind == 4 else ""
        raise DamagedError(f"{what} is {_KINDS[value.kind]}; only tensors can be served", hint)
    datatype = _DATATYPES.get(value.element)
    if datatype is None:
        kind = _NOT_SERVABLE.get(value.element, f"number {value.element}")
        raise DamagedError(
            f"{what} has element type {kind}, which no protocol can carry",
            "cast it to FLOAT inside the model",
        )
    if value.shape is None:
        raise DamagedError(f"{what} has no shape, not even a rank", infer)
    return TensorSpec(value.name, datatype, value.shape)
