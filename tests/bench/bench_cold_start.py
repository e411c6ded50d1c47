"""What a cold start costs: process start to first answer, through awslambdaric, against plain ways.

    python -m tests.bench.bench_cold_start [ROUNDS]

A model of 90 MB against a handler that opens the one-file ``.onnx`` the way tutorials do, and the
3 MB demo model against the bare floor: interpreter, numpy, onnxruntime and a session, no request.
Every process is pinned to one CPU, files are in the page cache, rounds are interleaved, figures are
medians. Absolute times are this machine's; the ratios are what to remember. Not a test.
"""

from __future__ import annotations

import compileall
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from py_compile import PycInvalidationMode
from typing import Any

import magika
import numpy as np
import onnx
import onnxruntime as ort
from modelport.bundle import load_bundle
from modelport.envelope import Request
from modelport.images import sources
from modelport.manifest import Manifest
from modelport.settings import RuntimeSettings
from modelport.tuning import tune
from onnx import TensorProto, helper, numpy_helper
from rich.console import Console
from rich.table import Table

from tests.conftest import ROOT
from tests.support.runtime_world import LambdaRuntime

ROUNDS = 9
LAYERS, WIDTH = 10, 1500  # 90 MB of float32
TARGETS = {"90 MB": 0.30, "3 MB": 1.25}
PLAIN = """
import json, os
import numpy as np
import onnxruntime as ort

session = ort.InferenceSession(os.environ["MODEL"])

def handler(event, context):
    x = np.array(json.loads(event["body"])["instances"], dtype=np.float32)
    return {"predictions": session.run(None, {"x": x})[0].tolist()}
"""
FLOOR = """
import sys
import numpy
import onnxruntime as ort

ort.InferenceSession(sys.argv[1])
print("open", flush=True)
"""


class PlainRuntime(LambdaRuntime):
    """awslambdaric with a handler as tutorials write it."""

    arguments = ("-m", "awslambdaric", "plain.handler")


def image_like(folder: Path) -> dict[str, str]:
    """Our code as an image has it, sources with bytecode beside them; the variables to run it."""
    sources.copy(sources.of_image(ROOT), folder)
    compileall.compile_dir(folder, quiet=1, invalidation_mode=PycInvalidationMode.UNCHECKED_HASH)
    path = os.pathsep.join([str(folder / "var/task"), str(folder / "opt/python")])
    return {"PYTHONPATH": path, "PYTHONSAFEPATH": "1"}


def large_model(path: Path) -> Path:
    """Ten dense layers, 90 MB in one file."""
    random = np.random.default_rng(0)
    nodes, weights, last = [], [], "x"
    for layer in range(LAYERS):
        matrix = random.standard_normal((WIDTH, WIDTH), dtype=np.float32) / WIDTH**0.5
        weights += [
            numpy_helper.from_array(matrix, f"w{layer}"),
            numpy_helper.from_array(np.full(WIDTH, 0.1, np.float32), f"b{layer}"),
        ]
        nodes += [
            helper.make_node("Gemm", [last, f"w{layer}", f"b{layer}"], [f"g{layer}"]),
            helper.make_node("Relu", [f"g{layer}"], [f"r{layer}"]),
        ]
        last = f"r{layer}"
    graph = helper.make_graph(
        nodes,
        "layers",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", WIDTH])],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, ["N", WIDTH])],
        weights,
    )
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


def published(model: Path, folder: Path) -> RuntimeSettings:
    """What publish makes of a model, laid out where an image has it."""
    work = folder / "work"
    work.mkdir(parents=True)
    draft, sentence = tune(load_bundle(model, work=work), work, os.environ)
    print(f"{model.name}: {sentence}")
    manifest = Manifest("m", 1, draft.content, "2026-01-01T00:00:00Z", tuning=draft.tuning)
    for file in manifest.files:
        (folder / file.path).write_bytes(draft.sources[file.path].read_bytes())
    (folder / "manifest.json").write_bytes(manifest.to_bytes())
    return RuntimeSettings("m", 1, manifest.digest, str(folder), memory_mb=1769)


@contextmanager
def one_cpu() -> Iterator[None]:
    """Processes started in the block get one CPU, the last of those there are."""
    every = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(every)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, every)


def answered(start: Callable[[], LambdaRuntime], event: bytes) -> tuple[float, float, Any]:
    """Milliseconds to the first answer and of the second, and what the answer is."""
    began = time.perf_counter()
    with one_cpu():
        runtime = start()
    try:
        body = runtime.invoke(event)
        first = time.perf_counter()
        assert runtime.invoke(event) == body
        second = time.perf_counter()
    finally:
        runtime.close()
    return (first - began) * 1e3, (second - first) * 1e3, json.loads(body)


def floor(model: Path) -> float:
    """Milliseconds until a session is open, with nothing around it."""
    began = time.perf_counter()
    with one_cpu():
        process = subprocess.Popen(
            [sys.executable, "-c", FLOOR, str(model)], stdout=subprocess.PIPE, text=True
        )
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == "open\n"
        spent = (time.perf_counter() - began) * 1e3
    process.wait()
    return spent


def asked(rows: np.ndarray[Any, Any]) -> bytes:
    """The event both handlers understand."""
    body = json.dumps({"instances": rows.tolist()}).encode()
    return Request("POST", "/v1/models/m:predict", {}, body, "cold").to_event()


def check(rows: Any, want: np.ndarray[Any, Any]) -> None:
    """The answer is the model's."""
    np.testing.assert_allclose(np.array(rows), want, rtol=1e-3, atol=1e-4)


def expected(model: Path, name: str, rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    session = ort.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {name: rows})[0])


def rounds(folder: Path, count: int) -> dict[str, list[float]]:
    """All programs in turns; milliseconds of each by its name."""
    large, demo = large_model(folder / "large.onnx"), folder / "demo.onnx"
    (found,) = (Path(magika.__file__).parent / "models").glob("standard_v3_3/model.onnx")
    demo.write_bytes(found.read_bytes())
    ours, ours_demo = published(large, folder / "ours"), published(demo, folder / "demo")
    (folder / "tutorial").mkdir()
    (folder / "tutorial/plain.py").write_text(PLAIN)
    environ = image_like(folder / "image")
    x = np.random.default_rng(1).standard_normal((1, WIDTH), dtype=np.float32)
    tokens = np.random.default_rng(2).integers(0, 256, (1, 2048)).astype(np.int32)
    want, want_demo = expected(large, "x", x), expected(demo, "bytes", tokens)

    def plain() -> LambdaRuntime:
        tutorial = {"MODEL": str(large), "PYTHONPATH": str(folder / "tutorial")}
        return PlainRuntime(ours, tutorial)

    figures: dict[str, list[float]] = {}
    for number in range(count + 1):
        taken: dict[str, float] = {}
        first, _, answer = answered(plain, asked(x))
        check(answer["predictions"], want)
        taken["plain handler, 90 MB"] = first
        first, second, answer = answered(lambda: LambdaRuntime(ours, environ), asked(x))
        check(json.loads(answer["body"])["predictions"], want)
        taken |= {"modelport, 90 MB": first, "its second request": second}
        taken["floor, 3 MB"] = floor(demo)
        first, second, answer = answered(lambda: LambdaRuntime(ours_demo, environ), asked(tokens))
        check(json.loads(answer["body"])["predictions"], want_demo)
        taken |= {"modelport, 3 MB": first, "its second request, 3 MB": second}
        if number:  # the first round fills the page cache
            for name, spent in taken.items():
                figures.setdefault(name, []).append(spent)
    return figures


def main() -> None:
    """Measure and print a table."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    with tempfile.TemporaryDirectory() as name:
        figures = rounds(Path(name), count)
    middle = {name: statistics.median(values) for name, values in figures.items()}
    table = Table("process start to", "ms, median", "least")
    for name, values in figures.items():
        table.add_row(name, f"{middle[name]:.1f}", f"{min(values):.1f}")
    Console().print(table)
    least = {name: min(values) for name, values in figures.items()}
    # On a machine that is busy with other things the least says more than the median.
    ratios = {name: ratio(middle, name) for name in TARGETS}
    for name, target in TARGETS.items():
        line = (
            f"{ratios[name]:.2f}x (target {target:.2f}x); of the least: {ratio(least, name):.2f}x"
        )
        print(f"{name}: {line}")
    print(json.dumps({"medians": middle, "least": least, "ratios": ratios}))


def ratio(figures: dict[str, float], size: str) -> float:
    """Ours to what it is compared with."""
    other = {"90 MB": "plain handler, 90 MB", "3 MB": "floor, 3 MB"}[size]
    return figures[f"modelport, {size}"] / figures[other]


if __name__ == "__main__":
    main()
