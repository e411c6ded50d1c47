"""What is said to a version that is measured, and what its answer comes to.

`Model` speaks to the model: tensors in binary, as Open Inference V2 has them, and one output back.
`Script` speaks to a bundle's inference.py on ``/invocations``: rows as JSON (``{"instances": …}``)
or as CSV without a header, and a JSON answer back: a list with an element a row, an object with
one, or one under ``predictions``. It carries nothing anywhere.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from modelport.client.conversation import JSON_TYPE, Reply
from modelport.client.messages import infer_body, read_outputs
from modelport.evaluation.errors import UnusableAnswerError
from modelport.raw_tensors import Array

Form = Literal["json", "csv"]
PREDICTIONS = "predictions"


class Spoken(Protocol):
    """A way to ask: where to, a request, and its answer."""

    @property
    def protocol(self) -> str:
        """The protocol of `modelport.grammar`."""
        ...

    @property
    def verb(self) -> str:
        """The verb of it."""
        ...

    def request(self, inputs: Mapping[str, Array]) -> tuple[dict[str, str], bytes]:
        """Headers and body that ask some rows."""
        ...

    def answer(self, reply: Reply, ref: str) -> Array:
        """The answers [N, …]; raises `UnusableAnswerError` where there are none."""
        ...


@dataclass(frozen=True)
class Model:
    """Asks the model itself for one output."""

    output: str
    protocol: str = "v2"
    verb: str = "infer"

    def request(self, inputs: Mapping[str, Array]) -> tuple[dict[str, str], bytes]:
        """The tensors as they are."""
        return infer_body(inputs, [self.output], {}, "")

    def answer(self, reply: Reply, ref: str) -> Array:
        """The output."""
        return read_outputs(reply, ref)[self.output]


@dataclass(frozen=True)
class Script:
    """Asks the bundle's inference.py."""

    form: Form
    protocol: str = "sagemaker"
    verb: str = "invocations"

    def request(self, inputs: Mapping[str, Array]) -> tuple[dict[str, str], bytes]:
        """The rows as JSON or CSV."""
        if self.form == "csv":
            return {"content-type": "text/csv", "accept": JSON_TYPE}, _csv(inputs)
        columns = {name: array.tolist() for name, array in inputs.items()}
        rows: Any = next(iter(columns.values()))
        if len(columns) > 1:
            rows = [
                dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)
            ]
        body = json.dumps({"instances": rows}).encode()
        return {"content-type": JSON_TYPE, "accept": JSON_TYPE}, body

    def answer(self, reply: Reply, ref: str) -> Array:
        """The list in the answer."""
        try:
            found = reply.json()
        except (ValueError, RecursionError):
            said = reply.content_type[:60] or "nothing that says what it is"
            raise UnusableAnswerError(ref, f"its script answers {said}, not JSON") from None
        if isinstance(found, dict):
            found = found.get(PREDICTIONS, next(iter(found.values())) if len(found) == 1 else None)
        try:
            array = np.array(found)
        except ValueError:
            array = np.array(None)
        if not array.ndim or array.dtype.kind not in "fiubU":
            problem = "its script answers no list of numbers or labels, an element a row"
            raise UnusableAnswerError(ref, problem)
        return array


def _csv(inputs: Mapping[str, Array]) -> bytes:
    """All inputs side by side, each as one column or many."""
    text = io.StringIO()
    columns = [array.reshape(len(array), -1) for array in inputs.values()]
    writer = csv.writer(text, lineterminator="\n")
    for row in zip(*(column.tolist() for column in columns), strict=True):
        writer.writerow([value for part in row for value in part])
    return text.getvalue().encode()
