"""Sees that the event loop hangs in a run that was expected to be quick, and says so from outside.

Only a thread can: whatever the loop would do about it waits for the run to end. It must not know
requests; what is overdue is its owner's business.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic


class Watchdog:
    """Calls ``overdue`` once, from its own thread, when one run takes ``seconds`` or more."""

    def __init__(self, seconds: float, overdue: Callable[[], None]) -> None:
        """Watches from the first call of `start` on."""
        self._seconds = seconds
        self._overdue = overdue
        #: When the run that is going on began; 0.0 while there is none. Written by the loop.
        self.since = 0.0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def start(self) -> None:
        """Watch until `stop`."""
        self._thread.start()

    def stop(self) -> None:
        """End watching; waits for nothing."""
        self._stopped.set()

    def _watch(self) -> None:
        pause = self._seconds
        while not self._stopped.wait(pause):
            since = self.since
            # A run that began since the last look is seen again exactly when it is overdue.
            pause = since + self._seconds - monotonic() if since else self._seconds
            if pause <= 0:
                self._overdue()
                return
