"""What became of each row, packed so that two reports can be compared row by row later.

Classification: one bit for each row, whether the most probable class was the right one.
Regression: the absolute error of each row as a little-endian FP32. In base64; the data set's digest
says that two reports' rows are the same rows in the same order. Needs numpy, and nothing else.
"""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

from modelport.errors import IntegrityError
from modelport.evaluation.report import Report, Task

Array = np.ndarray[Any, Any]
#: Rows of which outcomes are kept, so that no report grows beyond half a megabyte or so.
MOST = {"classification": 4_000_000, "regression": 100_000}


def packed(task: Task, outcomes: Array) -> str:
    """Outcomes [N] (bool, or absolute errors) as text; "" for more rows than are kept."""
    if len(outcomes) > MOST[task]:
        return ""
    if task == "classification":
        raw = np.packbits(outcomes.astype(bool)).tobytes()
    else:
        raw = outcomes.astype("<f4").tobytes()
    return base64.b64encode(raw).decode("ascii")


def outcomes_of(report: Report) -> Array | None:
    """The outcomes [N] of a report's rows; None where they were not kept."""
    if not report.outcomes:
        return None
    rows = report.data.rows
    try:
        raw = np.frombuffer(base64.b64decode(report.outcomes, validate=True), np.uint8)
        if report.task == "regression":
            found = raw.view("<f4").astype(np.float64)
        else:
            found = np.unpackbits(raw)[:rows].astype(bool)
    except ValueError as error:
        raise IntegrityError(f"evaluation {report.id}", "outcomes", str(error)) from None
    if len(found) != rows:
        raise IntegrityError(f"evaluation {report.id}", f"{rows} outcomes", str(len(found)))
    return found
