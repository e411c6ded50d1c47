"""Goldens at ``/invocations`` in SageMaker's media types: CSV, npy, and V2's binary form."""

from __future__ import annotations

import ast
import csv
import io
import math
import struct
from collections.abc import Mapping
from typing import Any

from modelport.goldens import v1, v2
from modelport.goldens.agreement import agree_with
from modelport.goldens.form import JSON, Asked, Form, first, rows_of, tensors
from modelport.goldens.form import without as without_datatypes
from modelport.goldens.golden import Golden

CSV, NPY = "text/csv", "application/x-npy"
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
    if len(tensor.shape) != 2:
        return f"CSV carries two dimensions; input {tensor.name!r} has {len(tensor.shape)}"
    if tensor.datatype == "BOOL":
        return "BOOL has no form in CSV"
    if not math.prod(tensor.shape):
        return "CSV cannot say how many columns no values have"
    return first(without_datatypes(golden, "BF16"), rows_of(golden, asked)[1])


def _build_csv(golden: Golden, asked: Asked) -> tuple[dict[str, str], bytes]:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(golden.inputs[0].nested(b64=False))
    return {"content-type": CSV, "accept": JSON}, text.getvalue().encode()


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


FORMS = (
    Form("sagemaker csv", "sagemaker", "invocations", _csv_obstacle, _build_csv, v1.check_rows),
    Form("sagemaker npy", "sagemaker", "invocations", _npy_obstacle, _build_npy, _check_npy),
)
