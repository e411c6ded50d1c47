"""Which files make a version, and which stop it from being one."""

import hashlib
import json
import os
import socket
import zlib
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from modelport.bundle import load_bundle
from modelport.errors import InvalidBundleError, InvalidOnnxError
from modelport.manifest import Content, File, ModelSettings
from modelport.registry.checksums import PART_SIZE
from modelport.signature import Signature, TensorSpec
from onnx import helper

SIGNATURE = Signature((TensorSpec("x", "FP32", (-1, 2)),), (TensorSpec("y", "FP32", (-1, 2)),))


def doubling() -> onnx.ModelProto:
    """y = x · w with w = 2, for rows of two numbers."""
    weight = helper.make_tensor("w", 1, [2], b"\x00\x00\x00\x40" * 2, raw=True)
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "w"], ["y"])],
        "doubling",
        [helper.make_tensor_value_info("x", 1, ["n", 2])],
        [helper.make_tensor_value_info("y", 1, ["n", 2])],
        [weight],
    )
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bundle with one file: the model."""
    made = tmp_path / "bundle"
    made.mkdir()
    onnx.save(doubling(), made / "model.onnx")
    return made


def with_external_data(folder: Path, name: str = "model.onnx", data: str = "weights.bin") -> Path:
    onnx.save(
        doubling(), folder / name, save_as_external_data=True, location=data, size_threshold=0
    )
    return folder / name


def refused(path: Path) -> InvalidBundleError:
    with pytest.raises(InvalidBundleError) as caught:
        load_bundle(path)
    return caught.value


def paths(folder: Path) -> list[str]:
    return [file.path for file in load_bundle(folder).content.files]


# --- one file -------------------------------------------------------------------------------------


def test_a_bare_model_is_a_bundle(folder: Path) -> None:
    body = (folder / "model.onnx").read_bytes()
    draft = load_bundle(folder / "model.onnx")
    digest = "sha256:" + hashlib.sha256(body).hexdigest()
    assert draft.content == Content((File("model.onnx", digest, len(body)),), SIGNATURE)
    assert draft.sources == {"model.onnx": folder / "model.onnx"}


def test_a_models_file_name_is_not_part_of_it(folder: Path) -> None:
    (folder / "model.onnx").rename(folder / "net-final2.onnx")
    draft = load_bundle(folder / "net-final2.onnx")
    assert draft.content.settings.entry == "model.onnx"
    assert draft.sources == {"model.onnx": folder / "net-final2.onnx"}


def test_a_bare_model_brings_its_external_data_and_nothing_else(folder: Path) -> None:
    path = with_external_data(folder, "net.onnx", "net.data")
    (folder / "secrets.txt").write_text("keep out")
    draft = load_bundle(path)
    assert draft.sources == {"model.onnx": path, "net.data": folder / "net.data"}
    assert [(file.path, file.size > 0) for file in draft.content.files] == [
        ("model.onnx", True), ("net.data", True),
    ]  # fmt: skip


def test_external_data_must_not_take_the_models_place(folder: Path) -> None:
    path = with_external_data(folder, "net.onnx", "other.bin")
    made = onnx.load_from_string(path.read_bytes())
    made.graph.initializer[0].external_data[0].value = "model.onnx"
    path.write_bytes(made.SerializeToString())
    os.replace(folder / "other.bin", folder / "model.onnx")
    assert "its external data is called 'model.onnx', like the model" in str(refused(path))


def test_what_is_not_there(tmp_path: Path) -> None:
    error = refused(tmp_path / "nothing")
    assert "no such file or folder" in str(error)
    assert "model.onnx" in error.hint


def test_what_the_system_refuses_is_said(tmp_path: Path) -> None:
    assert "cannot be read: File name too long" in str(refused(tmp_path / ("x" * 300)))


def test_a_file_that_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(b"PK\x03\x04 weights")
    assert isinstance(refused(tmp_path / "model.pt"), InvalidOnnxError)


# --- a folder -------------------------------------------------------------------------------------


def test_every_file_counts_in_the_order_of_its_path(folder: Path) -> None:
    with_external_data(folder)
    (folder / "a").mkdir()
    for name in ("zeta.json", "a/b.txt", "a.txt", "requirements.txt", "Ärger.txt", "empty"):
        (folder / name).write_text(name if name != "empty" else "")
    assert paths(folder) == [
        "a.txt", "a/b.txt", "empty", "model.onnx", "requirements.txt", "weights.bin", "zeta.json",
        "Ärger.txt",
    ]  # fmt: skip


def test_a_draft_says_the_checksums_of_every_file(folder: Path) -> None:
    (folder / "weights.bin").write_bytes(os.urandom(PART_SIZE + 1))
    (folder / "empty.txt").touch()
    draft = load_bundle(folder)
    assert set(draft.checksums) == set(draft.sources) == {"model.onnx", "weights.bin", "empty.txt"}
    for name, path in draft.sources.items():
        body = path.read_bytes()
        parts = [body[start : start + PART_SIZE] for start in range(0, len(body), PART_SIZE)]
        assert draft.checksums[name].values == [zlib.crc32(part) for part in parts]
    assert [file.digest for file in draft.files] == [
        "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest() for path in draft.sources.values()
    ]


def test_what_tools_leave_behind_does_not_count(folder: Path) -> None:
    before = load_bundle(folder).content.digest
    (folder / "__pycache__").mkdir()
    (folder / ".git").mkdir()
    for name in (".DS_Store", ".git/config", "__pycache__/inference.cpython-311.pyc", "old.pyc"):
        (folder / name).write_text("left by a tool")
    assert paths(folder) == ["model.onnx"]
    assert load_bundle(folder).content.digest == before


def test_the_same_files_anywhere_are_the_same_version(folder: Path, tmp_path: Path) -> None:
    (folder / "inference.py").write_text("def input_fn(data, content_type): return data\n")
    copy = tmp_path / "elsewhere"
    copy.mkdir()
    for file in sorted(folder.iterdir(), reverse=True):
        (copy / file.name).write_bytes(file.read_bytes())
    assert load_bundle(copy).content == load_bundle(folder).content


def test_one_changed_byte_is_another_version(folder: Path) -> None:
    (folder / "labels.txt").write_text("cat\ndog\n")
    before = load_bundle(folder).content.digest
    (folder / "labels.txt").write_text("cat\ndug\n")
    assert load_bundle(folder).content.digest != before


def test_settings_come_from_the_files_that_are_there(folder: Path) -> None:
    (folder / "labels.txt").write_text("no\nyes\n")
    (folder / "inference.py").write_text("def predict_fn(data, model): return data\n")
    (folder / "model.toml").write_text(
        "[model]\ndescription = 'Doubles'\n[runtime]\nthreads = 1\n[metrics]\nacc = 0.5\n"
    )
    content = load_bundle(folder).content
    assert content.settings == ModelSettings("model.onnx", "labels.txt", "inference.py", threads=1)
    assert (content.description, content.metrics) == ("Doubles", {"acc": 0.5})
    assert content.signature == SIGNATURE


def test_the_only_model_needs_no_name(folder: Path) -> None:
    (folder / "onnx").mkdir()
    (folder / "model.onnx").rename(folder / "onnx" / "net.onnx")
    assert load_bundle(folder).content.settings.entry == "onnx/net.onnx"


def test_several_models_need_an_entry(folder: Path) -> None:
    (folder / "model.onnx").rename(folder / "a.onnx")
    (folder / "b.onnx").write_bytes((folder / "a.onnx").read_bytes())
    error = refused(folder)
    assert "several .onnx files and none is model.onnx: a.onnx, b.onnx" in str(error)
    assert "entry" in error.hint
    (folder / "model.toml").write_text("[model]\nentry = 'b.onnx'\n")
    assert load_bundle(folder).content.settings.entry == "b.onnx"


def test_external_data_in_a_folder_below(folder: Path) -> None:
    (folder / "model.onnx").unlink()
    (folder / "onnx").mkdir()
    with_external_data(folder / "onnx")
    assert paths(folder) == ["onnx/model.onnx", "onnx/weights.bin"]


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    error = refused(tmp_path)
    assert "has no .onnx file" in str(error)
    assert "model.onnx" in error.hint


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("model.toml", "[model]\nentry = 'net.onnx'\n", "entry 'net.onnx', which is not in it"),
        ("model.toml", "[model]\nlabels = 'l.txt'\n", "labels 'l.txt', which is not in it"),
        ("model.toml", "[server]\n", "unknown key 'server'"),
        ("inference.py", "def input_fn(:\n", "not Python: invalid syntax, line 1"),
        ("inference.py", "x = 1\0", "not Python"),
        ("model.onnx", "hello", "not an ONNX file"),
        ("manifest.json", "{}", "has the name of the version's own record"),
        ("inference.py", "x = " + "-" * 200_000 + "1\n", "not Python"),
        ("bad\nname", "", "cannot be stored"),
        ("back\\slash", "", "cannot be stored"),
    ],
)
def test_files_that_stop_a_bundle(folder: Path, name: str, text: str, problem: str) -> None:
    (folder / name).write_text(text)
    assert problem in str(refused(folder))


def test_a_scripts_style_is_not_judged(folder: Path) -> None:
    (folder / "inference.py").write_text("pattern = '\\d'\n")  # a SyntaxWarning since 3.12
    assert load_bundle(folder).content.settings.script == "inference.py"


def test_labels_must_be_text(folder: Path) -> None:
    (folder / "labels.txt").write_bytes(b"\xff\xfe")
    assert "labels must be UTF-8 text" in str(refused(folder))


def test_names_that_are_no_text_are_refused(folder: Path) -> None:
    os.close(os.open(os.fsencode(folder) + b"/\xff\xfe.bin", os.O_CREAT | os.O_WRONLY))
    assert "cannot be stored" in str(refused(folder))


def test_external_data_that_bundles_leave_out(folder: Path) -> None:
    (folder / "model.onnx").unlink()
    with_external_data(folder, data=".weights")
    error = refused(folder)
    assert "external data file '.weights' has a name that bundles leave out" in str(error)
    assert "start with a dot" in error.hint


def test_missing_external_data(folder: Path) -> None:
    (folder / "model.onnx").unlink()
    with_external_data(folder)
    (folder / "weights.bin").unlink()
    assert "external data file 'weights.bin' (tensor 'w') is missing" in str(refused(folder))


# --- links and devices ----------------------------------------------------------------------------


def test_a_link_inside_counts_as_the_file_it_names(folder: Path) -> None:
    (folder / "data").mkdir()
    (folder / "data" / "real.txt").write_text("words")
    (folder / "labels.txt").symlink_to("data/real.txt")
    files = {file.path: file for file in load_bundle(folder).content.files}
    assert files["labels.txt"].digest == files["data/real.txt"].digest


def _outside(folder: Path) -> str:
    (folder.parent / "secret").write_text("s3cret")
    (folder / "l").symlink_to("../secret")
    return "is a link out of the bundle"


def _absolute(folder: Path) -> str:
    (folder / "l").symlink_to("/etc/hostname" if Path("/etc/hostname").exists() else "/etc/passwd")
    return "is a link out of the bundle"


def _sibling_with_the_same_prefix(folder: Path) -> str:
    folder.with_name("bundle-secret").write_text("s3cret")
    (folder / "l").symlink_to("../bundle-secret")
    return "is a link out of the bundle"


def _folder_link(folder: Path) -> str:
    (folder / "sub").mkdir()
    (folder / "l").symlink_to("sub")
    return "is a link to something that is not a file"


def _loop(folder: Path) -> str:
    (folder / "l").symlink_to(".")
    return "is a link to something that is not a file"


def _dangling(folder: Path) -> str:
    (folder / "l").symlink_to("gone")
    return "is a link to nothing"


def _self(folder: Path) -> str:
    (folder / "l").symlink_to("l")
    return "is a link to nothing"


def _pipe(folder: Path) -> str:
    os.mkfifo(folder / "l")
    return "is a pipe, socket or device"


def _socket(folder: Path) -> str:
    with socket.socket(socket.AF_UNIX) as listening:
        here = os.open(folder, os.O_RDONLY)
        try:  # by way of the descriptor: socket paths are short, temporary folders are not
            listening.bind(f"/proc/self/fd/{here}/l")
        finally:
            os.close(here)
    return "is a pipe, socket or device"


def _golden_link(folder: Path) -> str:
    (folder / "golden").mkdir()
    (folder.parent / "body.bin").write_text("s3cret")
    (folder / "golden" / "body.bin").symlink_to("../../body.bin")
    return "is a link out of the bundle"


@pytest.mark.parametrize(
    "spoil",
    [_outside, _absolute, _sibling_with_the_same_prefix, _folder_link, _loop, _dangling, _self,
     _pipe, _socket, _golden_link],
)  # fmt: skip
def test_what_is_no_file_of_the_bundle_is_refused(
    folder: Path, spoil: Callable[[Path], str]
) -> None:
    problem = spoil(folder)
    assert problem in str(refused(folder))


def test_a_link_to_the_bundle_itself_is_fine(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "current").symlink_to(folder)
    assert load_bundle(tmp_path / "current").content == load_bundle(folder).content


# --- progress -------------------------------------------------------------------------------------


def test_progress_counts_every_byte_once(folder: Path) -> None:
    (folder / "large.bin").write_bytes(b"\1" * (3 << 20))
    seen: list[tuple[str, int, int]] = []
    content = load_bundle(folder, lambda *step: seen.append(step)).content
    done = [step[1] for step in seen]
    assert done == sorted(done)
    assert done[-1] == content.size == seen[0][2]
    assert [step[0] for step in seen] == ["large.bin"] * 3 + ["model.onnx"]


def test_nothing_is_written(folder: Path) -> None:
    (folder / "inference.py").write_text("import json\n")
    before = sorted((p, p.stat().st_mtime_ns) for p in folder.rglob("*"))
    load_bundle(folder)
    assert sorted((p, p.stat().st_mtime_ns) for p in folder.rglob("*")) == before


def test_the_draft_is_json(folder: Path) -> None:
    content = load_bundle(folder).content
    assert Content.from_json(json.loads(json.dumps(content.to_json()))) == content
