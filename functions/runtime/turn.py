"""One turn of the event loop: what is made in it leaves at its end, log lines first, then answers.

Sending wakes the caller up, and on the same machine that costs as much as a small prediction. Sent
one after the other, many answers wake it once; and their log lines are one write, which comes
before whatever a caller does because of its answer. It must not know HTTP or a log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

#: Seconds for which the first answer of a turn may wait for the others.
MOST_S = 0.0005


class Holder(Protocol):
    """A connection that holds answers back."""

    def leave(self) -> None:
        """Send them."""

    def leave_past_loop(self) -> None:
        """Send them from another thread, as far as that goes: the loop hangs."""


class Turn:
    """The turn that goes on, and after it the next one."""

    def __init__(self, flush: Callable[[], None]) -> None:
        """``flush`` writes the log lines there are."""
        self._flush = flush
        self._holders: list[Holder] = []
        #: When it began; 0.0 while nothing has been made in it.
        self._since = 0.0
        #: Whether it took long already: what is left to do in it should be quick, or wait.
        self.is_long = False

    def goes_on(self, now: float) -> None:
        """Something is made in it; ``now`` is the monotonic clock's time."""
        if not self._since:
            self._since = now
            asyncio.get_running_loop().call_soon(self._end)
        elif now - self._since > MOST_S:
            self._since = now
            self._let_go()

    def hold(self, holder: Holder) -> None:
        """Have ``holder`` send what it holds at the end of the turn, which must go on."""
        self._holders.append(holder)

    def hung(self) -> None:
        """The watchdog's thread: it will have no end."""
        for holder in tuple(self._holders):
            holder.leave_past_loop()

    def _end(self) -> None:
        self._since, self.is_long = 0.0, False
        self._let_go()

    def _let_go(self) -> None:
        holders, self._holders = self._holders, []
        try:
            self._flush()
        finally:
            for holder in holders:
                holder.leave()
