"""Layers as tar streams: the same names and contents are the same bytes, and no path escapes."""

from __future__ import annotations

import io
import os
import random
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from modelport.errors import IntegrityError
from modelport.images import tar
from modelport.images.errors import UnsafePathError

NAMES = st.text(st.characters(exclude_categories=("C", "Z"), exclude_characters="/\\"), min_size=1)
PARTS = NAMES.filter(lambda name: name not in (".", "..") and not name.startswith(".wh."))
PATHS = st.lists(PARTS.map(lambda name: name[:40]), min_size=1, max_size=4).map("/".join)


def entry(path: str, body: bytes = b"", *, executable: bool = False) -> tar.Entry:
    return tar.Entry(path, len(body), lambda: io.BytesIO(body), executable)


def archive_of(*entries: tar.Entry) -> bytes:
    out = bytearray()
    tar.write(entries, out.extend)
    return bytes(out)


def members(archive: bytes) -> list[tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        return opened.getmembers()


def test_parents_come_first_and_once_and_everything_is_in_one_order() -> None:
    archive = archive_of(entry("opt/b/x"), entry("opt/a.txt"), entry("opt/b-c"), entry("opt/b/a"))
    names = [member.name for member in members(archive)]
    assert names == ["opt", "opt/a.txt", "opt/b", "opt/b/a", "opt/b/x", "opt/b-c"]


def test_nothing_of_this_machine_is_in_it() -> None:
    for member in members(archive_of(entry("a/tool", b"x", executable=True), entry("a/text"))):
        assert (member.uid, member.gid, member.uname, member.gname) == (0, 0, "", "")
        assert member.mtime == 0
        plain = member.name == "a/text"
        assert member.mode == (0o644 if plain else 0o755)


@settings(deadline=None)
@given(st.dictionaries(PATHS, st.binary(max_size=1500), max_size=8), st.randoms())
def test_any_tree_in_any_order_is_the_same_archive_and_reads_back(
    files: dict[str, bytes], rng: random.Random
) -> None:
    files = {
        path: body
        for path, body in files.items()
        if not any(other.startswith(f"{path}/") for other in files)
    }
    entries = [entry(path, body) for path, body in files.items()]
    archive = archive_of(*entries)
    rng.shuffle(entries)
    assert archive_of(*entries) == archive
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        read = {m.name: opened.extractfile(m) for m in opened if m.isreg()}
        assert {name: file.read() for name, file in read.items() if file} == files


def test_a_file_over_eight_gibibytes_has_its_size_told() -> None:
    written = bytearray()

    class TooLongToRead(Exception):
        pass

    class Huge(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            raise TooLongToRead

    with pytest.raises(TooLongToRead):
        tar.write([tar.Entry("big", 9 * 2**30, lambda: Huge())], written.extend)  # type: ignore[arg-type,return-value]
    header = tarfile.TarInfo.frombuf(bytes(written[-512:]), "utf-8", "strict")
    assert b"size=9663676416" in written
    assert header.name == "big"


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "../up",
        "a/../b",
        "a//b",
        "./a",
        "a/",
        "",
        ".",
        "a\\b",
        "a\nb",
        "a\0b",
        ".wh.model.onnx",
        "a/.wh..wh..opq",
        "n" * 256,
    ],
)
def test_a_path_that_could_leave_the_image_or_mean_something_else_is_refused(path: str) -> None:
    with pytest.raises(UnsafePathError) as raised:
        archive_of(entry(path))
    assert repr(path) in raised.value.message


def test_the_same_path_twice_and_a_file_below_a_file_are_refused() -> None:
    with pytest.raises(UnsafePathError, match="twice"):
        archive_of(entry("a", b"1"), entry("a", b"2"))
    with pytest.raises(UnsafePathError, match="below the file a"):
        archive_of(entry("a"), entry("a/b"))


@pytest.mark.parametrize("told", [2, 4])
def test_a_file_that_is_not_as_long_as_it_said_is_refused(told: int) -> None:
    with pytest.raises(IntegrityError, match=f"expected {told} bytes"):
        archive_of(tar.Entry("a", told, lambda: io.BytesIO(b"abc")))


def test_a_tree_is_its_regular_files_and_whether_they_run(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/text").write_text("hello")
    (tmp_path / "lib.so").touch(mode=0o700)
    found = {entry.path: (entry.size, entry.executable) for entry in tar.tree(tmp_path, "opt/")}
    assert found == {"opt/lib.so": (0, True), "opt/sub/text": (5, False)}


@pytest.mark.parametrize("kind", ["link", "dangling", "folder link", "pipe"])
def test_links_and_devices_never_become_entries(tmp_path: Path, kind: str) -> None:
    (tmp_path / "real").mkdir()
    strange = tmp_path / "strange"
    if kind == "pipe":
        os.mkfifo(strange)
    else:
        strange.symlink_to({"link": "/etc/hosts", "dangling": "none", "folder link": "real"}[kind])
    with pytest.raises(UnsafePathError, match="link, pipe, socket or device"):
        list(tar.tree(tmp_path))
