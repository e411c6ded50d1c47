"""Asks a version a whole data set, batch by batch, and keeps labels and answers alone.

How a batch is asked is passed in; which output is the answer `modelport.v1_results` says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from modelport.evaluation.data_set import DataSet
from modelport.evaluation.errors import UnusableAnswerError
from modelport.evaluation.report import Task
from modelport.raw_tensors import Array
from modelport.signature import Signature, TensorSpec
from modelport.v1_results import evaluated

#: One batch's inputs by name in, the asked output out.
Ask = Callable[[Mapping[str, Array]], Array]
#: Told how many bytes of the data set are done.
Advance = Callable[[int], None]


@dataclass(frozen=True)
class Answered:
    """Labels [N], and the answers [N, …] to their rows."""

    labels: list[Any]
    answers: Array


def asked_output(task: Task, signature: Signature, ref: str) -> TensorSpec:
    """The output that is compared with labels; `UnusableAnswerError` where none can be."""
    output = evaluated(task, signature)
    if output is None:
        told = ", ".join(f"{spec.name} {spec}" for spec in signature.outputs)
        raise UnusableAnswerError(ref, f"no output is an answer for {task} ({told})")
    return output


def rows_at_once(batch: int, signature: Signature) -> int:
    """``batch`` rows, or as many as a model of a fixed batch takes."""
    fixed = [spec.shape[0] for spec in signature.inputs if spec.shape and spec.shape[0] > 0]
    return min([batch, *fixed])


def answered(data: DataSet, ask: Ask, ref: str, batch: int, advance: Advance) -> Answered:
    """Ask all rows of a data set, ``batch`` at a time."""
    labels: list[Any] = []
    answers: list[Array] = []
    for rows in data.batches(batch):
        answer = ask(rows.inputs)
        if not answer.ndim or len(answer) != len(rows.labels):
            problem = f"it answers {len(rows.labels)} rows with shape {list(answer.shape)}"
            raise UnusableAnswerError(ref, problem, "--batch 1 asks each row alone")
        if answers and answer.shape[1:] != answers[0].shape[1:]:
            told = f"{list(answers[0].shape[1:])} and {list(answer.shape[1:])}"
            raise UnusableAnswerError(ref, f"its answers differ in shape: {told}")
        labels += rows.labels
        answers.append(answer)
        advance(rows.done)
    return Answered(labels, np.concatenate(answers))
