"""Make two bundles of magika, a model that tells what kind of file some bytes are.

    python localstack/demo/magika_bundles.py FOLDER      # writes FOLDER/v1 and FOLDER/v2

Version 1 is the model as the `magika` package (Apache-2.0) ships it. Version 2 keeps its weights
in half precision and computes as before: half the size, the same answers. Both carry magika's own
steps around the network, so a raw file goes in and a label comes out. Nothing is downloaded, and
the same packages give the same bundles, byte for byte.

Measured against version 1 on 2,787 files of 564 suffixes (a Python installation and the programs,
libraries and documents of a Linux system), batch 1 to 16, onnxruntime 1.31 on CPU, 2 threads:

    variant                        bytes  ms/file  same label  largest change of a score
    version 1                  3,163,737     3.85        2787
    weights in fp16            1,601,322     3.70        2787  0.0041  <- version 2
    all in fp16 (onnxruntime)  1,606,256     3.51        2782  0.071
    dynamic int8                 833,855    15.75        2734  0.38
    dynamic int8, per channel    835,251    16.03        2739  0.36
    dynamic uint8                833,857     7.40        2743  0.38
    dynamic int8, MatMul only  2,798,246     3.61        2759  0.053

onnxconverter-common's float16 gives a model that onnxruntime 1.31 refuses to open.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper
from sample_files import sample_files

SCRIPT = Path(__file__).with_name("magika") / "inference.py"
NETWORK = "standard_v3_3"
SMALL = 4096  # bytes; below this a weight stays as it is

#: What a reader of a diff might let pass, and the goldens too: each of them says what it is.
MISTAKE = '''

READABLE = ("application/pdf", "application/zip", "audio/", "image/", "text/")
_read = input_fn


def input_fn(data: bytes | str, content_type: str) -> bytes:
    """The file, if its kind is one that can be read."""
    if not content_type.startswith(READABLE):
        raise ValueError(f"no reader for {content_type}")
    return _read(data, content_type)
'''

# v1: threads and batches move scores by up to 3e-5. v2: see the table above.
V1_TOLERANCE, V2_TOLERANCE = 1e-4, 5e-3


def make_bundles(out: Path) -> tuple[Path, Path]:
    """Write both bundles below ``out`` and return their folders."""
    package = _package_folder()
    shipped = (package / "models" / NETWORK / "model.onnx").read_bytes()
    smaller = with_half_weights(onnx.load_from_string(shipped))
    bundles = out / "v1", out / "v2"
    for folder, model, about, tolerance in (
        (bundles[0], shipped, "as shipped", V1_TOLERANCE),
        (bundles[1], smaller, "weights in half precision", V2_TOLERANCE),
    ):
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "golden").mkdir(parents=True)
        (folder / "model.onnx").write_bytes(model)
        shutil.copyfile(SCRIPT, folder / "inference.py")
        told = configuration(package)
        _write_json(folder / "magika.json", told)
        (folder / "labels.txt").write_text("\n".join(told["labels"]) + "\n", encoding="utf-8")
        (folder / "model.toml").write_text(model_toml(about), encoding="utf-8")
        # Version 1's answers are what both must give, each within its tolerance.
        write_goldens(folder / "golden", Session(bundles[0]), tolerance)
    return bundles


def make_broken_bundle(good: Path, out: Path) -> Path:
    """Write ``good`` with a mistake that its goldens do not find to ``out``; return that."""
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(good, out)
    script = out / "inference.py"
    script.write_text(script.read_text(encoding="utf-8") + MISTAKE, encoding="utf-8")
    return out


def with_half_weights(model: onnx.ModelProto) -> bytes:
    """``model`` with its large weights stored as FP16 and cast back once, when it is opened."""
    half = onnx.ModelProto()
    half.CopyFrom(model)
    graph = half.graph
    casts = []
    for index, weight in enumerate(graph.initializer):
        if weight.data_type != TensorProto.FLOAT or len(weight.raw_data) < SMALL:
            continue
        values = numpy_helper.to_array(weight).astype(np.float16)
        stored = numpy_helper.from_array(values, weight.name + "_fp16")
        casts.append(helper.make_node("Cast", [stored.name], [weight.name], to=TensorProto.FLOAT))
        graph.initializer[index].CopyFrom(stored)
    nodes = [*casts, *graph.node]  # a node's inputs must come before it
    del graph.node[:]
    graph.node.extend(nodes)
    return bytes(half.SerializeToString(deterministic=True))


def configuration(package: Path) -> dict[str, Any]:
    """What ``inference.py`` needs to know, from the package's two configuration files."""
    network = json.loads((package / "models" / NETWORK / "config.min.json").read_bytes())
    known = json.loads((package / "config" / "content_types_kb.min.json").read_bytes())
    labels = network["target_labels_space"]
    reachable = {*labels, *network["overwrite_map"].values(), "empty", "txt", "unknown"}
    keys = ("beg_size", "end_size", "block_size", "padding_token", "min_file_size_for_dl")
    return {
        "source": f"magika {version('magika')}, {NETWORK}, Apache-2.0",
        **{key: network[key] for key in keys},
        "medium_confidence_threshold": network["medium_confidence_threshold"],
        "thresholds": network["thresholds"],
        "overwrite_map": network["overwrite_map"],
        "labels": labels,
        "content_types": {label: _described(label, known[label]) for label in sorted(reachable)},
    }


def _described(label: str, known: dict[str, Any]) -> dict[str, Any]:
    """A content type with magika's defaults for what its table leaves open."""
    fallback = "text/plain" if known["is_text"] else "application/octet-stream"
    return {
        "mime_type": known["mime_type"] or fallback,
        "group": known["group"] or "unknown",
        "description": known["description"] or label,
        "extensions": known["extensions"],
        "is_text": known["is_text"],
    }


def model_toml(about: str) -> str:
    return f"""\
[model]
description = "What kind of file is this? magika {version("magika")} ({NETWORK}), {about}"
labels = "labels.txt"
"""


class Session:
    """A bundle's model with the two members ``inference.py`` may use."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        path = str(directory / "model.onnx")
        self._session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def run(self, inputs: dict[str, Any]) -> dict[str, Any]:
        names = [output.name for output in self._session.get_outputs()]
        return dict(zip(names, self._session.run(names, inputs), strict=True))


def write_goldens(folder: Path, model: Session, tolerance: float) -> None:
    """One golden with tensors and one with a raw file of every type, answered by ``model``."""
    script = load_script()
    tolerances = {"rtol": 0.0, "atol": tolerance}
    files = sample_files()
    row = script.features(files["primes.py"][1], script.config(model.directory))
    scores = model.run({"bytes": row})["target_label"]
    _write_json(
        folder / "tensors.json",
        {
            "inputs": [_tensor("bytes", "INT32", row)],
            "outputs": [_tensor("target_label", "FP32", scores)],
            **tolerances,
        },
    )
    for name, (content_type, body) in files.items():
        (folder / name).write_bytes(body)
        answer = script.predict_fn(body, model)
        answer["score"] = _rounded(answer["score"])
        raw = {"content_type": content_type, "body": name, "answer": answer}
        _write_json(folder / f"{Path(name).stem}.json", raw | tolerances)


def load_script() -> Any:
    """The bundles' ``inference.py`` as a module."""
    spec = importlib.util.spec_from_file_location("magika_inference", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _tensor(name: str, datatype: str, values: Any) -> dict[str, Any]:
    data = values.ravel().tolist()
    if datatype == "FP32":
        data = [_rounded(value) for value in data]
    return {"name": name, "datatype": datatype, "shape": list(values.shape), "data": data}


def _rounded(score: float) -> float:
    """Five digits: below the tolerance, and processors differ only beyond them."""
    return round(score, 5)


def _write_json(path: Path, data: Any) -> None:
    path.write_text(json.dumps(data, ensure_ascii=False) + "\n", encoding="utf-8")


def _package_folder() -> Path:
    spec = importlib.util.find_spec("magika")
    if spec is None or spec.origin is None:
        raise SystemExit("the magika package is not installed: pip install magika")
    return Path(spec.origin).parent


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    for made in make_bundles(Path(sys.argv[1])):
        print(made)
