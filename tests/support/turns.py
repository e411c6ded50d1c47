"""Turns, for what is made once in the checkout by whoever needs it first.

Tests run beside each other in several processes; two that install the same thing at once would
share a half-made one. It must not be held while a test itself runs.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager

from tests.conftest import ROOT


@contextmanager
def turn(name: str) -> Iterator[None]:
    """Wait until no other process is in a block of that name."""
    place = ROOT / ".local" / f"{name}.turn"
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
