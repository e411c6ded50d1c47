"""ONNX's own backend suite as cases for the whole way: model file, inputs, expected outputs.

Which cases onnxruntime passes by itself is found by running it, so that a case that fails here is
the product's fault. Arrays come in numpy, brain floats as 16 raw bits.
"""

from __future__ import annotations

import ctypes
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from modelport.raw_tensors import BF16

Arrays = dict[str, np.ndarray[Any, Any]]
#: What onnxruntime 1.31 loads. Models of a later form that use nothing of it are saved in this one.
IR_VERSION = 13
_BRAIN, _BRAIN_TENSOR = onnx.TensorProto.BFLOAT16, "tensor(bfloat16)"


@dataclass(frozen=True)
class Case:
    """One case of the suite; ``sets`` are inputs with the outputs they must get."""

    name: str
    model: onnx.ModelProto
    sets: tuple[tuple[list[Any], list[Any]], ...]
    rtol: float
    atol: float

    @property
    def body(self) -> bytes:
        return bytes(self.model.SerializeToString())

    def feeds(self, inputs: list[Any]) -> Arrays:
        """The inputs by name."""
        names = [value.name for value in self.model.graph.input]
        return {name: as_bits(value) for name, value in zip(names, inputs, strict=False)}

    def disagreement(self, got: list[np.ndarray[Any, Any]], want: list[Any]) -> str | None:
        """How outputs differ from those expected, by the suite's own tolerances."""
        for value, have, expected in zip(self.model.graph.output, got, want, strict=True):
            have, expected = as_numbers(have), as_numbers(as_bits(expected))
            try:
                assert have.dtype == expected.dtype, f"{have.dtype}, not {expected.dtype}"
                assert have.shape == expected.shape, f"{have.shape}, not {expected.shape}"
                if expected.dtype.kind == "O":
                    np.testing.assert_array_equal(have, expected)
                else:
                    np.testing.assert_allclose(have, expected, self.rtol, self.atol)
            except AssertionError as error:
                return f"{value.name}: {' '.join(str(error).split())[:300]}"
        return None


def node_cases() -> Iterator[Case]:
    """All cases of single operators."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the suite's own arithmetic on overflow and zero
        from onnx.backend.test.loader import load_model_tests

        found = load_model_tests(kind="node")
    for case in found:
        assert case.model is not None
        assert case.data_sets is not None
        model = case.model
        if model.ir_version == IR_VERSION + 1:
            model.ir_version = IR_VERSION
        sets = tuple((list(inputs), list(outputs)) for inputs, outputs in case.data_sets)
        yield Case(case.name, model, sets, case.rtol, case.atol)


def fails_alone(case: Case) -> str | None:
    """Why onnxruntime does not pass a case by itself, or None where it does."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    try:
        session = ort.InferenceSession(case.body, options, providers=["CPUExecutionProvider"])
        for inputs, outputs in case.sets:
            if problem := case.disagreement(_run(session, case.feeds(inputs)), outputs):
                return problem
    except Exception as error:  # onnxruntime's errors share no base
        return f"{type(error).__name__}: {str(error)[:200]}"
    return None


def as_bits(value: Any) -> np.ndarray[Any, Any]:
    """An array of the suite with brain floats as raw bits, and text as text."""
    stored = isinstance(value, onnx.TensorProto)
    array = onnx.numpy_helper.to_array(value) if stored else np.asarray(value)
    if array.dtype.name == "bfloat16":
        return array.view(np.uint16).view(BF16)
    if array.dtype.kind in "SU":
        return array.astype(object)
    return array


def as_numbers(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Brain floats as the numbers they are; anything else as it is."""
    if array.dtype != BF16:
        return array
    return (np.ascontiguousarray(array).view(np.uint16).astype(np.uint32) << 16).view(np.float32)


def _run(session: Any, feeds: Arrays) -> list[np.ndarray[Any, Any]]:
    used = [*session.get_inputs(), *session.get_outputs()]
    if not any(value.type == _BRAIN_TENSOR for value in used):
        return list(session.run(None, feeds))
    names = [output.name for output in session.get_outputs()]
    values = {name: _value(array) for name, array in feeds.items()}
    return [_array(value) for value in session.run_with_ort_values(names, values)]


def _value(array: np.ndarray[Any, Any]) -> Any:
    if array.dtype == BF16:
        bits = np.ascontiguousarray(array).view(np.uint16)
        return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(bits, _BRAIN)
    return ort.OrtValue.ortvalue_from_numpy(array)


def _array(value: Any) -> np.ndarray[Any, Any]:
    if value.data_type() == _BRAIN_TENSOR:
        shape = value.shape()
        count = int(np.prod(shape, dtype=np.int64))
        if not count:
            return np.empty(shape, BF16)
        raw = ctypes.string_at(value.data_ptr(), 2 * count)
        return np.frombuffer(raw, BF16).reshape(shape)
    array: np.ndarray[Any, Any] = value.numpy()
    return array
