"""A golden as examples: what is sent and what comes back, in each form of each protocol.

None where a protocol has no form for it. What is here was small enough when `About` was made.
"""

from __future__ import annotations

import json
from typing import Any

from modelport.goldens import Golden, Tensor
from modelport.openapi.about import MAX_EXAMPLE
from modelport.openapi.schemas import BINARY_ONLY

Example = Any


def v1_columns(golden: Golden | None) -> Example:
    """``{"inputs": …}``."""
    inputs = _tensors(golden)
    return _small({"inputs": {t.name: t.nested() for t in inputs}}) if inputs else None


def v1_rows(golden: Golden | None) -> Example:
    """``{"instances": …}``: bare when there is one input."""
    inputs = _tensors(golden)
    stacked = _stacked(inputs)
    return None if stacked is None else _small({"instances": stacked})


def v1_outputs(golden: Golden | None) -> Example:
    """The answer to columns."""
    outputs = _answers(golden)
    named = {t.name: _shown(t) for t in outputs}
    if not named:
        return None
    return _small({"outputs": named if len(named) > 1 else next(iter(named.values()))})


def v1_predictions(golden: Golden | None) -> Example:
    """The answer to rows."""
    outputs = _answers(golden)
    if not outputs or v1_rows(golden) is None:
        return None
    stacked = _stacked(outputs, plain=True)
    return None if stacked is None else _small({"predictions": stacked})


def v2_request(golden: Golden | None) -> Example:
    """``infer`` in JSON."""
    inputs = _tensors(golden)
    if not inputs or _binary_only(golden):
        return None
    return _small({"id": "example", "inputs": [t.to_json() for t in inputs]})


def v2_answer(golden: Golden | None, model: str, version: int) -> Example:
    """The answer of ``infer``."""
    outputs = _answers(golden)
    if not outputs or v2_request(golden) is None:
        return None
    head = {"model_name": model, "model_version": str(version), "id": "example"}
    return _small(head | {"outputs": [t.to_json() for t in outputs]})


def csv(golden: Golden | None) -> str | None:
    """One input of two dimensions as lines of CSV."""
    inputs = _tensors(golden)
    if len(inputs) != 1 or len(inputs[0].shape) != 2 or inputs[0].datatype in ("BYTES", "BOOL"):
        return None
    lines = [",".join(map(str, line)) for line in inputs[0].nested()]
    return "\n".join(lines) + "\n" if lines else None


def _tensors(golden: Golden | None) -> tuple[Tensor, ...]:
    return golden.inputs if golden and all(t.datatype != "BF16" for t in golden.inputs) else ()


def _answers(golden: Golden | None) -> tuple[Tensor, ...]:
    return golden.outputs if golden and all(t.datatype != "BF16" for t in golden.outputs) else ()


def _binary_only(golden: Golden | None) -> bool:
    tensors = (*golden.inputs, *golden.outputs) if golden else ()
    return any(t.datatype in BINARY_ONLY for t in tensors)


def _stacked(tensors: tuple[Tensor, ...], *, plain: bool = False) -> Any:
    """Tensors as a list of rows; None when they have not as many of them."""
    sizes = {t.shape[0] if t.shape else None for t in tensors}
    if len(sizes) != 1 or sizes <= {None, 0}:
        return None
    columns = {t.name: _shown(t) if plain else t.nested() for t in tensors}
    if len(columns) == 1:
        return next(iter(columns.values()))
    rows = zip(*columns.values(), strict=True)
    return [dict(zip(columns, row, strict=True)) for row in rows]


def _shown(tensor: Tensor) -> Any:
    return tensor.nested(b64=tensor.name.endswith("_bytes"))


def _small(value: Any) -> Any:
    return value if len(json.dumps(value)) <= MAX_EXAMPLE else None
