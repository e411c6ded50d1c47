"""Small real classifiers and regressors, published, and data sets they can be measured on."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
from modelport.bundle import load_bundle
from modelport.manifest import Manifest
from onnx import TensorProto, helper, numpy_helper

from tests.support.cli_world import ADA, Terminal

FEATURES = ("length", "width", "weight")
NAMES = ("ham", "spam")


def linear(
    weights: Any, *, softmax: bool = False, flat: bool = False, rows: int | str = "N"
) -> bytes:
    """An ONNX model x [N,K] → y = x · weights, as probabilities with ``softmax``, [N] if flat."""
    matrix = np.asarray(weights, np.float32)
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [rows, len(matrix)])]
    nodes = [helper.make_node("MatMul", ["x", "w"], ["z"])]
    constants = [numpy_helper.from_array(matrix, "w")]
    if softmax:
        nodes.append(helper.make_node("Softmax", ["z"], ["y"], axis=1))
    elif flat:
        constants.append(numpy_helper.from_array(np.array([1], np.int64), "axes"))
        nodes.append(helper.make_node("Squeeze", ["z", "axes"], ["y"]))
    else:
        nodes.append(helper.make_node("Identity", ["z"], ["y"]))
    shape = [rows] if flat else [rows, matrix.shape[1]]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)]
    graph = helper.make_graph(nodes, "graph", inputs, outputs, constants)
    opsets = [helper.make_opsetid("", 17)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString())


#: Takes the first feature's sign for the class; the second model hardly looks at it.
GOOD = linear([[-2, 2], [0, 0], [0, 0]], softmax=True)
POOR = linear([[-0.2, 0.2], [-1, 1], [0.5, -0.5]])
PRICE = linear([[3], [1], [0]], flat=True)


def bundle(folder: Path, model: bytes, **files: str) -> Path:
    """A bundle folder; files are given by name with ``_`` for the dot."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(model)
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text)
    return folder


def published(terminal: Terminal, name: str, model: bytes, **files: str) -> Manifest:
    """Publish a bundle of a model straight into the registry."""
    folder = terminal.folder / "bundles" / f"{name}-{len(model)}-{len(files)}"
    draft = load_bundle(bundle(folder, model, **files))
    return terminal.registry.publish(name, draft, who=ADA)


def features(rows: int = 200, seed: int = 1) -> Any:
    """Feature rows [N,3]."""
    return np.random.default_rng(seed).normal(size=(rows, len(FEATURES))).round(4)


def spam(path: Path, rows: int = 200, seed: int = 1) -> Path:
    """A CSV of mails: the class is the first feature's sign, wrong for every tenth."""
    found = features(rows, seed)
    labels = (found[:, 0] > 0).astype(int)
    labels[::10] = 1 - labels[::10]
    return table(path, found, [NAMES[label] for label in labels])


def prices(path: Path, rows: int = 200, seed: int = 1) -> Path:
    """A CSV of prices: 3 length + width, and noise."""
    found = features(rows, seed)
    noise = np.random.default_rng(seed + 1).normal(scale=0.5, size=rows)
    return table(path, found, (3 * found[:, 0] + found[:, 1] + noise).round(4).tolist(), "price")


def table(path: Path, rows: Any, labels: list[Any], label: str = "label") -> Path:
    """Write features and labels as CSV."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*FEATURES, label])
        writer.writerows([*row, each] for row, each in zip(rows.tolist(), labels, strict=True))
    return path
