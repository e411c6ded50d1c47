"""What the codecs cost, and the data plane over the model alone; `bench_codecs` has the parsers.

Run by hand: ``python -m tests.bench.bench_runtime``. Prints medians; asserts nothing, because
times drift between machines and only their ratios are worth reading.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import numpy as np
import orjson
from modelport.envelope import Request
from modelport.grammar import parse

from functions.runtime.codecs import CODECS, Parsed
from functions.runtime.loading import load
from tests.support.runtime_bundles import DOUBLE, FLOAT, model, node, write_bundle

V1, V2 = "/v1/models/demo/versions/3:predict", "/v2/models/demo/versions/3/infer"
IMAGE_SHAPE = (1, 3, 224, 224)
IMAGE = model(
    [node("Neg", ["x"], ["y"])],
    [("x", FLOAT, ["N", 3, 224, 224])],
    [("y", FLOAT, ["N", 3, 224, 224])],
)


def median_us(work: Callable[[], Any], rounds: int) -> float:
    work()
    times = []
    for _ in range(rounds):
        started = perf_counter_ns()
        work()
        times.append(perf_counter_ns() - started)
    return statistics.median(times) / 1000


def dumps(data: Any) -> bytes:
    return orjson.dumps(data, option=orjson.OPT_SERIALIZE_NUMPY)


def bodies(array: np.ndarray[Any, Any]) -> dict[str, bytes]:
    tensor = {"name": "x", "datatype": "FP32", "shape": array.shape, "data": array.reshape(-1)}
    return {"v1": dumps({"instances": array}), "v2": dumps({"inputs": [tensor]})}


def measure(title: str, onnx: bytes, array: np.ndarray[Any, Any], rounds: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        plane = load(write_bundle(Path(folder), onnx))
        print(f"\n{title}: µs, median of {rounds}")
        run = median_us(lambda: plane.model.run({"x": array}), rounds)
        print(f"  model alone                      {run:10.1f}")
        for protocol, body in bodies(array).items():
            report(plane, protocol, body, array, rounds)


def report(plane: Any, protocol: str, body: bytes, array: Any, rounds: int) -> None:
    codec, subject = CODECS[protocol], plane.subject
    request = Request("POST", V1 if protocol == "v1" else V2, {}, body, "bench")
    call = parse(request.method, request.path)
    parsed: Parsed = codec.parse(call, request, subject)
    assert plane.handle(request).status == 200
    rows = {
        "codec.parse": lambda: codec.parse(call, request, subject),
        "codec.format": lambda: codec.format({"y": array}, parsed, subject),
        "whole request": lambda: plane.handle(request),
    }
    for name, work in rows.items():
        print(f"  {protocol}  {name:28} {median_us(work, rounds):10.1f}")


def main() -> None:
    """Print both sizes."""
    measure("tiny model, one row", DOUBLE, np.ones((1, 2), np.float32), 5000)
    image = np.random.default_rng(1).random(IMAGE_SHAPE, np.float32)
    measure("1x3x224x224 image", IMAGE, image, 50)


if __name__ == "__main__":
    main()
