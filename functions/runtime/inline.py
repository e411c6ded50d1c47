"""Which requests are answered on the event loop itself: those that were quick again and again.

Going to a thread and back costs several times what a small model does. What runs on the loop keeps
everybody else waiting, so a version has to show first, in threads, that bodies of about this size
take less than `LIMIT_NS`; one slow run on the loop, and it has to show it anew, for twice as long.
This module only decides; it runs nothing.
"""

from __future__ import annotations

#: What others may be kept waiting for, about as long as their packets travel.
LIMIT_NS = 1_000_000
#: Quick runs in a row that show it.
TRIALS = 8
_MOST_TRIALS = 4096
#: After so many times its trials without one slow run, a version is as good as new.
_FORGIVEN = 64
#: Bodies of 2^n bytes to 2^(n+1) - 1 count as of one size; larger ones never run on the loop.
_SIZES = 24


class Quickness:
    """What runs of each size of body took of late; numbers only, safe to write from threads."""

    def __init__(self, limit_ns: int = LIMIT_NS) -> None:
        """``limit_ns`` is how long a run may keep the loop."""
        self._limit_ns = limit_ns
        self._quick = [0] * _SIZES
        self._trials = [TRIALS] * _SIZES

    def is_known(self, size: int) -> bool:
        """Whether a body of so many bytes may be answered on the loop."""
        place = size.bit_length()
        return place < _SIZES and self._quick[place] >= self._trials[place]

    def ran_on_loop(self, size: int, ns: int) -> None:
        """It did, and took so long."""
        place = size.bit_length()
        if ns <= self._limit_ns:
            self._quick[place] += 1
            return
        forgiven = self._quick[place] >= _FORGIVEN * self._trials[place]
        trials = TRIALS if forgiven else min(_MOST_TRIALS, 2 * self._trials[place])
        self._quick[place], self._trials[place] = 0, trials

    def ran_in_thread(self, size: int, ns: int) -> None:
        """A trial took so long, of its thread's own time: others' turns are not its fault."""
        place = size.bit_length()
        if place < _SIZES:
            self._quick[place] = self._quick[place] + 1 if ns <= self._limit_ns else 0
