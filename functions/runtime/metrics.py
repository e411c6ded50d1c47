"""What ``/metrics`` says, in Prometheus' text format, summed over all worker processes.

Every worker adds to its own slot of one piece of shared memory and whoever is asked sums them all:
no collector process, no files (the root may be read-only), and a worker that is replaced goes on
where the last one stopped. Only numbers of fixed places; it must not know HTTP or a model.
"""

from __future__ import annotations

import mmap
import os
import sys
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from threading import Lock
from typing import Any

from modelport import grammar

from functions.runtime.statistics import CELLS, Statistics

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OTHER = "other"
#: Every protocol and verb there is, and those that run the model.
CALLS = (*dict.fromkeys((protocol, verb) for protocol, verb, *_ in grammar.RULES), (OTHER, OTHER))
PREDICTIONS = tuple(call for call in CALLS if call[1] in grammar.PREDICTIONS)
STATUSES = ("200", "400", "404", "405", "409", "413", "415", "500", "501", "503", "504", OTHER)
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
ROWS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0)

_TIMED = len(SECONDS) + 2  # the buckets, the one above all, the sum
_REQUESTS = 0
_DURATION = _REQUESTS + len(CALLS) * len(STATUSES)
_MODEL = _DURATION + len(PREDICTIONS) * _TIMED
_BATCHES = _MODEL + len(PREDICTIONS) * _TIMED
_BATCH_RUNS = _BATCHES + len(ROWS) + 2
_BYTES_IN = _BATCH_RUNS + _TIMED
_BYTES_OUT, _COLD, _LOAD_SECONDS, _READY, _IN_FLIGHT = range(_BYTES_IN + 1, _BYTES_IN + 6)
_STATISTICS = _IN_FLIGHT + 1
#: Numbers in one worker's slot.
SLOT = _STATISTICS + CELLS
_CALL_AT = {call: place for place, call in enumerate(CALLS)}
_STATUS_AT = {status: place for place, status in enumerate(STATUSES)}
_PREDICTION_AT = {call: place for place, call in enumerate(PREDICTIONS)}


def shared_memory(workers: int) -> int:
    """A file descriptor of zeroed memory for so many workers, to be inherited by them."""
    if sys.platform == "linux":
        descriptor = os.memfd_create("modelport-metrics")
    else:
        import tempfile

        descriptor, path = tempfile.mkstemp()
        os.unlink(path)
    os.ftruncate(descriptor, workers * SLOT * 8)
    return descriptor


class Metrics:
    """One worker's view: adds to its own slot, reads everybody's. Safe from several threads."""

    def __init__(self, descriptor: int, slot: int, labels: Mapping[str, str]) -> None:
        """``labels`` stand on every line."""
        self._all = memoryview(mmap.mmap(descriptor, 0)).cast("d")
        self._mine = self._all[slot * SLOT : (slot + 1) * SLOT]
        self._labels = dict(labels)
        self._lock = Lock()
        #: As many as there are kinds of requests and statuses of answers.
        self._places: dict[tuple[str, str, int], tuple[int, int | None]] = {}

    def loaded(self, seconds: float) -> None:
        """The model is in memory and took so long to get there."""
        self._mine[_LOAD_SECONDS], self._mine[_READY] = seconds, 1.0

    def unready(self) -> None:
        """This slot's worker is not there, or not ready; nothing is in its hands."""
        self._mine[_LOAD_SECONDS] = self._mine[_READY] = self._mine[_IN_FLIGHT] = 0.0

    def entered(self) -> None:
        """A request came in."""
        with self._lock:
            self._mine[_IN_FLIGHT] += 1

    def left(self) -> None:
        """A request was answered or given up."""
        with self._lock:
            self._mine[_IN_FLIGHT] -= 1

    def requests(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Count requests by what their log lines say.

        Bytes are summed up first, because adding to shared memory costs more than adding.
        """
        mine, places = self._mine, self._places
        bytes_in = bytes_out = cold = 0
        with self._lock:
            for line in lines:
                key = line["protocol"], line["verb"], line["status"]
                counted, timed = places.get(key) or self._placed(key)
                mine[counted] += 1
                bytes_in += line["bytes_in"]
                bytes_out += line["bytes_out"]
                cold += line["cold_start"]
                if timed is not None:
                    self._add(_DURATION + timed, SECONDS, line["duration_ms"] / 1000)
                    if line["model_ms"]:
                        self._add(_MODEL + timed, SECONDS, line["model_ms"] / 1000)
            mine[_BYTES_IN] += bytes_in
            mine[_BYTES_OUT] += bytes_out
            if cold:
                mine[_COLD] += cold

    def refused(self, status: int) -> None:
        """Count a request that never reached the data plane."""
        with self._lock:
            self._mine[_counted(OTHER, OTHER, status)] += 1

    def batch(self, rows: int, seconds: float) -> None:
        """Count a run of the model while batching is on."""
        with self._lock:
            self._add(_BATCHES, ROWS, float(rows))
            self._add(_BATCH_RUNS, SECONDS, seconds)

    def statistics(self) -> Statistics:
        """V2's statistics in the same memory: what this worker adds, the sum of what all did."""
        starts = range(_STATISTICS, len(self._all), SLOT)
        return Statistics(
            self._mine[_STATISTICS:], [self._all[start : start + CELLS] for start in starts]
        )

    def _placed(self, key: tuple[str, str, int]) -> tuple[int, int | None]:
        """Where a kind of request is counted, and how far into its times where it has such."""
        prediction = _PREDICTION_AT.get(key[:2])
        timed = None if prediction is None else prediction * _TIMED
        self._places[key] = places = _counted(*key), timed
        return places

    def _add(self, start: int, bounds: Sequence[float], value: float) -> None:
        self._mine[start + bisect_left(bounds, value)] += 1
        self._mine[start + len(bounds) + 1] += value

    def render(self) -> bytes:
        """Everything, summed over the workers."""
        values = [sum(self._all[place::SLOT].tolist()) for place in range(SLOT)]
        return ("\n".join(self._lines(values)) + "\n").encode()

    def _lines(self, values: Sequence[float]) -> Iterator[str]:
        yield from _header("requests_total", "counter", "Requests answered.")
        for row, (protocol, verb) in enumerate(CALLS):
            for column, status in enumerate(STATUSES):
                count = values[_REQUESTS + row * len(STATUSES) + column]
                if count:
                    labels = {"protocol": protocol, "verb": verb, "status": status}
                    yield self._line("requests_total", labels, count)
        for name, start, text in (
            ("request_duration_seconds", _DURATION, "Time from a whole request to its answer."),
            ("model_duration_seconds", _MODEL, "Time in the model, waiting for a batch included."),
        ):
            yield from _header(name, "histogram", text)
            for place, (protocol, verb) in enumerate(PREDICTIONS):
                labels = {"protocol": protocol, "verb": verb}
                yield from self._histogram(name, labels, SECONDS, values, start + place * _TIMED)
        yield from _header("batch_rows", "histogram", "Rows of each run while batching is on.")
        yield from self._histogram("batch_rows", {}, ROWS, values, _BATCHES)
        yield from _header("batch_duration_seconds", "histogram", "Time of each of these runs.")
        yield from self._histogram("batch_duration_seconds", {}, SECONDS, values, _BATCH_RUNS)
        for name, kind, text, value in (
            ("request_bytes_total", "counter", "Bytes of request bodies.", values[_BYTES_IN]),
            ("response_bytes_total", "counter", "Bytes of answers.", values[_BYTES_OUT]),
            ("cold_requests_total", "counter", "First predictions of a worker.", values[_COLD]),
            ("requests_in_flight", "gauge", "Requests being answered.", values[_IN_FLIGHT]),
            ("workers_ready", "gauge", "Workers with the model loaded.", values[_READY]),
            ("model_loaded", "gauge", "Whether any worker answers.", float(values[_READY] > 0)),
            ("load_seconds", "gauge", "Time the slowest worker took to load.", self._slowest()),
        ):
            yield from _header(name, kind, text)
            yield self._line(name, {}, value)

    def _slowest(self) -> float:
        return float(max(self._all[_LOAD_SECONDS::SLOT].tolist()))

    def _histogram(
        self,
        name: str,
        labels: Mapping[str, str],
        bounds: Sequence[float],
        values: Sequence[float],
        start: int,
    ) -> Iterator[str]:
        counts = list(accumulate(values[start : start + len(bounds) + 1]))
        if not counts[-1]:
            return
        for bound, count in zip([*map(_number, bounds), "+Inf"], counts, strict=True):
            yield self._line(f"{name}_bucket", {**labels, "le": bound}, count)
        yield self._line(f"{name}_sum", labels, values[start + len(bounds) + 1])
        yield self._line(f"{name}_count", labels, counts[-1])

    def _line(self, name: str, labels: Mapping[str, str], value: float) -> str:
        pairs = ",".join(f'{key}="{text}"' for key, text in {**self._labels, **labels}.items())
        return f"modelport_{name}{{{pairs}}} {_number(value)}"


def _counted(protocol: str, verb: str, status: int) -> int:
    """The place of the requests of a kind that were answered so."""
    row = _CALL_AT.get((protocol, verb), _CALL_AT[OTHER, OTHER])
    column = _STATUS_AT.get(str(status), _STATUS_AT[OTHER])
    return _REQUESTS + row * len(STATUSES) + column


def _header(name: str, kind: str, text: str) -> Iterator[str]:
    yield f"# HELP modelport_{name} {text}"
    yield f"# TYPE modelport_{name} {kind}"


def _number(value: float) -> str:
    return str(int(value)) if value.is_integer() else repr(value)
