"""What a model takes and gives: names, datatypes and shapes. Pure data, no numpy, no ONNX.

Datatypes are spelled as in Open Inference Protocol V2 (``FP32``, ``INT64``, ``BYTES`` …); a
variable dimension is −1.
"""

from __future__ import annotations

from typing import Any

from modelport.records import record

#: V2 datatype → bytes per element (0: variable length).
DATATYPES: dict[str, int] = {
    "BOOL": 1, "UINT8": 1, "UINT16": 2, "UINT32": 4, "UINT64": 8,
    "INT8": 1, "INT16": 2, "INT32": 4, "INT64": 8,
    "FP16": 2, "BF16": 2, "FP32": 4, "FP64": 8, "BYTES": 0,
}  # fmt: skip


@record(frozen=True)
class TensorSpec:
    """One input or output: its name, V2 datatype and shape (−1 = any size)."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        """The tensor as V2 metadata spells it."""
        return {"name": self.name, "datatype": self.datatype, "shape": list(self.shape)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> TensorSpec:
        return cls(data["name"], data["datatype"], tuple(data["shape"]))

    def accepts(self, shape: tuple[int, ...]) -> bool:
        """Whether ``shape`` has this rank and every fixed dimension."""
        if len(shape) != len(self.shape):
            return False
        for want, have in zip(self.shape, shape, strict=True):  # every request asks: no generator
            if want != have and want != -1:
                return False
        return True

    def __str__(self) -> str:
        return f"{self.datatype} [{','.join(str(dim) for dim in self.shape)}]"


@record(frozen=True)
class Signature:
    """The inputs and outputs of a model, in the model's own order."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "inputs": [spec.to_json() for spec in self.inputs],
            "outputs": [spec.to_json() for spec in self.outputs],
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Signature:
        return cls(
            tuple(TensorSpec.from_json(spec) for spec in data["inputs"]),
            tuple(TensorSpec.from_json(spec) for spec in data["outputs"]),
        )

    def input(self, name: str) -> TensorSpec | None:
        """The input called ``name``, if there is one."""
        return next((spec for spec in self.inputs if spec.name == name), None)

    def output(self, name: str) -> TensorSpec | None:
        """The output called ``name``, if there is one."""
        return next((spec for spec in self.outputs if spec.name == name), None)
