"""Bundles whose models give back what they got, in the datatypes that clients can send."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnx
from onnx import TensorProto, helper

#: Input name → ONNX type; the output of ``f32`` is called ``f32_out``, and so on.
TYPES = {
    "f32": TensorProto.FLOAT,
    "f16": TensorProto.FLOAT16,
    "f64": TensorProto.DOUBLE,
    "i64": TensorProto.INT64,
    "u8": TensorProto.UINT8,
    "flag": TensorProto.BOOL,
    "text": TensorProto.STRING,
    "bf16": TensorProto.BFLOAT16,
}


def echo(folder: Path, names: Sequence[str]) -> Path:
    """A bundle that takes a vector of any length of each type and returns it; no goldens."""
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Identity", [name], [f"{name}_out"]) for name in names],
        "echo",
        [value(name, TYPES[name], [f"{name}_n"]) for name in names],
        [value(f"{name}_out", TYPES[name], [f"{name}_n"]) for name in names],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    folder.mkdir(parents=True)
    onnx.save(model, str(folder / "model.onnx"))
    return folder
