"""Dynamic batching: requests that arrive together run as one, and each gets its own rows back.

Only for models whose every input and output has a free first dimension, and only where rows do not
influence each other; `unbatchable` and `mixes_rows` say no in words. It must not know a protocol.

How long a request waits: a lone caller never does. The batcher remembers how many requests were
in its hands when the last run ended, and waits only while fewer than that are queued, at most
``max_delay`` from the moment the model is free. So a caller who is alone finds a model that
starts at once, and callers who all come back after an answer meet in one full batch again, where a
plain "run what is there" would settle into two half batches that wait for each other.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from threading import Condition, Thread
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

    Runs ``sample`` (else one made up from the shapes) alone and then between rows of zeros. A model
    that a made-up sample does not fit stays unchecked.
    """
    rows = sample or _made_up(signature)
    if rows is None or len({len(array) for array in rows.values()}) != 1:
        return None
    count = len(next(iter(rows.values())))
    try:
        alone = model.run(rows)
        among = model.run({name: _between_zeros(array) for name, array in rows.items()})
    except Exception as error:
        logger.info("whether rows are independent was not checked: %s", error)
        return None
    for name, want in alone.items():
        got = among[name]
        if len(want) != count or len(got) != 3 * count:
            return f"output {name!r} has {len(got)} rows for {3 * count} rows of input"
        if not _alike(want, got[count : 2 * count]):
            return f"output {name!r} of a row changes with the rows beside it"
    return None


@dataclass(slots=True, eq=False)
class _Waiting:
    """One request in the queue."""

    key: tuple[Any, ...]
    inputs: Mapping[str, Array]
    outputs: Sequence[str]
    rows: int
    arrived: float
    answer: Future[Tensors] = field(default_factory=Future)


class Batcher:
    """A model that gathers concurrent calls of `run`; safe to call from several threads."""

    def __init__(
        self,
        model: Runner,
        batching: Batching,
        *,
        observe: Callable[[int], None] = lambda rows: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``observe`` is told the rows of every run."""
        self._model = model
        self._max_rows = batching.max_rows
        self._max_delay = batching.max_delay_ms / 1000
        self._observe = observe
        self._clock = clock
        self._arrival = Condition()
        self._queue: deque[_Waiting] = deque()
        self._expected = 1
        self._free_at = 0.0
        self._enabled = True
        self._thread = Thread(target=self._serve, name="batch", daemon=True)
        self._thread.start()

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str] = ()) -> Tensors:
        """As the model's own `run`, perhaps together with others."""
        rows = _rows(inputs)
        if not self._enabled or not rows or rows >= self._max_rows:
            self._observe(rows or 0)
            return self._model.run(inputs, outputs)
        waiting = _Waiting(_key(inputs, outputs), inputs, outputs, rows, self._clock())
        with self._arrival:
            if not self._enabled:
                return self._model.run(inputs, outputs)
            self._queue.append(waiting)
            if len(self._queue) == 1 or self._is_enough():
                self._arrival.notify()
        return waiting.answer.result()

    def close(self) -> None:
        """Answer what is queued and stop gathering; later calls go straight to the model."""
        with self._arrival:
            self._enabled = False
            self._arrival.notify()
        self._thread.join()

    def _is_enough(self) -> bool:
        waiting = len(self._queue)
        return (
            waiting >= self._expected
            or waiting >= self._max_rows
            or sum(one.rows for one in self._queue) >= self._max_rows
        )

    def _serve(self) -> None:
        while batch := self._next():
            self._answer(batch)
            with self._arrival:
                self._free_at = self._clock()
                self._expected = len(batch) + len(self._queue)

    def _next(self) -> list[_Waiting]:
        """The next requests to run together; none once it is closed and everything is answered."""
        with self._arrival:
            while not self._queue and self._enabled:
                self._arrival.wait()
            if not self._queue:
                return []
            deadline = max(self._queue[0].arrived, self._free_at) + self._max_delay
            while self._enabled and not self._is_enough():
                left = deadline - self._clock()
                if left <= 0:
                    break
                self._arrival.wait(left)
            return self._take()

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
        return taken

    def _answer(self, batch: list[_Waiting]) -> None:
        if len(batch) > 1:
            try:
                parts = self._together(batch)
            except Exception as error:
                # One bad request must not fail the others: each again, alone.
                logger.debug("a batch failed and runs one by one: %s", error)
            else:
                for one, part in zip(batch, parts, strict=True):
                    one.answer.set_result(part)
                return
        for one in batch:
            self._alone(one)

    def _together(self, batch: list[_Waiting]) -> list[Tensors]:
        joined = {
            name: np.concatenate([one.inputs[name] for one in batch]) for name in batch[0].inputs
        }
        rows = sum(one.rows for one in batch)
        outputs = self._model.run(joined, batch[0].outputs)
        self._check(outputs, rows)
        self._observe(rows)
        parts, start = [], 0
        for one in batch:
            end = start + one.rows
            parts.append({name: array[start:end] for name, array in outputs.items()})
            start = end
        return parts

    def _check(self, outputs: Tensors, rows: int) -> None:
        for name, array in outputs.items():
            have = len(array) if np.ndim(array) else 0
            if have != rows:
                problem = f"output {name!r} has {have} rows for {rows} rows of input"
                self._enabled = False
                logger.warning("batching is off from here on: %s", problem)
                raise ValueError(problem)

    def _alone(self, one: _Waiting) -> None:
        try:
            answer = self._model.run(one.inputs, one.outputs)
        except BaseException as error:
            one.answer.set_exception(error)
            return
        self._observe(one.rows)
        one.answer.set_result(answer)


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


def _between_zeros(array: Array) -> Array:
    around = np.zeros_like(array)
    if array.dtype.hasobject:
        around[...] = ""
    return np.concatenate([around, array, around])


def _alike(want: Array, got: Array) -> bool:
    if want.dtype.kind not in "fc":
        return bool(np.array_equal(want, got))
    finite = np.abs(want[np.isfinite(want)])
    scale = float(finite.max()) if finite.size else 0.0
    # A batch takes other paths through the kernels than a row; mixing rows changes far more.
    return bool(np.allclose(got, want, rtol=1e-2, atol=1e-3 * scale, equal_nan=True))
