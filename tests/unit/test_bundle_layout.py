"""A bundle on its way to a version: weights laid out, requirements and batching told."""

from __future__ import annotations

from pathlib import Path

import pytest
from modelport.bundle import load_bundle
from modelport.errors import InvalidBundleError
from modelport.manifest import Batching, Draft
from modelport.onnx_file import read_onnx

from tests.support import runtime_bundles as bundles
from tests.support.weighty_models import PAYS, adding, outside, saved, weights


def refused(path: Path) -> InvalidBundleError:
    with pytest.raises(InvalidBundleError) as caught:
        load_bundle(path)
    return caught.value


# --- weights laid out -----------------------------------------------------------------------------


def laid_out(path: Path, work: Path) -> Draft:
    work.mkdir(exist_ok=True)
    return load_bundle(path, work=work)


def test_a_weighty_model_is_published_with_its_weights_beside_it(tmp_path: Path) -> None:
    path = saved(adding(weights("w", PAYS)), tmp_path / "bundle")
    draft = laid_out(path, tmp_path / "work")
    work = tmp_path / "work"
    assert draft.sources == {
        "model.onnx": work / "model.onnx",
        "model.onnx.data": work / "model.onnx.data",
    }
    assert [file.path for file in draft.content.files] == ["model.onnx", "model.onnx.data"]
    assert draft.content.signature == read_onnx(path).signature
    assert draft.content.digest == laid_out(path, tmp_path / "again").content.digest
    assert load_bundle(work / "model.onnx").content.digest == draft.content.digest


def test_a_folder_keeps_its_files_and_its_entry(tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    saved(adding(weights("w", PAYS)), folder / "nets")
    (folder / "nets/model.onnx.data").write_text("a file of the author's")
    (folder / "labels.txt").write_text("a\n")
    draft = laid_out(folder, tmp_path / "work")
    assert draft.content.settings.entry == "nets/model.onnx"
    assert list(draft.sources) == [
        "labels.txt", "nets/model.onnx", "nets/model.onnx.data", "nets/model.onnx.data2",
    ]  # fmt: skip
    assert draft.sources["nets/model.onnx.data"] == folder / "nets/model.onnx.data"


def test_as_is_leaves_the_files_alone(tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    path = saved(adding(weights("w", PAYS)), folder)
    (folder / "model.toml").write_text('[runtime]\nlayout = "as-is"\n')
    draft = laid_out(folder, tmp_path / "work")
    assert draft.sources["model.onnx"] == path
    assert list((tmp_path / "work").iterdir()) == []


def test_data_files_that_another_model_uses_stay(tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    model = adding(outside(weights("w", PAYS), folder, "w.bin", 4))
    saved(model, folder)
    (folder / "other.onnx").write_bytes(model.SerializeToString())
    names = list(laid_out(folder, tmp_path / "work").sources)
    assert names == ["model.onnx", "model.onnx.data", "other.onnx", "w.bin"]
    (folder / "other.onnx").write_text("not a model")
    assert "w.bin" in laid_out(folder, tmp_path / "work").sources
    (folder / "other.onnx").unlink()
    assert list(laid_out(folder, tmp_path / "work").sources) == ["model.onnx", "model.onnx.data"]


# --- what the runtime is told ---------------------------------------------------------------------


def test_requirements_are_named_for_the_image(tmp_path: Path) -> None:
    folder = tmp_path
    (folder / "model.onnx").write_bytes(bundles.DOUBLE)
    assert load_bundle(folder).content.settings.requirements is None
    (folder / "requirements.txt").write_text("pillow\n")
    assert load_bundle(folder).content.settings.requirements == "requirements.txt"


def test_batching_needs_a_batch_dimension(tmp_path: Path) -> None:
    (tmp_path / "model.toml").write_text("[runtime.batching]\nmax_rows = 32\nmax_delay_ms = 2.5\n")
    (tmp_path / "model.onnx").write_bytes(bundles.DOUBLE)
    assert load_bundle(tmp_path).content.settings.batching == Batching(32, 2.5)
    for body, problem in (
        (bundles.COUNT, "runtime.batching: input 'n' is INT64 [1,3], without a batch dimension"),
        (bundles.TOTAL, "runtime.batching: output 'total' is FP32 [], without a batch dimension"),
        (bundles.RECURRENT, "runtime.batching: input 'x' is FP32 [3,-1,1], without"),
    ):
        (tmp_path / "model.onnx").write_bytes(body)
        assert problem in str(refused(tmp_path))
