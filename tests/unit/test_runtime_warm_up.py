"""The first request finds a warm model, and nobody finds the rehearsal in logs or counts."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import onnxruntime as ort
import pytest
from modelport.errors import InvalidBundleError
from modelport.goldens import Golden, Tensor
from modelport.manifest import File, Manifest, Tuning, digest_of, machine
from modelport.settings import RuntimeSettings

from functions.runtime import loading
from functions.runtime.loading import load
from functions.runtime.providers import Accelerators
from tests.support import runtime_bundles as bundles
from tests.support.runtime_planes import V2, Plane, v2_tensor

X = Tensor("x", "FP32", (1, 2), (1.0, 2.0))
GOLDEN = Golden("pair", (X,), (Tensor("y", "FP32", (1, 2), (2.0, 4.0)),))
#: A script that writes down every body it is asked about.
NOTING = """
from pathlib import Path

def model_fn(model_dir):
    return Path(model_dir) / "asked"

def input_fn(data, content_type):
    return data

def predict_fn(data, asked):
    with asked.open("ab") as file:
        file.write(data)
    if data == b"exit":
        raise SystemExit(3)
    return {"length": len(data)}
"""


def written(folder: Path, settings: RuntimeSettings, **changes: object) -> RuntimeSettings:
    """The bundle with other content in its manifest; the settings that fit."""
    path = folder / "manifest.json"
    manifest = Manifest.from_bytes(path.read_bytes())
    tuning = changes.pop("tuning", None)
    content = replace(manifest.content, **changes)  # type: ignore[arg-type]
    manifest = replace(manifest, content=content, tuning=tuning, digest="")  # type: ignore[arg-type]
    path.write_bytes(manifest.to_bytes())
    return replace(settings, digest=manifest.digest)


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def test_a_rehearsal_is_no_traffic(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "functions.runtime")
    settings = written(tmp_path, bundles.write_bundle(tmp_path, bundles.DOUBLE), goldens=(GOLDEN,))
    plane = Plane(load(settings))
    assert not [record for record in caplog.records if hasattr(record, "request")]
    for cold in (True, False):
        plane.answer(V2, {"inputs": [v2_tensor("x", [1, 2], [1, 2])]})
        line = caplog.records[-1].__dict__["request"]
        assert (line["cold_start"], line["request_id"]) == (cold, "id-1")


def test_a_raw_golden_is_rehearsed_through_the_script(tmp_path: Path) -> None:
    settings = bundles.write_bundle(tmp_path, bundles.DOUBLE, script=NOTING)
    golden = Golden("raw", content_type="text/plain", body=b"warm", answer={"length": 4})
    load(written(tmp_path, settings, goldens=(golden,)))
    assert (tmp_path / "asked").read_bytes() == b"warm"


def test_a_script_without_goldens_is_not_called_with_made_up_input(tmp_path: Path) -> None:
    load(bundles.write_bundle(tmp_path, bundles.DOUBLE, script=NOTING))
    assert not (tmp_path / "asked").exists()


def test_a_golden_that_fails_is_a_warning_in_words(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = bundles.write_bundle(tmp_path, bundles.DOUBLE, script=NOTING)
    golden = Golden("raw", content_type="text/plain", body=b"exit", answer={"length": 5})
    plane = Plane(load(written(tmp_path, settings, goldens=(golden,))))
    said = "the warm-up failed: model demo version 3 failed on this request"
    assert any(said in line for line in lines(caplog)), lines(caplog)
    octets = {"content-type": "application/octet-stream"}
    assert plane.post("/invocations", b"ok", octets).status == 200


WIDE = bundles.model(
    [bundles.node("Identity", ["x"], ["y"]), bundles.node("Identity", ["t"], ["u"])],
    [("x", bundles.FLOAT, [1, 500]), ("t", bundles.STRING, [3])],
    [("y", bundles.FLOAT, [1, 500]), ("u", bundles.STRING, [3])],
)
TO_BRAIN = bundles.model(
    [bundles.node("Cast", ["x"], ["y"], to=16)],
    [("x", bundles.FLOAT, ["N", 2])],
    [("y", 16, ["N", 2])],
)


@pytest.mark.parametrize(
    "body",
    [
        *(bundles.DOUBLE, bundles.TEXT, bundles.SCALE, bundles.COUNT, bundles.HALF),
        *(bundles.RECURRENT, WIDE, TO_BRAIN),
    ],
)
def test_without_goldens_zeros_are_rehearsed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, body: bytes
) -> None:
    load(bundles.write_bundle(tmp_path, body))
    assert lines(caplog) == []


@pytest.mark.parametrize(
    ("body", "golden"),
    [
        (
            WIDE,
            (Tensor("x", "FP32", (1, 500), (0.5,) * 500), Tensor("t", "BYTES", (3,), ("a",) * 3)),
        ),
        (bundles.HALF, (Tensor("h", "FP16", (1,), (0.5,)),)),
        (bundles.LOG, (Tensor("x", "FP32", (1,), (float("nan"),)),)),
    ],
)
def test_a_golden_that_json_would_not_carry_is_rehearsed_in_binary(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, body: bytes, golden: tuple[Tensor, ...]
) -> None:
    settings = bundles.write_bundle(tmp_path, body)
    load(written(tmp_path, settings, goldens=(Golden("g", golden),)))
    assert lines(caplog) == []


def test_a_model_whose_first_run_takes_seconds_is_not_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "functions.runtime")
    settings = bundles.write_bundle(tmp_path, bundles.DOUBLE, script=NOTING)
    golden = Golden("raw", content_type="text/plain", body=b"warm", answer={"length": 4})
    tuning = Tuning(figures={"ways": [{"chosen": True, "first_ms": 5000.0}]})
    load(written(tmp_path, settings, goldens=(golden,), tuning=tuning))
    assert lines(caplog) == ["no warm-up: the first run of this model takes seconds"]
    assert not (tmp_path / "asked").exists()


# --- the graph optimised beforehand ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("onnxruntime", "opened"), [(ort.__version__, "model.optimized.onnx"), ("1.0.0", "model.onnx")]
)
def test_the_optimised_graph_is_opened_where_it_was_made_for(
    tmp_path: Path, onnxruntime: str, opened: str
) -> None:
    settings = bundles.write_bundle(tmp_path, bundles.DOUBLE)
    (tmp_path / "model.optimized.onnx").write_bytes(bundles.NEGATE)
    graph = File("model.optimized.onnx", digest_of(bundles.NEGATE), len(bundles.NEGATE))
    figures = {"onnxruntime": onnxruntime, "machine": machine()}
    tuning = Tuning(True, "disabled", figures, graph)
    plane = Plane(load(written(tmp_path, settings, tuning=tuning)))
    answer = plane.answer(V2, {"inputs": [v2_tensor("x", [1, 2], [1, 2])]})
    want = [-1, -2] if opened == "model.optimized.onnx" else [2, 4]
    assert answer["outputs"][0]["data"] == want


def test_what_was_measured_on_a_cpu_says_nothing_of_a_gpu(tmp_path: Path) -> None:
    settings = bundles.write_bundle(tmp_path, bundles.DOUBLE)
    written(tmp_path, settings, tuning=Tuning(True, "basic"))
    manifest = loading.read_manifest(tmp_path)
    assert loading.opening(manifest, Accelerators()).disable_prepacking is True
    assert loading.opening(manifest, Accelerators(True, ("cpu",))).disable_prepacking is True
    for gpu in (Accelerators(gpu=True), Accelerators(named=("cuda", "cpu"))):
        assert loading.opening(manifest, gpu) == manifest.content.settings


def test_a_graph_that_is_missing_is_said(tmp_path: Path) -> None:
    settings = bundles.write_bundle(tmp_path, bundles.DOUBLE)
    tuning = Tuning(graph=File("model.optimized.onnx", "sha256:0", 3))
    with pytest.raises(InvalidBundleError, match=r"model\.optimized\.onnx: is in the"):
        load(written(tmp_path, settings, tuning=tuning))
    assert json.loads((tmp_path / "manifest.json").read_bytes())["tuning"]["graph"]["size"] == 3
