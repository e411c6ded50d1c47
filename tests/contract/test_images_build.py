"""Whole images of the real lock: small enough, complete enough to serve, the same every time."""

from __future__ import annotations

import importlib.util
import json
import marshal
import os
import random
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
from modelport.images import report
from modelport.images.build import build
from modelport.images.image import ENVIRONMENT, Image
from modelport.images.wheels import Architecture
from modelport.manifest import Manifest

from tests.conftest import ROOT
from tests.support.images_world import USUAL, Tree, base_image, version
from tests.support.runtime_bundles import DOUBLE

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"
#: What an image for a CPU may weigh above its base, packed.
TARGET = 40_000_000


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("images")


def tree_of(python: str) -> Tree:
    return {**USUAL, "usr/bin/python3": f"->python{python}", f"usr/bin/python{python}": b""}


def image_of(
    workspace: Path, python: str = HERE, architecture: Architecture = "amd64", **settings: Any
) -> tuple[Image, Manifest]:
    files = settings.pop("files", {"model.onnx": DOUBLE})
    manifest, bundle = version(files, **settings)
    base = base_image(workspace, [tree_of(python)], architecture)
    return build(manifest, bundle.fetch, base, ROOT, workspace), manifest


def laid_out(image: Image, folder: Path) -> Path:
    """The files of every layer above the base, as a container would see them."""
    for layer in image.layers:
        if layer.kind != "base" and layer.path:
            with tarfile.open(layer.path) as archive:
                archive.extractall(folder, filter="data")
    return folder


def run(folder: Path, script: str) -> Any:
    """What a bare Python prints that has the image's files and nothing else."""
    paths = [str(folder / part.lstrip("/")) for part in ENVIRONMENT["PYTHONPATH"].split(":")]
    paths.append(str(folder / "var/task"))
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path[:0] = {paths!r}\n{script}"],
        capture_output=True,
        text=True,
        check=False,
        env={"ORT_DISABLE_TELEMETRY": "1"},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


# --- what it weighs -------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ["amd64", "arm64"])
def test_an_image_for_a_cpu_stays_small_above_its_base(
    workspace: Path, architecture: Architecture
) -> None:
    image, _ = image_of(workspace, HERE, architecture)
    told = report.report(image)
    assert told.above_base < TARGET
    deps = next(row for row in told.rows if row.kind == "deps")
    assert {part.name for part in deps.parts[:2]} == {"numpy", "onnxruntime"}


def test_what_is_trimmed_is_not_there_and_what_people_need_is(workspace: Path) -> None:
    image, _ = image_of(workspace)
    deps = next(layer for layer in image.layers if layer.kind == "deps")
    assert deps.path is not None
    with tarfile.open(deps.path) as archive:
        names = {member.name for member in archive if member.isreg()}
    below = {name.removeprefix("opt/python/") for name in names}
    assert all(name.startswith("opt/python/") for name in names)
    for gone in ("onnxruntime/transformers/", "onnxruntime/tools/", "bin/", "sympy/"):
        assert not any(name.startswith(gone) for name in below), gone
    assert not any("/tests/" in name or name.endswith((".pyi", ".h", ".a")) for name in below)
    assert not any(name.startswith("onnxruntime/capi/libonnxruntime.so") for name in below)
    sources = {name for name in below if name.endswith(".py")}
    compiled = {name for name in below if name.endswith(".pyc")}
    assert len(sources) == len(compiled)
    for package in ("numpy", "onnxruntime", "uvloop"):
        assert any(n.startswith(f"{package}-") and n.endswith("/METADATA") for n in below), package
    assert any("licenses/" in name for name in below)
    assert "onnxruntime/LICENSE" in below


# --- that it runs ---------------------------------------------------------------------------------


def test_what_speaks_grpc_and_reads_large_json_is_whole(workspace: Path, tmp_path: Path) -> None:
    image, _ = image_of(workspace)
    program = """
import json, simdjson, h2.connection
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
print(json.dumps([simdjson.Parser().parse(b"[1.5]").as_list(), simdjson.__file__]))
"""
    values, place = run(laid_out(image, tmp_path), program)
    assert values == [1.5]
    assert place.startswith(str(tmp_path))


def test_a_real_model_runs_from_the_trimmed_tree_alone(workspace: Path, tmp_path: Path) -> None:
    image, _ = image_of(workspace)
    answer = run(
        laid_out(image, tmp_path),
        f"""
import json, numpy, onnxruntime
session = onnxruntime.InferenceSession({str(tmp_path / "opt/model/model.onnx")!r})
(y,) = session.run(None, {{"x": numpy.array([[1, 2]], numpy.float32)}})
files = [onnxruntime.__file__, numpy.__file__]
print(json.dumps([y.tolist(), files]))
""",
    )
    assert answer[0] == [[2.0, 4.0]]
    assert all(file.startswith(str(tmp_path / "opt/python")) for file in answer[1])


def test_every_part_of_the_runtime_is_importable_from_the_image_alone(
    workspace: Path, tmp_path: Path
) -> None:
    image, _ = image_of(workspace)
    folder = laid_out(image, tmp_path)
    modules = sorted(
        path.relative_to(folder / "var/task").with_suffix("").as_posix().replace("/", ".")
        for path in (folder / "var/task/functions/runtime").rglob("*.py")
        if path.name not in ("__init__.py", "__main__.py")
    )
    assert "functions.runtime.handler" in modules
    third_party = (
        "awslambdaric.bootstrap",
        "uvloop",
        "orjson",
        # what scripts of users reach for
        "numpy.ma",
        "numpy.random",
        "numpy.linalg",
        "numpy.fft",
        "numpy.testing",
        "numpy.typing",
        "numpy.polynomial",
        "numpy.ctypeslib",
    )
    # the handler is a composition root: importing it loads a model
    wanted = [m for m in modules if m != "functions.runtime.handler"] + list(third_party)
    loaded = run(
        folder,
        f"import importlib, json\nfound = [importlib.import_module(m) for m in {wanted!r}]\n"
        "print(json.dumps([m.__file__ for m in found]))",
    )
    assert len(loaded) == len(wanted)
    assert all(file.startswith(str(tmp_path)) for file in loaded)


def test_bytecode_in_the_image_is_what_python_takes(workspace: Path, tmp_path: Path) -> None:
    image, _ = image_of(workspace)
    folder = laid_out(image, tmp_path)
    compiled = (
        folder / "opt/python/modelport/__pycache__" / f"refs.{sys.implementation.cache_tag}.pyc"
    )
    header, code = compiled.read_bytes()[:16], marshal.loads(compiled.read_bytes()[16:])
    assert code.co_filename == "/opt/python/modelport/refs.py"
    assert header[:8] == importlib.util.MAGIC_NUMBER + (1).to_bytes(4, "little")
    # unchecked: the bytecode runs, whatever became of the source
    module = folder / "opt/python/modelport/errors.py"
    module.write_text("raise SystemExit('the source was compiled again')\n")
    script = "import json, modelport.errors as e; print(json.dumps(e.ModelportError.code))"
    assert run(folder, script) == "modelport-error"


# --- that the Dockerfile makes the same -----------------------------------------------------------


def test_the_dockerfiles_own_commands_make_the_same_files(workspace: Path, tmp_path: Path) -> None:
    """Runs what its first stage runs, but for the folders' places and pip instead of uv."""
    image, _ = image_of(workspace)
    expected = laid_out(image, tmp_path / "expected")
    shutil.rmtree(expected / "opt/model")
    text = (ROOT / "functions/runtime/Dockerfile").read_text().replace("\\\n", " ")
    lines = [line.partition(" ")[::2] for line in text.splitlines()]
    copies = [rest.split() for word, rest in lines if word == "COPY" and "--from" not in rest]
    for source, target in copies:
        source = source.replace("${LOCK}", "runtime.txt")
        place = tmp_path / target.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copyfile
        copy(ROOT / source, place)
    deps, code = [rest for word, rest in lines if word == "RUN"][:2]
    for command in (deps, code):
        moved = re.sub(r"(?<= )/(made|deps|code)", rf"{tmp_path}/\1", command)
        # the standard library alone has to do for everything but pip
        moved = moved.replace("python3 -m modelport", "python3 -S -m modelport")
        done = subprocess.run(
            ["bash", "-c", moved.replace("python3", sys.executable)],
            env={**os.environ, "PYTHONPATH": str(tmp_path / "made/layers/core/python")},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    made = files_of(tmp_path / "deps") | files_of(tmp_path / "code")
    assert made.keys() == files_of(expected).keys()
    assert [path for path, body in files_of(expected).items() if made[path] != body] == []


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


# --- that it is the same every time ---------------------------------------------------------------


BUILD = """
import os, sys
from pathlib import Path
sys.path[:0] = [sys.argv[1], sys.argv[1] + "/layers/core/python"]
os.umask(int(sys.argv[4], 8))
from tests.support.images_world import base_image, version
from modelport.images.build import build
root, workspace = Path(sys.argv[2]), Path(sys.argv[3])
files = {"model.onnx": b"weights" * 999, "inference.py": b"import six\\n", "a/é.txt": b"1",
         "requirements.txt": b"six==1.17.0 --hash=sha256:4721f391ed90541fddacab5acf947aa0d3dc7d27"
                             b"b2e1e8eda2be8970586c3274\\n"}
manifest, bundle = version(files, script="inference.py", requirements="requirements.txt")
image = build(manifest, bundle.fetch, base_image(workspace), root, workspace)
print(image.digest)
"""


def checkout(folder: Path, seed: int) -> Path:
    """Our sources elsewhere: other times, modes and order in their folders."""
    rng = random.Random(seed)
    names = ["layers/core/python/modelport", "functions/runtime", "functions/__init__.py"]
    files = [
        path
        for name in [*names, "layers/deps"]
        for path in ([ROOT / name] if (ROOT / name).is_file() else (ROOT / name).glob("**/*"))
        if path.is_file() and path.suffix in (".py", ".txt", ".typed")
    ]
    rng.shuffle(files)
    for path in files:
        copy = folder / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
        os.utime(copy, (rng.randrange(2**31), rng.randrange(2**31)))
        copy.chmod(rng.choice([0o600, 0o644, 0o664]))
    return folder


def test_two_machines_make_the_same_image_from_nothing(tmp_path: Path) -> None:
    digests = set()
    for seed, umask, zone, lang in ((1, "022", "UTC", "C"), (2, "077", "Asia/Tokyo", "C.UTF-8")):
        here = tmp_path / f"machine{seed}" / ("long-name" * seed)
        here.mkdir(parents=True)
        environment = {
            **{k: v for k, v in os.environ.items() if k not in ("TZ", "LANG", "LC_ALL")},
            "TZ": zone,
            "LANG": lang,
            "LC_ALL": lang,
            "PYTHONHASHSEED": str(seed),
            "TMPDIR": str(here),
        }
        sources = checkout(here / "checkout", seed)
        done = subprocess.run(
            [sys.executable, "-c", BUILD, str(ROOT), str(sources), str(here / "work"), umask],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        digests.add(done.stdout)
    assert len(digests) == 1
