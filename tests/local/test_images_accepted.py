"""What the builder makes is an image to others too: skopeo, umoci and podman take it as it is."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from containers import Containers, clear
from modelport.images import base, layout
from modelport.images.auth import anonymous
from modelport.images.build import build
from modelport.images.distribution import Repository
from modelport.images.image import Image
from modelport.images.push import push
from modelport.images.reference import Reference
from modelport.images.wheels import Architecture

from tests.conftest import ROOT
from tests.support import container_base
from tests.support.container_tools import registry, skip_without_tools
from tests.support.images_world import version
from tests.support.runtime_bundles import DOUBLE

SERVE = """
import json, numpy, onnxruntime, pathlib, sys
sys.path.append("/opt/model")
from modelport.manifest import Manifest
import functions.runtime.codecs.v2, awslambdaric.bootstrap, uvloop, inference
session = onnxruntime.InferenceSession("/opt/model/model.onnx")
(y,) = session.run(None, {"x": numpy.array([[1, 2]], numpy.float32)})
record = Manifest.from_bytes(pathlib.Path("/opt/model/manifest.json").read_bytes())
print(json.dumps([y.tolist(), record.digest, inference.__cached__, sys.version_info[:2]]))
"""


@dataclass(frozen=True)
class Made:
    """An image, as a layout folder and in a registry on loopback."""

    image: Image
    folder: Path
    reference: Reference
    digest: str


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    skip_without_tools()
    folder = tmp_path_factory.mktemp("accepted")
    yield folder
    clear(folder)


@pytest.fixture(scope="module")
def made(home: Path) -> Iterator[Made]:
    manifest, bundle = version(
        {"model.onnx": DOUBLE, "inference.py": b"'nothing'\n"}, script="inference.py"
    )
    with registry(home) as address:
        named = Reference.parse(container_base.push(container_base.base_layout(), f"{address}/b"))
        target = Reference.parse(f"{address}/modelport/demo")
        architecture: Architecture = "arm64" if os.uname().machine == "aarch64" else "amd64"
        with Repository(named, anonymous) as source, Repository(target, anonymous) as sink:
            stands_on = base.read(source, named, architecture, home / "work")
            image = build(manifest, bundle.fetch, stands_on, ROOT, home / "work")
            pushed = push(image, sink, tag="1")
        layout.write(image, home / "layout", name="1")
        yield Made(image, home / "layout", pushed, manifest.digest)


def told(*command: str) -> Any:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_skopeo_reads_the_layout_and_the_registry_alike(made: Made, tmp_path: Path) -> None:
    local = told("skopeo", "inspect", f"oci:{made.folder}:1")
    remote = told("skopeo", "inspect", "--tls-verify=false", f"docker://{made.reference}")
    assert local["Digest"] == remote["Digest"] == made.image.digest
    assert local["Layers"] == [layer.digest for layer in made.image.layers]
    copied = ["skopeo", "copy", "--quiet", f"oci:{made.folder}:1", f"dir:{tmp_path / 'copy'}"]
    subprocess.run(copied, check=True, capture_output=True)
    assert (tmp_path / "copy/manifest.json").read_bytes() == made.image.manifest


def test_umoci_unpacks_the_layers_in_order(made: Made, tmp_path: Path) -> None:
    unpack = ["umoci", "unpack", "--rootless", "--image", f"{made.folder}:1", str(tmp_path / "b")]
    done = subprocess.run(unpack, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    root = tmp_path / "b/rootfs"
    assert (root / "opt/model/model.onnx").read_bytes() == DOUBLE
    assert (root / "opt/python/onnxruntime/__init__.py").exists()
    assert (root / "var/task/functions/runtime/handler.py").exists()
    assert (root / "opt/model").stat().st_mtime == 0
    process = json.loads((tmp_path / "b/config.json").read_bytes())["process"]
    assert process["cwd"] == "/var/task"
    assert "PYTHONPATH=/opt/python:/opt/user-python" in process["env"]


def test_podman_runs_it_read_only_as_nobody(made: Made, home: Path) -> None:
    containers = Containers.require(home)
    name = f"{containers.prefix}accepted"
    argv = list(containers.argv(str(made.reference), ("-c", SERVE), {}, name=name, memory_mb=512))
    (python,) = json.loads(made.image.config)["config"]["Entrypoint"][:1]
    argv[argv.index("run") + 1 : argv.index("run") + 1] = ["--entrypoint", python]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    answer, digest, cached, (major, minor) = json.loads(done.stdout)
    assert answer == [[2.0, 4.0]]
    assert digest == made.digest
    assert cached == f"/opt/model/__pycache__/inference.cpython-{major}{minor}.pyc"
