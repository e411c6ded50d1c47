"""Chunks are taken in order on another thread, and whatever goes wrong there comes out here."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from modelport.beside import Beside


@settings(max_examples=30, deadline=None)
@given(chunks=st.lists(st.binary(max_size=9), max_size=30))
def test_every_chunk_is_taken_in_order_before_the_block_ends(chunks: list[bytes]) -> None:
    taken: list[bytes] = []
    with Beside(taken.append) as other:
        for chunk in chunks:
            other.take(chunk)
    assert taken == chunks


def test_who_is_ahead_waits() -> None:
    go, ahead = threading.Event(), []

    def slow(chunk: bytes) -> None:
        go.wait(30)

    def feed() -> None:
        with Beside(slow) as other:
            for number in range(9):
                other.take(b"")
                ahead.append(number)

    feeder = threading.Thread(target=feed)
    feeder.start()
    feeder.join(0.1)
    assert len(ahead) <= 2
    go.set()
    feeder.join(30)
    assert len(ahead) == 9


@pytest.mark.parametrize("failing", [0, 4, 8])
def test_what_fails_there_fails_here(failing: int) -> None:
    taken: list[bytes] = []

    def fail(chunk: bytes) -> None:
        taken.append(chunk)
        if len(taken) == failing + 1:
            raise OSError("the disk is full")

    def feed() -> None:
        with Beside(fail) as other:
            for number in range(9):
                other.take(bytes([number]))

    with pytest.raises(OSError, match="full"):
        feed()


def test_after_a_failure_here_nothing_is_begun_there() -> None:
    taken: list[bytes] = []

    def feed() -> None:
        with Beside(taken.append) as other:
            other.take(b"1")
            raise ValueError("here")

    with pytest.raises(ValueError, match="here"):
        feed()
    assert taken in ([], [b"1"])
    assert not any(thread.name.startswith("beside") for thread in threading.enumerate())
