"""Hashing and packing beside reading and writing: on a thread, a few chunks behind.

What takes the chunks lets go of the interpreter while it works, as hashing, packing and writing do,
so two processors are busy with one file. Memory stays flat: whoever is ahead waits. Knows nothing
of what the chunks are.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

_BEHIND = 2


class Beside:
    """Hands chunks to a thread of its own that stays at most two of them behind."""

    def __init__(self, take: Callable[[bytes], object]) -> None:
        self._take = take
        self._thread = ThreadPoolExecutor(1, "beside")
        self._behind: deque[Future[object]] = deque()

    def __enter__(self) -> Beside:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._thread.shutdown(cancel_futures=kind is not None)
        while kind is None and self._behind:
            self._behind.popleft().result()

    def take(self, chunk: bytes) -> None:
        """Have ``chunk`` taken, in its turn; raises what taking an earlier one raised."""
        if len(self._behind) == _BEHIND:
            self._behind.popleft().result()
        self._behind.append(self._thread.submit(self._take, chunk))
