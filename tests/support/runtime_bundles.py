"""Small real ONNX models and the bundle folders around them, as a model image has them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx
from modelport.manifest import Content, File, Manifest, ModelSettings
from modelport.onnx_file import read_onnx
from modelport.settings import RuntimeSettings
from onnx import TensorProto, helper

FLOAT, STRING, INT64 = TensorProto.FLOAT, TensorProto.STRING, TensorProto.INT64
Spec = tuple[str, int, Sequence[int | str]]


#: Datatype, shape and values of a constant.
Constant = tuple[int, Sequence[int], Sequence[Any]]


def graph_of(
    nodes: Sequence[Any],
    inputs: Sequence[Spec],
    outputs: Sequence[Spec],
    constants: Mapping[str, Constant] | None = None,
) -> Any:
    """A graph of these nodes."""
    return helper.make_graph(
        list(nodes),
        "graph",
        [helper.make_tensor_value_info(*spec) for spec in inputs],
        [helper.make_tensor_value_info(*spec) for spec in outputs],
        [helper.make_tensor(name, *each) for name, each in (constants or {}).items()],
    )


def model(
    nodes: Sequence[Any],
    inputs: Sequence[Spec],
    outputs: Sequence[Spec],
    constants: Mapping[str, Constant] | None = None,
) -> bytes:
    """A serialized model of these nodes."""
    graph = graph_of(nodes, inputs, outputs, constants)
    opsets = [helper.make_opsetid("", 17)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString())


def node(kind: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> Any:
    return helper.make_node(kind, inputs, outputs, **attributes)


#: One input, one output: x → 2x.
DOUBLE = model([node("Add", ["x", "x"], ["y"])], [("x", FLOAT, ["N", 2])], [("y", FLOAT, ["N", 2])])
#: Two inputs, two outputs, names with a colon.
SUM = model(
    [node("Add", ["a:0", "b:0"], ["sum:0"]), node("Sub", ["a:0", "b:0"], ["diff:0"])],
    [("a:0", FLOAT, ["N", 2]), ("b:0", FLOAT, ["N", 2])],
    [("sum:0", FLOAT, ["N", 2]), ("diff:0", FLOAT, ["N", 2])],
)
#: DOUBLE's signature, other answers.
NEGATE = model([node("Neg", ["x"], ["y"])], [("x", FLOAT, ["N", 2])], [("y", FLOAT, ["N", 2])])
#: A rank-0 input beside a matrix.
SCALE = model(
    [node("Mul", ["x", "factor"], ["y"])],
    [("x", FLOAT, ["N", 2]), ("factor", FLOAT, [])],
    [("y", FLOAT, ["N", 2])],
)
#: A rank-0 output: the batch is gone.
TOTAL = model(
    [node("ReduceSum", ["x"], ["total"], keepdims=0)],
    [("x", FLOAT, ["N", 2])],
    [("total", FLOAT, [])],
)
#: Text in, the same text out, once under a name that V1 answers as base64.
TEXT = model(
    [node("Identity", ["text"], ["same"]), node("Identity", ["text"], ["raw_bytes"])],
    [("text", STRING, ["N"])],
    [("same", STRING, ["N"]), ("raw_bytes", STRING, ["N"])],
)
#: Whole numbers, fixed shape: no batch.
COUNT = model(
    [node("Add", ["n", "n"], ["twice"])], [("n", INT64, [1, 3])], [("twice", INT64, [1, 3])]
)
#: Answers log(x): NaN below 0, -Infinity at 0.
LOG = model([node("Log", ["x"], ["log"])], [("x", FLOAT, ["N"])], [("log", FLOAT, ["N"])])
#: Batch on axis 1: [time, batch, 1] → per-step maximum and the batch-first transpose.
RECURRENT = model(
    [
        node("Transpose", ["x"], ["by_batch"], perm=[1, 0, 2]),
        node("ReduceMax", ["x"], ["highest"], axes=[1, 2], keepdims=0),
    ],
    [("x", FLOAT, [3, "N", 1])],
    [("by_batch", FLOAT, ["N", 3, 1]), ("highest", FLOAT, [3])],
)
#: Half precision in and out.
HALF = model(
    [node("Identity", ["h"], ["g"])],
    [("h", TensorProto.FLOAT16, ["N"])],
    [("g", TensorProto.FLOAT16, ["N"])],
)
#: Fails inside the graph when N and M differ, which no shape check can know.
MATCH = model(
    [node("Add", ["a", "b"], ["c"])],
    [("a", FLOAT, ["N"]), ("b", FLOAT, ["M"])],
    [("c", FLOAT, ["K"])],
)
_ONE_MORE = graph_of(
    [node("Add", ["so_far", "one"], ["more"]), node("Identity", ["on"], ["still_on"])],
    [("turn", INT64, []), ("on", TensorProto.BOOL, []), ("so_far", INT64, [])],
    [("still_on", TensorProto.BOOL, []), ("more", INT64, [])],
    {"one": (INT64, [], [1])},
)
#: Counts up to the number it is given, one by one: runs as long as its caller wants.
REPEAT = model(
    [
        node("Squeeze", ["n"], ["times"]),
        node("Loop", ["times", "", "zero"], ["count"], body=_ONE_MORE),
        node("Unsqueeze", ["count", "first"], ["counted"]),
    ],
    [("n", INT64, [1])],
    [("counted", INT64, [1])],
    {"zero": (INT64, [], [0]), "first": (INT64, [1], [0])},
)


def write_bundle(
    folder: Path,
    body: bytes,
    *,
    name: str = "demo",
    version: int = 3,
    script: str | None = None,
    settings: ModelSettings | None = None,
) -> RuntimeSettings:
    """A bundle folder with its manifest; the settings a function of it gets."""
    folder.mkdir(parents=True, exist_ok=True)
    sources = {"model.onnx": body} | ({"inference.py": script.encode()} if script else {})
    for path, content in sources.items():
        (folder / path).write_bytes(content)
    files = tuple(
        File(path, "sha256:" + hashlib.sha256(content).hexdigest(), len(content))
        for path, content in sources.items()
    )
    signature = read_onnx(folder / "model.onnx").signature
    chosen = settings or ModelSettings(script="inference.py" if script else None)
    manifest = Manifest(name, version, Content(files, signature, chosen), "2026-01-01T00:00:00Z")
    (folder / "manifest.json").write_bytes(manifest.to_bytes())
    return RuntimeSettings(name, version, manifest.digest, str(folder), memory_mb=1769)


def with_external_data(folder: Path, body: bytes) -> None:
    """Rewrite ``model.onnx`` of a folder with its weights in a file beside it."""
    loaded = onnx.load_model_from_string(body)
    onnx.save(
        loaded,
        folder / "model.onnx",
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
    )
