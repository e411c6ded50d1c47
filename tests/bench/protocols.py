"""How a request spells an array, and an answer too: what differs between the servers compared.

V1 is `{"instances": nested}`, which servers without a protocol of their own are given too; V2 is
the Open Inference Protocol, in JSON and with binary tensors. Sends nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from tests.bench.load import Answer, Question
from tests.bench.subjects import INPUT, Array

_JSON = {"content-type": "application/json"}
_HEADER = "Inference-Header-Content-Length"


@dataclass(frozen=True)
class Protocol:
    """One way to spell: ``ask`` makes the question for a path, ``read`` finds the array again."""

    name: str
    ask: Callable[[str, Array], Question]
    read: Callable[[Answer], Array]


def _ask_v1(path: str, array: Array) -> Question:
    # As clients do: `tolist()` makes doubles, so a number has up to twenty characters.
    return Question(path, orjson.dumps({"instances": array.tolist()}), _JSON)


def _read_v1(answer: Answer) -> Array:
    said = orjson.loads(answer.body)
    if isinstance(said, dict):
        said = said["predictions"]
    if isinstance(said, dict):  # MLflow answers by the output's name
        (said,) = said.values()
    return np.array(said, np.float32)


def _tensor(array: Array) -> dict[str, Any]:
    return {"name": INPUT, "shape": list(array.shape), "datatype": "FP32"}


def _ask_v2(path: str, array: Array) -> Question:
    tensor = {**_tensor(array), "data": array.ravel().tolist()}
    return Question(path, orjson.dumps({"inputs": [tensor]}), _JSON)


def _read_v2(answer: Answer) -> Array:
    (output,) = orjson.loads(answer.body)["outputs"]
    return np.array(output["data"], np.float32)


def _ask_binary(path: str, array: Array) -> Question:
    tensor = {**_tensor(array), "parameters": {"binary_data_size": array.nbytes}}
    head = orjson.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}})
    headers = {"content-type": "application/octet-stream", _HEADER: str(len(head))}
    return Question(path, head + array.tobytes(), headers)


def _read_binary(answer: Answer) -> Array:
    """The output's bytes; a floor sends nothing else."""
    start = int(answer.headers.get(_HEADER.lower(), 0))
    if start:
        (output,) = orjson.loads(answer.body[:start])["outputs"]
        assert output["parameters"]["binary_data_size"] == len(answer.body) - start
    return np.frombuffer(answer.body, np.float32, offset=start)


V1 = Protocol("V1 JSON", _ask_v1, _read_v1)
V2 = Protocol("V2 JSON", _ask_v2, _read_v2)
BINARY = Protocol("V2 binary", _ask_binary, _read_binary)
