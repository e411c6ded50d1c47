"""Trying again: how often, and how long to wait in between.

Decides nothing about what is worth another try; that is said by raising `Interruption`.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from modelport.images.errors import ImageRegistryError

#: Tries without any progress between them.
ATTEMPTS = 6
#: Tries where nobody was ever there: as many as a name or a process needs to come up, about 2 s.
ATTEMPTS_AT_NOBODY = 3
FIRST_WAIT_S, LONGEST_WAIT_S = 0.25, 60.0


class Interruption(Exception):
    """A request that got no usable answer this time; ``error`` is what it means in the end."""

    def __init__(
        self, error: ImageRegistryError, wait_s: float | None = None, attempts: int = ATTEMPTS
    ) -> None:
        super().__init__(error.message)
        self.error = error
        self.wait_s = wait_s
        self.attempts = attempts


class Patience:
    """How often to try, and how long to wait in between: longer each time, never in step."""

    def __init__(self, sleep: Callable[[float], None]) -> None:
        self._sleep = sleep
        self._failed = 0

    def wait(self, interruption: Interruption) -> None:
        """Wait for the next try; raises the interruption's error when there shall be none."""
        self._failed += 1
        if self._failed >= interruption.attempts:
            raise interruption.error from interruption
        if interruption.wait_s is None:
            pause = random.uniform(0.5, 1) * FIRST_WAIT_S * 2**self._failed
        else:
            pause = interruption.wait_s + random.uniform(0, FIRST_WAIT_S)
        self._sleep(min(pause, LONGEST_WAIT_S))

    def progressed(self) -> None:
        """Something got through: count the tries anew."""
        self._failed = 0
