"""Layers on disk: valid gzip, both digests from one pass, flat memory, nothing half-written."""

from __future__ import annotations

import gzip
import hashlib
import io
import random
import subprocess
import sys
import tarfile
import tracemalloc
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from modelport.images import layer, tar
from modelport.images.layer import Kind, Part

KINDS: tuple[Kind, ...] = ("deps", "model")


def entry(path: str, body: bytes) -> tar.Entry:
    return tar.Entry(path, len(body), lambda: io.BytesIO(body))


@pytest.mark.parametrize("kind", KINDS)
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15, deadline=None
)
@given(size=st.integers(0, 3 << 20), seed=st.integers())
def test_both_digests_are_right_whatever_the_size(
    tmp_path: Path, kind: Kind, size: int, seed: int
) -> None:
    body = random.Random(seed).randbytes(size)
    made = layer.write(kind, [entry("opt/model/m.onnx", body)], tmp_path)
    assert made.path is not None
    packed = made.path.read_bytes()
    plain = gzip.decompress(packed)
    assert made.digest == "sha256:" + hashlib.sha256(packed).hexdigest()
    assert made.diff_id == "sha256:" + hashlib.sha256(plain).hexdigest()
    assert (made.size, made.unpacked) == (len(packed), len(plain))
    with tarfile.open(fileobj=io.BytesIO(plain)) as archive:
        file = archive.extractfile("opt/model/m.onnx")
        assert file is not None
        assert file.read() == body


def test_weights_are_stored_and_everything_else_is_packed(tmp_path: Path) -> None:
    body = bytes(1 << 20)
    model = layer.write("model", [entry("m", body)], tmp_path)
    deps = layer.write("deps", [entry("m", body)], tmp_path)
    assert model.diff_id == deps.diff_id
    assert len(body) < model.size < len(body) * 1.01
    assert deps.size < len(body) / 50


def test_stored_weights_have_these_bytes_on_every_machine(tmp_path: Path) -> None:
    made = layer.write("model", [entry("m", bytes(range(256)) * 600)], tmp_path)
    assert made.digest == "sha256:57de177c3818e9ec058a0c01f15b3bda29e9d380f501a8d1ad9ac8188994f532"


def test_a_gzip_of_someone_else_agrees(tmp_path: Path) -> None:
    made = layer.write("model", [entry("m", b"weights" * 100_000)], tmp_path)
    assert made.path is not None
    named = tmp_path / "layer.gz"
    named.write_bytes(made.path.read_bytes())
    done = subprocess.run(["gzip", "-l", str(named)], capture_output=True, text=True, check=True)
    assert str(made.unpacked) in done.stdout
    subprocess.run(["gzip", "-t", str(named)], check=True)


@pytest.mark.parametrize("kind", KINDS)
def test_memory_stays_flat_however_large_the_model(tmp_path: Path, kind: Kind) -> None:
    large = tmp_path / "model.onnx"
    with large.open("wb") as file:
        file.truncate(128 << 20)
    tracemalloc.start()
    made = layer.write(kind, [tar.of_file(large, "opt/model/model.onnx")], tmp_path / "blobs")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert made.unpacked > 128 << 20
    assert peak < 16 << 20


def test_a_layer_that_failed_leaves_nothing(tmp_path: Path) -> None:
    class Breaks(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError("the disk went away")

    def opened() -> BinaryIO:
        return Breaks()

    with pytest.raises(OSError, match="went away"):
        layer.write("model", [entry("a", b"1"), tar.Entry("b", 5, opened)], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_layer_keeps_the_names_of_its_parts(tmp_path: Path) -> None:
    made = layer.write("deps", [entry("a", b"1")], tmp_path, (Part("numpy", 1),))
    assert made.parts == (Part("numpy", 1),)
    assert made.path == tmp_path / made.digest.removeprefix("sha256:")


def test_unpacking_counts_and_hashes_what_was_written(tmp_path: Path) -> None:
    made = layer.write("code", [entry("a", b"1" * 5000)], tmp_path)
    assert made.path is not None
    with layer.Unpacked(made.path) as plain:
        plain.drain()
        assert (plain.size, plain.digest) == (made.unpacked, made.diff_id)


def test_the_compressor_needs_no_random_state_of_the_process(tmp_path: Path) -> None:
    script = (
        "import io, sys; from pathlib import Path; from modelport.images import layer, tar;"
        "b = bytes(range(256)) * 9000;"
        "e = tar.Entry('m', len(b), lambda: io.BytesIO(b));"
        "print(layer.write('deps', [e], Path(sys.argv[1])).digest)"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", script, str(tmp_path / seed)],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1
