"""Which requests are answered on the event loop itself: those that were quick again and again.

Going to a thread and back costs several times what a small model does. What runs on the loop keeps
everybody else waiting, so a version has to show first, in threads, that bodies of about this size
take less than `LIMIT_NS`; `ALONE_NS` where a thread would have no CPU of its own to go to. On the
loop it may take so long on average: a run that the machine held up is made good by those after it,
but runs that owe `ALLOWED_NS` together are a slow version's, and it has to show its quickness anew,
for twice as long. This module only decides; it runs nothing.
"""

from __future__ import annotations

#: What others may be kept waiting for, about as long as their packets travel.
LIMIT_NS = 1_000_000
#: The same for one thread on one CPU, where predictions wait for each other anyway, and probes can
#: wait for one: whoever runs for longer than `LIMIT_NS` is the last of a turn of the loop.
ALONE_NS = 10_000_000
#: What a busy machine takes from a run now and then: a few turns of its scheduler.
ALLOWED_NS = 20_000_000
#: Quick runs in a row that show it.
TRIALS = 8
_MOST_TRIALS = 4096
#: After so many times its trials on the loop, a version is as good as new.
_FORGIVEN = 64
#: Bodies of 2^n bytes to 2^(n+1) - 1 count as of one size; larger ones never run on the loop.
_SIZES = 24


class Quickness:
    """What runs of each size of body took of late; numbers only, safe to write from threads."""

    def __init__(self, limit_ns: int = LIMIT_NS) -> None:
        """``limit_ns`` is how long a run may keep the loop on average."""
        self._limit_ns = limit_ns
        self._quick = [0] * _SIZES
        self._trials = [TRIALS] * _SIZES
        self._owed_ns = [0] * _SIZES

    def is_known(self, size: int) -> bool:
        """Whether a body of so many bytes may be answered on the loop."""
        place = size.bit_length()
        return place < _SIZES and self._quick[place] >= self._trials[place]

    def ran_on_loop(self, size: int, ns: int) -> None:
        """It did, and took so long."""
        place = size.bit_length()
        owed = self._owed_ns[place] + ns - self._limit_ns
        if owed <= ALLOWED_NS:
            self._owed_ns[place] = owed if owed > 0 else 0
            self._quick[place] += 1
            return
        forgiven = self._quick[place] >= _FORGIVEN * self._trials[place]
        trials = TRIALS if forgiven else min(_MOST_TRIALS, 2 * self._trials[place])
        self._quick[place], self._trials[place], self._owed_ns[place] = 0, trials, 0

    def ran_in_thread(self, size: int, ns: int) -> None:
        """A trial took so long, of its thread's own time: others' turns are not its fault."""
        place = size.bit_length()
        if place < _SIZES:
            self._quick[place] = self._quick[place] + 1 if ns <= self._limit_ns else 0
