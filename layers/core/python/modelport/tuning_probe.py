"""The process that `modelport.tuning` measures in: ``python -m modelport.tuning_probe JOB RESULT``.

Opens the model in each way of the job, in turns, and writes the best of each figure, because other
work on the machine only ever adds to one; a warm run is the median of several. Answers that differ
from those of onnxruntime's defaults disqualify a way, and a slow model is measured in as many ways
as the job's time allows. It may crash or be killed at any point: the
result is written at the end or not at all. Needs onnxruntime and numpy; nobody else may import it.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from modelport.manifest import machine

__all__ = ["main"]

ROUNDS = 5
#: No round begins after this, once every way has been measured.
BUDGET_S = 8.0
#: After this many rounds, ways that cost this much more than the best are not measured again.
SURE, HOPELESS = 2, 1.3
#: Of the job's time, the share that is used; the rest is for starting and for being wrong.
SPENT = 0.8
#: Data files up to this size are copied where they cannot be linked.
LARGEST_COPY = 1 << 30
WARM_RUNS, WARM_S = 10, 0.1
_LEVELS = {
    "all": "ORT_ENABLE_ALL",
    "extended": "ORT_ENABLE_EXTENDED",
    "basic": "ORT_ENABLE_BASIC",
    "disabled": "ORT_DISABLE_ALL",
}
_DTYPES = {
    "BOOL": "bool", "UINT8": "uint8", "UINT16": "uint16", "UINT32": "uint32", "UINT64": "uint64",
    "INT8": "int8", "INT16": "int16", "INT32": "int32", "INT64": "int64",
    "FP16": "float16", "FP32": "float32", "FP64": "float64", "BYTES": "object",
}  # fmt: skip

_KEYS = ("open_ms", "first_ms", "warm_ms")
Feeds = dict[str, Any]


class ProblemError(Exception):
    """Why nothing can be measured, in words."""


def main(job_path: Path, result_path: Path) -> None:
    """Do the job and write its result."""
    try:
        result = _measure(json.loads(job_path.read_bytes()))
    except ProblemError as problem:
        result = {"problem": str(problem)}
    scratch = result_path.with_suffix(".part")
    scratch.write_text(json.dumps(result))
    os.replace(scratch, result_path)


def _measure(job: dict[str, Any]) -> dict[str, Any]:
    began = time.perf_counter()
    try:
        import onnxruntime as ort
    except ModuleNotFoundError:
        raise ProblemError(
            "onnxruntime is not installed (pip install 'modelport[runtime]')"
        ) from None
    except Exception as error:  # installed, and broken
        raise ProblemError(f"onnxruntime cannot be imported: {error}"[:300]) from None
    ort.set_default_logger_severity(4)
    cases = _cases(job)
    graph, note = _optimize(ort, job)
    opened = {False: job["model"], True: graph}
    ways = [way for way in job["ways"] if opened[way["optimized"]]]
    agreeing = _agreeing(ort, job, opened, ways, cases, began + SPENT * job["limit_s"])
    samples, rounds = _rounds(ort, job, opened, agreeing, cases)
    rows = [
        {"way": way, **{key: round(min(v), 3) for key, v in samples[n].items()}}
        for n, way in enumerate(agreeing)
    ]
    return {
        "measured": rows,
        "onnxruntime": ort.__version__,
        "machine": machine(),
        "threads": job["threads"],
        "inputs": "goldens" if job["goldens"] else "zeros",
        "rounds": rounds,
        "optimized_graph": note,
    }


# --- inputs ---------------------------------------------------------------------------------------


def _cases(job: dict[str, Any]) -> list[tuple[Feeds, float, float]]:
    """What to run: feeds with the tolerances of their answers."""
    import numpy as np

    specs = job["signature"]["inputs"]
    unknown = [spec["datatype"] for spec in specs if spec["datatype"] not in _DTYPES]
    if unknown:
        raise ProblemError(f"numpy has no {unknown[0]}")
    if job["goldens"]:
        return [
            ({t["name"]: _array(t) for t in golden["inputs"]}, golden["rtol"], golden["atol"])
            for golden in job["goldens"]
        ]
    feeds: Feeds = {}
    for spec in specs:
        shape = [1 if dim < 0 else dim for dim in spec["shape"]]
        if math.prod(shape) > 1 << 28:
            raise ProblemError(f"input {spec['name']!r} is too large to make up, and no goldens")
        feeds[spec["name"]] = np.full(shape, "" if spec["datatype"] == "BYTES" else 0,
                                      _DTYPES[spec["datatype"]])  # fmt: skip
    return [(feeds, 1e-4, 1e-5)]


def _array(tensor: dict[str, Any]) -> Any:
    import numpy as np

    array = np.empty(len(tensor["data"]), _DTYPES[tensor["datatype"]])
    array[:] = tensor["data"]
    return array.reshape(tensor["shape"])


# --- the graph optimised beforehand ---------------------------------------------------------------


def _optimize(ort: Any, job: dict[str, Any]) -> tuple[str | None, str]:
    """Path of the optimised graph that shares its weights, and a word about it."""
    if not job["graph"]:
        return None, "not tried"
    from modelport.offline_graph import share_weights

    graph = Path(job["graph"])
    whole = graph.with_name(graph.name + ".whole")
    options = _options(ort, job["threads"], "extended", disable_prepacking=True)
    # Extended fusions are the CPU provider's, whatever the CPU; the level above picks layouts for
    # the instructions of this very machine.
    options.optimized_model_filepath = str(whole)
    try:
        ort.InferenceSession(job["model"], options, providers=["CPUExecutionProvider"])
        size = share_weights(whole, Path(job["model"]), graph)
        for data in map(Path, job["data"] if size else ()):
            _beside(data, graph.parent / data.name)
    except Exception as error:
        return None, f"cannot be made: {error}"[:200]
    finally:
        whole.unlink(missing_ok=True)
    if not size:
        return None, "not kept: it has too many weights of its own"
    return str(graph), f"{size} bytes"


def _beside(data: Path, link: Path) -> None:
    """The data file in the graph's folder, without a copy where the file system allows."""
    try:
        os.link(data.resolve(), link)
    except OSError:
        if data.stat().st_size > LARGEST_COPY:
            raise
        import shutil

        shutil.copyfile(data, link)


# --- measuring ------------------------------------------------------------------------------------


def _options(ort: Any, threads: int, level: str, *, disable_prepacking: bool) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, _LEVELS[level])
    if disable_prepacking:
        options.add_session_config_entry("session.disable_prepacking", "1")
    return options


def _open(ort: Any, job: dict[str, Any], path: str, way: dict[str, Any]) -> Any:
    level, packing = way["graph_optimization"], way["disable_prepacking"]
    options = _options(ort, job["threads"], level, disable_prepacking=packing)
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _expected(ort: Any, job: dict[str, Any], way: dict[str, Any], cases: list[Any]) -> list[Any]:
    try:
        session = _open(ort, job, job["model"], way)
        return [session.run(None, feeds) for feeds, _, _ in cases]
    except Exception as error:
        what = "the goldens" if job["goldens"] else "an input of zeros"
        raise ProblemError(f"the model does not run on {what}: {error}"[:300]) from None


def _agreeing(
    ort: Any,
    job: dict[str, Any],
    opened: dict[bool, Any],
    ways: list[dict[str, Any]],
    cases: list[Any],
    until: float,
) -> list[dict[str, Any]]:
    """The ways with the right answers, the defaults first; no more than can be measured in time."""
    clock = time.perf_counter
    started = clock()
    expected = _expected(ort, job, ways[0], cases)
    agreeing, slowest = [ways[0]], clock() - started
    for way in ways[1:]:
        # A round runs each way that agrees twice: its first answer and a warm one.
        if clock() + slowest * (1 + 2 * (len(agreeing) + 1)) > until:
            break
        started = clock()
        if _agrees(ort, job, opened[way["optimized"]], way, cases, expected):
            agreeing.append(way)
        slowest = max(slowest, clock() - started)
    return agreeing


def _agrees(
    ort: Any, job: dict[str, Any], path: str, way: dict[str, Any], cases: list[Any], want: list[Any]
) -> bool:
    try:
        session = _open(ort, job, path, way)
        return all(
            _close(have, expected, rtol, atol)
            for (feeds, rtol, atol), answers in zip(cases, want, strict=True)
            for have, expected in zip(session.run(None, feeds), answers, strict=True)
        )
    except Exception:
        return False


def _close(have: Any, want: Any, rtol: float, atol: float) -> bool:
    import numpy as np

    have, want = np.asarray(have), np.asarray(want)
    if have.shape != want.shape or have.dtype != want.dtype:
        return False
    if want.dtype.kind in "fc":
        return bool(np.allclose(have, want, rtol, atol, equal_nan=True))
    return bool(np.array_equal(have, want))


def _rounds(
    ort: Any,
    job: dict[str, Any],
    opened: dict[bool, str],
    ways: list[dict[str, Any]],
    cases: list[Any],
) -> tuple[list[dict[str, list[float]]], int]:
    """Every way once per round, so that a busy moment of the machine hits them alike."""
    samples: list[dict[str, list[float]]] = [{key: [] for key in _KEYS} for _ in ways]
    active: list[int] = list(range(len(ways)))
    began, rounds = time.perf_counter(), 0
    while rounds < ROUNDS and (rounds < 1 or time.perf_counter() - began < BUDGET_S):
        for number in active:
            way = ways[number]
            figures = _sample(ort, job, opened[way["optimized"]], way, cases[0][0])
            for key, value in zip(_KEYS, figures, strict=True):
                samples[number][key].append(value)
        rounds += 1
        if rounds == SURE:
            costs = [_cost(each, job["requests"]) for each in samples]
            # The defaults stay: they are what the others are compared with.
            active = [n for n, cost in enumerate(costs) if n == 0 or cost < HOPELESS * min(costs)]
    return samples, rounds


def _cost(samples: dict[str, list[float]], requests: int) -> float:
    opened, first, warm = (min(samples[key]) for key in _KEYS)
    return opened + first + requests * warm


def _sample(
    ort: Any, job: dict[str, Any], path: str, way: dict[str, Any], feeds: Feeds
) -> tuple[float, float, float]:
    clock = time.perf_counter
    began = clock()
    session = _open(ort, job, path, way)
    opened = clock()
    session.run(None, feeds)
    first = clock()
    warm: list[float] = []
    while len(warm) < WARM_RUNS and (not warm or clock() - first < WARM_S):
        started = clock()
        session.run(None, feeds)
        warm.append(clock() - started)
    return (opened - began) * 1e3, (first - opened) * 1e3, statistics.median(warm) * 1e3


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
