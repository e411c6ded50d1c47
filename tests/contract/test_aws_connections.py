"""`modelport.aws.pool` over real sockets: every way in which a server can be difficult."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from modelport.aws.endpoints import Endpoint
from modelport.aws.errors import (
    CallError,
    HungUpError,
    SilentError,
    UnreachableError,
    UnreadableError,
)
from modelport.aws.pool import KEPT, Pool, Timeouts

from tests.support.scripted_server import Scripted, Talk, answer, scripted
from tests.support.tls import Authority


def pool_at(server: Scripted, answer_s: float = 10) -> Pool:
    endpoint = Endpoint(False, "127.0.0.1", server.port, "host", "", "")
    return Pool(endpoint, Timeouts(1, answer_s), {})


def ask(pool: Pool, body: bytes = b"") -> bytes:
    return pool.ask("POST", "/", {"host": "h"}, body).body


def polite(talk: Talk) -> None:
    """Answer each request with its body, for as long as anybody asks."""
    while request := talk.request():
        talk.send(answer(request.partition(b"\r\n\r\n")[2]))


@pytest.mark.parametrize("size", [0, 1, 65_536, 65_537, 7_000_000])
def test_bodies_of_every_size_go_and_come_over_one_connection(size: int) -> None:
    with scripted(polite) as server:
        pool, body = pool_at(server), bytes(range(256)) * (size // 256 + 1)
        for _ in range(3):
            assert ask(pool, body[:size]) == body[:size]
        pool.close()
        assert server.connections == 1


def test_connections_that_died_while_idle_are_not_used() -> None:
    def once(talk: Talk) -> None:
        talk.request()
        talk.send(answer(b"%d" % talk.number))

    with scripted(once) as server:
        pool = pool_at(server)
        for number in (b"1", b"2", b"3"):
            assert ask(pool) == number
            # Until the end of the connection is here.
            deadline = time.monotonic() + 5
            while pool._idle and not _ended(pool) and time.monotonic() < deadline:
                time.sleep(0.001)
        pool.close()


def _ended(pool: Pool) -> bool:
    connection = pool._idle[0]
    connection.settimeout(0)
    try:
        return connection.recv(1, 2) == b""  # MSG_PEEK
    except BlockingIOError:
        return False


def test_one_death_on_use_empties_the_pool() -> None:
    both = threading.Barrier(2)

    def twice_polite(talk: Talk) -> None:
        talk.request()
        if talk.number < 3:
            both.wait(10)
        talk.send(answer())
        if talk.request():
            talk.reset()

    with scripted(twice_polite) as server:
        pool = pool_at(server)
        threads = [threading.Thread(target=ask, args=(pool,)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert server.connections == 2
        with pytest.raises(HungUpError) as raised:
            ask(pool)
        assert raised.value.kept
        assert ask(pool) == b"ok"  # not over the other old one
        assert server.connections == 3
        pool.close()


FLOOD = b"HTTP/1.1 200 x\r\n" + b"a: b\r\n" * 100_000


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ([], HungUpError),
        ([b"HTTP/1.1 200 x\r\n"], UnreadableError),
        ([answer(b"x" * 100)[:-1]], UnreadableError),
        ([b"hello\r\n\r\n"], UnreadableError),
        ([FLOOD], UnreadableError),
        ([b"HTTP/1.1 200 x\r\ncontent-length: 99999999999\r\n\r\n"], UnreadableError),
    ],
)
def test_what_is_no_whole_answer_is_an_error_at_once(
    said: list[bytes], error: type[CallError]
) -> None:
    def script(talk: Talk) -> None:
        talk.request()
        talk.send(*said)

    with scripted(script) as server, pytest.raises(error):
        ask(pool_at(server))


def test_a_new_connection_that_dies_was_not_kept() -> None:
    with scripted(lambda talk: talk.reset() if talk.request() else None) as server:
        with pytest.raises(HungUpError) as raised:
            ask(pool_at(server))
        assert not raised.value.kept


ENDLESS = b"HTTP/1.1 200 x\r\n\r\nhalf of it"


def test_an_answer_without_a_length_ends_with_its_connection_and_not_with_a_reset() -> None:
    gone = threading.Event()

    def script(talk: Talk) -> None:
        talk.request()
        talk.send(ENDLESS)
        if talk.number > 1:
            gone.wait(10)
            talk.reset()

    with scripted(script) as server:
        pool = pool_at(server)
        assert ask(pool) == b"half of it"
        timer = threading.Timer(0.05, gone.set)  # once what was sent has been read
        timer.start()
        with pytest.raises(UnreadableError, match="cut off"):
            ask(pool)
        timer.join()


@pytest.mark.parametrize(
    "pieces",
    [
        [b""] * 100,
        [bytes([byte]) for byte in answer(b"x" * 1000)],
        [answer(b"x" * 1000)[:-1000], *[b"x"] * 1000],
        [b"HTTP/1.1 100 Continue\r\n\r\n"] * 15,
        [b"HTTP/1.1 200 x\r\ntransfer-encoding: chunked\r\n\r\n", *[b"1\r\nx\r\n"] * 1000],
    ],
)
def test_the_time_allowed_is_for_the_whole_answer(pieces: list[bytes]) -> None:
    def script(talk: Talk) -> None:
        talk.request()
        talk.send(*pieces, every_s=0.02)

    with scripted(script) as server, pytest.raises(SilentError):
        ask(pool_at(server, 0.15))


def test_a_server_that_reads_nothing_is_given_up() -> None:
    def deaf(talk: Talk) -> None:
        talk.over.wait(10)

    with scripted(deaf) as server, pytest.raises(SilentError):
        ask(pool_at(server, 0.2), b"x" * 30_000_000)


def test_a_refusal_before_the_body_was_read_is_heard() -> None:
    def impatient(talk: Talk) -> None:
        talk.socket.recv(1000)
        talk.send(answer(b"too large", status=413, head=b"connection: close\r\n"))
        talk.over.wait(5)

    with scripted(impatient) as server:
        endpoint = Endpoint(False, "127.0.0.1", server.port, "host", "", "")
        pool = Pool(endpoint, Timeouts(1, 1.0), {})
        assert pool.ask("POST", "/", {"host": "h"}, b"x" * 100_000).status == 413


def test_interim_answers_are_passed_over() -> None:
    def script(talk: Talk) -> None:
        talk.request()
        talk.send(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 x\r\nlink: x\r\n\r\n", answer())

    with scripted(script) as server:
        assert ask(pool_at(server)) == b"ok"


@pytest.mark.parametrize("value", ["a\r\nb: c", "a\nb", "a\rb", "\u2603"])
def test_a_header_cannot_become_two(value: str) -> None:
    with scripted(polite) as server, pytest.raises(UnreadableError, match="header of the request"):
        pool_at(server).ask("GET", "/", {"host": "h", "x": value})
    assert server.connections == 0


def test_threads_share_a_pool() -> None:
    with scripted(polite) as server:
        pool = pool_at(server)
        wrong: list[bytes] = []

        def work(name: int) -> None:
            for turn in range(50):
                body = b"%d-%d" % (name, turn)
                if (got := ask(pool, body)) != body:
                    wrong.append(got)

        threads = [threading.Thread(target=work, args=(name,)) for name in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []
        assert len(pool._idle) <= KEPT
        pool.close()


# --- TLS ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def secure(server: Scripted, bundle: Path | None) -> Pool:
    endpoint = Endpoint(True, "localhost", server.port, "localhost", "", "")
    environ = {"AWS_CA_BUNDLE": str(bundle)} if bundle else {}
    return Pool(endpoint, Timeouts(5, 5), environ)


def test_tls_with_a_trusted_certificate_is_spoken_and_kept(authority: Authority) -> None:
    with scripted(polite, authority.server("localhost")) as server:
        pool = secure(server, authority.bundle)
        for body in (b"one", b"x" * 3_000_000, b"two"):
            assert ask(pool, body) == body
        pool.close()
        assert server.connections == 1


def test_an_end_that_is_not_tlss_own_is_no_end_of_an_answer(authority: Authority) -> None:
    def script(talk: Talk) -> None:
        talk.request()
        talk.send(ENDLESS)

    tls = authority.server("localhost")
    with scripted(script, tls) as server, pytest.raises(UnreadableError, match="cut off"):
        ask(secure(server, authority.bundle))


@pytest.mark.parametrize(("host", "trusted"), [("elsewhere", True), ("localhost", False)])
def test_a_server_that_is_not_who_it_says_gets_no_request(
    authority: Authority, host: str, trusted: bool
) -> None:
    asked: list[bytes] = []

    def listening(talk: Talk) -> None:
        asked.append(talk.request())

    with scripted(listening, authority.server(host)) as server:
        pool = secure(server, authority.bundle if trusted else None)
        with pytest.raises(UnreachableError, match="Could not connect"):
            ask(pool)
    assert asked == []


def test_a_tls_server_that_never_greets_is_given_up() -> None:
    def mute(talk: Talk) -> None:
        talk.over.wait(10)

    with scripted(mute) as server:
        endpoint = Endpoint(True, "localhost", server.port, "localhost", "", "")
        with pytest.raises(UnreachableError):
            ask(Pool(endpoint, Timeouts(0.2, 5), {}))


def test_no_error_shows_what_was_sent() -> None:
    def rude(talk: Talk) -> None:
        talk.request()
        talk.send(b"hidden answer\r\n\r\n")

    with scripted(rude) as server, pytest.raises(CallError) as raised:
        pool_at(server).ask("POST", "/hidden", {"host": "h", "authorization": "hidden"}, b"hidden")
    error: BaseException | None = raised.value
    while error is not None:
        assert "hidden" not in repr(error)
        error = error.__cause__
