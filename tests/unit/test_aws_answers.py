"""`modelport.aws.answers`: however bytes arrive, and whatever they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelport.aws.answers import (
    BODY_LIMIT,
    HEAD_LIMIT,
    Answer,
    MalformedAnswerError,
    NoAnswerError,
    read_answer,
)

OK = b"HTTP/1.1 200 OK\r\n"


def arriving(*pieces: bytes) -> Callable[[], bytes]:
    """What gives ``pieces``, and then says that there is no more."""
    left: Iterator[bytes] = iter([piece for piece in pieces if piece])
    return lambda: next(left, b"")


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    pieces = []
    for size in sizes:
        pieces.append(data[:size])
        data = data[size:]
    return [*pieces, data]


@given(
    body=st.binary(max_size=300),
    sizes=st.lists(st.integers(1, 40), max_size=40),
    chunks=st.none() | st.integers(1, 50),
    interim=st.booleans(),
)
def test_an_answer_is_the_same_in_whatever_pieces_it_comes(
    body: bytes, sizes: list[int], chunks: int | None, interim: bool
) -> None:
    data = b"HTTP/1.1 100 Continue\r\n\r\n" if interim else b""
    data += OK + b"X-One: a\r\nx-one:  b \r\n"
    if chunks:
        parts = [body[at : at + chunks] for at in range(0, len(body), chunks)]
        data += b"Transfer-Encoding: chunked\r\n\r\n"
        data += b"".join(b"%X;x=y\r\n%b\r\n" % (len(part), part) for part in parts)
        data += b"0\r\nTrailer: t\r\n\r\n"
    else:
        data += b"Content-Length: %d\r\n\r\n" % len(body) + body
    answer, lasting = read_answer(arriving(*cut(data, sizes)))
    assert (answer.status, answer.body, answer.headers["x-one"]) == (200, body, "a, b")
    assert lasting


@given(st.binary(max_size=200), st.lists(st.integers(1, 20), max_size=9))
def test_garbage_is_an_error_of_ours(data: bytes, sizes: list[int]) -> None:
    for begin in (b"", OK, OK + b"\r\n", OK + b"transfer-encoding: chunked\r\n\r\n"):
        with suppress(MalformedAnswerError, NoAnswerError):  # and nothing else, nor for ever
            answer, _ = read_answer(arriving(*cut(begin + data, sizes)))
            assert len(answer.body) <= len(data)


@pytest.mark.parametrize(
    ("head", "lasts"),
    [
        (OK + b"content-length: 2\r\n", True),
        (OK + b"content-length: 2\r\nConnection: close\r\n", False),
        (b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n", False),
        (b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\nConnection: Keep-Alive\r\n", True),
        (b"HTTP/1.1 200\r\ncontent-length: 2\r\n", True),
        (OK, False),
    ],
)
def test_a_connection_is_kept_only_where_both_sides_know(head: bytes, lasts: bool) -> None:
    answer, lasting = read_answer(arriving(head + b"\r\nok"))
    assert (answer, lasting) == (Answer(200, answer.headers, b"ok"), lasts)


def test_what_comes_behind_an_answer_ends_its_connection() -> None:
    answer, lasting = read_answer(arriving(OK + b"content-length: 2\r\n\r\nokHTTP/1.1 200"))
    assert (answer.body, lasting) == (b"ok", False)
    both = b"content-length: 9\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
    answer, lasting = read_answer(arriving(OK + both))
    assert (answer.body, lasting) == (b"ok", False)


@pytest.mark.parametrize("status", [204, 304])
def test_answers_without_a_body_have_none(status: int) -> None:
    head = b"HTTP/1.1 %d x\r\nContent-Length: 5\r\n\r\n" % status
    assert read_answer(arriving(head)) == (Answer(status, {"content-length": "5"}, b""), True)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"HTTP/1.1 20", "cut off"),
        (OK + b"content-length: 9\r\n\r\nshort", "cut off"),
        (OK + b"transfer-encoding: chunked\r\n\r\n5\r\nab", "cut off"),
        (OK + b"transfer-encoding: chunked\r\n\r\n2\r\nabc\r\n", "another length"),
        (OK + b"transfer-encoding: chunked\r\n\r\n-2\r\nab\r\n", "no length"),
        (OK + b"transfer-encoding: chunked\r\n\r\n" + b"f" * 9 + b"\r\n", "no length"),
        (OK + b"transfer-encoding: chunked\r\n\r\n" + b"0" * 2000, "too long"),
        (OK + b"transfer-encoding: chunked\r\n\r\n0\r\n" + b"a: b\r\n" * 20, "trailers"),
        (OK + b"transfer-encoding: gzip\r\n\r\n", "transfer coding"),
        (OK + b"content-length: -1\r\n\r\n", "no number"),
        (OK + b"content-length: 1\r\ncontent-length: 2\r\n\r\n", "no number"),
        (OK + b"content-length: %d\r\n\r\n" % (BODY_LIMIT + 1), "larger than"),
        (OK + b"no header\r\n\r\n", "no header"),
        (OK + b"a: b\r\n c\r\n\r\n", "no header"),
        (OK + b"a : b\r\n\r\n", "no header"),
        (OK + b"a: " + b"x" * HEAD_LIMIT + b"\r\n\r\n", "head is larger"),
        (OK + b"a: " + b"x" * HEAD_LIMIT * 2, "head is larger"),
        (b"SSH-2.0-x\r\n\r\n", "does not begin"),
        (b"HTTP/1.1 abc\r\n\r\n", "no status"),
        (b"HTTP/1.1 2000\r\n\r\n", "does not begin"),
        (b"HTTP/1.1 101 x\r\n\r\n", "no status"),
        (b"HTTP/1.1 100 x\r\n\r\n" * 20, "more interim"),
    ],
)
def test_what_is_no_answer_says_why(data: bytes, says: str) -> None:
    with pytest.raises(MalformedAnswerError, match=says):
        read_answer(arriving(*cut(data, [len(data) // 2])))


def test_nothing_at_all_is_told_apart() -> None:
    with pytest.raises(NoAnswerError):
        read_answer(arriving())


def test_an_answer_does_not_show_what_it_holds() -> None:
    answer, _ = read_answer(arriving(OK + b"set-cookie: hidden\r\ncontent-length: 6\r\n\r\nhidden"))
    assert repr(answer) == "Answer(status=200)"
