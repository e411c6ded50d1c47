"""Goldens at ``/invocations`` as MLflow's scoring clients send them, and as data frames."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelport.goldens import v1
from modelport.goldens.agreement import agree, rounded
from modelport.goldens.form import JSON, Asked, Form, dumped, first, loaded, rows_of
from modelport.goldens.golden import Golden, Tensor

_HEADERS = {"content-type": JSON}


def _predictions(body: bytes) -> tuple[Any, str]:
    answer, problem = loaded(body)
    if problem or "predictions" not in answer:
        return None, problem or "the answer has no 'predictions'"
    return answer["predictions"], ""


def plain(tensor: Tensor) -> Any:
    """An output as MLflow writes it: text as it is, whatever the output is called."""
    return rounded(tensor).nested(b64=False)


def _build_inputs(golden: Golden, asked: Asked) -> tuple[dict[str, str], bytes]:
    return dict(_HEADERS), dumped({"inputs": v1.columns(golden)})


def _check_inputs(golden: Golden, headers: Mapping[str, str], body: bytes) -> str | None:
    got, problem = _predictions(body)
    return problem or v1.agree_columns(golden, got, plain)


def _build_instances(golden: Golden, asked: Asked) -> tuple[dict[str, str], bytes]:
    return dict(_HEADERS), dumped({"instances": v1.rows(golden)})


def check_instances(golden: Golden, headers: Mapping[str, str], body: bytes) -> str | None:
    """Judge ``{"predictions": …}`` of rows."""
    got, problem = _predictions(body)
    return problem or v1.agree_rows(golden, got, plain)


def _split_obstacle(golden: Golden, asked: Asked) -> str:
    return first(v1.columns_obstacle(golden, asked), rows_of(golden, asked)[1])


def _build_split(golden: Golden, asked: Asked) -> tuple[dict[str, str], bytes]:
    """A column per input; one input of two dimensions is the table."""
    cells = [tensor.nested(b64=False) for tensor in golden.inputs]
    if len(golden.inputs) == 1 and len(golden.inputs[0].shape) == 2:
        columns, data = [f"c{n}" for n in range(golden.inputs[0].shape[1])], cells[0]
    else:
        columns = [tensor.name for tensor in golden.inputs]
        data = [list(row) for row in zip(*cells, strict=True)]
    return dict(_HEADERS), dumped({"dataframe_split": {"columns": columns, "data": data}})


def _check_split(golden: Golden, headers: Mapping[str, str], body: bytes) -> str | None:
    got, problem = _predictions(body)
    if problem:
        return problem
    if not isinstance(got, list) or not all(isinstance(row, dict) for row in got):
        return "the answer to a data frame is no list of records"
    for tensor in golden.outputs:
        want = plain(tensor)
        if len(tensor.shape) == 2 and tensor.shape[1] == 1:  # a row of one value is that value
            want = [value for (value,) in want]
        problem = agree(golden, tensor.name, want, [row.get(tensor.name) for row in got]) or ""
        if problem:
            return problem
    return None


FORMS: tuple[Form, ...] = (
    Form(
        "mlflow inputs",
        "sagemaker",
        "invocations",
        v1.columns_obstacle,
        _build_inputs,
        _check_inputs,
    ),
    Form(
        "mlflow instances",
        "sagemaker",
        "invocations",
        v1.rows_obstacle,
        _build_instances,
        check_instances,
    ),
    Form("mlflow split", "sagemaker", "invocations", _split_obstacle, _build_split, _check_split),
)
