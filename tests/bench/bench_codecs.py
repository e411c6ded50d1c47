"""JSON to arrays and back: ours beside the parsers alone and, asked for, beside other servers.

Run by hand: ``python -m tests.bench.bench_codecs [--peers]``. With ``--peers`` it times their own
decoders on the same bytes. Prints medians and how much more memory one parse takes; asserts
nothing.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from time import perf_counter_ns
from typing import Any

import numpy as np
import orjson
import simdjson
from modelport.signature import TensorSpec

from functions.runtime.codecs.codec import read_json, write_bare, write_json
from functions.runtime.tensors import from_json
from tests.bench.contenders import peer_python
from tests.conftest import ROOT

IMAGE_SHAPE = (1, 3, 224, 224)
SPEC = TensorSpec("x", "FP32", (-1, 3, 224, 224))
FLAT = TensorSpec("x", "FP32", (-1,))
ROUNDS = 40
#: What each peer does between a body and an array, after its own imports.
_PEERS = {
    ("mlserver", "v2"): (
        "from mlserver.types import InferenceRequest\n"
        "from mlserver.codecs import NumpyCodec\n"
        "import orjson\n"
        "def work(body):\n"
        "    request = InferenceRequest(**orjson.loads(body))\n"
        "    return NumpyCodec.decode_input(request.inputs[0])\n"
    ),
    ("kserve", "v1"): (
        "import numpy as np, orjson\n"
        "def work(body): return np.array(orjson.loads(body)['instances'], np.float32)\n"
    ),
    ("kserve", "v2"): (
        "from kserve.protocol.rest.v2_datamodels import InferenceRequest\n"
        "from kserve import InferRequest\n"
        "def work(body):\n"
        "    data = InferenceRequest.model_validate_json(body)\n"
        "    return InferRequest.from_inference_request(data, 'm').inputs[0].as_numpy()\n"
    ),
}
_TIMED = (
    "import statistics, sys, time\n"
    "body = open(sys.argv[1], 'rb').read(); times = []\n"
    "for _ in range(12):\n"
    "    start = time.perf_counter_ns(); work(body)\n"
    "    times.append(time.perf_counter_ns() - start)\n"
    "print(statistics.median(times) / 1000)\n"
)
_MEMORY = (
    "import sys\n"
    "from functions.runtime.codecs.codec import read_json\n"
    "from functions.runtime.tensors import from_json\n"
    "from tests.bench.bench_codecs import FLAT, SPEC, data_of\n"
    "import simdjson\n"
    "body = open(sys.argv[1], 'rb').read()\n"
    "def peak():\n"
    "    status = open('/proc/self/status').read()\n"
    "    return int(status.split('VmHWM:')[1].split()[0]) * 1024\n"
    "open('/proc/self/clear_refs', 'w').write('5')\n"  # the peak starts over from now
    "before = peak()\n"
    "from_json(SPEC if sys.argv[2] == 'v1' else FLAT, data_of(sys.argv[2], read_json(body)))\n"
    "print(peak() - before)\n"
)


def data_of(protocol: str, document: Any) -> Any:
    """Where a body of the bench has its numbers."""
    return document["instances"] if protocol == "v1" else document["inputs"][0]["data"]


def measure(protocol: str, body: bytes, peers: bool) -> None:
    spec = SPEC if protocol == "v1" else FLAT
    rows: dict[str, Callable[[], Any]] = {
        "simdjson, no values taken": lambda: simdjson.Parser().parse(body),
        "orjson.loads": lambda: orjson.loads(body),
        "orjson.loads, lists to array": lambda: from_json(
            spec, data_of(protocol, orjson.loads(body))
        ),
        "ours": lambda: from_json(spec, data_of(protocol, read_json(body))),
    }
    print(f"\n{protocol}, {len(body):,} bytes to float32 {list(IMAGE_SHAPE)}: µs")
    for name, took in interleaved(rows).items():
        print(f"  {name:30} {took:10.0f}")
    path = ROOT / ".local" / f"bench-{protocol}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(body)
    for (peer, spoken), program in _PEERS.items() if peers else ():
        if spoken == protocol:
            took = float(output(peer_python(peer), program + _TIMED, path))
            print(f"  {peer + ' ' + spoken:30} {took:10.0f}")
    grown = int(output(Path(sys.executable), _MEMORY, path, protocol))
    print(f"  memory beside the body, MiB    {grown / 2**20:10.1f}")
    path.unlink()


def interleaved(rows: Mapping[str, Callable[[], Any]]) -> dict[str, float]:
    """Median µs of each, taken in turns, so that a busy moment of the machine hits all alike."""
    times: dict[str, list[float]] = {name: [] for name in rows}
    for _ in range(ROUNDS):
        for name, work in rows.items():
            times[name].append(median_us(work, 1))
    return {name: median(taken) for name, taken in times.items()}


def spellings(protocol: str, body: bytes) -> dict[str, bytes]:
    """The same values as a writer that knows float32 spells them, and as Python's json does."""
    document = orjson.loads(body)
    if protocol == "v1":
        wide = {"instances": np.array(document["instances"], np.float32).tolist()}
    else:
        (tensor,) = document["inputs"]
        wide = {"inputs": [{**tensor, "data": np.array(tensor["data"], np.float32).tolist()}]}
    return {"shortest": body, "as json.dumps of a list": json.dumps(wide).encode()}


def median_us(work: Callable[[], Any], rounds: int) -> float:
    """Of so many calls, after one that does not count."""
    work()
    times = []
    for _ in range(rounds):
        started = perf_counter_ns()
        work()
        times.append(perf_counter_ns() - started)
    return median(times) / 1000


def dumps(data: Any) -> bytes:
    """JSON with arrays in it, each number as short as float32 can be spelt."""
    return orjson.dumps(data, option=orjson.OPT_SERIALIZE_NUMPY)


def bodies(array: np.ndarray[Any, Any]) -> dict[str, bytes]:
    """A request in each protocol."""
    tensor = {"name": "x", "datatype": "FP32", "shape": array.shape, "data": array.reshape(-1)}
    return {"v1": dumps({"instances": array}), "v2": dumps({"inputs": [tensor]})}


def output(python: Path, program: str, *arguments: Path | str) -> str:
    """What a program prints last; single-threaded, and apart from this process."""
    command = [str(python), "-c", program, *map(str, arguments)]
    environment = {
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": f"{ROOT}:{ROOT / 'layers/core/python'}" if "peers" not in str(python) else "",
    }
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.strip().splitlines()[-1]


def main() -> None:
    """Both protocols in, one array out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", action="store_true", help="time other servers' decoders too")
    peers = parser.parse_args().peers
    image = np.random.default_rng(1).random(IMAGE_SHAPE, np.float32)
    for protocol, short in bodies(image).items():
        for spelling, body in spellings(protocol, short).items():
            print(f"\nnumbers spelt {spelling}", end="")
            measure(protocol, body, peers)
    print("\nfloat32 to JSON: µs")
    rows = {
        "orjson": lambda: dumps({"predictions": image}),
        "ours, strict": lambda: write_json({"predictions": image}),
        "ours, bare tokens": lambda: write_json({"predictions": write_bare(image)}),
    }
    for name, took in interleaved(rows).items():
        print(f"  {name:30} {took:10.0f}")


if __name__ == "__main__":
    main()
