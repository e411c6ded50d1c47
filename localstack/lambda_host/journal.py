"""The log of one function: its own lines and Lambda's START, END and REPORT around them.

The function's process writes to the same file itself (append mode keeps lines whole), so
its output is there even when the host dies. Nothing here reads a payload.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from lambda_host.faults import Outcome

MOST_NEWS = 4 * 1024 * 1024
"""Bytes of the log told at once; what is beyond them is told the next time."""


class Journal:
    """Appends to one log file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._told = path.stat().st_size if path.exists() else 0

    @contextmanager
    def stream(self) -> Iterator[BinaryIO]:
        """The file as a process can inherit it."""
        with self.path.open("ab", buffering=0) as stream:
            yield stream

    def line(self, text: str) -> None:
        """Append one line."""
        with self.stream() as stream:
            stream.write(text.encode() + b"\n")

    def news(self) -> bytes:
        """The whole lines that came since the last time, whichever environment they are of."""
        with self.path.open("rb") as stream:
            stream.seek(self._told)
            lines = stream.read(MOST_NEWS)
        if len(lines) < MOST_NEWS or b"\n" in lines:  # else: a line of its own length, in parts
            lines = lines[: lines.rfind(b"\n") + 1]
        self._told += len(lines)
        return lines

    def start(self, request_id: str, version: str) -> None:
        """Mark where an invocation begins."""
        self.line(f"START RequestId: {request_id} Version: {version}")

    def report(
        self,
        request_id: str,
        duration_ms: float,
        memory_mb: int,
        used_mb: int,
        init_ms: float | None,
        outcome: Outcome,
    ) -> None:
        """Mark where an invocation ended, and what it cost."""
        fields = [
            f"REPORT RequestId: {request_id}",
            f"Duration: {duration_ms:.2f} ms",
            f"Billed Duration: {math.ceil(duration_ms + (init_ms or 0))} ms",
            f"Memory Size: {memory_mb} MB",
            f"Max Memory Used: {used_mb} MB",
        ]
        if init_ms is not None:
            fields.append(f"Init Duration: {init_ms:.2f} ms")
        if outcome.failed:
            status = "timeout" if outcome.error_type == "Sandbox.Timedout" else "error"
            fields += [f"Status: {status}", f"Error Type: {outcome.error_type}"]
        self.line(f"END RequestId: {request_id}\n" + "\t".join(fields))

    def init_failed(self, phase: str, outcome: Outcome) -> None:
        """Mark an environment that never became ready."""
        self.line(f"INIT_REPORT Phase: {phase} Status: error Error Type: {outcome.error_type}")
        self.line(outcome.payload.decode("utf-8", "replace"))
