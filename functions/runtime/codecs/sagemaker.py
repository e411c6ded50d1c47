"""SageMaker ``/invocations`` for models without ``inference.py``: JSON, CSV and npy.

JSON has V1's shape; ``text/csv`` and ``application/x-npy`` are for models with one input. The
answer is JSON unless ``Accept`` asks for one of the other two. Headers other than content type and
accept are stripped by SageMaker, so nothing else is read.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from modelport.envelope import Request
from modelport.errors import (
    MalformedRequestError,
    NotEncodableError,
    TensorError,
    UnsupportedMediaTypeError,
)
from modelport.grammar import Call
from modelport.signature import Signature, TensorSpec

from functions.runtime.codecs.codec import JSON, Headers, Parsed, Subject, output_names, read_json
from functions.runtime.codecs.v1 import V1Codec, parse_document
from functions.runtime.tensors import Array, Tensors, check_shape, from_array, from_json

CSV = "text/csv"
NPY = "application/x-npy"
ALLOWED = (JSON, CSV, NPY)

Reader = Callable[[bytes, TensorSpec], Array]


class SageMakerCodec:
    """The SageMaker container contract for plain tensors."""

    def parse(self, call: Call, request: Request, subject: Subject) -> Parsed:
        body, signature = request.body, subject.signature
        media = media_type(request.headers.get("content-type"))
        accept = choose(request.headers.get("accept"), ALLOWED)
        if media == JSON:
            parsed = parse_document(read_json(body), signature)
            return Parsed(parsed.tensors, parsed.outputs, {**parsed.form, "accept": accept})
        reader = _READERS.get(media)
        if reader is None:
            raise UnsupportedMediaTypeError(media, ALLOWED)
        spec = _only_input(signature, media)
        tensors = {spec.name: check_shape(spec, reader(body, spec))}
        return Parsed(tensors, output_names(signature), {"row": True, "accept": accept})

    def format(self, outputs: Tensors, parsed: Parsed, subject: Subject) -> tuple[Headers, bytes]:
        accept = parsed.form["accept"]
        if accept == JSON:
            return V1Codec().format(outputs, parsed, subject)
        if len(outputs) != 1:
            raise NotEncodableError(
                ", ".join(outputs), f"{accept} carries one tensor; accept {JSON} instead"
            )
        name, array = next(iter(outputs.items()))
        write = _write_csv if accept == CSV else _write_npy
        return {"content-type": accept}, write(name, array)

    def describe(self, verb: str, subject: Subject) -> Mapping[str, Any] | None:
        return None


def media_type(header: str | None) -> str:
    """The media type without parameters; JSON when nothing was said."""
    return (header or JSON).partition(";")[0].strip().lower() or JSON


def choose(accept: str | None, allowed: tuple[str, ...]) -> str:
    """The first of ``allowed`` that ``Accept`` takes, in the caller's order of preference."""
    wanted = [media_type(part) for part in (accept or "*/*").split(",")]
    for want in wanted:
        for have in allowed:
            if want in (have, "*/*", have.partition("/")[0] + "/*"):
                return have
    raise UnsupportedMediaTypeError(accept or "", allowed)


def _only_input(signature: Signature, media: str) -> TensorSpec:
    if len(signature.inputs) != 1:
        raise UnsupportedMediaTypeError(f"{media} for a model with several inputs", (JSON,))
    return signature.inputs[0]


def _read_csv(body: bytes, spec: TensorSpec) -> Array:
    if len(spec.shape) != 2:
        raise UnsupportedMediaTypeError(f"{CSV} for an input of shape {spec}", (JSON, NPY))
    import csv  # here and below, because few ever send it

    try:
        rows = [row for row in csv.reader(io.StringIO(_text(body), newline="")) if row]
    except csv.Error as error:
        raise MalformedRequestError(f"the CSV body cannot be read: {error}") from None
    if not rows:
        raise MalformedRequestError("the CSV body has no rows")
    if spec.datatype == "BYTES":
        return from_json(spec, rows)
    convert = int if spec.datatype.strip("U").startswith("INT") else float
    return from_json(spec, [_cells(row, line, convert) for line, row in enumerate(rows, 1)])


def _cells(row: list[str], line: int, convert: Callable[[str], Any]) -> list[Any]:
    try:
        return list(map(convert, row))
    except ValueError as error:
        raise MalformedRequestError(f"CSV row {line}: {error}") from None


def _text(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise MalformedRequestError(f"the CSV body is not UTF-8 at offset {error.start}") from None


def _read_npy(body: bytes, spec: TensorSpec) -> Array:
    """The array in ``body``, without copying its values."""
    stream = io.BytesIO(body)
    try:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0
        if version != (1, 0):
            read = np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(stream)
        if dtype.hasobject:
            raise TensorError(spec.name, str(spec), "a pickled array, which is never opened")
        count = math.prod(shape)
        if min(shape, default=0) < 0:
            raise ValueError(f"shape {shape}")
        values = np.frombuffer(body, dtype, count, stream.tell()) if count else np.empty(0, dtype)
        array = values.reshape(shape[::-1]).T if fortran else values.reshape(shape)
    except (ValueError, OverflowError, OSError, EOFError) as error:
        raise MalformedRequestError(f"the body is not an npy array: {error}") from None
    return from_array(spec, array)


def _write_csv(name: str, array: Array) -> bytes:
    if array.ndim not in (1, 2):
        raise NotEncodableError(
            name, f"{CSV} carries one or two dimensions; accept {JSON} or {NPY}"
        )
    import csv

    rows = array if array.ndim == 2 else array[:, np.newaxis]
    stream = io.StringIO()
    # str of a numpy scalar is its shortest form; a list of Python floats would show float32 noise.
    csv.writer(stream, lineterminator="\n").writerows(map(str, row) for row in rows)
    return stream.getvalue().encode()


def _write_npy(name: str, array: Array) -> bytes:
    if array.dtype.hasobject:
        raise NotEncodableError(name, f"{NPY} carries no text; accept {JSON}")
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, allow_pickle=False)
    return stream.getvalue()


_READERS: Mapping[str, Reader] = {CSV: _read_csv, NPY: _read_npy}
