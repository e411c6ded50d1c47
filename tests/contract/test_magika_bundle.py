"""The demo's bundles of magika: the same answers as the `magika` package, both versions.

Files are made here or found beside the running Python: its sources, compiled modules, libraries
and the files its packages bring.
"""

from __future__ import annotations

import importlib
import io
import json
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from magika import Magika
from modelport.bundle import load_bundle
from modelport.goldens import Golden
from modelport.goldens.forms import asked_of, requests
from modelport.manifest import Draft

from tests.conftest import ROOT

DEMO = ROOT / "localstack" / "demo"


@pytest.fixture(scope="module")
def demo() -> Iterator[Any]:
    """`magika_bundles`, imported as the demo does: its folder is on the path."""
    sys.path.insert(0, str(DEMO))
    yield importlib.import_module("magika_bundles")
    sys.path.remove(str(DEMO))


@pytest.fixture(scope="module")
def bundles(demo: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    made: tuple[Path, Path] = demo.make_bundles(tmp_path_factory.mktemp("bundles"))
    return made


@pytest.fixture(scope="module")
def drafts(bundles: tuple[Path, Path]) -> tuple[Draft, Draft]:
    return load_bundle(bundles[0]), load_bundle(bundles[1])


@pytest.fixture(scope="module")
def magika() -> Magika:
    return Magika()


def found_files() -> list[Path]:
    """Up to 12 files of every suffix that the standard library and some packages hold."""
    by_suffix: dict[str, list[Path]] = {}
    packages = Path(sysconfig.get_path("purelib"))
    for root in (
        Path(sysconfig.get_path("stdlib")) / "email",
        Path(sysconfig.get_path("stdlib")) / "json",
        Path(sysconfig.get_path("stdlib")) / "lib-dynload",
        *(packages / name for name in ("magika", "numpy", "onnx", "pip", "pytest", "hypothesis")),
    ):
        for path in sorted(root.rglob("*")):
            if path.is_file() and not path.is_symlink():
                by_suffix.setdefault(path.suffix, []).append(path)
    return [path for paths in by_suffix.values() for path in paths[:12]]


def archive(kind: str) -> bytes:
    buffer = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr("a.txt", "words " * 500)
    else:
        with tarfile.open(fileobj=buffer, mode=kind) as tar:  # type: ignore[call-overload]
            info = tarfile.TarInfo("a.txt")
            info.size = 3000
            tar.addfile(info, io.BytesIO(b"words " * 500))
    return buffer.getvalue()


SPECIAL: dict[str, bytes] = {
    "nothing": b"",
    "one byte": b"x",
    "seven bytes": b"1234567",
    "seven bytes, not text": b"\xff\xfe\xfd\xfc\xfb\xfa\xf9",
    "eight bytes": b"12345678",
    "eight bytes, not text": bytes(range(248, 256)),
    "white space": b" \t\r\n\x0b\x0c" * 20,
    "white space over a block": b" " * 5000,
    "seven bytes after white space": b" " * 40 + b"1234567",
    "eight bytes after white space": b" " * 40 + b"12345678",
    "text after a block of white space": b"\n" * 4096 + b"import os\n" * 200,
    "text cut inside a character": b" " * 4095 + "é".encode() * 2,
    "zeros": b"\0" * 3000,
    "block less one": b"import os\n" * 409 + b"impor",
    "exactly a block": (b"import os\n" * 410)[:4096],
    "block and one": (b"import os\n" * 410)[:4097],
    "1023 bytes": (b"a = 1\n" * 300)[:1023],
    "1024 bytes": (b"a = 1\n" * 300)[:1024],
    "1025 bytes": (b"a = 1\n" * 300)[:1025],
    "white space at both ends": b"\n \n" * 50 + b"print('x')\n" * 30 + b"\n\t " * 50,
    "random bytes": np.random.default_rng(1).bytes(9000),
    "random text": bytes(np.random.default_rng(2).integers(33, 127, 3000, dtype=np.uint8)),
    "doubtful": b"one two three four\n",
    "zip": archive("zip"),
    "tar": archive("w:"),
    "tar.gz": archive("w:gz"),
    "tar.bz2": archive("w:bz2"),
    "tar.xz": archive("w:xz"),
}


class Answers:
    """A bundle asked as the runtime asks it: input_fn, predict_fn, output_fn."""

    def __init__(self, demo: Any, folder: Path) -> None:
        self._script, self._model = demo.load_script(), demo.Session(folder)

    def __call__(self, body: bytes) -> dict[str, Any]:
        data = self._script.input_fn(body, "application/octet-stream")
        prediction = self._script.predict_fn(data, self._model)
        text, content_type = self._script.output_fn(prediction, "*/*")
        assert content_type == "application/json"
        answer: dict[str, Any] = json.loads(text)
        return answer


@pytest.fixture(scope="module")
def answers(demo: Any, bundles: tuple[Path, Path]) -> tuple[Answers, Answers]:
    return Answers(demo, bundles[0]), Answers(demo, bundles[1])


def expected(magika: Magika, body: bytes) -> dict[str, Any]:
    prediction = magika.identify_bytes(body).prediction
    output = prediction.output
    return {
        "label": str(output.label),
        "score": pytest.approx(prediction.score, abs=1e-4),
        "mime_type": output.mime_type,
        "group": output.group,
        "description": output.description,
        "extensions": output.extensions,
        "is_text": output.is_text,
        "dl_label": str(prediction.dl.label),
        "overwrite_reason": str(prediction.overwrite_reason.value),
    }


@pytest.mark.parametrize("name", list(SPECIAL))
def test_special_cases_are_the_packages(
    answers: tuple[Answers, Answers], magika: Magika, name: str
) -> None:
    body = SPECIAL[name]
    assert answers[0](body) == expected(magika, body)
    assert answers[1](body)["label"] == str(magika.identify_bytes(body).output.label)


def test_answers_on_real_files_are_the_packages(
    answers: tuple[Answers, Answers], magika: Magika
) -> None:
    files = found_files()
    labels = set()
    for path in files:
        body = path.read_bytes()
        want = expected(magika, body)
        assert answers[0](body) == want, path
        second = answers[1](body)
        assert second["label"] == want["label"], path
        labels.add(want["label"])
    assert len(files) >= 60
    assert len(labels) >= 12, labels


@pytest.mark.parametrize("score", [0.0, 0.49999, 0.5, 0.74, 0.75, 0.9, 0.94999, 0.95, 1.0])
def test_every_label_is_judged_as_by_the_package(
    demo: Any, bundles: tuple[Path, Path], magika: Magika, score: float
) -> None:
    script = demo.load_script()
    told = script.config(bundles[0])
    reasons = set()
    for label in magika.get_model_content_types():
        if label == "undefined":
            continue
        output, reason = magika._get_output_label_from_dl_label_and_score(label, score)
        judged = script.judged(told, str(label), score)
        assert (judged["label"], judged["overwrite_reason"]) == (str(output), reason.value)
        reasons.add(reason.value)
    assert reasons >= ({"none", "overwrite_map"} if score >= 0.95 else {"none", "low_confidence"})


def test_both_versions_are_bundles(drafts: tuple[Draft, Draft]) -> None:
    first, second = (draft.content for draft in drafts)
    assert first.signature == second.signature
    assert [(spec.name, str(spec)) for spec in first.signature.inputs] == [
        ("bytes", "INT32 [-1,2048]")
    ]
    assert [(spec.name, str(spec)) for spec in first.signature.outputs] == [
        ("target_label", "FP32 [-1,214]")
    ]
    assert (first.settings.script, first.settings.labels) == ("inference.py", "labels.txt")
    assert [file.path for file in first.files] == [
        "inference.py", "labels.txt", "magika.json", "model.onnx", "model.toml",
    ]  # fmt: skip
    assert first.digest != second.digest


def test_version_1_is_the_model_as_shipped(bundles: tuple[Path, Path], demo: Any) -> None:
    shipped = Path(sys.modules["magika"].__file__ or "").parent / "models" / demo.NETWORK
    assert (bundles[0] / "model.onnx").read_bytes() == (shipped / "model.onnx").read_bytes()


def test_version_2_is_half_the_size_and_valid(bundles: tuple[Path, Path]) -> None:
    sizes = [(bundle / "model.onnx").stat().st_size for bundle in bundles]
    assert sizes[1] < 0.52 * sizes[0]
    onnx.checker.check_model(str(bundles[1] / "model.onnx"), full_check=True)


def test_the_same_packages_make_the_same_bundles(
    demo: Any, drafts: tuple[Draft, Draft], bundles: tuple[Path, Path], tmp_path: Path
) -> None:
    (bundles[0].parent / "v1" / "left-over.txt").write_text("from an earlier run")
    for draft, again in zip(drafts, demo.make_bundles(bundles[0].parent), strict=True):
        assert load_bundle(again).content.digest == draft.content.digest
    for draft, elsewhere in zip(drafts, demo.make_bundles(tmp_path), strict=True):
        assert load_bundle(elsewhere).content.digest == draft.content.digest


def _judged(golden: Golden, draft: Draft, form: str, body: bytes) -> str | None:
    asked = requests(golden, asked_of(draft.content))
    return next(request for request in asked if request.form == form).check({}, body)


def _ask(golden: Golden, demo: Any, folder: Path) -> list[tuple[str, bytes]]:
    """The golden's answers by the bundle itself, per form."""
    if golden.kind == "raw":
        return [("raw", json.dumps(Answers(demo, folder)(golden.body)).encode())]
    tensor = golden.inputs[0]
    array = np.array(tensor.data, np.int32).reshape(tensor.shape)
    scores = demo.Session(folder).run({tensor.name: array})["target_label"]
    output = {
        "name": "target_label",
        "datatype": "FP32",
        "shape": list(scores.shape),
        "data": scores.ravel().tolist(),
    }
    return [
        ("v1 columns", json.dumps({"outputs": scores.tolist()}).encode()),
        ("v2 json", json.dumps({"outputs": [output]}).encode()),
    ]


@pytest.mark.parametrize("version", [1, 2])
def test_goldens_hold(
    demo: Any, bundles: tuple[Path, Path], drafts: tuple[Draft, Draft], version: int
) -> None:
    goldens = drafts[version - 1].content.goldens
    for golden in goldens:
        for form, body in _ask(golden, demo, bundles[version - 1]):
            assert _judged(golden, drafts[version - 1], form, body) is None, golden.name
    labels = [golden.answer["label"] for golden in goldens if golden.kind == "raw"]
    assert labels == ["png", "zip", "html", "python", "pdf", "wav"]


def test_goldens_tell_versions_from_wrong_models(
    demo: Any, bundles: tuple[Path, Path], drafts: tuple[Draft, Draft]
) -> None:
    golden = next(g for g in drafts[0].content.goldens if g.kind == "tensors")
    body = json.loads(_ask(golden, demo, bundles[1])[1][1])
    body["outputs"][0]["data"][0] += 0.01
    assert _judged(golden, drafts[0], "v2 json", json.dumps(body).encode()) is not None


def test_labels_are_the_models_in_its_order(bundles: tuple[Path, Path], magika: Magika) -> None:
    lines = (bundles[0] / "labels.txt").read_text(encoding="utf-8").splitlines()
    told = json.loads((bundles[0] / "magika.json").read_text(encoding="utf-8"))
    assert len(lines) == 214
    assert lines == told["labels"]
    assert sorted(lines) == [
        str(label) for label in magika.get_model_content_types() if label != "undefined"
    ]
    assert set(told["content_types"]) >= {
        str(label)
        for label in magika.get_output_content_types()
        if label not in ("directory", "symlink")
    }


def test_batches_of_tensors_are_answered(demo: Any, bundles: tuple[Path, Path]) -> None:
    rows = np.random.default_rng(3).integers(0, 257, (5, 2048), dtype=np.int32)
    for folder in bundles:
        session = demo.Session(folder)
        together = session.run({"bytes": rows})["target_label"]
        alone = np.concatenate([session.run({"bytes": row[None]})["target_label"] for row in rows])
        assert together.shape == (5, 214)
        np.testing.assert_allclose(together, alone, atol=1e-3)
