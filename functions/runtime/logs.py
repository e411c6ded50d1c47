"""One JSON object per log line on one stream: request lines as they are, anything else wrapped.

Only composition roots call `configure`; importing this sets up nothing.
"""

from __future__ import annotations

import logging
from typing import TextIO

import orjson
from modelport.errors import InvalidSettingError


class JsonLines(logging.Formatter):
    """Renders records as JSON; a traceback becomes one string, never several lines."""

    def format(self, record: logging.LogRecord) -> str:
        line = getattr(record, "request", None)
        if line is None:
            line = {
                "level": record.levelname,
                "logger": record.name,
                "message": record.getMessage(),
            }
            if record.exc_info:
                line["traceback"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str).decode()


def configure(level: str, stream: TextIO) -> None:
    """Send this program's log lines to ``stream``, once, whatever the platform set up before."""
    try:
        threshold = logging.getLevelNamesMapping()[level.upper()]
    except KeyError:
        raise InvalidSettingError("MODELPORT_LOG_LEVEL", level, "it must be a log level") from None
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    logger = logging.getLogger("functions.runtime")
    logger.handlers[:] = [handler]
    logger.setLevel(threshold)
    logger.propagate = False
