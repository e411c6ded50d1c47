"""Archives that somebody made up: refused before anything is published, whatever is in them."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from modelport.errors import BackendError, IntegrityError, InvalidBundleError, ModelportError
from modelport.evaluation.report import Data, Report
from modelport.evaluation.reports import Reports
from modelport.manifest import Content, Gates, Manifest, readable
from modelport.registry import keys
from modelport.registry.errors import InvalidArchiveError
from modelport.registry.memory import MemoryRegistry
from modelport.registry.notes import NoteEdit
from modelport.upkeep import archive
from modelport.upkeep.transfer import take_in

from tests.support.registry_world import ADA, make_draft, overwrite

NAME = "magika"


@pytest.fixture
def registry(tmp_path: Path) -> MemoryRegistry:
    registry = MemoryRegistry()
    draft = make_draft(tmp_path / "in", model=b"weights" * 100, labels=b"a\n", same=b"a\n")
    registry.publish(NAME, draft, who=ADA)
    registry.annotate(NAME, 1, NoteEdit({"a": "b"}), who=ADA)
    return registry


@pytest.fixture
def whole(registry: MemoryRegistry, tmp_path: Path) -> bytes:
    archive.write(registry, NAME, 1, tmp_path / "whole")
    return (tmp_path / "whole").read_bytes()


def members(body: bytes) -> list[tuple[str, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(body), mode="r:") as tar:
        return [(m.name, tar.extractfile(m).read()) for m in tar.getmembers()]  # type: ignore[union-attr]


def joined(parts: list[tuple[str, bytes]]) -> bytes:
    whole = b"".join(
        archive.header(name, len(body)) + body + bytes(-len(body) % 512) for name, body in parts
    )
    return whole + bytes(1024)


def read(body: bytes, tmp_path: Path) -> archive.Archive:
    path = tmp_path / "made-up"
    path.write_bytes(body)
    return archive.read(path)


def test_any_tar_program_reads_one(whole: bytes, registry: MemoryRegistry) -> None:
    manifest = registry.manifest(NAME, 1)
    hexes = sorted({file.digest.removeprefix("sha256:") for file in manifest.files})
    names = ["manifest.json", "notes.json", *(f"blobs/{each}" for each in hexes)]
    assert [name for name, _ in members(whole)] == names
    with tarfile.open(fileobj=io.BytesIO(whole), mode="r:") as tar:
        entry = tar.getmembers()[0]
        assert (entry.mode, entry.mtime, entry.uid, entry.isreg()) == (0o644, 0, 0, True)


def test_what_was_taken_apart_and_joined_again_is_the_same(whole: bytes, tmp_path: Path) -> None:
    assert joined(members(whole)) == whole
    assert read(whole, tmp_path).notes.tags == {"a": "b"}


@pytest.mark.parametrize("size", [0, 1, 8 << 30, (1 << 40) + 1])
def test_sizes_are_written_as_tar_programs_read_them(size: int) -> None:
    found = tarfile.TarInfo.frombuf(archive.header("name", size), "ascii", "strict")
    assert (found.name, found.size, found.type) == ("name", size, tarfile.REGTYPE)


Parts = list[tuple[str, bytes]]


def renamed(number: int, name: str) -> Callable[[Parts], Parts]:
    return lambda parts: [
        (name if n == number else each, body) for n, (each, body) in enumerate(parts)
    ]


@pytest.mark.parametrize(
    "edit",
    [
        lambda parts: parts[1:],
        lambda parts: parts[:-1],
        lambda parts: [*parts, ("more", b"")],
        lambda parts: [*parts, parts[-1]],
        lambda parts: [*parts[:2], *parts[:1:-1]],
        lambda parts: [parts[1], parts[0], *parts[2:]],
        lambda parts: [*parts[:-1], (parts[-1][0], parts[-1][1][:-1])],
        lambda parts: [*parts[:-1], (parts[-1][0], parts[-1][1] + b"!")],
        lambda parts: [*parts[:-1], (parts[-1][0], b"W" + parts[-1][1][1:])],
        lambda parts: [(parts[0][0], parts[0][1].replace(b"magika", b"other!")), *parts[1:]][:1],
        lambda parts: [(parts[0][0], b"{}"), *parts[1:]],
        lambda parts: [parts[0], ("notes.json", b"[]"), *parts[2:]],
        lambda parts: [*parts[:2], ("evaluations/../../x.json", b"{}"), *parts[2:]],
        lambda parts: [*parts[:2], ("evaluations/x.json", b"{}"), *parts[2:]],
        renamed(2, "../../etc/passwd"),
        renamed(2, "/etc/passwd"),
        renamed(2, "blobs/../manifest.json"),
        lambda parts: [],
    ],
)
def test_other_members_are_refused(
    whole: bytes, tmp_path: Path, edit: Callable[[Parts], Parts]
) -> None:
    with pytest.raises(IntegrityError):
        read(joined(edit(members(whole))), tmp_path)


@pytest.mark.parametrize(
    "kind",
    [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.CHRTYPE, tarfile.GNUTYPE_SPARSE],
)
def test_links_devices_and_folders_are_refused(whole: bytes, tmp_path: Path, kind: bytes) -> None:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:") as tar:
        for number, (name, body) in enumerate(members(whole)):
            entry = tarfile.TarInfo(name)
            if number == 2:
                entry.type, entry.linkname = kind, "/etc/passwd"
            else:
                entry.size = len(body)
            tar.addfile(entry, io.BytesIO(body) if entry.size else None)
    with pytest.raises(InvalidArchiveError):
        read(made.getvalue(), tmp_path)


@pytest.mark.parametrize("size", [10**6, 1 << 40, 1 << 62])
def test_sizes_that_lie_are_refused_before_they_are_read(
    whole: bytes, tmp_path: Path, size: int
) -> None:
    for name in ("manifest.json", "blobs/" + "0" * 64):
        with pytest.raises(InvalidArchiveError, match="less"):
            read(archive.header(name, size) + whole[512:], tmp_path)


def test_a_document_that_is_too_large_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "large"
    size = archive.MOST_DOCUMENT_BYTES + 1
    with path.open("wb") as handle:
        handle.write(archive.header("manifest.json", size))
        handle.truncate(512 + size + 1024)  # No disk is used for the rest.
    with pytest.raises(InvalidArchiveError, match="up to"):
        archive.read(path)


@pytest.mark.parametrize("cut", [0, 1, 511, 512, 513, 1500, -1, -512, -1024])
def test_a_file_that_was_cut_off_is_refused(whole: bytes, tmp_path: Path, cut: int) -> None:
    with pytest.raises(IntegrityError):
        read(whole[:cut], tmp_path)


@pytest.mark.parametrize(
    "edit",
    [
        lambda d: d["files"][0].update(path="../../etc/cron.d/x"),
        lambda d: d["files"][0].update(path="/etc/passwd"),
        lambda d: d["files"][0].update(path=5),
        lambda d: d["files"][0].update(path="labels.bin"),
        lambda d: d["files"][0].update(digest="sha256:../../x"),
        lambda d: d["files"][0].update(size=-1),
        lambda d: d["files"][0].update(size="700"),
        lambda d: d["settings"].update(entry="../model.onnx"),
        lambda d: d.update(model="../other"),
        lambda d: d.update(version=0),
        lambda d: d.update(lineage=[]),
        lambda d: d.update(created="yesterday"),
        lambda d: d.update(metrics={"accuracy": "high"}),
        lambda d: d.update(metrics={"accuracy": float("nan")}),
        lambda d: d.update(description=7),
        lambda d: d["settings"].update(gates={"require": ["f9>1"], "no_worse_than": None}),
        lambda d: d["settings"].update(gates={"require": [9], "no_worse_than": None}),
        lambda d: d["settings"].update(gates={"require": [], "no_worse_than": "No One"}),
    ],
)
def test_a_record_that_nobody_could_have_published_is_refused(
    whole: bytes, tmp_path: Path, edit: Callable[[Any], None]
) -> None:
    """Its digest is right: whoever made it up computed that, too."""
    parts = members(whole)
    document = json.loads(parts[0][1])
    edit(document)
    document["digest"] = Content.from_json(document).digest
    with pytest.raises(IntegrityError):
        read(joined([(parts[0][0], readable(document)), *parts[1:]]), tmp_path)


def test_a_record_with_gates_is_read(whole: bytes, tmp_path: Path) -> None:
    parts = members(whole)
    document = json.loads(parts[0][1])
    document["settings"].update(gates={"require": ["f1>=0.9"], "no_worse_than": None})
    document["digest"] = Content.from_json(document).digest
    found = read(joined([(parts[0][0], readable(document)), *parts[1:]]), tmp_path)
    assert found.manifest.content.settings.gates == Gates(("f1>=0.9",))


def test_a_document_without_a_bottom_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError):
        read(joined([("manifest.json", b"[" * 200_000)]), tmp_path)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_single_byte_can_be_another(whole: bytes, tmp_path: Path, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(whole) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda value: value != whole[at]))
    try:
        found = read(whole[:at] + bytes([byte]) + whole[at + 1 :], tmp_path)
    except ModelportError:
        return
    # Only what no digest covers: when it was published, by whom, and what was noted.
    same = read(whole, tmp_path)
    assert found.manifest.content == same.manifest.content
    assert found.blobs == same.blobs


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=3000))
def test_any_other_bytes_are_refused(tmp_path: Path, body: bytes) -> None:
    with pytest.raises(IntegrityError):
        read(body, tmp_path)


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(InvalidBundleError, match="No such file"):
        archive.read(tmp_path / "none")
    with pytest.raises(InvalidBundleError, match="cannot be read"):
        archive.read(tmp_path)


def test_nothing_half_written_is_left(registry: MemoryRegistry, tmp_path: Path) -> None:
    manifest: Manifest = registry.manifest(NAME, 1)
    largest = max(manifest.files, key=lambda file: file.size)
    overwrite(registry.store, keys.blob(largest.digest), lambda body: b"W" + body[1:])
    target = tmp_path / "out" / "file"
    with pytest.raises(IntegrityError, match="blob of"):
        archive.write(registry, NAME, 1, target)
    assert list(target.parent.iterdir()) == []
    with pytest.raises(BackendError, match="cannot write"):
        archive.write(registry, NAME, 1, tmp_path / "in" / "model.bin" / "file")


def test_of_very_many_reports_the_latest_go_along_and_none_of_another_content(
    registry: MemoryRegistry, tmp_path: Path
) -> None:
    """What is written can always be read: the reader takes no more reports than these."""
    digest = registry.manifest(NAME, 1).digest
    data = Data("test.csv", "sha256:" + "a" * 64, 10)
    reports = [
        Report(NAME, 1, digest, "regression", data, {}, f"2026-01-01T00:00:00.{number:06}+00:00")
        for number in range(archive.MOST_REPORTS + 2)
    ]
    reports[-2] = replace(reports[-2], digest="sha256:another")
    for report in reports:
        Reports(registry.store).put_report(report)
    archive.write(registry, NAME, 1, tmp_path / "many")
    found = [report.id for report in archive.read(tmp_path / "many").evaluations()]
    assert found == [report.id for report in (*reports[2:-2], reports[-1])]
    there = MemoryRegistry()
    made = take_in(there, archive.read(tmp_path / "many"), who=ADA)
    assert Reports(there.store).ids(NAME, made.version) == found
