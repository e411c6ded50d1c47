"""Running a model that takes or gives brain floats, for which numpy has no number.

onnxruntime wants and gives its own values then; everything else goes through as it always does. It
must not know what the bits mean.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from modelport.raw_tensors import BF16

from functions.runtime.tensors import Array, Tensors

#: ONNX's number for the type.
_ONNX_BFLOAT16 = 16


def run(session: Any, inputs: Mapping[str, Array], outputs: Sequence[str]) -> Tensors:
    """These outputs of the session for these inputs."""
    binding = session.io_binding()
    # onnxruntime reads the arrays' own memory: they stay until it has run.
    values = {name: _value(array) for name, array in inputs.items()}
    for name, (_, value) in values.items():
        binding.bind_ortvalue_input(name, value)
    for name in outputs:
        binding.bind_output(name, "cpu")
    session.run_with_iobinding(binding)
    return dict(zip(outputs, map(_array, binding.get_outputs()), strict=True))


def _value(array: Array) -> tuple[Array, Any]:
    import onnxruntime as ort

    if array.dtype != BF16:
        plain = np.ascontiguousarray(array)
        return plain, ort.OrtValue.ortvalue_from_numpy(plain)
    bits = np.require(array.view(np.uint16), requirements=("C", "A"))
    return bits, ort.OrtValue.ortvalue_from_numpy_with_onnx_type(bits, _ONNX_BFLOAT16)


def _array(value: Any) -> Array:
    if value.element_type() != _ONNX_BFLOAT16:
        array: Array = value.numpy()
        return array
    shape = value.shape()
    size = value.tensor_size_in_bytes()
    if not size:
        return np.empty(shape, BF16)
    raw = bytearray(ctypes.string_at(value.data_ptr(), size))
    return np.frombuffer(raw, BF16).reshape(shape)
