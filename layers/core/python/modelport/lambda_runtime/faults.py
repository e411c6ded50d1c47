"""What went wrong, as Lambda wants it told: the report, X-Ray's cause, the lines in the log.

Imported when something does. The shapes are awslambdaric's, which alarms and people know.
"""

from __future__ import annotations

import json
import os
import traceback
from typing import Any

from modelport.lambda_runtime.handlers import FaultError

Report = dict[str, Any]
#: File, line, function, text of the line.
_Frame = tuple[str, int, str, str | None]
#: Spaces would be lost where the log's lines are joined by carriage returns.
_NO_BREAK_SPACE = "\u00a0"


def told(error: BaseException, request_id: str = "") -> tuple[Report, str]:
    """The report on ``error`` and X-Ray's cause, which is ASCII."""
    if isinstance(error, FaultError):
        kind, message, trace = error.kind, error.message, error.trace
        cause = _cause("LambdaValidationError", message, [])
    else:
        kind, message, frames = type(error).__name__, str(error), _frames(error)
        trace = traceback.format_list(frames)
        cause = _cause(kind, message, frames)
    report = {
        "errorMessage": message,
        "errorType": kind,
        "requestId": request_id,
        "stackTrace": trace,
    }
    return report, json.dumps(cause)


def written(report: Report) -> bytes:
    """The report as it is posted."""
    return json.dumps(report).encode()


def lines(report: Report) -> list[str]:
    """The report for a log that is text."""
    words = f"[ERROR] {report['errorType']}" if report["errorType"] else "[ERROR]"
    if report["errorMessage"]:
        words += f"{':' if report['errorType'] else ''} {report['errorMessage']}"
    found = [words, "Traceback (most recent call last):"]
    for element in report["stackTrace"]:
        found += [_indented(line) for line in element.splitlines()] or [""]
    return found


def _frames(error: BaseException) -> list[_Frame]:
    """Where it happened, from the handler on: what called the handler is ours."""
    found = traceback.extract_tb(error.__traceback__)
    here = os.path.dirname(__file__)
    while found and os.path.dirname(found[0].filename) == here:
        found.pop(0)
    return [(frame.filename, frame.lineno or 0, frame.name, frame.line) for frame in found]


def _cause(kind: str, message: str, frames: list[_Frame]) -> dict[str, Any]:
    stack = [{"label": name, "path": path, "line": line} for path, line, name, _ in frames]
    return {
        "working_directory": os.getcwd(),
        "exceptions": [{"message": message, "type": kind, "stack": stack}],
        "paths": sorted({path for path, *_ in frames}),
    }


def _indented(line: str) -> str:
    bare = line.lstrip(" ")
    return _NO_BREAK_SPACE * (len(line) - len(bare)) + bare
