"""A file that arrives in pieces reads, and becomes a layer, like one that lies on the disk."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from modelport.errors import IntegrityError
from modelport.images import layer, tar
from modelport.images.arriving import Arriving
from modelport.manifest import File
from modelport.registry import silent

SIZES = st.integers(1, 3 << 20)


def cut(body: bytes, cuts: list[int]) -> Iterator[bytes]:
    at = 0
    for size in cuts:
        yield body[at : at + size]
        at += size
    yield body[at:]


@given(body=st.binary(max_size=500), cuts=st.lists(st.integers(0, 99)), size=st.integers(1, 99))
def test_reads_are_as_large_as_asked_for_until_the_end(
    body: bytes, cuts: list[int], size: int
) -> None:
    file = File("m", "", len(body))
    arriving, plain = Arriving(file, cut(body, cuts), silent), io.BytesIO(body)
    for _ in range(len(body) // size + 2):
        assert arriving.read(size) == plain.read(size)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15, deadline=None
)
@given(size=SIZES, cuts=st.lists(SIZES, max_size=5), seed=st.integers())
def test_a_layer_is_the_same_however_the_network_cut_its_bytes(
    tmp_path: Path, size: int, cuts: list[int], seed: int
) -> None:
    body = random.Random(seed).randbytes(size)
    file = File("m", "", size)

    def arriving() -> BinaryIO:
        return cast("BinaryIO", Arriving(file, cut(body, cuts), silent))

    streamed = layer.write("model", [tar.Entry("m", size, arriving)], tmp_path)
    (tmp_path / "file").write_bytes(body)
    assert layer.write("model", [tar.of_file(tmp_path / "file", "m")], tmp_path) == streamed


def test_it_tells_how_far_it_is() -> None:
    said: list[tuple[str, int, int]] = []
    arriving = Arriving(File("m", "", 5), cut(b"12345", [2]), lambda *report: said.append(report))
    assert arriving.read(9) == b"12345"
    assert said == [("m", 2, 5), ("m", 5, 5)]


def test_what_turns_out_wrong_at_the_end_becomes_no_layer(tmp_path: Path) -> None:
    def wrong() -> Iterator[bytes]:
        yield b"12345"
        raise IntegrityError("blob", "these bytes", "others")

    def arriving() -> BinaryIO:
        return cast("BinaryIO", Arriving(File("m", "", 5), wrong(), silent))

    with pytest.raises(IntegrityError, match="these bytes"):
        layer.write("model", [tar.Entry("m", 5, arriving)], tmp_path)
    assert list(tmp_path.iterdir()) == []
