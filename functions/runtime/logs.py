"""One JSON object per log line on one stream: request lines as they are, anything else wrapped.

A request's line goes straight to the stream's bytes, without a record of `logging`, because every
request pays for it. Whoever serves many requests a turn may `hold` these lines and write them by
one `flush`; all else is written at once, and takes what is held with it. Importing this sets up
nothing: only composition roots call `configure`.
"""

from __future__ import annotations

import json
import logging
from collections import deque
from collections.abc import Callable, Mapping
from io import TextIOWrapper
from typing import Any

import orjson
from modelport.errors import InvalidSettingError

#: The logger above all of this program's.
_NAME = "functions.runtime"
#: Bytes that a pipe takes as one piece (POSIX's least), so that workers' lines never mix.
_PIECE = 4096

#: Takes what a request's log line says, and its level.
RequestLog = Callable[[Mapping[str, Any], int], None]


class Lines(logging.Handler):
    """Writes the lines of one program; safe to call from several threads at once."""

    def __init__(self, stream: TextIOWrapper) -> None:
        super().__init__()
        # What is printed must lie in the same buffer as the lines, not in one in front of it.
        stream.reconfigure(write_through=True)
        self._stream, self._bytes = stream, stream.buffer  # the first closes the second at its end
        self._logger = logging.getLogger(_NAME)
        # Not the stream's own buffer: images switch that off, so that nothing printed is late.
        self._waiting: deque[bytes] = deque()
        self._holds = False
        self._settle: Callable[[], None] = lambda: None

    def hold(self, settle: Callable[[], None] = lambda: None) -> None:
        """From now on request lines wait for a `flush`.

        Whoever calls this sees to it that `flush` follows soon after every request, and before its
        answer leaves: then they still come before whatever is printed because of that. Lines that
        are still to come are given by ``settle``, which is called before anything else is written.
        """
        self._holds, self._settle = True, settle

    def flush(self) -> None:
        """Write what is held; costs next to nothing where nothing is."""
        self._settle()
        self._write_out()

    def request(self, line: Mapping[str, Any], level: int = logging.INFO) -> None:
        """Write a request's line."""
        if self._logger.isEnabledFor(level):
            self._waiting.append(_rendered(line))
            if not self._holds:
                self._write_out()

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line of any other kind, and all that is held."""
        self._settle()
        self._waiting.append(_rendered(_said(record)))
        self._write_out()

    def _write_out(self) -> None:
        """As few writes as there are pieces; a line that is longer is one by itself."""
        piece: list[bytes] = []
        size = 0
        while self._waiting:
            try:
                line = self._waiting.popleft()
            except IndexError:  # another thread was quicker
                break
            if piece and size + len(line) > _PIECE:
                self._write(b"".join(piece))
                piece, size = [], 0
            piece.append(line)
            size += len(line)
        if piece:
            self._write(piece[0] if len(piece) == 1 else b"".join(piece))

    def _write(self, piece: bytes) -> None:
        try:
            self._bytes.write(piece)
            self._bytes.flush()
        except (OSError, ValueError):  # nobody reads the log: no reason not to answer
            return


def configure(level: str, stream: Any) -> Lines:
    """Send this program's log lines to ``stream``, once, whatever the platform set up before.

    ``stream`` is standard output, or text over bytes like it.
    """
    try:
        threshold = logging.getLevelNamesMapping()[level.upper()]
    except KeyError:
        raise InvalidSettingError("MODELPORT_LOG_LEVEL", level, "it must be a log level") from None
    lines = Lines(stream)
    logger = logging.getLogger(_NAME)
    logger.handlers[:] = [lines]
    logger.setLevel(threshold)
    logger.propagate = False
    return lines


def recorded(line: Mapping[str, Any], level: int = logging.INFO) -> None:
    """A request's line as a record of `logging`, for programs that have no `Lines` of their own."""
    logging.getLogger(_NAME).log(level, "request", extra={"request": line})


def _said(record: logging.LogRecord) -> Mapping[str, Any]:
    line: dict[str, Any] | None = getattr(record, "request", None)
    if line is not None:
        return line
    line = {"level": record.levelname, "logger": record.name, "message": record.getMessage()}
    if record.exc_info:  # one string, never several lines
        line["traceback"] = logging.Formatter().formatException(record.exc_info)
    return line


def _rendered(line: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError:  # half a surrogate pair, which a caller's id may have; or what is no JSON
        return json.dumps(line, default=str, separators=(",", ":")).encode() + b"\n"
