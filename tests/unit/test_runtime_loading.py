"""Opening a bundle: the right one or none, and settings that reach onnxruntime."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from modelport.errors import IntegrityError, InvalidBundleError, ModelportError
from modelport.manifest import File, Manifest, ModelSettings
from modelport.signature import Signature, TensorSpec
from onnx import helper, numpy_helper

from functions.runtime.loading import check_files, load
from functions.runtime.model import open_model, threads_for
from tests.support import runtime_bundles as bundles

X = TensorSpec("x", "FP32", (-1, 2))
Y = TensorSpec("y", "FP32", (-1, 2))


@pytest.mark.parametrize("change", [{"model": "other"}, {"version": 4}, {"digest": "sha256:0"}])
def test_another_version_than_deployed_is_refused(tmp_path: Path, change: dict[str, str]) -> None:
    settings = bundles.write_bundle(tmp_path, bundles.DOUBLE)
    (what,) = change
    with pytest.raises(IntegrityError, match=f"^{what} of the bundle in"):
        load(replace(settings, **change))  # type: ignore[arg-type]


def test_a_folder_without_a_manifest_is_refused(tmp_path: Path) -> None:
    settings = bundles.write_bundle(tmp_path, bundles.DOUBLE)
    (tmp_path / "manifest.json").unlink()
    with pytest.raises(InvalidBundleError, match=r"manifest\.json: cannot be read: No such file"):
        load(settings)


def test_a_changed_manifest_is_refused(tmp_path: Path) -> None:
    settings = bundles.write_bundle(tmp_path, bundles.DOUBLE)
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | {"description": "other"}))
    with pytest.raises(IntegrityError, match="manifest of demo:3"):
        load(settings)


def test_missing_and_truncated_files_are_refused(tmp_path: Path) -> None:
    settings = bundles.write_bundle(tmp_path, bundles.DOUBLE)
    model = tmp_path / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1])
    with pytest.raises(IntegrityError, match=r"model\.onnx: expected \d+ bytes, got \d+ bytes"):
        load(settings)
    model.unlink()
    with pytest.raises(InvalidBundleError, match="is in the manifest but not in"):
        load(settings)


def test_files_of_the_right_size_are_not_read(tmp_path: Path) -> None:
    bundles.write_bundle(tmp_path, bundles.DOUBLE)
    manifest = Manifest.from_bytes((tmp_path / "manifest.json").read_bytes())
    huge = tmp_path / "weights.bin"
    with huge.open("wb") as file:
        file.truncate(2**40)
    content = replace(manifest.content, files=(File("weights.bin", "sha256:0", 2**40),))
    check_files(replace(manifest, content=content, digest=""), tmp_path)


def test_a_model_onnxruntime_cannot_open_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"not a model")
    with pytest.raises(InvalidBundleError, match=r"model\.onnx: onnxruntime cannot open it"):
        open_model(tmp_path, ModelSettings(), Signature((X,), (Y,)), None)


@pytest.mark.parametrize(
    ("signature", "problem"),
    [
        (Signature((Y,), (Y,)), "its inputs are x, but the manifest says y"),
        (Signature((X,), ()), "its outputs are y, but the manifest says "),
    ],
)
def test_a_model_other_than_the_manifest_describes_is_refused(
    tmp_path: Path, signature: Signature, problem: str
) -> None:
    (tmp_path / "model.onnx").write_bytes(bundles.DOUBLE)
    with pytest.raises(InvalidBundleError, match=problem):
        open_model(tmp_path, ModelSettings(), signature, None)


@pytest.mark.parametrize(
    ("declared", "memory_mb", "threads"),
    [
        (None, None, 1),
        (None, 128, 1),
        (None, 1769, 1),
        (None, 3538, 2),
        (None, 10_240, 5),
        (3, 128, 3),
    ],
)
def test_threads_follow_memory_never_the_cpu_count(
    declared: int | None, memory_mb: int | None, threads: int
) -> None:
    assert threads_for(ModelSettings(threads=declared), memory_mb) == threads


@pytest.mark.parametrize("level", ["all", "extended", "basic", "disabled"])
@pytest.mark.parametrize("disable_prepacking", [False, True])
def test_every_setting_opens_and_answers_alike(
    tmp_path: Path, level: str, disable_prepacking: bool
) -> None:
    settings = ModelSettings(disable_prepacking=disable_prepacking, graph_optimization=level)
    (tmp_path / "model.onnx").write_bytes(bundles.DOUBLE)
    model = open_model(tmp_path, settings, Signature((X,), (Y,)), 1769)
    out = model.run({"x": np.array([[1, 2]], np.float32)})
    np.testing.assert_array_equal(out["y"], [[2, 4]])
    assert model.directory == tmp_path


def test_settings_reach_the_session(tmp_path: Path) -> None:
    settings = ModelSettings(threads=2, disable_prepacking=True, graph_optimization="basic")
    (tmp_path / "model.onnx").write_bytes(bundles.DOUBLE)
    options = open_model(tmp_path, settings, Signature((X,), (Y,)), None)._session
    options = options.get_session_options()
    assert options.intra_op_num_threads == 2
    assert options.get_session_config_entry("session.disable_prepacking") == "1"
    assert options.graph_optimization_level.name == "ORT_ENABLE_BASIC"


def test_external_data_is_found_beside_the_model(tmp_path: Path) -> None:
    weights = numpy_helper.from_array(np.array([10, 20], np.float32), "w")
    graph = helper.make_graph(
        [bundles.node("Mul", ["x", "w"], ["y"])],
        "graph",
        [helper.make_tensor_value_info("x", bundles.FLOAT, ["N", 2])],
        [helper.make_tensor_value_info("y", bundles.FLOAT, ["N", 2])],
        [weights],
    )
    opsets = [helper.make_opsetid("", 17)]
    whole = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    bundles.with_external_data(tmp_path, whole.SerializeToString())
    assert (tmp_path / "weights.bin").is_file()
    model = open_model(tmp_path, ModelSettings(), Signature((X,), (Y,)), None)
    out = model.run({"x": np.ones((1, 2), np.float32)}, ["y"])
    np.testing.assert_array_equal(out["y"], [[10, 20]])


def test_one_model_serves_many_threads(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(bundles.DOUBLE)
    model = open_model(tmp_path, ModelSettings(), Signature((X,), (Y,)), None)
    wrong: list[int] = []

    def work(number: int) -> None:
        for _ in range(200):
            out = model.run({"x": np.full((1, 2), number, np.float32)})
            if not (out["y"] == 2 * number).all():
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_every_load_error_is_one_of_ours(tmp_path: Path) -> None:
    settings = bundles.write_bundle(tmp_path, bundles.DOUBLE)
    (tmp_path / "manifest.json").write_bytes(b"{}")
    with pytest.raises(ModelportError):
        load(settings)
