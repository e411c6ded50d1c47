"""What V2's statistics say: how many inferences, and what they spent their time on.

Counts of this process, or of all workers of a server where it is given their shared memory. Only
numbers; it must not know a protocol's path or a model's file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from threading import Lock
from time import time
from typing import Any, Protocol

from modelport.metadata import v2_statistics

(
    _SUCCEEDED, _SUCCEEDED_NS, _FAILED, _FAILED_NS, _QUEUE_NS, _INPUT_NS, _INFER_NS, _OUTPUT_NS,
    _INFERENCES, _EXECUTIONS, _LAST_MS,
) = range(11)  # fmt: skip
#: Numbers that one process keeps.
CELLS = _LAST_MS + 1


@dataclass(slots=True)
class Spent:
    """What one inference took, in nanoseconds of each part; ``rows`` are its batch elements.

    ``executions`` is 1 for the one of a gathered batch that counts its run, 0 for the others.
    """

    input_ns: int = 0
    queue_ns: int = 0
    infer_ns: int = 0
    output_ns: int = 0
    rows: int = 1
    executions: int = 1


class Cells(Protocol):
    """What numbers are added to: a list, or shared memory."""

    def __getitem__(self, place: int, /) -> float: ...
    def __setitem__(self, place: int, value: float, /) -> None: ...
    def __iter__(self) -> Iterator[float]: ...


class Statistics:
    """One version's inferences since this process started; safe to use from several threads."""

    def __init__(
        self,
        mine: Cells | None = None,
        everyones: Sequence[Cells] = (),
    ) -> None:
        """``mine`` are the `CELLS` numbers to add to, ``everyones`` all there are to sum up."""
        self._mine: Cells = [0.0] * CELLS if mine is None else mine
        self._everyones = everyones or (self._mine,)
        self._lock = Lock()

    def count(self, inferences: Iterable[tuple[Spent, int, bool]]) -> None:
        """Note inferences: what each spent, its nanoseconds in all, and whether it was answered.

        Summed up first, because adding to shared memory costs more than adding.
        """
        succeeded = failed = total = total_failed = 0
        queue = before = infer = after = rows = executions = 0
        for spent, total_ns, answered in inferences:
            if not answered:
                failed += 1
                total_failed += total_ns
                continue
            succeeded += 1
            total += total_ns
            queue += spent.queue_ns
            before += spent.input_ns
            infer += spent.infer_ns
            after += spent.output_ns
            rows += spent.rows
            executions += spent.executions
        mine = self._mine
        with self._lock:
            if failed:
                mine[_FAILED] += failed
                mine[_FAILED_NS] += total_failed
            if succeeded:
                mine[_SUCCEEDED] += succeeded
                mine[_SUCCEEDED_NS] += total
                mine[_QUEUE_NS] += queue
                mine[_INPUT_NS] += before
                mine[_INFER_NS] += infer
                mine[_OUTPUT_NS] += after
                mine[_INFERENCES] += rows
                mine[_EXECUTIONS] += executions
                mine[_LAST_MS] = time() * 1000

    def document(self, model: str, version: int) -> dict[str, Any]:
        """The answer to V2's question for statistics."""
        cells = [int(sum(cell)) for cell in zip(*self._everyones, strict=True)]
        succeeded = cells[_SUCCEEDED]
        durations = {
            "success": (succeeded, cells[_SUCCEEDED_NS]),
            "fail": (cells[_FAILED], cells[_FAILED_NS]),
            "queue": (succeeded, cells[_QUEUE_NS]),
            "compute_input": (succeeded, cells[_INPUT_NS]),
            "compute_infer": (succeeded, cells[_INFER_NS]),
            "compute_output": (succeeded, cells[_OUTPUT_NS]),
        }
        entry = v2_statistics(
            model,
            version,
            last_ms=int(max(part[_LAST_MS] for part in self._everyones)),
            inferences=cells[_INFERENCES],
            executions=cells[_EXECUTIONS],
            durations=durations,
        )
        return {"model_stats": [entry]}
