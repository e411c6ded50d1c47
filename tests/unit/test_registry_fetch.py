"""Files arriving on a disk that has no room, or no place for them; and what is imported for it."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from modelport.errors import BackendError
from modelport.manifest import File, digest_of
from modelport.registry import blobs
from modelport.registry.blobs import StoredSource
from modelport.registry.memory import MemoryRegistry, MemoryStore

from tests.conftest import ROOT
from tests.support.registry_world import ADA, make_draft

ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{ROOT / 'layers/core/python'}:{ROOT}"}

NO_ROOM = textwrap.dedent(
    """
    import resource, sys
    from pathlib import Path
    from modelport.errors import BackendError
    from modelport.registry.memory import MemoryRegistry
    from tests.support.registry_world import ADA, make_draft

    folder = Path(sys.argv[1])
    draft = make_draft(folder / "in", model=bytes(3_000_000))
    registry = MemoryRegistry()
    registry.publish("magika", draft, who=ADA)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))
    try:
        registry.fetch(draft.content.files[0], folder / "out" / "model.onnx")
    except BackendError as error:
        print(error, "|", error.hint)
    """
)


def python(code: str, *arguments: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout


def test_a_disk_that_takes_no_more_is_said_and_left_clean(tmp_path: Path) -> None:
    said = python(NO_ROOM, str(tmp_path))
    assert f"cannot write {tmp_path}/out/model.onnx (3,000,000 bytes): File too large" in said
    assert "free some space" in said
    assert list((tmp_path / "out").iterdir()) == []


def test_a_folder_that_is_a_file_is_said(tmp_path: Path) -> None:
    draft = make_draft(tmp_path, model=b"weights")
    registry = MemoryRegistry()
    registry.publish("magika", draft, who=ADA)
    with pytest.raises(BackendError, match="cannot write"):
        registry.fetch(draft.content.files[0], tmp_path / "model.bin" / "model.onnx")


def test_a_fetched_file_can_be_read_by_whom_the_umask_allows(tmp_path: Path) -> None:
    draft = make_draft(tmp_path, model=b"weights")
    registry = MemoryRegistry()
    registry.publish("magika", draft, who=ADA)
    registry.fetch(draft.content.files[0], tmp_path / "model.onnx")
    (tmp_path / "plain").touch()
    assert (tmp_path / "model.onnx").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_the_s3_registry_needs_botocore_and_nothing_of_the_cli() -> None:
    shown = python("import sys, modelport.registry.s3; print(*sys.modules)").split()
    assert {"typer", "rich", "boto3", "modelport.cli"}.isdisjoint(shown)


def test_the_registry_over_a_store_needs_no_aws_at_all() -> None:
    shown = python("import sys, modelport.registry.memory; print(*sys.modules)").split()
    assert {"boto3", "botocore", "numpy"}.isdisjoint(shown)


class Flushed(io.BytesIO):
    """Bytes that count as written once they are flushed to where ``descriptor`` leads."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self.flushed = 0

    def flush(self) -> None:
        self.flushed += 1

    def fileno(self) -> int:
        return self._descriptor


def test_a_large_file_is_given_to_the_disk_while_it_is_written(tmp_path: Path) -> None:
    with (tmp_path / "disk").open("wb") as disk:
        large, small = Flushed(disk.fileno()), Flushed(disk.fileno())
        blobs.write(large, [b"abc"] * 9, every=10)
        blobs.write(small, [b"abc"] * 3, every=10)
    assert (large.getvalue(), small.getvalue()) == (b"abc" * 9, b"abc" * 3)
    assert 1 <= large.flushed <= 2
    assert small.flushed == 0


def test_what_the_disk_refuses_meanwhile_is_raised() -> None:
    reading, writing = os.pipe()  # Nothing that could be synced.
    try:
        with pytest.raises(OSError, match="Invalid argument"):
            blobs.write(Flushed(writing), [b"abc"] * 4, every=10)
    finally:
        os.close(reading)
        os.close(writing)


def test_what_is_sent_on_is_never_held_whole() -> None:
    """Of a file in another store only what is asked for is read, and a chunk more."""
    chunk, count = b"x" * 1000, 100
    file, taken = File("m", digest_of(chunk * count), len(chunk) * count), []

    class Endless(MemoryStore):
        def read(self, key: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
            for number in range(count):
                taken.append(number)
                yield chunk

    with StoredSource(Endless(), file).open() as reader:
        for number in range(1, 11):
            assert len(reader.read(2500)) == 2500
            assert len(taken) <= number * 2.5 + 1
        assert len(reader.read(10**9)) == file.size - 25_000
        assert reader.read(1) == b""
