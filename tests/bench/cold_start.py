"""Row 7: a model function from its process to its first answer, against the least that takes.

The floor is an interpreter with awslambdaric, numpy, onnxruntime and an open session of the same
model, and no request. Beside it a plain handler under awslambdaric that answers one. Everything
runs on one CPU, of which a control group grants all or half; files are in the page cache.
"""

from __future__ import annotations

import compileall
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from py_compile import PycInvalidationMode
from subprocess import PIPE, Popen
from time import perf_counter
from typing import Any

import magika
import numpy as np
import onnxruntime as ort
from modelport.bundle import load_bundle
from modelport.envelope import Request
from modelport.images import sources
from modelport.manifest import Manifest
from modelport.settings import RuntimeSettings
from modelport.tuning import tune
from onnx import TensorProto, helper, numpy_helper

from tests.bench.figures import OURS, Figure, Target
from tests.bench.function_host import FunctionError, Program, function
from tests.bench.plan import Plan, Round, cpus, in_turns, pinned
from tests.bench.quota import available, granted
from tests.conftest import ROOT

FUNCTIONS = ROOT / "tests" / "bench" / "functions"
PLAIN, FLOOR = "awslambdaric", "floor"
_ROW = 7
_LAYERS, _WIDTH = 10, 1500  # 90 MB of float32
_OPEN = """
import sys
import awslambdaric.bootstrap
import numpy
import onnxruntime as ort

ort.InferenceSession(sys.argv[1])
print("open", flush=True)
"""


@dataclass(frozen=True)
class Case:
    """A model, what it is asked, and where ours and the plain handler find it."""

    what: str
    onnx: Path
    settings: Mapping[str, str]
    event: bytes
    expected: np.ndarray[Any, Any]

    def check(self, answer: bytes) -> None:
        """Raise unless it is onnxruntime's."""
        said = json.loads(answer)
        predictions = np.array(json.loads(said["body"])["predictions"])
        if not np.allclose(predictions, self.expected, rtol=1e-3, atol=1e-4):
            raise FunctionError(f"{self.what}: a wrong answer: {answer[:300]!r}")


def measure(plan: Plan) -> Iterator[Figure]:
    """Time to the first answer, of a small model with all and half of a CPU, and of a large one."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        image = _image_like(folder / "image")
        small = _case(folder / "small", "3 MB model", *_demo())
        limited = available()
        for share in (1.0, 0.5) if limited else (1.0,):
            quota = granted(share) if limited else nullcontext()
            what = f"start to first answer, {small.what}, {share:g} CPU"
            note = "" if limited else "no control group may be made here: pinned to one CPU only"
            spent = _spent(small, image, folder, plan, quota, floor=True)
            yield Figure(_ROW, what, "ms", spent, [Target((FLOOR,), at_most=1.15)], note)
        if not plan.short:  # making it takes longer than starting it
            large = _case(folder / "large", "90 MB model", *_large())
            spent = _spent(large, image, folder, plan, nullcontext(), floor=False)
            yield Figure(_ROW, f"start to first answer, {large.what}, 1 CPU", "ms", spent)


def _spent(
    case: Case,
    image: Mapping[str, str],
    folder: Path,
    plan: Plan,
    quota: AbstractContextManager[None],
    *,
    floor: bool,
) -> dict[str, list[float]]:
    base = {"PATH": os.environ["PATH"]}
    module = (sys.executable, "-m")
    handler = (*module, "functions.runtime", "functions.runtime.handler.handler")
    ours = Program(handler, {**base, **image, **case.settings})
    variables = {**base, "MODEL": str(case.onnx), "PYTHONPATH": str(FUNCTIONS)}
    plain = Program((*module, "awslambdaric", "plain.handler"), variables)

    def first(program: Program) -> Round:
        def once() -> Mapping[str, float]:
            with function(program, folder / "log") as host:
                case.check(host.invoke(case.event)[0])
                spent = perf_counter() - host.started
                case.check(host.invoke(case.event)[0])
                return {"ms": spent * 1e3}

        return once

    rounds = {OURS: first(ours), PLAIN: first(plain)}
    if floor:
        rounds[FLOOR] = lambda: {"ms": _opened(case.onnx)}
    with quota:
        in_turns(rounds, 1)  # fills the page cache
        return in_turns(rounds, 1 if plan.short else max(plan.rounds, 9))["ms"]


def _opened(model: Path) -> float:
    """Milliseconds until a session is open, with nothing around it."""
    began = perf_counter()
    with pinned(cpus()[0]):
        process = Popen([sys.executable, "-c", _OPEN, str(model)], stdout=PIPE, text=True)
    assert process.stdout is not None
    with process.stdout:
        if process.stdout.readline() != "open\n":
            raise FunctionError("the floor does not open")
        spent = (perf_counter() - began) * 1e3
    process.wait()
    return spent


def _image_like(folder: Path) -> dict[str, str]:
    """Our code as an image has it, sources with bytecode beside them; the variables to run it."""
    sources.copy(sources.of_image(ROOT), folder)
    compileall.compile_dir(folder, quiet=1, invalidation_mode=PycInvalidationMode.UNCHECKED_HASH)
    path = os.pathsep.join([str(folder / "var/task"), str(folder / "opt/python")])
    return {"PYTHONPATH": path, "PYTHONSAFEPATH": "1"}


Made = tuple[bytes, str, np.ndarray[Any, Any]]


def _demo() -> Made:
    """The model of the examples: what kind of text is this."""
    (found,) = (Path(magika.__file__).parent / "models").glob("standard_v3_3/model.onnx")
    tokens = np.random.default_rng(2).integers(0, 256, (1, 2048)).astype(np.int32)
    return found.read_bytes(), "bytes", tokens


def _large() -> Made:
    """Ten dense layers, 90 MB in one file."""
    random = np.random.default_rng(0)
    nodes, weights, last = [], [], "x"
    for layer in range(_LAYERS):
        matrix = random.standard_normal((_WIDTH, _WIDTH), dtype=np.float32) / _WIDTH**0.5
        weights += [
            numpy_helper.from_array(matrix, f"w{layer}"),
            numpy_helper.from_array(np.full(_WIDTH, 0.1, np.float32), f"b{layer}"),
        ]
        names = [last, f"w{layer}", f"b{layer}"]
        nodes += [
            helper.make_node("Gemm", names, [f"g{layer}"]),
            helper.make_node("Relu", [f"g{layer}"], [f"r{layer}"]),
        ]
        last = f"r{layer}"
    graph = helper.make_graph(
        nodes,
        "layers",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", _WIDTH])],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, ["N", _WIDTH])],
        weights,
    )
    opsets = [helper.make_opsetid("", 17)]
    made = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    x = np.random.default_rng(1).standard_normal((1, _WIDTH), dtype=np.float32)
    return bytes(made.SerializeToString()), "x", x


def _case(folder: Path, what: str, body: bytes, name: str, rows: np.ndarray[Any, Any]) -> Case:
    """A published model beside its one file, and a request for it."""
    folder.mkdir(parents=True)
    model = folder / "plain.onnx"
    model.write_bytes(body)
    session = ort.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    expected = np.asarray(session.run(None, {name: rows})[0])
    asked = json.dumps({"instances": rows.tolist()}).encode()
    event = Request("POST", "/v1/models/m:predict", {}, asked, "cold").to_event()
    settings = _published(model, folder / "bundle").to_env()
    return Case(what, model, settings, event, expected)


def _published(model: Path, folder: Path) -> RuntimeSettings:
    """What publish makes of a model, laid out where an image has it."""
    work = folder / "work"
    work.mkdir(parents=True)
    draft, _ = tune(load_bundle(model, work=work), work, os.environ)
    manifest = Manifest("m", 1, draft.content, "2026-01-01T00:00:00Z", tuning=draft.tuning)
    for file in manifest.files:
        (folder / file.path).write_bytes(draft.sources[file.path].read_bytes())
    (folder / "manifest.json").write_bytes(manifest.to_bytes())
    return RuntimeSettings("m", 1, manifest.digest, str(folder), memory_mb=1769)
