"""The clients of the benchmarks, against a server of our own on loopback."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from tests.bench.load import Line, LoadError, Question, rate, wrk_rate
from tests.support.loopback import Exchange, serving


class _Echo(Exchange):
    """Answers what it is sent, in the way that the path names."""

    def do_POST(self) -> None:
        body = self.body()
        if self.path == "/length":
            self.answer((200, {"X-Given": self.headers["X-Given"]}, body))
        elif self.path == "/close":
            self.answer((200, {"Connection": "close"}, body))
            self.close_connection = True
        elif self.path == "/chunked":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for part in (body[:70_000], body[70_000:]):
                self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part) if part else b"")
            self.wfile.write(b"0\r\n\r\n")
        else:
            self.answer((503, {}, b"not now"))


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with serving(_Echo) as url:
        yield int(url.rpartition(":")[2])


@pytest.mark.parametrize("path", ["/length", "/chunked", "/close"])
@pytest.mark.parametrize("size", [1, 200_000])
def test_answers_are_read_whole_however_their_end_is_told(port: int, path: str, size: int) -> None:
    question = Question(path, bytes(range(256)) * (size // 256) + b"end", {"x-given": "7"})
    with Line(port) as line:
        for _ in range(3):
            answer = line.ask(question.to_bytes())
            assert (answer.status, answer.body) == (200, question.body)
    assert path != "/length" or answer.headers["x-given"] == "7"


def test_a_rate_counts_right_answers_only(port: int) -> None:
    assert rate(port, Question("/length", b"x", {"x-given": "7"}), 4, 0.05) > 0
    with pytest.raises(LoadError, match="status 503 under load"):
        rate(port, Question("/else", b"x"), 4, 0.05)


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
def test_wrk_counts_right_answers_only(port: int) -> None:
    assert wrk_rate(port, Question("/length", b"x", {"x-given": "7"}), 2, 1) > 0
    with pytest.raises(LoadError, match="refused"):
        wrk_rate(port, Question("/else", b"x"), 2, 1)


def test_nobody_there_is_an_error_in_words() -> None:
    with pytest.raises(LoadError, match="refused"):
        rate(1, Question("/", b""), 1, 0.05)
