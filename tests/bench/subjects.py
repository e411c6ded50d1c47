"""The two models that every server serves, with a request for each and its right answer.

Made anew from fixed seeds, so they are the same everywhere; what is right is asked of onnxruntime.
Knows no server and no protocol.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

Array = np.ndarray[Any, Any]
INPUT, OUTPUT = "x", "y"


@dataclass(frozen=True)
class Subject:
    """A model and one array for it; `expected` is onnxruntime's answer."""

    name: str
    onnx: bytes
    array: Array

    @cached_property
    def expected(self) -> Array:
        """The answer, asked once."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(self.onnx, options, ["CPUExecutionProvider"])
        answer: Array = session.run(None, {INPUT: self.array})[0]
        return answer

    def is_right(self, answer: Array) -> bool:
        """Whether ``answer`` is what onnxruntime says, within float32's rounding."""
        return answer.size == self.expected.size and bool(
            np.allclose(answer.reshape(self.expected.shape), self.expected, rtol=1e-4, atol=1e-6)
        )


class _Layers:
    """Nodes one behind the other, with weights from one seed."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self._weights: list[Any] = []
        self._nodes: list[Any] = []
        self._last = INPUT

    def weights(self, *shape: int) -> str:
        scale = np.sqrt(2 / np.prod(shape[1:] if len(shape) > 1 else shape))
        values = (self._random.standard_normal(shape) * scale).astype(np.float32)
        self._weights.append(numpy_helper.from_array(values, f"w{len(self._weights)}"))
        return str(self._weights[-1].name)

    def then(self, kind: str, *more: str, **attributes: Any) -> None:
        name = f"n{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, [self._last, *more], [name], **attributes))
        self._last = name

    def dense(self, size: int, to: int) -> None:
        self.then("Gemm", self.weights(to, size), self.weights(to), transB=1)

    def convolution(self, channels: int, to: int, stride: int) -> None:
        kernel = self.weights(to, channels, 3, 3)
        self.then("Conv", kernel, pads=[1, 1, 1, 1], strides=[stride, stride])
        self.then("Relu")

    def model(self, taken: Sequence[int | str], given: Sequence[int | str]) -> bytes:
        self._nodes[-1].output[0] = OUTPUT
        graph = helper.make_graph(
            self._nodes,
            "bench",
            [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, taken)],
            [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, given)],
            self._weights,
        )
        opsets = [helper.make_opsetid("", 17)]
        made = helper.make_model(graph, opset_imports=opsets, ir_version=8)
        return bytes(made.SerializeToString())


def tiny() -> Subject:
    """Four numbers in, three probabilities out, through two hidden layers: 3 KB."""
    layers = _Layers(1)
    for size, to in ((4, 24), (24, 16)):
        layers.dense(size, to)
        layers.then("Relu")
    layers.dense(16, 3)
    layers.then("Softmax", axis=1)
    array = np.array([[5.1, 3.5, 1.4, 0.2]], np.float32)
    return Subject("tiny", layers.model(["N", 4], ["N", 3]), array)


def image() -> Subject:
    """1x3x224x224 in, a thousand probabilities out: a small convolutional network of about 3 ms."""
    layers = _Layers(2)
    for channels, to, stride in ((3, 32, 2), (32, 48, 1), (48, 96, 4), (96, 96, 2)):
        layers.convolution(channels, to, stride)
    layers.then("GlobalAveragePool")
    layers.then("Flatten")
    layers.dense(96, 1000)
    layers.then("Softmax", axis=1)
    array = np.random.default_rng(3).random((1, 3, 224, 224)).astype(np.float32)
    return Subject("image", layers.model(["N", 3, 224, 224], ["N", 1000]), array)
