"""A kept blob is read once, and again as soon as anything about it could have changed."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from modelport.images import marks

OLD = 1_000_000_000


def is_right(blob: Path, folder: Path, read: Callable[[Path], bool]) -> bool:
    """Asked when the blob is no longer so young that its next change might not show."""
    return marks.is_right(blob, folder, read, clock=lambda: time.time() + 1)


class Reads:
    """Says that a blob is right, or not, and counts how often it was asked."""

    def __init__(self, answer: bool = True) -> None:
        self.answer, self.count = answer, 0

    def __call__(self, blob: Path) -> bool:
        self.count += 1
        return self.answer


@pytest.fixture
def blob(tmp_path: Path) -> Path:
    path = tmp_path / "blobs" / "0123"
    path.parent.mkdir()
    path.write_bytes(b"weights")
    return path


@pytest.fixture
def marked(blob: Path, tmp_path: Path) -> Path:
    assert is_right(blob, tmp_path / "marks", Reads())
    return blob


def test_a_blob_that_was_read_is_not_read_again(marked: Path, tmp_path: Path) -> None:
    reads = Reads(answer=False)
    assert is_right(marked, tmp_path / "marks", reads)
    assert reads.count == 0


def test_a_wrong_blob_is_never_marked(blob: Path, tmp_path: Path) -> None:
    for _ in range(2):
        assert not is_right(blob, tmp_path / "marks", Reads(answer=False))
    assert not (tmp_path / "marks").exists()


def rewritten(blob: Path) -> None:
    blob.write_bytes(b"w3ights")


def rewritten_with_its_time(blob: Path) -> None:
    before = blob.stat()
    blob.write_bytes(b"w3ights")
    os.utime(blob, ns=(before.st_atime_ns, before.st_mtime_ns))


def replaced(blob: Path) -> None:
    other = blob.with_name("other")
    other.write_bytes(b"w3ights")
    other.replace(blob)


def cut_short(blob: Path) -> None:
    os.truncate(blob, 3)


@pytest.mark.parametrize("change", [rewritten, rewritten_with_its_time, replaced, cut_short])
def test_whatever_is_done_to_it_has_it_read_again(
    marked: Path, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    change(marked)
    assert not is_right(marked, tmp_path / "marks", Reads(answer=False))


@pytest.mark.parametrize(
    "change",
    [
        {"boot": "another"},
        {"marked": OLD},
        {"marked": 1 << 40},
        {"marked": None},
        {"size": 8},
    ],
)
def test_a_mark_of_another_start_or_day_or_file_counts_for_nothing(
    marked: Path, tmp_path: Path, change: dict[str, object]
) -> None:
    note = tmp_path / "marks" / "0123.json"
    note.write_text(json.dumps({**json.loads(note.read_text()), **change}))
    assert not is_right(marked, tmp_path / "marks", Reads(answer=False))


@pytest.mark.parametrize("text", ["", "[]", "{}", '"x"', '{"marked": "x"}', "\x00"])
def test_a_broken_mark_counts_for_nothing(marked: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "marks" / "0123.json").write_text(text)
    reads = Reads()
    assert is_right(marked, tmp_path / "marks", reads)
    assert is_right(marked, tmp_path / "marks", reads)
    assert reads.count == 1


def test_a_blob_that_changed_while_it_was_read_is_read_again(blob: Path, tmp_path: Path) -> None:
    def changing(path: Path) -> bool:
        path.write_bytes(b"w3ights")
        return True

    assert is_right(blob, tmp_path / "marks", changing)
    assert not is_right(blob, tmp_path / "marks", Reads(answer=False))


@pytest.mark.parametrize("age", [-3600, 0, 0.04])
def test_a_blob_that_was_just_written_is_not_marked_yet(
    blob: Path, tmp_path: Path, age: float
) -> None:
    written = blob.stat().st_ctime
    assert marks.is_right(blob, tmp_path / "marks", Reads(), clock=lambda: written + age)
    assert not (tmp_path / "marks").exists()


def test_links_and_what_is_not_there_are_never_marked(blob: Path, tmp_path: Path) -> None:
    link = blob.with_name("link")
    link.symlink_to(blob)
    assert is_right(link, tmp_path / "marks", Reads())
    assert not is_right(blob.with_name("none"), tmp_path / "marks", Reads(answer=False))
    assert not (tmp_path / "marks").exists()


def test_where_marks_cannot_be_written_every_blob_is_read(blob: Path, tmp_path: Path) -> None:
    (tmp_path / "marks").write_text("a file in its place")
    reads = Reads()
    assert is_right(blob, tmp_path / "marks", reads)
    assert is_right(blob, tmp_path / "marks", reads)
    assert reads.count == 2
