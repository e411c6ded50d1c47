"""Files in parts: hashed once, sent as they are read, refused when they are not what they were."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from modelport.errors import IntegrityError, InvalidBundleError
from modelport.manifest import File, digest_of
from modelport.registry.blobs import LocalSource, StoredSource
from modelport.registry.checksums import PartChecksums
from modelport.registry.memory import MemoryStore
from modelport.registry.s3_upload import Meter, PartBody
from modelport.registry.store import Part, Source
from modelport.upkeep.archive import ArchivedSource

BODY = bytes(range(256)) * 10
SIZE = 1000
FILE = File("weights.bin", digest_of(BODY), len(BODY))
PARTS = [BODY[start : start + SIZE] for start in range(0, len(BODY), SIZE)]


def checksums(body: bytes, size: int = SIZE) -> PartChecksums:
    found = PartChecksums(size)
    found.update(body)
    return found


# --- checksums ------------------------------------------------------------------------------------


@given(body=st.binary(max_size=60), size=st.integers(1, 70), cuts=st.lists(st.integers(0, 60)))
def test_checksums_are_those_of_the_parts_whatever_chunks_they_come_in(
    body: bytes, size: int, cuts: list[int]
) -> None:
    found = PartChecksums(size)
    for start, end in pairwise([0, *sorted(cuts), len(body)]):
        found.update(body[start:end])
    parts = [body[start : start + size] for start in range(0, len(body), size)]
    assert found.values == [zlib.crc32(part) for part in parts]


# --- where parts come from ------------------------------------------------------------------------


def local(folder: Path, body: bytes, known: PartChecksums | None = None) -> LocalSource:
    (folder / "file").write_bytes(body)
    return LocalSource(folder / "file", known)


def archived(folder: Path, body: bytes, known: PartChecksums | None = None) -> ArchivedSource:
    (folder / "archive").write_bytes(b"before" + body)
    return ArchivedSource(folder / "archive", replace(FILE, size=len(body)), 6, known)


def stored(folder: Path, body: bytes) -> StoredSource:
    class Holding(MemoryStore):
        def read(self, key: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
            return iter([body[:7], body[7:1500], body[1500:]])

    return StoredSource(Holding(), FILE)


SOURCES: dict[str, Callable[[Path, bytes], Source]] = {
    "on this machine": local,
    "hashed before": partial(local, known=checksums(BODY)),
    "hashed in other parts": partial(local, known=checksums(BODY, 999)),
    "in an archive": archived,
    "in an archive, hashed before": partial(archived, known=checksums(BODY)),
    "in another store": stored,
}


def read(source: Source) -> list[bytes]:
    """What a store would have sent when it may say that it was ``FILE``."""
    sent = []
    with source.parts(FILE, SIZE) as parts:
        for part in parts:
            body = PartBody(part, lambda _: None)
            sent.append(body.read())
            body.check(FILE)
    return sent


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_parts_are_the_file(source: Callable[[Path, bytes], Source], tmp_path: Path) -> None:
    made = source(tmp_path, BODY)
    assert read(made) == PARTS
    assert read(made) == PARTS


SPOILT: dict[str, Callable[[bytes], bytes]] = {
    "first byte": lambda body: b"x" + body[1:],
    "last byte": lambda body: body[:-1] + b"x",
    "a byte short": lambda body: body[:-1],
    "a part short": lambda body: body[: 2 * SIZE],
    "empty": lambda body: b"",
    "longer": lambda body: body + b"more",
}
#: Behind what was hashed of an archive more of the archive may follow.
RIGHT = ("in an archive, hashed before", "longer")


@pytest.mark.parametrize(
    ("source", "spoil"),
    [
        pytest.param(source, spoil, id=f"{where}-{how}")
        for where, source in SOURCES.items()
        for how, spoil in SPOILT.items()
        if (where, how) != RIGHT
    ],
)
def test_what_is_not_the_file_is_refused(
    source: Callable[[Path, bytes], Source], spoil: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    with pytest.raises(IntegrityError):
        read(source(tmp_path, spoil(BODY)))


@pytest.mark.parametrize("source", [local, archived])
def test_what_was_not_hashed_before_is_found_out_before_anything_is_sent(
    source: Callable[[Path, bytes], Source], tmp_path: Path
) -> None:
    made = source(tmp_path, BODY[:-1] + b"x")
    with pytest.raises(IntegrityError, match="changed while it was published"), made.parts(FILE, 9):
        raise AssertionError("there are parts of it")


def test_a_file_that_was_hashed_before_is_not_read_until_its_parts_are(tmp_path: Path) -> None:
    """Whoever goes on with an upload needs only the bytes that are missing."""
    source = local(tmp_path, bytes(2 * SIZE) + BODY[2 * SIZE :], checksums(BODY))
    with source.parts(FILE, SIZE) as parts:
        _, _, third = parts
        assert third.read(0, SIZE) == PARTS[2]


def test_a_file_that_was_replaced_by_another_while_it_is_sent_is_the_one_that_was_opened(
    tmp_path: Path,
) -> None:
    source = local(tmp_path, BODY, checksums(BODY))
    with source.parts(FILE, SIZE) as parts:
        (tmp_path / "other").write_bytes(bytes(len(BODY)))
        (tmp_path / "other").replace(source.path)
        assert [part.read(0, part.size) for part in parts] == PARTS


def test_a_file_that_is_gone_is_said(tmp_path: Path) -> None:
    with (
        pytest.raises(InvalidBundleError, match="cannot be read"),
        LocalSource(tmp_path / "gone", checksums(BODY)).parts(FILE, SIZE),
    ):
        raise AssertionError("there are parts of it")


# --- a part on its way out ------------------------------------------------------------------------


def part_of(body: bytes, now: bytes | None = None) -> Part:
    """A part that was ``body`` when it was hashed and is ``now`` when it is read."""
    there = body if now is None else now
    return Part(len(body), zlib.crc32(body), lambda at, size: there[at : at + size])


@given(
    body=st.binary(max_size=40),
    tries=st.lists(st.lists(st.integers(1, 50), max_size=5), max_size=3),
    size=st.integers(1, 50),
)
def test_a_part_is_the_same_bytes_at_every_try(
    body: bytes, tries: list[list[int]], size: int
) -> None:
    reports: list[int] = []
    sent = PartBody(part_of(body), reports.append)
    for sizes in tries:
        for each in sizes:
            sent.read(each)
        assert sent.seek(0) == 0
    assert b"".join(iter(lambda: sent.read(size), b"")) == body
    assert sent.tell() == len(sent) == len(body)
    assert reports[-1] == len(body)
    sent.check(FILE)


@settings(max_examples=200)
@given(body=st.binary(min_size=1, max_size=40), now=st.binary(max_size=40), size=st.integers(1, 50))
def test_a_part_that_became_another_goes_out_at_its_length_and_is_refused(
    body: bytes, now: bytes, size: int
) -> None:
    sent = PartBody(part_of(body, now), lambda _: None)
    out = b"".join(iter(lambda: sent.read(size), b""))
    assert out == now[: len(body)].ljust(len(body), b"\0")
    if out == body:
        sent.check(FILE)
    else:
        with pytest.raises(IntegrityError, match="changed while it was published"):
            sent.check(FILE)


def test_a_part_that_was_not_sent_to_its_end_says_nothing_of_the_file() -> None:
    sent = PartBody(part_of(b"body", b"BODY"), lambda _: None)
    sent.read(3)
    sent.check(FILE)


@given(reports=st.lists(st.tuples(st.integers(1, 5), st.integers(0, 9)), min_size=1))
def test_progress_is_the_sum_of_how_far_each_part_is(reports: list[tuple[int, int]]) -> None:
    told: list[int] = []
    meter = Meter(told.append)
    for number, done in reports:
        meter.report(number, done)
    assert told[-1] == sum(dict(reports).values())
