"""Goldens at ``/invocations`` in SageMaker's media types: JSON, lines, CSV, npy, V2's binary."""

from __future__ import annotations

import ast
import csv
import io
import json
import math
import struct
from collections.abc import Mapping
from typing import Any

from modelport.goldens import mlflow, v1, v2
from modelport.goldens.agreement import agree_with
from modelport.goldens.form import JSON, Asked, Form, dumped, tensors
from modelport.goldens.golden import Golden

CSV, NPY = "text/csv", "application/x-npy"
LINES = "application/jsonlines"
TRITON = "application/vnd.sagemaker-triton.binary+json"
_SIZE = "json-header-size="
#: V2 datatype → numpy's spelling of it.
_DESCR = {
    "BOOL": "|b1", "UINT8": "|u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8",
    "INT8": "|i1", "INT16": "<i2", "INT32": "<i4", "INT64": "<i8",
    "FP16": "<f2", "FP32": "<f4", "FP64": "<f8",
}  # fmt: skip
_MAGIC = b"\x93NUMPY\x01\x00"


def one_input(golden: Golden, what: str) -> str:
    """Why a form for one input does not fit."""
    return "" if len(golden.inputs) == 1 else f"{what} carries one input, not {len(golden.inputs)}"


# --- CSV ------------------------------------------------------------------------------------------


def _csv_obstacle(golden: Golden, asked: Asked) -> str:
    if reason := one_input(golden, "CSV"):
        return reason
    (tensor,) = golden.inputs
    spec = asked.signature.input(tensor.name)
    trailing = spec.shape[1:] if spec else tensor.shape[1:]
    if len(trailing) > 1 and -1 in trailing:
        return f"CSV cannot say the {len(trailing) + 1} dimensions of input {tensor.name!r}"
    if not math.prod(tensor.shape):
        return "CSV cannot say how many columns no values have"
    return v1.rows_obstacle(golden, asked)


def _build_csv(golden: Golden, asked: Asked) -> tuple[dict[str, str], bytes]:
    """A row a line; further dimensions are flattened."""
    (tensor,) = golden.inputs
    width = math.prod(tensor.shape[1:])
    lines = [tensor.data[n * width : (n + 1) * width] for n in range(tensor.shape[0])]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return {"content-type": f"{CSV}; header=absent", "accept": JSON}, text.getvalue().encode()


# --- JSON -----------------------------------------------------------------------------------------


def _build_tfs(golden: Golden, asked: Asked) -> tuple[dict[str, str], bytes]:
    """As SageMaker's TensorFlow predictor asks."""
    headers = {"content-type": JSON, "x-amzn-sagemaker-custom-attributes": "tfs-method=predict"}
    return headers, dumped({"instances": v1.rows(golden)})


def _build_lines(golden: Golden, asked: Asked) -> tuple[dict[str, str], bytes]:
    lines = b"".join(dumped(row) + b"\n" for row in v1.rows(golden))
    return {"content-type": LINES, "accept": LINES}, lines


def _check_lines(golden: Golden, headers: Mapping[str, str], body: bytes) -> str | None:
    rows = [json.loads(line) for line in body.splitlines()]
    return v1.agree_rows(golden, rows, mlflow.plain)


# --- npy ------------------------------------------------------------------------------------------


def _npy_obstacle(golden: Golden, asked: Asked) -> str:
    if reason := one_input(golden, "npy"):
        return reason
    if len(asked.signature.outputs) != 1 or len(golden.outputs) != 1:
        return f"npy carries one output, not {len(asked.signature.outputs)}"
    used = sorted({tensor.datatype for tensor in tensors(golden)} - set(_DESCR))
    return f"npy has no {', '.join(used)}" if used else ""


def _build_npy(golden: Golden, asked: Asked) -> tuple[dict[str, str], bytes]:
    (tensor,) = golden.inputs
    header = {"descr": _DESCR[tensor.datatype], "fortran_order": False, "shape": tensor.shape}
    text = f"{header}\n".encode("latin1")
    # numpy aligns what follows the header to 64 bytes.
    text = text[:-1] + b" " * (-(len(_MAGIC) + 2 + len(text)) % 64) + b"\n"
    body = _MAGIC + struct.pack("<H", len(text)) + text + v2.pack(tensor)
    return {"content-type": NPY, "accept": NPY}, body


def _check_npy(golden: Golden, headers: Mapping[str, str], body: bytes) -> str | None:
    if body[: len(_MAGIC)] != _MAGIC:
        return "the answer is not an npy array of version 1.0"
    start = len(_MAGIC) + 2
    (length,) = struct.unpack("<H", body[len(_MAGIC) : start])
    header: dict[str, Any] = ast.literal_eval(body[start : start + length].decode("latin1"))
    (tensor,) = golden.outputs
    want = _DESCR[tensor.datatype]
    if header["descr"] != want or header["fortran_order"]:
        return f"output {tensor.name!r}: expected {want} in C order, got {header}"
    values = v2.unpack(tensor.datatype, body[start + length :])
    return agree_with(golden, tensor, tensor.datatype, list(header["shape"]), values)


# --- V2's binary form, where only the content type arrives ----------------------------------------


def _any(golden: Golden, asked: Asked) -> str:
    return ""


def _build_triton(golden: Golden, asked: Asked) -> tuple[dict[str, str], bytes]:
    header, raw = v2.binary(golden, asked)
    return {"content-type": f"{TRITON};{_SIZE}{len(header)}"}, header + raw


def _check_triton(golden: Golden, headers: Mapping[str, str], body: bytes) -> str | None:
    media, _, size = headers.get("content-type", "").partition(_SIZE)
    if not media.startswith(TRITON) or not size.isdecimal():
        got = headers.get("content-type", "none")
        return f"expected content type {TRITON} with its {_SIZE}…, got {got}"
    return v2.check_parts(golden, body[: int(size)], body[int(size) :])


def _form(name: str, *parts: Any) -> Form:
    return Form(f"sagemaker {name}", "sagemaker", "invocations", *parts)


FORMS = (
    _form("tfs", v1.rows_obstacle, _build_tfs, v1.check_rows),
    _form("lines", v1.rows_obstacle, _build_lines, _check_lines),
    _form("csv", _csv_obstacle, _build_csv, mlflow.check_instances),
    _form("npy", _npy_obstacle, _build_npy, _check_npy),
    _form("binary", _any, _build_triton, _check_triton),
)
