"""What this process has forwarded to each version, for V2's statistics. Counts, and nothing else.

Every router process counts for itself from its own start, and a version that has not been asked
for long is forgotten when many others are: these are numbers to look at, not to bill by.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from modelport import metadata

#: Versions remembered; each costs some hundred bytes.
MAX_KEPT = 1024


@dataclass(slots=True)
class _Counts:
    succeeded: int = 0
    succeeded_ns: int = 0
    failed: int = 0
    failed_ns: int = 0
    last_ms: int = 0


class Statistics:
    """Requests by model and version; safe to use from many threads."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        """``now`` is the time of day, in seconds since 1970."""
        self._now = now
        self._lock = threading.Lock()
        self._counts: OrderedDict[tuple[str, int], _Counts] = OrderedDict()

    def count(self, model: str, version: int, seconds: float, *, succeeded: bool) -> None:
        """Note that ``version`` took ``seconds`` to answer."""
        ns = round(seconds * 1e9)
        with self._lock:
            counts = self._counts.get((model, version))
            if counts is None:
                counts = self._counts[model, version] = _Counts()
                if len(self._counts) > MAX_KEPT:
                    self._counts.popitem(last=False)
            else:
                self._counts.move_to_end((model, version))
            if succeeded:
                counts.succeeded += 1
                counts.succeeded_ns += ns
            else:
                counts.failed += 1
                counts.failed_ns += ns
            counts.last_ms = round(self._now() * 1000)

    def document(self) -> dict[str, Any]:
        """``GET /v2/models/stats``. A request counts as one inference: bodies are not looked into.

        Time is from the call of the version to its answer, the way there and back included.
        """
        with self._lock:
            entries = [
                metadata.v2_statistics(
                    model,
                    version,
                    last_ms=counts.last_ms,
                    inferences=counts.succeeded,
                    executions=counts.succeeded,
                    durations={
                        "success": (counts.succeeded, counts.succeeded_ns),
                        "fail": (counts.failed, counts.failed_ns),
                    },
                )
                for (model, version), counts in sorted(self._counts.items())
            ]
        return {"model_stats": entries}
