"""Many requests side by side, few enough at once to be kind, with answers in the order asked."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

THREADS = 16

Item = TypeVar("Item")
Answer = TypeVar("Answer")


def side_by_side(
    ask: Callable[[Item], Answer], items: Iterable[Item], threads: int = THREADS
) -> Iterator[Answer]:
    """``map`` with ``threads`` at work and twice as many answers held at most.

    With one thread everything happens in the caller's, one after the other.
    """
    if threads == 1:
        yield from map(ask, items)
        return
    waiting: deque[Future[Answer]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(ask, item))
                if len(waiting) > 2 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
