"""How a benchmark is run: how many rounds, of what, on which CPUs, in turns.

Whatever is compared is measured in turns, a fresh process each, so that a busy moment of the
machine hits all alike; ratios of one run mean something, times of two runs do not. It measures
nothing itself.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """``rounds`` of each contender, ``seconds`` of load in each; ``peers`` by name.

    A ``short`` plan proves that everything runs and answers rightly; its times mean nothing.
    """

    rounds: int = 5
    seconds: float = 3.0
    peers: tuple[str, ...] = ()
    short: bool = False


#: One round of one contender: figure → sample.
Round = Callable[[], Mapping[str, float]]


def in_turns(contenders: Mapping[str, Round], rounds: int) -> dict[str, dict[str, list[float]]]:
    """Figure → contender → samples, after ``rounds`` of every contender in turns."""
    figures: dict[str, dict[str, list[float]]] = {}
    for _ in range(rounds):
        for name, measure in contenders.items():
            for figure, sample in measure().items():
                figures.setdefault(figure, {}).setdefault(name, []).append(sample)
    return figures


def cpus() -> tuple[int, int]:
    """The CPU of what is measured and the CPU of who asks it; the same where there is only one."""
    available = sorted(os.sched_getaffinity(0))
    return available[0], available[-1]


@contextmanager
def pinned(cpu: int) -> Iterator[None]:
    """Processes started in the block run on one CPU only."""
    every = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, every)
