"""Log records as Lambda's JSON lines, where a function is to log JSON: awslambdaric's form."""

from __future__ import annotations

import json
import logging
import traceback
from typing import Any

#: What every record has; anything else was said by whoever logged, and is kept.
_OWN = frozenset(vars(logging.makeLogRecord({}))) | {
    "message", "asctime", "aws_request_id", "tenant_id", "taskName",
}  # fmt: skip


class JsonLines(logging.Formatter):
    """One object per line; members without a value are left out."""

    def format(self, record: logging.LogRecord) -> str:
        kind, error, trace = record.exc_info or (None, None, None)
        level = min(50, max(0, record.levelno)) // 10 * 10
        message = record.msg if isinstance(record.msg, dict) and not record.args else None
        where = f"{record.pathname}:{record.funcName}:{record.lineno}"
        line: dict[str, Any] = {
            "timestamp": self.formatTime(record, "%Y-%m-%dT%H:%M:%SZ"),
            "level": logging.getLevelName(level),
            "message": record.getMessage() if message is None else message,
            "logger": record.name,
            "stackTrace": traceback.format_tb(trace) if kind else None,
            "errorType": kind.__name__ if kind else None,
            "errorMessage": str(error) if kind else None,
            "requestId": getattr(record, "aws_request_id", None),
            "location": where if kind else None,
            "tenantId": getattr(record, "tenant_id", None),
        }
        extra = {name: value for name, value in vars(record).items() if name not in _OWN}
        kept = {name: value for name, value in (extra | line).items() if value is not None}
        return json.dumps(kept, ensure_ascii=False, default=str) + "\n"
