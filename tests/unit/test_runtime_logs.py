"""Log lines: their form, their order, and when they reach the stream."""

from __future__ import annotations

import io
import json
import logging
import os
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

import pytest
from modelport.errors import InvalidSettingError

from functions.runtime.logs import configure


@pytest.fixture
def runtime_logger() -> Iterator[logging.Logger]:
    logger = logging.getLogger("functions.runtime")
    before = (logger.handlers[:], logger.level, logger.propagate)
    yield logger
    logger.handlers[:], level, logger.propagate = before
    logger.setLevel(level)


def written(stream: io.TextIOWrapper) -> list[bytes]:
    assert isinstance(stream.buffer, io.BytesIO)
    return stream.buffer.getvalue().splitlines()


class Slow(io.BytesIO):
    """A stream's bytes as they reach whoever reads it, piece by piece."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[bytes] = []

    def flush(self) -> None:
        if self.tell():
            self.pieces.append(self.getvalue())
            self.seek(0)
            self.truncate()


def test_request_lines_wait_for_a_flush_and_keep_their_order(
    runtime_logger: logging.Logger,
) -> None:
    slow = Slow()
    stream = io.TextIOWrapper(slow)
    lines = configure("info", stream)
    lines.request({"n": 1})
    assert slow.pieces == [b'{"n":1}\n']
    lines.hold()
    lines.request({"n": 2})
    lines.request({"n": 3})
    lines.request({"n": 4}, logging.DEBUG)
    assert len(slow.pieces) == 1
    lines.flush()
    assert slow.pieces[1:] == [b'{"n":2}\n{"n":3}\n']
    print("a script's own", file=stream)
    lines.request({"n": 5})
    lines.flush()
    assert slow.pieces[2:] == [b'a script\'s own\n{"n":5}\n']
    lines.request({"n": 6})
    runtime_logger.error("at once")
    assert [b'"n":6' in slow.pieces[3], b"at once" in slow.pieces[3]] == [True, True]
    lines.flush()
    assert len(slow.pieces) == 4


class Unbuffered(io.RawIOBase):
    """Standard output as images set it up: every write is the system's."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        self.writes.append(bytes(data))
        return len(data)


@pytest.mark.usefixtures("runtime_logger")
def test_held_lines_are_one_write_also_where_the_stream_buffers_nothing() -> None:
    raw = Unbuffered()
    lines = configure("info", io.TextIOWrapper(cast(BinaryIO, raw)))
    lines.hold()
    for number in range(3):
        lines.request({"n": number})
    assert raw.writes == []
    lines.flush()
    assert raw.writes == [b'{"n":0}\n{"n":1}\n{"n":2}\n']


def test_held_lines_come_in_pieces_that_a_pipe_does_not_split(
    runtime_logger: logging.Logger,
) -> None:
    slow = Slow()
    lines = configure("info", io.TextIOWrapper(slow))
    lines.hold()
    for number in range(400):
        lines.request({"number": number})
    lines.flush()
    assert len(slow.pieces) > 1
    assert all(len(piece) <= 4096 and piece.endswith(b"\n") for piece in slow.pieces)
    assert [json.loads(line)["number"] for line in b"".join(slow.pieces).splitlines()] == [
        *range(400)
    ]


def test_a_log_that_nobody_reads_fails_no_request(runtime_logger: logging.Logger) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stream:
        lines = configure("info", stream)
        lines.request({"n": 1})
        runtime_logger.error("neither")
        os.dup2(os.open(os.devnull, os.O_WRONLY), writer)  # or closing would say so


def test_an_id_that_is_no_text_is_escaped(runtime_logger: logging.Logger) -> None:
    stream = io.TextIOWrapper(io.BytesIO())
    configure("info", stream).request({"request_id": "\ud800"})
    assert written(stream) == [b'{"request_id":"\\ud800"}']


def test_log_lines_are_json_objects(runtime_logger: logging.Logger) -> None:
    stream = io.TextIOWrapper(io.BytesIO())
    configure("info", stream)
    configure("info", stream)
    child = logging.getLogger("functions.runtime.child")
    child.debug("unseen")
    child.info("request", extra={"request": {"request_id": "1"}})
    try:
        raise ValueError("two\nlines")
    except ValueError:
        child.exception("failed %s", "here")
    plain, failed = [json.loads(line) for line in written(stream)]
    assert plain == {"request_id": "1"}
    assert (failed["level"], failed["message"]) == ("ERROR", "failed here")
    assert failed["traceback"].endswith("ValueError: two\nlines")
    with pytest.raises(InvalidSettingError, match="MODELPORT_LOG_LEVEL"):
        configure("loud", stream)
