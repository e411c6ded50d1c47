"""HTTP/1.1 as the container server reads and writes it: any cut, any order, nothing smuggled."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelport.envelope import Request, Response, Stream

from functions.runtime.application import Application
from functions.runtime.http import answers, heads
from functions.runtime.http.arrivals import BODY_S, HEAD_S, KEEP_ALIVE_S, SLOWEST, Arrivals
from functions.runtime.http.bodies import LARGE, MOST_LINE, MOST_TRAILERS, Chunked, ChunkError
from functions.runtime.http.connection import AHEAD, IN_A_ROW, LINGER_S, STALL_S
from functions.runtime.http.heads import HeadError, read
from tests.support.runtime_connections import Caller, asked, chunked, exchanged, read_answers

MOST = 200_000
HEAD = b"POST /p HTTP/1.1\r\n"


def echoed(request: Request) -> Response:
    told = {"said": request.method + request.path, "id": request.request_id}
    return Response(200, told, request.body)


@pytest.fixture
def application() -> Iterator[Application]:
    made = Application({"x-modelport-model": "demo"}, MOST)
    made.ready(echoed)
    yield made
    made.close()


def on_loop(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(test)


# --- what is read ---------------------------------------------------------------------------------

REQUESTS = st.lists(
    st.one_of(
        st.binary(max_size=300).map(lambda body: (asked(body), body)),
        st.lists(st.binary(min_size=1, max_size=90), max_size=5).map(
            lambda pieces: (chunked(*pieces), b"".join(pieces))
        ),
        st.just((b"GET /p HTTP/1.1\r\n\r\n", b"")),
        st.just((b"\r\n" + asked(b"x" * 40), b"x" * 40)),
    ),
    min_size=1,
    max_size=6,
)


@given(REQUESTS, st.lists(st.integers(1, 400), max_size=12))
def test_requests_are_the_same_however_the_bytes_are_cut(
    requests: list[tuple[bytes, bytes]], cuts: list[int]
) -> None:
    stream, found = b"".join(sent for sent, _ in requests), []
    arrivals = Arrivals(MOST)
    for size in [*cuts, len(stream)]:
        part, stream = stream[:size], stream[size:]
        if part and (body := arrivals.repeated(part)) is not None:
            found.append(body)
            continue
        arrivals.feed(part)
        while (body := arrivals.next()) is not None:
            found.append(body)
    assert found == [body for _, body in requests]
    assert arrivals.idle


WORDS = st.sampled_from(
    [
        *(b"POST", b"GET ", b" /p", b" HTTP/1.1", b"HTTP/1.0", b"\r\n", b"\r\n\r\n", b"\n", b":"),
        *(b"content-length: ", b"5", b"transfer-encoding: chunked\r\n", b"connection: close\r\n"),
        *(
            b"expect: x",
            b"0",
            asked(b"ab"),
            chunked(b"ab"),
            b"POST /p HTTP/1.1\r\n",
            b"abc",
            b"\x00",
        ),
    ]
)


@given(st.lists(WORDS | st.binary(max_size=4), max_size=12).map(b"".join))
def test_any_bytes_are_requests_or_refused(data: bytes) -> None:
    arrivals = Arrivals(100)
    arrivals.feed(data)
    refusals: list[int] = []
    try:
        while (body := arrivals.next()) is not None:
            assert len(body) <= 100
    except HeadError as error:
        refusals.append(error.status)
    except ChunkError:
        refusals.append(400)
    assert arrivals.ahead <= len(data)
    assert set(refusals) <= {400, 417, 501, 505}


@pytest.mark.parametrize(
    "lines",
    [
        b"content-length: 3\r\ncontent-length: 3",
        b"content-length: 3\r\nContent-Length: 4",
        b"content-length: 3\r\ntransfer-encoding: chunked",
        b"transfer-encoding: chunked\r\ntransfer-encoding: chunked",
        b"content-length: 3, 3",
        b"content-length: +3",
        b"content-length: -1",
        b"content-length: 0x3",
        b"content-length: 3_0",
        b"content-length: \xb2",
        b"content-length:",
        b"content-length: " + b"9" * 19,
        b"content-length : 3",
        b" content-length: 3",
        b"x: a\r\n b",
        b"x: a\r\n\tcontent-length: 3",
        b"x: a\ncontent-length: 3",
        b"x: a\rcontent-length: 3",
        b"x: \x00",
        b"x\x00y: z",
        b"no colon",
        b": no name",
        b"host: a\r\nhost: b",
    ],
)
def test_what_could_be_read_in_two_ways_is_400(lines: bytes, application: Application) -> None:
    (answer,) = exchanged(application, HEAD + lines + b"\r\n\r\nabc")
    assert (answer.status, answer.headers["connection"]) == (400, "close")
    assert answer.headers["x-modelport-model"] == "demo"


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"\x16\x03\x01\x02", 400),
        (b"GET /a b HTTP/1.1\r\n\r\n", 400),
        (b"GET  /a HTTP/1.1\r\n\r\n", 400),
        (b"GET /a\r\n\r\n", 400),
        (b"GET /a HTTP/1.1\n\n", 400),
        (b"GET /\x01 HTTP/1.1\r\n\r\n", 400),
        (b"GET /a http/1.1\r\n\r\n", 400),
        (b"GET /a HTTP/2.0\r\n\r\n", 505),
        (b"GET /a HTTP/1.1\r\nexpect: coffee\r\n\r\n", 417),
        (HEAD + b"transfer-encoding: gzip, chunked\r\n\r\n", 501),
        (HEAD + b"transfer-encoding: identity\r\n\r\n", 501),
        (b"POST /p HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n", 400),
        (b"GET /" + b"a" * heads.MOST_BYTES, 431),
        (HEAD + b"x: y\r\n" * (heads.MOST_BYTES // 6) + b"\r\n", 431),
    ],
)
def test_what_is_no_request_of_ours_says_what_is_wrong(
    head: bytes, status: int, application: Application
) -> None:
    (answer,) = exchanged(application, head)
    assert answer.status == status
    assert 3 < len(answer.body) < 100


@pytest.mark.parametrize(
    "body",
    [
        b"x\r\n",
        b"-1\r\n",
        b"0x1\r\n",
        b"1 1\r\n",
        b"1\na\r\n0\r\n\r\n",
        b"1\r\nab\r\n",
        b"\r\n",
        b"1" * 16 + b"\r\n",
        b"1;" + b"e" * MOST_LINE + b"\r\n",
        b"0\r\n" + b"t: v\r\n" * (MOST_TRAILERS // 6 + 1),
        b"0\r\n" + b"t" * (MOST_TRAILERS + 1),
        b"0\r\nt: v\n\r\n",
    ],
)
def test_chunks_that_are_none_are_400(body: bytes, application: Application) -> None:
    (answer,) = exchanged(application, HEAD + b"transfer-encoding: chunked\r\n\r\n" + body)
    assert answer.status == 400


def test_extensions_and_trailers_of_chunks_are_read_over() -> None:
    body = Chunked(MOST)
    sent = b"2;name=value\r\nab\r\n1 \r\nc\r\n0\r\nlater: x\r\n\r\nGET"
    assert sent[body.feed(sent, 0) :] == b"GET"
    assert body.whole() == b"abc"


def test_small_pieces_cost_no_more_than_what_they_hold() -> None:
    body = Chunked(MOST)
    for _ in range(5000):
        assert body.feed(b"1\r\nx\r\n", 0) == -1
    assert len(body._pieces) <= 1100
    assert body.feed(b"0\r\n\r\n", 0) == 5
    assert body.whole() == b"x" * 5000


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/a?b", "/a?b"),
        ("/a?", "/a"),
        ("/a#b", "/a"),
        ("http://host:1/a?b", "/a?b"),
        ("HTTP://host", "/"),
        ("http://host?b", "/?b"),
        ("*", "*"),
        ("/\xe9", "/\xe9"),
    ],
)
def test_the_path_is_taken_from_every_form_of_target(target: str, path: str) -> None:
    assert read(f"GET {target} HTTP/1.1\r\n\r\n".encode("latin-1")).path == path


def test_of_repeated_headers_the_last_counts_and_connections_options_all_do() -> None:
    head = read(b"GET / HTTP/1.1\r\nA: 1\r\na:2 \r\nConnection: close\r\nconnection: x\r\n\r\n")
    assert head.headers == {"a": "2", "connection": "close,x"}
    assert not head.keeps


# --- what is written ------------------------------------------------------------------------------


def test_an_answer_says_its_length_its_date_and_nothing_twice() -> None:
    clock = answers.Clock()
    odd = Response(299, {"content-length": "9", "date": "never", "a": "é"}, b"ab")
    (answer,) = read_answers(answers.written(odd, clock.line))
    assert (answer.status, answer.body) == (299, b"ab")
    assert (answer.headers["content-length"], answer.headers["a"]) == ("2", "é")
    assert answer.headers["date"].endswith(" GMT")
    assert b"content-length" not in answers.written(Response(204, {}, b""), clock.line)


@pytest.mark.parametrize("value", ["a\r\nb: c", "a\nb", "a\x00", "\u0151"])
def test_a_header_never_breaks_out_of_its_line(value: str) -> None:
    made = Application({}, MOST)
    made.ready(lambda request: Response(200, {"a": value}))
    (answer,) = exchanged(made, asked(b""))
    made.close()
    assert (answer.status, answer.body) == (500, b"internal error\n")
    assert "a" not in answer.headers


def test_a_bug_of_ours_is_500_and_the_end_of_its_connection() -> None:
    def broken(request: Request) -> Response:
        raise RuntimeError("secret")

    made = Application({}, MOST)
    made.ready(broken)
    for method in ("GET", "POST"):
        (answer,) = exchanged(made, asked(b"", method=method))
        assert (answer.status, b"secret" in answer.body) == (500, False)
        assert answer.headers["connection"] == "close"
    made.close()


@pytest.mark.parametrize(
    ("head", "connection", "closed"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", None, False),
        (b"GET / HTTP/1.1\r\nconnection: Close\r\n\r\n", "close", True),
        (b"GET / HTTP/1.0\r\n\r\n", "close", True),
        (b"GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n", "keep-alive", False),
    ],
)
def test_connections_are_kept_as_the_caller_asks(
    head: bytes, connection: str | None, closed: bool, application: Application
) -> None:
    async def run() -> None:
        caller = Caller(application)
        caller.send(head)
        (answer,) = await caller.answers(1)
        assert answer.headers.get("connection") == connection
        assert caller.wire.closed is closed

    on_loop(run())


def test_head_gets_no_body(application: Application) -> None:
    async def run() -> None:
        caller = Caller(application)
        caller.send(asked(b"ab", method="HEAD") + asked(b"c", method="GET"))
        first, second = await caller.answers(2, ("HEAD", "GET"))
        assert (first.headers["content-length"], first.body, second.body) == ("2", b"", b"c")

    on_loop(run())


# --- large bodies ---------------------------------------------------------------------------------

SIZES = st.sampled_from([1, 100, AHEAD, LARGE - 1, LARGE, LARGE + 1, LARGE + 100, MOST, MOST + 1])


@given(SIZES, st.lists(st.sampled_from([1, 40, 500, LARGE, MOST]), max_size=4))
def test_large_bodies_land_whole_however_they_come(size: int, cuts: list[int]) -> None:
    async def run() -> None:
        made = Application({}, MOST)
        made.ready(echoed)
        caller = Caller(made)
        body = bytes(range(251)) * (size // 251 + 1)
        bodies = [body[:size], b"between", body[:size][::-1], b""]
        stream = b"".join(map(asked, bodies))
        for cut in [*cuts, *cuts, len(stream)]:
            caller.send(stream[:cut])
            stream = stream[cut:]
        if size <= MOST:
            found = await caller.answers(len(bodies))
            assert [answer.body for answer in found] == bodies
            assert caller.wire.protocol is caller.connection
        else:
            assert [answer.status for answer in await caller.answers(1)] == [413]
        caller.leave()
        made.close()

    on_loop(run())


def test_room_is_all_that_is_still_to_come() -> None:
    arrivals = Arrivals(MOST)
    arrivals.feed(HEAD + b"content-length: 99999\r\n\r\nbegins")
    assert arrivals.next() is None
    room = arrivals.room()
    assert room is not None
    assert len(room) == 99999 - len(b"begins")
    assert arrivals.room() is None, "it is given out once"
    room[:4] = b"goes"
    assert not arrivals.landed(4)
    assert arrivals.next() is None
    room[4:] = b"!" * (len(room) - 4)
    assert arrivals.landed(len(room) - 4)
    body = arrivals.next()
    assert body is not None
    assert body[:12] == b"beginsgoes!!"
    assert arrivals.idle


def test_a_large_body_waits_for_a_slow_reader_as_others_do(application: Application) -> None:
    async def run() -> None:
        caller = Caller(application)
        sent = asked(b"x" * MOST)
        caller.send(sent[:100])
        caller.connection.pause_writing()
        caller.send(sent[100:])
        await asyncio.sleep(0.01)
        assert caller.wire.written == b""
        caller.connection.resume_writing()
        assert [len(answer.body) for answer in await caller.answers(1)] == [MOST]

    on_loop(run())


def test_who_leaves_amid_a_large_body_is_forgotten(application: Application) -> None:
    async def run() -> None:
        caller = Caller(application)
        caller.send(asked(b"x" * MOST)[:-1])
        assert caller.connections
        caller.leave()
        assert not caller.connections
        assert caller.wire.written == b""

    on_loop(run())


def test_who_is_refused_amid_a_large_body_may_send_it_to_its_end(application: Application) -> None:
    async def run() -> None:
        caller = Caller(application)
        sent = asked(b"x" * MOST)
        caller.send(sent[:-9])
        for _ in range(BODY_S + MOST // SLOWEST):
            caller.connection.tick()
        assert [answer.status for answer in read_answers(caller.wire.written)] == [408]
        caller.send(sent[-9:] + asked(b"and more"))
        await asyncio.sleep(0.01)
        assert caller.wire.protocol is caller.connection
        assert len(read_answers(caller.wire.written)) == 1

    on_loop(run())


# --- order, pace and patience ---------------------------------------------------------------------


def test_pipelined_answers_come_in_order_quick_and_slow_ones_mixed(
    application: Application,
) -> None:
    async def run() -> None:
        caller = Caller(application)
        sent = [(b"%d" % n, "GET" if n % 3 else "POST") for n in range(3 * IN_A_ROW)]
        caller.send(b"".join(asked(body, method=method) for body, method in sent))
        found = await caller.answers(len(sent))
        assert [answer.body for answer in found] == [body for body, _ in sent]
        assert len({answer.headers["id"] for answer in found}) == len(sent)

    on_loop(run())


def test_who_is_told_to_continue_then_sends(application: Application) -> None:
    async def run() -> None:
        caller = Caller(application)
        caller.send(HEAD + b"content-length: 2\r\nexpect: 100-continue\r\n\r\n")
        assert caller.wire.written == answers.CONTINUE
        caller.send(b"a")
        caller.send(b"b")
        assert [answer.body for answer in await caller.answers(2)] == [b"", b"ab"]
        caller.send(HEAD + b"content-length: 1\r\nexpect: 100-continue\r\n\r\nc")
        assert [answer.status for answer in await caller.answers(3)] == [100, 200, 200]

    on_loop(run())


def held(made: Application) -> tuple[threading.Event, Callable[[], None]]:
    """Make ``made`` answer each POST only after the event."""
    go = threading.Event()

    def handle(request: Request) -> Response:
        go.wait(30)
        return echoed(request)

    made.ready(handle)
    return go, go.set


def test_while_one_is_answered_the_next_are_read_up_to_a_limit(application: Application) -> None:
    go, release = held(application)

    async def run() -> None:
        caller = Caller(application)
        caller.send(asked(b"first"))
        for _ in range(2):
            assert caller.wire.reading
            caller.send(asked(b"x" * (AHEAD // 2)))
        assert not caller.wire.reading
        release()
        found = await caller.answers(3)
        assert [len(answer.body) for answer in found] == [5, *[AHEAD // 2] * 2]
        assert caller.wire.reading

    on_loop(run())
    assert go.is_set()


def test_who_does_not_read_its_answers_is_answered_no_more_and_in_the_end_cut(
    application: Application,
) -> None:
    async def run() -> None:
        caller = Caller(application)
        caller.connection.pause_writing()
        caller.wire.unsent = 100_000
        caller.send(asked(b"a", method="GET"))
        assert caller.wire.written == b""
        for _ in range(STALL_S):
            caller.connection.tick()
        caller.wire.unsent = 90_000  # it does read, slowly
        for _ in range(STALL_S):
            caller.connection.tick()
        assert not caller.wire.closed
        caller.connection.tick()
        assert caller.wire.aborted
        caller.connection.resume_writing()

    on_loop(run())


def test_what_waits_for_a_slow_reader_is_answered_when_it_has_read(
    application: Application,
) -> None:
    async def run() -> None:
        caller = Caller(application)
        caller.connection.pause_writing()
        caller.send(asked(b"a", method="GET"))
        caller.connection.resume_writing()
        assert [answer.body for answer in await caller.answers(1)] == [b"a"]

    on_loop(run())


@pytest.mark.parametrize(
    ("sent", "seconds", "status"),
    [
        (b"", KEEP_ALIVE_S, None),
        (asked(b"", method="GET"), KEEP_ALIVE_S, 200),
        (b"GET / HT", HEAD_S, 408),
        (HEAD + b"content-length: 9\r\n\r\n", BODY_S, 408),
        (HEAD + b"content-length: 99999\r\n\r\n" + b"x" * 3 * SLOWEST, BODY_S + 3, 408),
    ],
)
def test_nobody_is_waited_for_without_end(
    sent: bytes, seconds: int, status: int | None, application: Application
) -> None:
    async def run() -> None:
        caller = Caller(application)
        caller.send(sent) if sent else None
        for _ in range(seconds - 1):
            caller.connection.tick()
        assert not caller.wire.closed
        assert not caller.wire.ended
        caller.connection.tick()
        for _ in range(LINGER_S):
            caller.connection.tick()
        assert caller.wire.closed
        found = read_answers(caller.wire.written)
        assert [answer.status for answer in found] == ([status] if status else [])

    on_loop(run())


def test_a_server_that_stops_finishes_what_it_has(application: Application) -> None:
    _, release = held(application)

    async def run() -> None:
        idle, midway, busy = (Caller(application) for _ in range(3))
        midway.send(HEAD + b"content-length: 2\r\n\r\na")
        busy.send(asked(b"b"))
        for each in (idle, midway, busy):
            each.connection.shutdown()
        assert [each.wire.closed for each in (idle, midway, busy)] == [True, False, False]
        release()
        midway.send(b"c")
        for caller, body in ((midway, b"ac"), (busy, b"b")):
            (answer,) = await caller.answers(1)
            assert (answer.body, answer.headers["connection"]) == (body, "close")
            assert caller.wire.closed

    on_loop(run())


# --- pieces ---------------------------------------------------------------------------------------


def speaking(application: Application) -> None:
    def stream(request: Request) -> Response:
        return Stream(200, {"content-type": "text/plain"}, pieces=(p for p in (b"a", b"", b"bc")))

    application.ready(echoed, stream=stream)


def test_pieces_are_chunks_and_the_next_request_follows(application: Application) -> None:
    speaking(application)
    streamed, after = exchanged(
        application, asked(b"", "/v2/models/m/generate_stream"), asked(b"x")
    )
    assert (streamed.body, streamed.headers["transfer-encoding"]) == (b"abc", "chunked")
    assert after.body == b"x"


def test_an_old_caller_gets_pieces_until_the_end_of_its_connection(
    application: Application,
) -> None:
    speaking(application)

    async def run() -> None:
        caller = Caller(application)
        line = b"POST /v2/models/m/generate_stream HTTP/1.0\r\nconnection: keep-alive\r\n\r\n"
        caller.send(line)
        while not caller.wire.closed:
            await asyncio.sleep(0.001)
        (answer,) = read_answers(caller.wire.written)
        assert (answer.body, answer.headers["connection"]) == (b"abc", "close")
        assert "transfer-encoding" not in answer.headers

    on_loop(run())
