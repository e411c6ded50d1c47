"""Throughput and latency of the HTTP server with dynamic batching and without, side by side.

Run by hand: ``python -m tests.bench.bench_batching [ROUNDS]``. Both servers run as an image starts
them, with the workers and threads each gets by default on this machine, and take turns under the
same 32 keep-alive callers, who send one row as JSON and the next one when they have their answer.

The model is an MLP with 90 MB of weights. One row reads all of them for little arithmetic, so rows
that share a run share that cost: batching pays for models like this one (and on a GPU for nearly
all). For a model whose time grows with its rows, such as a convolution on a CPU, it would not.
Prints medians of the rounds and their ratios; asserts nothing, because times drift between
machines.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnxruntime as ort
from modelport.envelope import Request
from modelport.manifest import Batching, ModelSettings
from modelport.settings import RuntimeSettings
from onnx import TensorProto, helper, numpy_helper

from tests.support.runtime_bundles import FLOAT, write_bundle
from tests.support.runtime_world import HttpRuntime

CLIENTS = 32
SECONDS = 4.0
WIDTH, HIDDEN, LAYERS = 64, 2_730, 5
BATCHING = Batching(CLIENTS, 25.0)
PATH = "/v1/models/demo/versions/3:predict"


@dataclass(frozen=True)
class Round:
    """What the callers saw in one turn."""

    per_second: float
    p50_ms: float
    p99_ms: float


def mlp() -> bytes:
    """About 90 MB of weights, a free first dimension."""
    random = np.random.default_rng(1)
    sizes = [WIDTH, *[HIDDEN] * (LAYERS - 1), 10]
    weights, nodes, name = [], [], "x"
    for layer, (rows, columns) in enumerate(pairwise(sizes)):
        values = random.standard_normal((rows, columns)).astype(np.float32) / rows**0.5
        weights.append(numpy_helper.from_array(values, f"w{layer}"))
        nodes.append(helper.make_node("MatMul", [name, f"w{layer}"], [f"m{layer}"]))
        name = "y" if layer == len(sizes) - 2 else f"h{layer}"
        nodes.append(helper.make_node("Relu", [f"m{layer}"], [name]))
    graph = helper.make_graph(
        nodes,
        "mlp",
        [helper.make_tensor_value_info("x", FLOAT, ["N", WIDTH])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 10])],
        weights,
    )
    opsets = [helper.make_opsetid("", 17)]
    whole = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    return bytes(whole.SerializeToString())


def compute_ms(path: Path, rows: int, threads: int) -> float:
    """The model alone, for this many rows."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    x = np.ones((rows, WIDTH), np.float32)
    times = []
    for _ in range(20):
        started = time.perf_counter()
        session.run(None, {"x": x})
        times.append(time.perf_counter() - started)
    return statistics.median(times) * 1e3


def batch_ms(server: HttpRuntime) -> float:
    """What a batch of several rows took on average under this very load, as the server counts."""
    text = server.send(Request("GET", "/metrics")).body.decode()
    found = re.findall(r"batch_duration_seconds_(sum|count)\S* (\S+)", text)
    counted = {name: float(value) for name, value in found}
    return counted["sum"] / counted["count"] * 1e3


async def _caller(port: int, until: float, times: list[float]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    row = np.random.default_rng().random((1, WIDTH), np.float32).round(4).tolist()
    body = json.dumps({"instances": row}).encode()
    head = f"POST {PATH} HTTP/1.1\r\nhost: m\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    while time.perf_counter() < until:
        started = time.perf_counter()
        writer.write(head + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200"), answer
        length = answer.lower().partition(b"content-length: ")[2].partition(b"\r")[0]
        await reader.readexactly(int(length))
        times.append(time.perf_counter() - started)
    writer.close()


async def _callers(port: int, count: int, seconds: float) -> Round:
    times: list[float] = []
    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(count):
            group.create_task(_caller(port, started + seconds, times))
    taken = time.perf_counter() - started
    cuts = statistics.quantiles(times, n=100)
    return Round(len(times) / taken, cuts[49] * 1e3, cuts[98] * 1e3)


def turn(server: HttpRuntime, count: int = CLIENTS, seconds: float = SECONDS) -> Round:
    """One server under load."""
    return asyncio.run(_callers(server.port, count, seconds))


def _server(folder: Path, body: bytes, batching: Batching | None) -> HttpRuntime:
    settings = ModelSettings(batching=batching)
    written = write_bundle(folder, body, settings=settings)
    runtime = RuntimeSettings(written.model, written.version, written.digest, written.bundle_dir)
    return HttpRuntime(
        runtime, {"SAGEMAKER_MODEL_SERVER_WORKERS": "", "MODELPORT_LOG_LEVEL": "INFO"}
    ).ready()


def _median(rounds: list[Round]) -> Round:
    return Round(
        *(
            statistics.median(getattr(one, name) for one in rounds)
            for name in ("per_second", "p50_ms", "p99_ms")
        )
    )


def main(rounds: int) -> None:
    """Print both servers and what a batch costs."""
    with tempfile.TemporaryDirectory() as folder:
        body = mlp()
        servers = {
            "unbatched": _server(Path(folder, "unbatched"), body, None),
            "batched": _server(Path(folder, "batched"), body, BATCHING),
        }
        seen: dict[str, list[Round]] = {name: [] for name in servers}
        lone: dict[str, list[Round]] = {name: [] for name in servers}
        try:
            for name, server in servers.items():
                print(f"{name}: {json.loads(server.wait_for('threads each'))['message']}")
                turn(server, seconds=1.0)
            for _ in range(rounds):
                for name, server in servers.items():
                    seen[name].append(turn(server))
            # Before the lone callers, whose batches of one row would lower the mean.
            batch = batch_ms(servers["batched"])
            for _ in range(rounds):
                for name, server in servers.items():
                    lone[name].append(turn(server, count=1, seconds=1.0))
            threads = len(os.sched_getaffinity(0))
            path = Path(folder, "batched", "model.onnx")
            alone = compute_ms(path, 1, threads), compute_ms(path, CLIENTS, threads)
        finally:
            for server in servers.values():
                server.stop()
    _report(len(body), alone, batch, seen, lone)


def _report(
    size: int,
    alone: tuple[float, float],
    batch: float,
    seen: dict[str, list[Round]],
    lone: dict[str, list[Round]],
) -> None:
    print(f"\nMLP with {size / 1e6:.0f} MB of weights; the model alone, all threads:")
    print(f"  1 row {alone[0]:.1f} ms, {CLIENTS} rows {alone[1]:.1f} ms")
    print(f"  a batch under this load, mean: {batch:.1f} ms")
    for title, results in ((f"{CLIENTS} callers", seen), ("1 caller", lone)):
        print(f"\n{title}, median of {len(results['batched'])} rounds in turns")
        for name, taken in results.items():
            one = _median(taken)
            print(
                f"  {name:10} {one.per_second:8.0f} requests/s"
                f"   p50 {one.p50_ms:7.1f} ms   p99 {one.p99_ms:7.1f} ms"
            )
    ratio = _median(seen["batched"]).per_second / _median(seen["unbatched"]).per_second
    allowed = BATCHING.max_delay_ms + 1.5 * batch
    print(f"\nthroughput batched / unbatched: {ratio:.2f} (wanted: at least 3)")
    p99 = _median(seen["batched"]).p99_ms
    print(f"p99 batched: {p99:.1f} ms (wanted: at most delay + 1.5 x compute = {allowed:.1f} ms)")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
