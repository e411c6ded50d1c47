"""What is kept of every answered request: its log line, the metrics' counts, V2's statistics.

Noting a request costs little, and settling many at once costs less for each than one at a time
between two requests. So a server has notes held and settles them once per turn of its loop;
everybody else's are settled as they come. It must not know a request or an answer.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from functions.runtime.logs import RequestLog
from functions.runtime.statistics import Spent, Statistics

Line = Mapping[str, Any]
#: Notes that are held at most.
MOST = 256


class Ledger:
    """One version's; safe to use from several threads at once."""

    def __init__(self, statistics: Statistics, log: RequestLog) -> None:
        self._statistics = statistics
        self._log = log
        self._observer: Callable[[Sequence[Line]], None] | None = None
        self._notes: deque[tuple[Line, Spent | None, int]] = deque()
        self._most = 1

    def observe(self, observer: Callable[[Sequence[Line]], None]) -> None:
        """Tell ``observer`` what lines say, as many at once as are settled at once."""
        self._observer = observer

    def hold(self) -> None:
        """From now on notes wait for `settle`, which whoever calls this sees to."""
        self._most = MOST

    def note(self, line: Line, spent: Spent | None, duration_ns: int) -> None:
        """Keep a request's line; ``spent`` is None for what was no inference."""
        self._notes.append((line, spent, duration_ns))
        if len(self._notes) >= self._most:
            self.settle()

    def settle(self) -> None:
        """Write and count what was noted; costs next to nothing where nothing was."""
        settled = []
        while self._notes:
            try:
                settled.append(self._notes.popleft())
            except IndexError:  # another thread was quicker
                break
        if not settled:
            return
        self._statistics.count(
            [
                (spent, duration_ns, line["status"] < 400)
                for line, spent, duration_ns in settled
                if spent is not None
            ]
        )
        lines = [line for line, _, _ in settled]
        if self._observer:
            self._observer(lines)
        for line in lines:
            # SageMaker pings every few seconds; that is noise, not traffic.
            self._log(line, logging.DEBUG if line["verb"] == "ping" else logging.INFO)
