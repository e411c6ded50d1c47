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

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

#: The rows of the table of targets.
EVERY_ROW = frozenset(range(1, 13))
#: The servers ours are compared with, by how many of them are wanted.
PEERS: Mapping[str, tuple[str, ...]] = {
    "none": (),
    "default": ("fastapi", "kserve"),
    "all": ("flask", "fastapi", "litserve", "bentoml", "mlserver", "kserve", "mlflow"),
}


class BenchError(Exception):
    """What was measured did not do what it should have; ends the run, in words."""


@dataclass(frozen=True)
class Plan:
    """``rounds`` of each contender, ``seconds`` of load in each; ``peers`` by name, of ``rows``.

    A ``short`` plan proves that everything runs and answers rightly; its times mean nothing.
    """

    rounds: int = 5
    seconds: float = 3.0
    peers: tuple[str, ...] = ()
    short: bool = False
    rows: frozenset[int] = EVERY_ROW


#: One round of one contender: figure → sample.
Round = Callable[[], Mapping[str, float]]


def in_turns(
    contenders: Mapping[str, Round], rounds: int, what: str = "rounds"
) -> dict[str, dict[str, list[float]]]:
    """Figure → contender → samples, after ``rounds`` of every contender in turns.

    A terminal is shown how far it is, under the name ``what``.
    """
    figures: dict[str, dict[str, list[float]]] = {}
    with _progress() as progress:
        task = progress.add_task(what, total=rounds * len(contenders))
        for _ in range(rounds):
            for name, measure in contenders.items():
                progress.update(task, description=f"{what}: {name}")
                for figure, sample in measure().items():
                    figures.setdefault(figure, {}).setdefault(name, []).append(sample)
                progress.advance(task)
    return figures


def _progress() -> Progress:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    # Redrawn once a second: drawing takes a CPU that is being measured on.
    return Progress(
        *(*columns, TimeRemainingColumn()),
        console=console,
        transient=True,
        disable=not console.is_terminal,
        refresh_per_second=1,
    )


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
