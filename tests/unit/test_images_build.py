"""Building from a small checkout without packages: contract, cache, hostile manifests, budgets."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from modelport.errors import IntegrityError, InvalidInputError, InvalidSettingError
from modelport.images import layout, report
from modelport.images.base import Base, read
from modelport.images.build import LIMIT, build
from modelport.images.errors import ImageTooLargeError, InterpreterError, UnsafePathError
from modelport.images.image import Image
from modelport.images.layer import Part
from modelport.manifest import File, Manifest, digest_of
from modelport.settings import RuntimeSettings

from tests.support.images_world import (
    USUAL,
    Bundle,
    MemoryRepository,
    base_image,
    config_of,
    push_base,
    unpacked,
    version,
)

SCRIPT = b"def model_fn(folder):\n    return folder\n"
FILES = {"model.onnx": b"weights" * 1000, "labels.txt": b"a\nb\n", "sub/more.bin": b"more"}


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the shape of ours and nothing to download."""
    root = tmp_path_factory.mktemp("checkout")
    files = {
        "layers/core/python/modelport/__init__.py": "version = 1\n",
        "layers/core/python/modelport/cli/app.py": "not shipped\n",
        "layers/core/python/modelport/errors.py": "class Error(Exception): ...\n",
        "layers/deps/runtime.txt": "# nothing\n",
        "layers/deps/runtime-cuda.txt": "# nothing, for GPUs\n",
        "functions/__init__.py": "",
        "functions/runtime/handler.py": "handler = None\n",
        "functions/runtime/Dockerfile": "FROM scratch\n",
        "functions/router/app.py": "not shipped\n",
    }
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return root


@pytest.fixture
def base(tmp_path: Path) -> Base:
    return base_image(tmp_path / "work")


def names(image: Image, kind: str) -> list[str]:
    return [
        member.name
        for layer in image.layers
        if layer.kind == kind and layer.path
        for member in unpacked(layer.path).values()
        if member.isreg()
    ]


def made(checkout: Path, base: Base, work: Path, **options: Any) -> tuple[Image, Bundle]:
    manifest, bundle = version(options.pop("files", FILES), **options)
    return build(manifest, bundle.fetch, base, checkout, work), bundle


# --- what is in it --------------------------------------------------------------------------------


def test_the_layers_come_in_order_and_hold_what_the_contract_says(
    checkout: Path, base: Base, tmp_path: Path
) -> None:
    image, _ = made(
        checkout, base, tmp_path / "w", files={**FILES, "inference.py": SCRIPT},
        script="inference.py",
    )  # fmt: skip
    assert [layer.kind for layer in image.layers] == ["base", "deps", "code", "user", "model"]
    assert names(image, "deps") == []
    assert names(image, "code") == [
        "opt/python/modelport/__init__.py",
        "opt/python/modelport/__pycache__/__init__.cpython-311.pyc",
        "opt/python/modelport/__pycache__/errors.cpython-311.pyc",
        "opt/python/modelport/errors.py",
        "var/task/functions/__init__.py",
        "var/task/functions/__pycache__/__init__.cpython-311.pyc",
        "var/task/functions/runtime/__pycache__/handler.cpython-311.pyc",
        "var/task/functions/runtime/handler.py",
    ]
    assert names(image, "user") == [
        "opt/model/__pycache__/inference.cpython-311.pyc",
        "opt/model/inference.py",
    ]
    assert names(image, "model") == [
        "opt/model/labels.txt",
        "opt/model/manifest.json",
        "opt/model/model.onnx",
        "opt/model/sub/more.bin",
    ]


def test_a_version_without_script_or_requirements_has_no_user_layer(
    checkout: Path, base: Base, tmp_path: Path
) -> None:
    image, _ = made(checkout, base, tmp_path / "w")
    assert [layer.kind for layer in image.layers] == ["base", "deps", "code", "model"]


def test_the_bundle_and_its_record_are_in_it_byte_for_byte(
    checkout: Path, base: Base, tmp_path: Path
) -> None:
    manifest, bundle = version(FILES)
    image = build(manifest, bundle.fetch, base, checkout, tmp_path / "w")
    path = image.layers[-1].path
    assert path is not None
    with tarfile.open(path) as archive:
        found = {m.name: archive.extractfile(m) for m in archive if m.isreg()}
        contents = {name: file.read() for name, file in found.items() if file}
    record = {"opt/model/manifest.json": manifest.to_bytes()}
    assert contents == {f"opt/model/{name}": body for name, body in FILES.items()} | record


def test_the_config_is_the_contract(checkout: Path, tmp_path: Path) -> None:
    repository = MemoryRepository()
    reference = push_base(
        repository,
        config={
            "Env": ["PATH=/usr/bin", "PYTHONPATH=/their/own", "LANG=C.UTF-8"],
            "Entrypoint": ["/entry.sh"],
            "Labels": {"org.opencontainers.image.title": "base", "maintainer": "somebody"},
            "Healthcheck": {"Test": ["CMD", "true"]},
            "Volumes": {"/opt": {}},
            "OnBuild": ["RUN true"],
        },
    )
    base = read(repository, reference, "amd64", tmp_path / "w")
    manifest, bundle = version(FILES, number=7, lineage={"git": {"commit": "c0ffee"}})
    image = build(manifest, bundle.fetch, base, checkout, tmp_path / "w")
    config = config_of(image.config)
    assert config["created"] == "1970-01-01T00:00:00Z"
    assert (config["architecture"], config["os"], image.platform) == (
        "amd64",
        "linux",
        "linux/amd64",
    )
    assert config["config"] == {
        "User": "65532:65532",
        "WorkingDir": "/var/task",
        "Entrypoint": ["/usr/bin/python3.11", "-m", "functions.runtime"],
        "Cmd": ["functions.runtime.handler.handler"],
        "ExposedPorts": {"8080/tcp": {}},
        "StopSignal": "SIGTERM",
        "Env": [
            "PATH=/usr/bin",
            "PYTHONPATH=/opt/python:/opt/user-python",
            "LANG=C.UTF-8",
            "PYTHONDONTWRITEBYTECODE=1",
            "PYTHONUNBUFFERED=1",
            "ORT_DISABLE_TELEMETRY=1",
            "MODELPORT_BUNDLE_DIR=/opt/model",
            "MODELPORT_MODEL=demo",
            "MODELPORT_VERSION=7",
            f"MODELPORT_DIGEST={manifest.digest}",
        ],
        "Labels": {
            "maintainer": "somebody",
            "org.opencontainers.image.title": "demo",
            "org.opencontainers.image.version": "7",
            "org.opencontainers.image.base.name": "registry.example.com/python",
            "org.opencontainers.image.base.digest": reference.digest,
            "org.opencontainers.image.revision": "c0ffee",
        },
    }
    diff_ids = [layer.diff_id for layer in image.layers]
    assert config["rootfs"] == {"type": "layers", "diff_ids": diff_ids}
    assert len(config["history"]) == len(image.layers)
    told = RuntimeSettings.from_env(dict(v.split("=", 1) for v in config["config"]["Env"]))
    assert (told.model, told.version, told.bundle_dir) == ("demo", 7, "/opt/model")


def test_the_manifest_is_one_platforms_in_ocis_own_types(
    checkout: Path, base: Base, tmp_path: Path
) -> None:
    image, _ = made(checkout, base, tmp_path / "w")
    manifest = json.loads(image.manifest)
    assert manifest["mediaType"] == "application/vnd.oci.image.manifest.v1+json"
    assert manifest["config"]["mediaType"] == "application/vnd.oci.image.config.v1+json"
    for described, layer in zip(manifest["layers"], image.layers, strict=True):
        assert described == {
            "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
            "digest": layer.digest,
            "size": layer.size,
        }
    assert image.size == len(image.manifest) + len(image.config) + sum(
        layer.size for layer in image.layers
    )


def test_a_base_keeps_its_own_history_when_it_tells_it_rightly(
    checkout: Path, tmp_path: Path
) -> None:
    repository = MemoryRepository()
    told: list[dict[str, Any]] = [
        {"created_by": "COPY it"},
        {"created_by": "ENV x", "empty_layer": True},
    ]
    base = read(repository, push_base(repository, history=told), "amd64", tmp_path / "w")
    image, _ = made(checkout, base, tmp_path / "w")
    history = config_of(image.config)["history"]
    assert history[:2] == told
    assert [line["created_by"] for line in history[2:]] == [
        "modelport build: deps",
        "modelport build: code",
        "modelport build: model",
    ]


# --- what is made again, and what is not ----------------------------------------------------------


def test_a_new_version_makes_its_model_layer_and_nothing_else(
    checkout: Path, base: Base, tmp_path: Path
) -> None:
    work = tmp_path / "w"
    first, _ = made(checkout, base, work)
    before = {path: path.stat().st_ino for path in (work / "blobs").iterdir()}
    second, bundle = made(checkout, base, work, files={**FILES, "model.onnx": b"new"}, number=2)
    assert bundle.fetched == sorted(FILES)
    assert first.layers[:-1] == second.layers[:-1]
    assert first.layers[-1] != second.layers[-1]
    after = {path: path.stat().st_ino for path in (work / "blobs").iterdir()}
    assert before.items() < after.items()
    assert len(after) == len(before) + 1


def test_the_same_version_again_brings_nothing(checkout: Path, base: Base, tmp_path: Path) -> None:
    first, _ = made(checkout, base, tmp_path / "w")
    second, bundle = made(checkout, base, tmp_path / "w")
    assert bundle.fetched == []
    assert first == second


def test_a_changed_source_makes_the_code_layer_again(base: Base, tmp_path: Path) -> None:
    root = tmp_path / "checkout"
    for name in ("layers/core/python/modelport", "functions/runtime", "layers/deps"):
        (root / name).mkdir(parents=True)
    (root / "layers/deps/runtime.txt").touch()
    (root / "functions/__init__.py").touch()
    source = root / "functions/runtime/handler.py"
    images = []
    for text in ("a = 1\n", "a = 2\n"):
        source.write_text(text)
        images.append(made(root, base, tmp_path / "w")[0])
    changed = [a.kind for a, b in zip(images[0].layers, images[1].layers, strict=True) if a != b]
    assert changed == ["code"]


def test_a_kept_layer_that_rotted_is_made_again(checkout: Path, base: Base, tmp_path: Path) -> None:
    first, _ = made(checkout, base, tmp_path / "w")
    for layer in first.layers[1:]:
        assert layer.path is not None
        layer.path.write_bytes(b"rotten")
    second, _ = made(checkout, base, tmp_path / "w")
    assert second.digest == first.digest
    layout.write(second, tmp_path / "layout")
    assert layout.read(tmp_path / "layout").digest == first.digest


def test_notes_cut_short_are_no_obstacle(checkout: Path, base: Base, tmp_path: Path) -> None:
    first, _ = made(checkout, base, tmp_path / "w")
    for note in (tmp_path / "w/layers").iterdir():
        note.write_bytes(note.read_bytes()[:10])
    assert made(checkout, base, tmp_path / "w")[0].digest == first.digest


def test_a_build_that_was_cut_leaves_nothing_behind_and_can_be_repeated(
    checkout: Path, base: Base, tmp_path: Path
) -> None:
    manifest, bundle = version(FILES)
    work = tmp_path / "w"

    def cut(file: File) -> Iterator[bytes]:
        if file.path == "model.onnx":
            yield bundle.files[file.path][:10]
            raise ConnectionResetError
        yield from bundle.fetch(file)

    with pytest.raises(ConnectionResetError):
        build(manifest, cut, base, checkout, work)
    assert not list(work.rglob(".*"))
    again = build(manifest, bundle.fetch, base, checkout, work)
    assert again.digest == build(manifest, bundle.fetch, base, checkout, tmp_path / "o").digest


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path[:0] = sys.argv[1:3]
from modelport.images.build import build
from tests.support.images_world import base_image, version
def fetch(file):
    yield b"half"
    os.kill(os.getpid(), signal.SIGKILL)
manifest, _ = version({"model.onnx": b"weights" * 1000})
build(manifest, fetch, base_image(Path(sys.argv[4])), Path(sys.argv[3]), Path(sys.argv[4]))
"""


def test_a_killed_build_is_repeated_and_what_it_left_is_swept_up_later(
    checkout: Path, base: Base, root: Path, tmp_path: Path
) -> None:
    work = tmp_path / "w"
    core = root / "layers/core/python"
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(root), str(core), str(checkout), str(work)],
        capture_output=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    left = list(work.rglob(".*"))
    assert left
    files = {"model.onnx": b"weights" * 1000}
    image, _ = made(checkout, base, work, files=files)
    assert image.digest == made(checkout, base, tmp_path / "other", files=files)[0].digest
    assert all(path.exists() for path in left)
    for path in left:
        os.utime(path, (0, 0))
    made(checkout, base, work, files=files)
    assert not list(work.rglob(".*"))


def test_builders_at_once_in_one_workspace_make_the_same_image(
    checkout: Path, base: Base, tmp_path: Path
) -> None:
    def one(_: int) -> str:
        return made(checkout, base, tmp_path / "w")[0].digest

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(one, range(4)))) == 1
    assert not list((tmp_path / "w").rglob(".*"))


def test_the_gpu_image_is_made_from_its_own_lock(
    checkout: Path, base: Base, tmp_path: Path
) -> None:
    manifest, bundle = version(FILES)
    build(manifest, bundle.fetch, base, checkout, tmp_path / "w", accelerator="cuda")
    (checkout / "layers/deps/runtime-cuda.txt").rename(checkout / "gone")
    try:
        with pytest.raises(InvalidSettingError, match="lock file is missing"):
            build(manifest, bundle.fetch, base, checkout, tmp_path / "w", accelerator="cuda")
    finally:
        (checkout / "gone").rename(checkout / "layers/deps/runtime-cuda.txt")


# --- what is refused ------------------------------------------------------------------------------


def hostile(files: Mapping[str, bytes], **changed: Any) -> tuple[Manifest, Bundle]:
    manifest, bundle = version(FILES)
    listed = tuple(File(path, "sha256:" + "0" * 64, len(body)) for path, body in files.items())
    content = replace(manifest.content, files=listed, **changed)
    return replace(manifest, content=content, digest=""), bundle


@pytest.mark.parametrize(
    "path", ["/etc/cron.d/x", "../../etc/passwd", "a/../../b", ".wh.model.onnx", "a\\b", "", "a/"]
)
def test_a_path_out_of_the_bundle_is_refused_before_it_is_fetched(
    checkout: Path, base: Base, tmp_path: Path, path: str
) -> None:
    manifest, bundle = hostile({path: b"x"})
    with pytest.raises(UnsafePathError):
        build(manifest, bundle.fetch, base, checkout, tmp_path / "w")
    assert bundle.fetched == []


@pytest.mark.parametrize("changed", [{"model": "a\nPATH=/evil"}, {"version": 0}])
def test_a_name_that_would_become_another_variable_is_refused(
    checkout: Path, base: Base, tmp_path: Path, changed: dict[str, Any]
) -> None:
    manifest, bundle = version(FILES)
    with pytest.raises(InvalidInputError):
        build(replace(manifest, **changed), bundle.fetch, base, checkout, tmp_path / "w")
    assert bundle.fetched == []


def test_a_file_that_takes_the_records_place_is_refused(
    checkout: Path, base: Base, tmp_path: Path
) -> None:
    manifest, bundle = hostile({"manifest.json": b"x"})
    bundle.files["manifest.json"] = b"x"
    with pytest.raises(UnsafePathError, match="twice"):
        build(manifest, bundle.fetch, base, checkout, tmp_path / "w")


@pytest.mark.parametrize("body", [b"x" * 99, b"x", b""])
def test_a_fetched_file_of_another_size_is_refused(
    checkout: Path, base: Base, tmp_path: Path, body: bytes
) -> None:
    for script in (None, "labels.txt"):
        manifest, _ = version(FILES, script=script)
        with pytest.raises(IntegrityError, match=r"labels\.txt"):
            build(manifest, lambda _: iter([body]), base, checkout, tmp_path / "w")


def test_a_file_of_less_than_nothing_is_refused(checkout: Path, base: Base, tmp_path: Path) -> None:
    manifest, bundle = version(FILES)
    listed = (replace(manifest.content.files[0], size=-1), *manifest.content.files[1:])
    manifest = replace(manifest, content=replace(manifest.content, files=listed), digest="")
    with pytest.raises(IntegrityError, match="0 or more"):
        build(manifest, bundle.fetch, base, checkout, tmp_path / "w")


def test_an_accelerator_that_is_none_is_refused(checkout: Path, base: Base, tmp_path: Path) -> None:
    manifest, bundle = version(FILES)
    with pytest.raises(InvalidSettingError, match="allowed: cpu, cuda"):
        build(
            manifest, bundle.fetch, base, checkout, tmp_path / "w",
            accelerator="tpu",  # type: ignore[arg-type]
        )  # fmt: skip


def test_settings_that_name_a_file_that_is_not_there_are_refused(
    checkout: Path, base: Base, tmp_path: Path
) -> None:
    manifest, bundle = version(FILES, script="../escape.py")
    with pytest.raises(IntegrityError, match="script"):
        build(manifest, bundle.fetch, base, checkout, tmp_path / "w")


def test_an_image_over_lambdas_limit_is_refused_before_anything_is_fetched(
    checkout: Path, base: Base, tmp_path: Path
) -> None:
    manifest, bundle = version(FILES)
    huge = (*manifest.content.files, File("weights.data", "sha256:" + "0" * 64, LIMIT))
    manifest = replace(manifest, content=replace(manifest.content, files=huge), digest="")
    with pytest.raises(ImageTooLargeError) as raised:
        build(manifest, bundle.fetch, base, checkout, tmp_path / "w")
    assert "Lambda's limit of 10,737,418,240 bytes" in raised.value.message
    assert "weights.data (model layer) 10,737,418,240 bytes" in raised.value.message
    assert bundle.fetched == []


def test_a_budget_counts_every_layer_and_names_the_largest_parts(
    checkout: Path, base: Base, tmp_path: Path
) -> None:
    manifest, bundle = version({"model.onnx": b"w" * 50_000})
    budget = base.unpacked + 51_000
    with pytest.raises(ImageTooLargeError) as raised:
        build(manifest, bundle.fetch, base, checkout, tmp_path / "w", budget=budget)
    assert f"over the budget of {budget:,} bytes" in raised.value.message
    assert "model.onnx (model layer) 50,000 bytes" in raised.value.message
    assert f"base image {base.unpacked:,} bytes" in raised.value.message
    assert "sha256" not in raised.value.message
    assert raised.value.hint.endswith(f"image show {manifest.model}:{manifest.version}")
    assert bundle.fetched == ["model.onnx"]


def test_a_python_that_is_not_here_is_refused_by_name(checkout: Path, tmp_path: Path) -> None:
    base = base_image(tmp_path / "work", [{**USUAL, "usr/local/bin/python3.99": b""}])
    with pytest.raises(InterpreterError, match=r"Python 3\.99") as raised:
        made(checkout, base, tmp_path / "w")
    assert "uv python install 3.99" in raised.value.hint


def test_a_folder_that_is_no_checkout_is_refused(base: Base, tmp_path: Path) -> None:
    with pytest.raises(InvalidSettingError, match="layers/deps"):
        made(tmp_path, base, tmp_path / "w")
    (tmp_path / "layers/deps").mkdir(parents=True)
    (tmp_path / "layers/deps/runtime.txt").touch()
    with pytest.raises(InvalidSettingError, match="checkout"):
        made(tmp_path, base, tmp_path / "w")


# --- layouts and reports --------------------------------------------------------------------------


def test_a_layout_reads_back_as_the_same_image(checkout: Path, base: Base, tmp_path: Path) -> None:
    image, _ = made(checkout, base, tmp_path / "w")
    folder = tmp_path / "layout"
    layout.write(image, folder, name="1")
    layout.write(image, folder, name="1")
    back = layout.read(folder)
    assert (back.manifest, back.config, back.platform) == (
        image.manifest,
        image.config,
        image.platform,
    )
    facts = [(la.digest, la.diff_id, la.size, la.unpacked, la.kind) for la in image.layers]
    assert [(la.digest, la.diff_id, la.size, la.unpacked, la.kind) for la in back.layers] == facts
    index = json.loads((folder / "index.json").read_bytes())
    assert json.loads((folder / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    assert index["manifests"][0]["platform"] == {"architecture": "amd64", "os": "linux"}
    assert index["manifests"][0]["annotations"] == {"org.opencontainers.image.ref.name": "1"}


def test_a_layout_with_other_bytes_in_it_is_refused(
    checkout: Path, base: Base, tmp_path: Path
) -> None:
    image, _ = made(checkout, base, tmp_path / "w")
    layout.write(image, tmp_path / "layout")
    blob = tmp_path / "layout/blobs/sha256" / image.layers[-1].digest.removeprefix("sha256:")
    blob.write_bytes(b"other")
    with pytest.raises(IntegrityError):
        layout.read(tmp_path / "layout")


@pytest.mark.parametrize("part", ["manifest", "config"])
def test_a_layout_whose_words_were_changed_is_refused(
    checkout: Path, base: Base, tmp_path: Path, part: str
) -> None:
    image, _ = made(checkout, base, tmp_path / "w")
    layout.write(image, tmp_path / "layout")
    digest = digest_of(getattr(image, part)).removeprefix("sha256:")
    (tmp_path / "layout/blobs/sha256" / digest).write_bytes(b"{}")
    with pytest.raises(IntegrityError, match="blob in"):
        layout.read(tmp_path / "layout")


def test_a_layer_that_is_not_on_this_machine_goes_into_no_layout(
    checkout: Path, base: Base, tmp_path: Path
) -> None:
    image, _ = made(checkout, base, tmp_path / "w")
    elsewhere = replace(image.layers[0], path=None)
    assert report.looked_into(elsewhere) == elsewhere
    image = replace(image, layers=(elsewhere, *image.layers[1:]))
    with pytest.raises(IntegrityError, match="a file on this machine"):
        layout.write(image, tmp_path / "layout")
    assert not (tmp_path / "layout/index.json").exists()


def test_a_folder_with_other_things_in_it_becomes_no_layout(
    checkout: Path, base: Base, tmp_path: Path
) -> None:
    image, _ = made(checkout, base, tmp_path / "w")
    (tmp_path / "home").mkdir()
    (tmp_path / "home/thesis.tex").touch()
    with pytest.raises(InvalidInputError, match="not empty"):
        layout.write(image, tmp_path / "home")
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["thesis.tex"]


def test_the_report_tells_layers_and_their_parts_largest_first(
    checkout: Path, base: Base, tmp_path: Path
) -> None:
    image, _ = made(checkout, base, tmp_path / "w")
    told = report.report(image)
    assert [row.kind for row in told.rows] == ["base", "deps", "code", "model"]
    model = told.rows[-1].parts
    assert model[0] == Part("model.onnx", 7000)
    assert {part.name for part in model} == {*FILES, "manifest.json"}
    assert {part.name for part in told.rows[2].parts} >= {"modelport", "var/task/functions/runtime"}
    assert told.above_base == sum(row.size for row in told.rows[1:])
    assert (told.size, told.unpacked) == (image.size, image.unpacked)
    layout.write(image, tmp_path / "layout")
    read_back = [
        report.looked_into(layer).parts for layer in layout.read(tmp_path / "layout").layers
    ]
    assert read_back[1:] == [row.parts for row in told.rows[1:]]


def test_progress_is_told_by_layer_and_file(checkout: Path, base: Base, tmp_path: Path) -> None:
    manifest, bundle = version(FILES)
    said: list[str] = []
    build(
        manifest, bundle.fetch, base, checkout, tmp_path / "w",
        progress=lambda what, done, total: said.append(what),
    )  # fmt: skip
    assert said == ["deps layer", "code layer", *sorted(FILES), "model layer"]
