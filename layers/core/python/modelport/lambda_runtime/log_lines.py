"""Where a function's log lines go on Lambda, and what they look like: as awslambdaric has it.

Lambda reads frames on a descriptor of its own where it gives one, else what is printed. The root
logger writes there, with the id of the request at hand. It must not read the environment itself.
"""

from __future__ import annotations

import io
import json
import logging
import sys
import time
from collections.abc import MutableMapping, Sequence
from typing import Any, TextIO

_DESCRIPTOR = "_LAMBDA_TELEMETRY_LOG_FD"
_TEXT = "[%(levelname)s]\t%(asctime)s.%(msecs)03dZ\t%(aws_request_id)s\t%(message)s\n"
#: Frame types: one per level, text and JSON four apart from each other in nothing but the start.
_FIRST_FRAME = {"text": 0xA55A0003, "json": 0xA55A0002}


class LogLines:
    """The log of one function; ``request_id`` and ``tenant_id`` are of the request at hand."""

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        """Takes Lambda's descriptor out of the environment: no child may write to it."""
        self.request_id = ""
        self.tenant_id: str | None = None
        self._json = environ.get("AWS_LAMBDA_LOG_FORMAT", "").upper() == "JSON"
        self._level = environ.get("AWS_LAMBDA_LOG_LEVEL", "").upper().replace("TRACE", "DEBUG")
        descriptor = environ.pop(_DESCRIPTOR, None)
        self._frames = open(int(descriptor), "wb", 0) if descriptor else None  # noqa: SIM115

    def install(self) -> None:
        """Make the root logger and what is printed end here, at once and line by line."""
        sys.stdout, sys.stderr = _unbuffered(sys.stdout), _unbuffered(sys.stderr)
        logging.Formatter.converter = time.gmtime
        root = logging.getLogger()
        if self._level in logging.getLevelNamesMapping():
            root.setLevel(self._level)
        root.addHandler(_Lines(self, self._formatter()))

    def write(self, message: str, level: int = logging.NOTSET) -> None:
        """One message, as it is."""
        if self._frames is None:
            sys.stdout.write(message)
            return
        text = message.encode()
        first = _FIRST_FRAME["json" if self._json else "text"]
        kind = first + (level // 10 * 4 + 4 if level else 0)
        stamp = time.time_ns() // 1000
        frame = kind.to_bytes(4, "big") + len(text).to_bytes(4, "big") + stamp.to_bytes(8, "big")
        self._frames.write(frame + text)

    def fault(self, report: dict[str, Any], lines: Sequence[str]) -> None:
        """What went wrong, as ``report`` in a log of JSON and as ``lines`` in any other."""
        if self._json:
            stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            lines = [json.dumps({"timestamp": stamp, "level": "ERROR", **report})]
        text = "\r".join(lines) + "\n" if self._frames is None else "\n".join(lines)
        self.write(text, logging.ERROR)

    def framed(self) -> bool:
        """Whether lines have levels, which Lambda reads off their frames."""
        return self._json or bool(self._level)

    def _formatter(self) -> logging.Formatter:
        if self._json:
            from modelport.lambda_runtime.json_lines import JsonLines

            return JsonLines()
        return logging.Formatter(_TEXT, "%Y-%m-%dT%H:%M:%S")


def _unbuffered(stream: TextIO) -> TextIO:
    """The stream as ``python -u`` has it: Lambda may freeze the process after any answer."""
    raw = getattr(getattr(stream, "buffer", None), "raw", None)
    if raw is None:
        return stream
    return io.TextIOWrapper(raw, stream.encoding, stream.errors, write_through=True)


class _Lines(logging.Handler):
    """The root logger's way out."""

    def __init__(self, lines: LogLines, formatter: logging.Formatter) -> None:
        super().__init__()
        self._lines = lines
        self.setFormatter(formatter)

    def emit(self, record: logging.LogRecord) -> None:
        record.aws_request_id = self._lines.request_id
        record.tenant_id = self._lines.tenant_id
        level = min(50, max(0, record.levelno)) if self._lines.framed() else logging.NOTSET
        self._lines.write(self.format(record), level)
