"""Models with weights worth moving, made with the onnx package, and their answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from modelport.onnx_file import read_onnx
from modelport.weights_layout import TENSOR, WORTH_IT
from onnx import TensorProto, helper, numpy_helper

FLOAT = TensorProto.FLOAT
#: Elements of a float tensor that moves, and of one that alone makes moving worth it.
MOVES, PAYS = TENSOR // 4, WORTH_IT // 4
RANDOM = np.random.default_rng(7)


def weights(name: str, count: int) -> TensorProto:
    return numpy_helper.from_array(RANDOM.standard_normal(count, dtype=np.float32), name)


def made(
    nodes: list[onnx.NodeProto],
    initializers: list[TensorProto],
    **graph: Any,
) -> onnx.ModelProto:
    x = helper.make_tensor_value_info("x", FLOAT, ["N"])
    y = helper.make_tensor_value_info("y", FLOAT, None)
    y.type.tensor_type.shape.dim.add()
    built = helper.make_graph(nodes, "g", [x], [y], initializers, **graph)
    opsets = [helper.make_opsetid("", 17)]
    return helper.make_model(built, opset_imports=opsets, ir_version=8)


def adding(*initializers: TensorProto) -> onnx.ModelProto:
    """y = x + the sum of each initializer, whatever its type."""
    nodes, last = [], "x"
    for number, tensor in enumerate(initializers):
        parts = [f"{what}{number}" for what in ("f", "s", "a")]
        nodes += [
            helper.make_node("Cast", [tensor.name], [parts[0]], to=FLOAT),
            helper.make_node("ReduceSum", [parts[0]], [parts[1]], keepdims=0),
            helper.make_node("Add", [last, parts[1]], [parts[2]]),
        ]
        last = parts[2]
    nodes.append(helper.make_node("Identity", [last], ["y"]))
    return made(nodes, list(initializers))


def saved(model: onnx.ModelProto, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    read_onnx(path)
    return path


def answer(path: Path, level: str = "ORT_ENABLE_ALL") -> list[Any]:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, level)
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    feeds = {arg.name: np.arange(3, dtype=np.float32) for arg in session.get_inputs()}
    return [np.asarray(output).tobytes() for output in session.run(None, feeds)]


def outside(tensor: TensorProto, folder: Path, location: str, offset: int) -> TensorProto:
    """The tensor with its values at ``offset`` of a data file, which may be huge and hollow."""
    body = tensor.raw_data
    folder.mkdir(parents=True, exist_ok=True)
    (folder / location).touch()
    with (folder / location).open("r+b") as file:
        file.seek(offset)
        file.write(body)
    moved = TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
    moved.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", offset), ("length", len(body))):
        moved.external_data.add(key=key, value=str(value))
    return moved
