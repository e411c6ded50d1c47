"""What runs on the event loop itself: only what has shown that it is quick, and never unwatched."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from time import monotonic, thread_time_ns

import pytest
from modelport.envelope import REFERENCE, Request, Response
from modelport.sagemaker_envelope import HEADER

from functions.runtime.application import Application, Deadline
from functions.runtime.inline import ALLOWED_NS, LIMIT_NS, TRIALS, Quickness
from functions.runtime.watchdog import Watchdog
from tests.support.runtime_connections import PATIENCE_S, Caller, asked

QUICK, SLOW = LIMIT_NS // 10, LIMIT_NS + 1
TOO_SLOW = LIMIT_NS + ALLOWED_NS + 1


def shown(quickness: Quickness, size: int, trials: int) -> Quickness:
    for _ in range(trials):
        assert not quickness.is_known(size)
        quickness.ran_in_thread(size, QUICK)
    return quickness


def test_a_size_of_body_is_known_after_some_quick_runs_in_a_row_and_others_are_not() -> None:
    quickness = shown(Quickness(), 100, TRIALS - 1)
    quickness.ran_in_thread(100, SLOW)
    shown(quickness, 100, TRIALS)
    assert quickness.is_known(100)
    assert quickness.is_known(127)
    assert not quickness.is_known(128)
    assert not quickness.is_known(0)


def test_a_large_body_is_never_known() -> None:
    quickness, size = Quickness(), 1 << 30
    for _ in range(2 * TRIALS):
        quickness.ran_in_thread(size, QUICK)
    assert not quickness.is_known(size)


def test_a_very_slow_run_on_the_loop_costs_more_trials_each_time() -> None:
    quickness = Quickness()
    for trials in (TRIALS, 2 * TRIALS, 4 * TRIALS):
        shown(quickness, 100, trials)
        quickness.ran_on_loop(100, TOO_SLOW)


def test_runs_that_the_machine_held_up_are_made_good_by_quick_ones() -> None:
    quickness = shown(Quickness(), 100, TRIALS)
    for _ in range(100):
        quickness.ran_on_loop(100, ALLOWED_NS)
        for _ in range(ALLOWED_NS // (LIMIT_NS - QUICK) + 1):
            quickness.ran_on_loop(100, QUICK)
    assert quickness.is_known(100)


def test_a_version_that_turns_slow_leaves_the_loop_soon() -> None:
    quickness = shown(Quickness(), 100, TRIALS)
    runs = 0
    while quickness.is_known(100):
        quickness.ran_on_loop(100, 3 * LIMIT_NS)
        runs += 1
    assert runs == ALLOWED_NS // (2 * LIMIT_NS) + 1


def test_one_very_slow_run_among_very_many_is_forgiven() -> None:
    quickness = shown(Quickness(), 100, TRIALS)
    quickness.ran_on_loop(100, TOO_SLOW)
    shown(quickness, 100, 2 * TRIALS)
    for _ in range(1000 * TRIALS):
        quickness.ran_on_loop(100, QUICK)
    quickness.ran_on_loop(100, TOO_SLOW)
    shown(quickness, 100, TRIALS)
    assert quickness.is_known(100)


# --- in the application ---------------------------------------------------------------------------


class Places:
    """A data plane that notes on which threads it ran."""

    def __init__(self) -> None:
        self.threads: list[str] = []

    def __call__(self, request: Request) -> Response:
        self.threads.append(threading.current_thread().name.partition("_")[0])
        return Response(200, {}, request.body)


@pytest.fixture
def places() -> Places:
    return Places()


@pytest.fixture
def application() -> Iterator[Application]:
    made = Application({}, 1000)
    yield made
    made.close()


async def repeat(application: Application, sent: bytes, times: int) -> None:
    caller = Caller(application)
    for count in range(times):
        caller.send(sent)
        await caller.answers(count + 1)
    caller.leave()


def test_what_was_quick_in_threads_runs_on_the_loop(
    application: Application, places: Places
) -> None:
    application.ready(places)
    asyncio.run(repeat(application, asked(b"{}"), TRIALS + 30))
    assert places.threads[: TRIALS - 1] == ["model"] * (TRIALS - 1)
    assert places.threads[-1] == "MainThread"


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/p", {"content-encoding": "gzip"}),
        ("/p", {"content-type": REFERENCE}),
        ("/p", {HEADER: "trace=1"}),
        ("/scripted", {}),
    ],
)
def test_what_may_be_more_than_it_looks_or_runs_users_code_never_does(
    path: str, headers: dict[str, str], application: Application, places: Places
) -> None:
    application.ready(places, runs_script=lambda request: request.path == "/scripted")
    asyncio.run(repeat(application, asked(b"{}", path, **headers), 3 * TRIALS))
    assert set(places.threads) == {"model"}


def middling(places: Places, threads: int) -> Application:
    """An application whose model takes twice the usual limit."""

    def handle(request: Request) -> Response:
        begun = thread_time_ns()
        while thread_time_ns() - begun < 2 * LIMIT_NS:
            pass
        return places(request)

    made = Application({}, 1000, threads=threads)
    made.ready(handle)
    return made


@pytest.mark.parametrize(("threads", "last"), [(1, "MainThread"), (2, "model")])
def test_one_thread_on_one_cpu_is_worth_going_to_for_slower_models_only(
    threads: int, last: str, places: Places
) -> None:
    made = middling(places, threads)
    asyncio.run(repeat(made, asked(b"{}"), 2 * TRIALS))
    made.close()
    assert places.threads[-1] == last


def test_of_slower_models_one_runs_in_a_turn_of_the_loop(places: Places) -> None:
    made = middling(places, 1)

    async def run() -> None:
        await repeat(made, asked(b"{}"), 2 * TRIALS)
        callers = [Caller(made) for _ in range(4)]
        for _ in range(3):
            places.threads.clear()
            for caller in callers:
                caller.send(asked(b"{}"))
            for caller in callers:
                await caller.answers(1)
                caller.wire.written = b""
            # The second runs in the next turn, when its task begins; after that the thread is free.
            assert places.threads == ["MainThread", "MainThread", "model", "model"]
        for caller in callers:
            caller.leave()

    asyncio.run(run())
    made.close()


def test_grpc_and_the_rest_share_what_is_known(application: Application, places: Places) -> None:
    application.ready(places)

    async def run() -> None:
        for _ in range(3 * TRIALS):
            await application.answer(Request("POST", "/p", {}, b"{}"))

    asyncio.run(run())
    assert places.threads[-1] == "MainThread"


def test_a_model_that_was_quick_and_then_hangs_is_told_to_its_caller_from_outside(
    caplog: pytest.LogCaptureFixture,
) -> None:
    released, ended = threading.Event(), threading.Event()
    calls: list[str] = []

    def handle(request: Request) -> Response:
        calls.append(request.request_id)
        if request.body == b"..":
            assert released.wait(PATIENCE_S)
        return Response(200, {}, request.body)

    def hung() -> None:  # where a worker would end its process
        ended.set()
        released.set()

    told: list[Response] = []
    deadline = Deadline(0.5, "demo", 3, released.set, hung)
    made = Application({"x-modelport-model": "demo"}, 1000, deadline=deadline)
    made.ready(handle)

    async def run() -> None:
        await repeat(made, asked(b"{}"), 100)
        made.at_once(Request("POST", "/p", {}, b"..", "the-last"), told.append)

    with caplog.at_level(logging.ERROR, "functions.runtime"):
        asyncio.run(run())
    made.close()
    assert ended.is_set()
    assert len(calls) == 101
    assert [answer.status for answer in told] == [504]
    assert b"did not answer within 0.5 s" in told[0].body
    assert "request the-last: " in caplog.text
    assert "this worker ends" in caplog.text


def test_the_watchdog_counts_each_run_by_itself() -> None:
    barked = threading.Event()
    dog = Watchdog(0.3, barked.set)
    dog.start()
    for _ in range(10):  # together over the limit, none of them alone
        dog.since = monotonic()
        assert not barked.wait(0.05)
    dog.since = 0.0
    assert not barked.wait(0.35)
    dog.since = monotonic()
    assert barked.wait(PATIENCE_S)
    dog.stop()
