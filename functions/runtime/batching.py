"""Dynamic batching: requests that arrive together run as one, and each gets its own rows back.

Only for models whose every input and output has a free first dimension, and only where rows do not
influence each other; `unbatchable` and `mixes_rows` say no in words. It must not know a protocol.

How long a request waits: a lone caller never does. The batcher remembers how many requests were
in its hands when the last run ended, and waits only while fewer than that are queued, at most
``max_delay`` from the moment the model is free and something is queued. So a caller who is alone
finds a model that starts at once, and callers who all come back after an answer meet in one full
batch again, where a plain "run what is there" would settle into two half batches that wait for
each other.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import accumulate
from time import perf_counter
from typing import Any

import numpy as np
from modelport.manifest import Batching, Content
from modelport.settings import RuntimeSettings
from modelport.signature import Signature, TensorSpec

from functions.runtime.model import Runner
from functions.runtime.tensors import DTYPES, Array, Tensors, from_json

logger = logging.getLogger(__name__)

#: Milliseconds to wait where only the number of rows is set.
DEFAULT_DELAY_MS = 5.0


def in_force(said: Batching | None, settings: RuntimeSettings) -> Batching | None:
    """The version's batching with the operator's changes; None is one request at a time."""
    rows = settings.max_batch_rows or (said.max_rows if said else 1)
    delay = settings.max_batch_delay_ms
    if delay is None:
        delay = said.max_delay_ms if said else DEFAULT_DELAY_MS
    return Batching(rows, delay) if rows > 1 else None


def unbatchable(signature: Signature) -> str | None:
    """Why requests of this signature cannot share a run, or None."""
    for kind, specs in (("input", signature.inputs), ("output", signature.outputs)):
        for spec in specs:
            if not spec.shape or spec.shape[0] != -1:
                return f"{kind} {spec.name!r} is {spec}: its first dimension is not free"
    return None


def sample_of(content: Content) -> Tensors | None:
    """The inputs of the version's first golden in tensors, if it has one."""
    for golden in content.goldens:
        specs = [content.signature.input(tensor.name) for tensor in golden.inputs]
        if golden.inputs and None not in specs:
            return {
                tensor.name: from_json(spec, tensor.nested(), b64=True)
                for spec, tensor in zip(specs, golden.inputs, strict=True)
                if spec
            }
    return None


def mixes_rows(
    model: Runner, signature: Signature, sample: Mapping[str, Array] | None = None
) -> str | None:
    """Why rows of this model influence each other, or None; found by running it.

    Runs ``sample`` (else one made up from the shapes) alone and then between other rows. A model
    that a made-up sample does not fit stays unchecked.
    """
    rows = sample or _made_up(signature)
    if rows is None or len({len(array) for array in rows.values()}) != 1:
        return None
    count = len(next(iter(rows.values())))
    try:
        alone = model.run(rows)
        among = model.run({name: _among_others(array) for name, array in rows.items()})
    except Exception as error:
        logger.info("whether rows are independent was not checked: %s", error)
        return None
    for name, want in alone.items():
        got = among[name]
        if _rows_of(want) != count or _rows_of(got) != 3 * count:
            return f"output {name!r} has {_rows_of(got)} rows for {3 * count} rows of input"
        if not _alike(want, got[count : 2 * count]):
            return f"output {name!r} of a row changes with the rows beside it"
    return None


#: Hears how many seconds a run took, and whether it is to be counted: once for all that share it.
Ran = Callable[[float, bool], None]


def _unheard(seconds: float, counts: bool) -> None:
    """For callers who do not want to know."""


@dataclass(slots=True, eq=False)
class _Waiting:
    """One request in the queue."""

    key: tuple[Any, ...]
    inputs: Tensors
    outputs: tuple[str, ...]
    rows: int
    answer: asyncio.Future[Tensors]
    ran: Ran


#: What became of one request of a batch.
_Outcome = Tensors | Exception


class Batcher:
    """A model that gathers concurrent calls of `run`, all of them on one event loop."""

    def __init__(
        self,
        model: Runner,
        batching: Batching,
        pool: Executor,
        *,
        observe: Callable[[int, float], None] = lambda rows, seconds: None,
    ) -> None:
        """Runs happen in ``pool``; ``observe`` hears rows and seconds of each that is gathered.

        One of these at a time; requests of ``max_rows`` and more run by themselves, beside them.
        """
        self._model = model
        self._max_rows = batching.max_rows
        self._max_delay = batching.max_delay_ms / 1000
        self._pool = pool
        self._observe = observe
        self._queue: deque[_Waiting] = deque()
        self._queued_rows = 0
        self._expected = 1
        self._running = False
        self._enabled = True
        self._timer: asyncio.TimerHandle | None = None

    async def run(
        self, inputs: Tensors, outputs: tuple[str, ...] = (), ran: Ran = _unheard
    ) -> Tensors:
        """As the model's own `run`, perhaps together with others; ``ran`` hears of the run."""
        loop = asyncio.get_running_loop()
        rows = _rows(inputs)
        if not self._enabled or not rows or rows >= self._max_rows:
            return await loop.run_in_executor(self._pool, self._beside, inputs, outputs, ran)
        key = _key(inputs, outputs)
        waiting = _Waiting(key, inputs, outputs, rows, loop.create_future(), ran)
        self._queue.append(waiting)
        self._queued_rows += rows
        self._consider()
        try:
            return await waiting.answer
        except asyncio.CancelledError:  # whoever asked has given up
            self._drop(waiting)
            raise

    def _consider(self) -> None:
        """Start a batch if the model is free and everybody who is expected is here; else wait."""
        if self._running or not self._queue:
            return
        enough = len(self._queue) >= self._expected or self._queued_rows >= self._max_rows
        if enough or not self._enabled or not self._max_delay:
            self._start()
        elif self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._max_delay, self._start)

    def _start(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._queue:  # all who waited have given up
            return
        batch = self._take()
        self._running = True
        loop = asyncio.get_running_loop()
        try:
            running = loop.run_in_executor(self._pool, self._outcomes, batch)
        except RuntimeError as error:  # no thread can be started, or the pool is closed
            loop.call_soon(self._ended, batch, [error] * len(batch))
            return
        running.add_done_callback(lambda done: self._ended(batch, done.result()))

    def _ended(self, batch: list[_Waiting], outcomes: Sequence[_Outcome]) -> None:
        for one, outcome in zip(batch, outcomes, strict=True):
            if one.answer.done():  # its caller has given up
                continue
            if isinstance(outcome, Exception):
                one.answer.set_exception(outcome)
            else:
                one.answer.set_result(outcome)
        self._running = False
        self._expected = len(batch) + len(self._queue)
        self._consider()

    def _drop(self, waiting: _Waiting) -> None:
        if waiting in self._queue:  # else it is running already
            self._queue.remove(waiting)
            self._queued_rows -= waiting.rows

    def _take(self) -> list[_Waiting]:
        """The first in the queue and all that fit with it, in order of arrival."""
        key, room = self._queue[0].key, self._max_rows
        taken: list[_Waiting] = []
        left: deque[_Waiting] = deque()
        for one in self._queue:
            if one.key == key and one.rows <= room:
                taken.append(one)
                room -= one.rows
            else:
                left.append(one)
        self._queue = left
        self._queued_rows = sum(one.rows for one in left)
        return taken

    # What follows runs in the pool.

    def _beside(self, inputs: Tensors, outputs: tuple[str, ...], ran: Ran) -> Tensors:
        started = perf_counter()
        answer = self._model.run(inputs, outputs)
        ran(perf_counter() - started, True)
        return answer

    def _outcomes(self, batch: list[_Waiting]) -> list[_Outcome]:
        if len(batch) > 1:
            try:
                return self._together(batch)
            except Exception as error:
                # One bad request must not fail the others: each again, alone.
                logger.debug("a batch failed and runs one by one: %s", error)
        return [self._alone(one) for one in batch]

    def _together(self, batch: list[_Waiting]) -> list[_Outcome]:
        joined = {
            name: np.concatenate([one.inputs[name] for one in batch]) for name in batch[0].inputs
        }
        rows = sum(one.rows for one in batch)
        started = perf_counter()
        outputs = self._model.run(joined, batch[0].outputs)
        seconds = perf_counter() - started
        self._observe(rows, seconds)
        self._check(outputs, rows)
        for one in batch:
            one.ran(seconds, one is batch[0])
        ends = list(accumulate(one.rows for one in batch))
        return [
            {name: array[end - one.rows : end] for name, array in outputs.items()}
            for one, end in zip(batch, ends, strict=True)
        ]

    def _check(self, outputs: Tensors, rows: int) -> None:
        for name, array in outputs.items():
            have = _rows_of(array)
            if have != rows:
                problem = f"output {name!r} has {have} rows for {rows} rows of input"
                self._enabled = False
                logger.warning("batching is off from here on: %s", problem)
                raise ValueError(problem)

    def _alone(self, one: _Waiting) -> _Outcome:
        started = perf_counter()
        try:
            outputs = self._model.run(one.inputs, one.outputs)
        except Exception as error:
            return error
        seconds = perf_counter() - started
        self._observe(one.rows, seconds)
        one.ran(seconds, True)
        return outputs


def _rows_of(output: Any) -> int:
    return len(output) if np.ndim(output) else 0


def _rows(inputs: Mapping[str, Array]) -> int | None:
    """The first dimension that all inputs share, if they do."""
    counts = {array.shape[0] if array.ndim else None for array in inputs.values()}
    return counts.pop() if len(counts) == 1 else None


def _key(inputs: Mapping[str, Array], outputs: Sequence[str]) -> tuple[Any, ...]:
    """What requests must have in common to share a run."""
    return (
        tuple(sorted((name, array.dtype.str, array.shape[1:]) for name, array in inputs.items())),
        tuple(outputs),
    )


def _made_up(signature: Signature) -> dict[str, Array] | None:
    """One row of ones for every input, where the shapes and datatypes leave nothing open."""
    rows = {}
    for spec in signature.inputs:
        if -1 in spec.shape[1:] or not _numeric(spec):
            return None
        rows[spec.name] = np.ones((1, *spec.shape[1:]), DTYPES[spec.datatype])
    return rows


def _numeric(spec: TensorSpec) -> bool:
    return spec.datatype in DTYPES and spec.datatype != "BYTES"


def _among_others(array: Array) -> Array:
    """The rows between as many zeros and as many of another size: what adds up or compares shows.

    Whole numbers and text, which are often keys of something, are repeated instead.
    """
    zeros = np.zeros_like(array)
    if array.dtype.hasobject:
        zeros[...] = ""
    others = array * 2 + 1 if array.dtype.kind == "f" else array
    return np.concatenate([zeros, array, others])


def _alike(want: Array, got: Array) -> bool:
    if want.dtype.kind not in "fc":
        return bool(np.array_equal(want, got))
    finite = np.abs(want[np.isfinite(want)])
    scale = float(finite.max()) if finite.size else 0.0
    # A batch takes other paths through the kernels than a row; mixing rows changes far more.
    return bool(np.allclose(got, want, rtol=1e-2, atol=1e-3 * scale, equal_nan=True))
