"""Goldens in TensorFlow Serving's REST: ``:predict`` with columns and with rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from modelport.goldens.agreement import agree, rounded
from modelport.goldens.form import (
    JSON,
    Asked,
    Form,
    dumped,
    first,
    loaded,
    rows_of,
    tensors,
    unnestable,
    without,
)
from modelport.goldens.golden import Golden, Tensor


def columns_obstacle(golden: Golden, asked: Asked) -> str:
    """Why ``inputs`` cannot carry it."""
    if not golden.inputs:
        return "a model without inputs has none to name"
    return first(without(tensors(golden), "BF16"), unnestable(golden))


def columns(golden: Golden) -> dict[str, Any]:
    """The ``inputs`` of a request, by name."""
    return {tensor.name: tensor.nested() for tensor in golden.inputs}


def rows_obstacle(golden: Golden, asked: Asked) -> str:
    """Why ``instances`` cannot carry it."""
    return first(columns_obstacle(golden, asked), rows_of(golden, asked)[1])


def rows(golden: Golden) -> list[Any]:
    """The ``instances`` of a request: values for one input, objects for several."""
    by_name = columns(golden)
    if len(by_name) == 1:
        return list(by_name[golden.inputs[0].name])
    return [dict(zip(by_name, row, strict=True)) for row in zip(*by_name.values(), strict=True)]


def wanted(tensor: Tensor) -> Any:
    """An output as TensorFlow Serving writes it: base64 only where its name asks for that."""
    return rounded(tensor).nested(b64=tensor.name.endswith("_bytes"))


def agree_columns(golden: Golden, got: Any, want: Callable[[Tensor], Any] = wanted) -> str | None:
    """What disagrees in whole outputs: by name, or bare where the model has one output."""
    for tensor in golden.outputs:
        # TensorFlow Serving leaves the name out when the model has one output.
        named = isinstance(got, dict) and tensor.name in got
        problem = agree(golden, tensor.name, want(tensor), got[tensor.name] if named else got)
        if problem:
            return problem
    return None


def agree_rows(golden: Golden, got: Any, want: Callable[[Tensor], Any] = wanted) -> str | None:
    """What disagrees in a list of rows, which are values, or objects by output."""
    if not isinstance(got, list):
        return f"expected a list of rows, got {type(got).__name__}"
    for tensor in golden.outputs:
        column = [
            row[tensor.name] if isinstance(row, dict) and tensor.name in row else row for row in got
        ]
        problem = agree(golden, tensor.name, want(tensor), column)
        if problem:
            return problem
    return None


def _build_columns(golden: Golden, asked: Asked) -> tuple[dict[str, str], bytes]:
    return {"content-type": JSON}, dumped({"inputs": columns(golden)})


def _build_rows(golden: Golden, asked: Asked) -> tuple[dict[str, str], bytes]:
    return {"content-type": JSON}, dumped({"instances": rows(golden)})


def check_columns(golden: Golden, headers: Mapping[str, str], body: bytes) -> str | None:
    """Judge ``{"outputs": …}``."""
    answer, problem = loaded(body)
    if problem or "outputs" not in answer:
        return problem or "the answer has no 'outputs'"
    return agree_columns(golden, answer["outputs"])


def check_rows(golden: Golden, headers: Mapping[str, str], body: bytes) -> str | None:
    """Judge ``{"predictions": …}`` of rows."""
    answer, problem = loaded(body)
    if problem or "predictions" not in answer:
        return problem or "the answer has no 'predictions'"
    return agree_rows(golden, answer["predictions"])


FORMS = (
    Form("v1 columns", "v1", "predict", columns_obstacle, _build_columns, check_columns),
    Form("v1 rows", "v1", "predict", rows_obstacle, _build_rows, check_rows),
)
