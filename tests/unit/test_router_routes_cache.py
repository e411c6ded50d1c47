"""The routes cache: how often it asks, how stale it answers, what it does without an answer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from modelport.errors import IntegrityError, ModelNotFoundError, RegistryUnavailableError
from modelport.routes import Routes, Weighted

from functions.router.routes_cache import FLIGHT_LIMIT_S, MAX_REFUSED, RoutesCache
from tests.support.router_world import MODEL, HandClock, SwitchableRegistry, deployed, outage

TTL = 5.0


class Setup:
    """A cache whose background work waits until the test lets it run."""

    def __init__(self) -> None:
        self.registry = SwitchableRegistry(deployed(1, 2, stable="1"))
        self.clock = HandClock()
        self.records: list[dict[str, object]] = []
        self.background: list[Callable[[], None]] = []
        self.cache = RoutesCache(
            self.registry,
            ttl_s=TTL,
            clock=self.clock,
            log=lambda record: self.records.append(dict(record)),
            spawn=self.background.append,
        )

    def stable(self) -> int:
        """The version that stable means now."""
        return self.cache.get(MODEL).resolve(None, None, "k").version

    def move_stable(self) -> None:
        routes = self.registry.documents[MODEL]
        self.registry.put(routes.with_alias("stable", deployed(1, 2, stable="2").aliases["stable"]))

    def run_background(self) -> None:
        while self.background:
            self.background.pop(0)()


@pytest.fixture
def setup() -> Setup:
    return Setup()


def test_within_half_the_ttl_the_registry_is_asked_once(setup: Setup) -> None:
    for _ in range(100):
        assert setup.stable() == 1
        setup.clock.forward(TTL / 2 / 100)
    assert setup.registry.reads == [(MODEL, None)]
    assert setup.background == []


def test_up_to_the_ttl_the_known_routes_answer_while_one_check_runs(setup: Setup) -> None:
    setup.stable()
    setup.move_stable()
    setup.clock.forward(TTL / 2 + 0.1)
    assert [setup.stable() for _ in range(10)] == [1] * 10
    assert len(setup.background) == 1
    setup.run_background()
    assert setup.stable() == 2
    assert setup.registry.reads == [(MODEL, None), (MODEL, '"1"')]


def test_beyond_the_ttl_the_caller_waits_for_the_routes_of_now(setup: Setup) -> None:
    setup.stable()
    setup.move_stable()
    setup.clock.forward(TTL + 0.1)
    assert setup.stable() == 2
    assert setup.background == []


@pytest.mark.parametrize("moved_at", [step / 8 for step in range(17)])
@pytest.mark.parametrize("pause", [0.05, 0.3, 1.7])
def test_a_change_is_seen_within_one_ttl_by_whoever_asks_all_the_time(
    setup: Setup, moved_at: float, pause: float
) -> None:
    end, moved = moved_at * TTL, None
    started = setup.clock.now
    while True:
        if moved is None and setup.clock.now >= started + end:
            setup.move_stable()
            moved = setup.clock.now
        if setup.stable() == 2:
            break
        assert moved is None or setup.clock.now - moved <= TTL
        setup.run_background()  # it takes less than the pause
        setup.clock.forward(pause)


def test_nobody_waits_for_a_check_that_was_asked_for_longer_than_a_ttl_ago(setup: Setup) -> None:
    setup.stable()
    setup.clock.forward(TTL / 2 + 0.1)
    setup.stable()  # the check is due, and is frozen before it ends
    setup.clock.forward(TTL + 0.1)
    setup.move_stable()
    assert setup.stable() == 2
    setup.run_background()
    assert setup.stable() == 2


def test_unchanged_routes_are_confirmed_by_their_etag_and_kept(setup: Setup) -> None:
    first = setup.cache.get(MODEL)
    setup.clock.forward(TTL / 2 + 0.1)
    setup.cache.get(MODEL)
    setup.run_background()
    setup.clock.forward(TTL / 2 - 0.1)
    assert setup.cache.get(MODEL) is first
    assert setup.registry.reads[-1] == (MODEL, '"1"')
    assert len(setup.registry.reads) == 2


def test_after_a_long_sleep_the_first_caller_gets_todays_routes(setup: Setup) -> None:
    setup.stable()
    setup.move_stable()
    setup.clock.forward(3600)
    assert setup.stable() == 2
    assert setup.background == []


def test_a_check_that_slept_with_its_environment_counts_from_when_it_was_asked(
    setup: Setup,
) -> None:
    setup.stable()
    setup.clock.forward(TTL / 2 + 0.1)
    setup.stable()  # the check is due, and is frozen before it runs
    setup.clock.forward(3600)
    setup.run_background()  # thawed: it answers now, but was asked an hour ago
    setup.move_stable()
    assert setup.stable() == 2


def test_an_older_answer_never_replaces_a_younger_one(setup: Setup) -> None:
    setup.stable()
    setup.clock.forward(TTL / 2 + 0.1)
    setup.stable()
    slow = setup.background.pop()
    old = setup.registry.documents[MODEL]

    def overtaken() -> None:
        # While the slow check waits for its answer, another one starts, ends and knows more.
        setup.registry.before_read = lambda: None
        setup.clock.forward(FLIGHT_LIMIT_S + TTL)
        setup.move_stable()
        assert setup.stable() == 2
        setup.registry.documents[MODEL] = old.changed(old, action="old", detail={}, who="", at="")

    setup.registry.before_read = overtaken
    slow()
    assert setup.stable() == 2


def test_when_the_registry_fails_later_known_routes_stay_and_it_is_said_once(
    setup: Setup,
) -> None:
    setup.stable()
    setup.registry.failure = outage()
    for _ in range(10):
        setup.clock.forward(TTL + 0.1)
        assert setup.stable() == 1
        setup.run_background()
    assert [record["event"] for record in setup.records] == ["registry-failing"]
    setup.clock.forward(60)
    setup.stable()
    setup.run_background()
    assert len(setup.records) == 2


def test_while_it_fails_nobody_waits_and_it_is_asked_once_per_ttl(setup: Setup) -> None:
    setup.stable()
    setup.registry.failure = outage()
    setup.clock.forward(3600)
    setup.stable()
    asked = len(setup.registry.reads)
    for _ in range(50):
        setup.stable()
    assert len(setup.registry.reads) == asked
    assert setup.background == []
    setup.clock.forward(TTL + 0.1)
    for _ in range(50):
        setup.stable()
    assert len(setup.background) == 1


def test_a_registry_that_recovers_is_believed_again(setup: Setup) -> None:
    setup.stable()
    setup.registry.failure = outage()
    setup.clock.forward(3600)
    assert setup.stable() == 1
    setup.registry.failure = None
    setup.move_stable()
    setup.clock.forward(TTL + 0.1)
    setup.stable()
    setup.run_background()
    assert setup.stable() == 2


def test_a_failure_from_before_a_long_sleep_is_not_believed_after_it(setup: Setup) -> None:
    setup.stable()
    setup.registry.failure = outage()
    setup.clock.forward(TTL + 1)
    assert setup.stable() == 1
    setup.run_background()
    setup.registry.failure = None
    setup.move_stable()
    setup.clock.forward(3600)
    assert setup.stable() == 2
    assert setup.background == []


def test_a_check_that_slept_and_then_failed_does_not_vouch_for_the_routes_known(
    setup: Setup,
) -> None:
    setup.stable()
    setup.clock.forward(TTL / 2 + 0.1)
    setup.stable()  # the check is due, and is frozen before it runs
    setup.clock.forward(3600)
    setup.registry.failure = outage()
    setup.run_background()  # thawed: its connection died in the meantime
    setup.registry.failure = None
    setup.move_stable()
    assert setup.stable() == 2


def test_when_the_registry_still_fails_after_a_long_sleep_the_known_routes_answer(
    setup: Setup,
) -> None:
    setup.stable()
    setup.registry.failure = outage()
    for _ in range(3):
        setup.clock.forward(3600)
        assert setup.stable() == 1
    assert len(setup.registry.reads) == 4


def test_a_registry_that_hangs_before_it_fails_makes_nobody_wait_twice(setup: Setup) -> None:
    setup.stable()

    def hang() -> None:
        setup.clock.forward(6)

    setup.registry.failure, setup.registry.before_read = outage(), hang
    setup.clock.forward(3600)
    waited = 0
    for _ in range(200):
        before = len(setup.registry.reads)
        assert setup.stable() == 1
        waited += len(setup.registry.reads) - before
        setup.run_background()
        setup.clock.forward(0.5)
    assert waited == 1


def test_a_slow_registry_makes_nobody_wait_who_asks_all_the_time(setup: Setup) -> None:
    setup.stable()
    under_way: list[tuple[float, Callable[[], None]]] = []
    for step in range(300):
        if step == 100:
            setup.move_stable()
        setup.stable()
        under_way += [(setup.clock.now, task) for task in setup.background]
        setup.background.clear()
        for started, task in list(under_way):
            if setup.clock.now - started >= 2.2:  # so long does an answer take
                under_way.remove((started, task))
                task()
        setup.clock.forward(0.1)
    assert setup.stable() == 2
    assert len(setup.registry.reads) <= 1 + 30 / 2.2, "all of them beside the callers"


def test_a_broken_document_does_not_replace_a_good_one(setup: Setup) -> None:
    setup.stable()
    setup.registry.failure = IntegrityError("routes", "a document", "half of one")
    setup.clock.forward(3600)
    assert setup.stable() == 1
    (record,) = setup.records
    assert (record["event"], record["kept_revision"]) == ("routes-refused", 1)
    assert "half of one" in str(record["problem"])


def edited(routes: Routes) -> Routes:
    """The same revision with other weights: somebody has edited the object by hand."""
    return replace(routes, aliases={"stable": (Weighted(2),)})


def rewritten(routes: Routes) -> Routes:
    """The same revision with another change: the bucket was restored, and written to since."""
    after = routes.with_alias("stable", (Weighted(2),))
    before = replace(routes, revision=routes.revision - 1)
    return before.changed(after, action="route", detail={}, who="eve", at="")


def restored(routes: Routes) -> Routes:
    """An earlier revision: the bucket was restored."""
    return replace(edited(routes), revision=routes.revision - 1)


@pytest.mark.parametrize("spoilt", [edited, rewritten, restored])
def test_routes_that_cannot_follow_on_what_is_known_are_refused_with_the_reason(
    setup: Setup, spoilt: Callable[[Routes], Routes]
) -> None:
    setup.registry.put(setup.registry.documents[MODEL])
    setup.stable()
    good = setup.registry.documents[MODEL]
    setup.registry.documents[MODEL] = spoilt(good)
    setup.registry.etag = '"spoilt"'
    for _ in range(20):
        assert setup.stable() == 1
        setup.run_background()
        setup.clock.forward(TTL / 2 + 0.1)
    assert [record["event"] for record in setup.records] == ["routes-refused"]
    assert "expected revision 2" in str(setup.records[0]["problem"])
    setup.clock.forward(60)
    setup.stable()
    assert len(setup.records) == 2

    setup.registry.documents[MODEL], setup.registry.etag = good, None
    setup.move_stable()
    setup.clock.forward(TTL / 2 + 0.1)
    setup.stable()
    setup.run_background()
    assert setup.stable() == 2, "a later revision is believed"


def test_a_process_that_knows_nothing_takes_what_there_is(setup: Setup) -> None:
    setup.registry.documents[MODEL] = restored(setup.registry.documents[MODEL])
    assert setup.stable() == 2


def test_a_model_that_was_made_anew_starts_from_its_first_revision(setup: Setup) -> None:
    setup.registry.put(setup.registry.documents[MODEL])
    setup.stable()
    del setup.registry.documents[MODEL]
    setup.clock.forward(TTL + 0.1)
    with pytest.raises(ModelNotFoundError):
        setup.stable()
    setup.registry.documents[MODEL] = deployed(1, 2, stable="2")
    setup.clock.forward(TTL + 0.1)
    assert setup.stable() == 2


def test_a_model_that_was_removed_is_gone_after_the_check(setup: Setup) -> None:
    setup.stable()
    del setup.registry.documents[MODEL]
    setup.clock.forward(3600)
    with pytest.raises(ModelNotFoundError):
        setup.stable()


def test_unknown_models_are_remembered_for_a_ttl(setup: Setup) -> None:
    for _ in range(10):
        with pytest.raises(ModelNotFoundError):
            setup.cache.get("ghost")
    assert setup.registry.reads == [("ghost", None)]
    setup.registry.documents["ghost"] = deployed(1, model="ghost")
    setup.clock.forward(TTL + 0.1)
    assert setup.cache.get("ghost").deployments


def test_hostile_names_do_not_grow_memory_nor_push_out_real_models(setup: Setup) -> None:
    setup.stable()
    for number in range(MAX_REFUSED * 2):
        with pytest.raises(ModelNotFoundError):
            setup.cache.get(f"ghost-{number}")
    assert len(setup.cache._refused) == MAX_REFUSED
    assert list(setup.cache._known) == [MODEL]
    assert setup.cache._flights == {}


def test_a_failure_at_the_start_is_not_asked_again_by_every_request(setup: Setup) -> None:
    setup.registry.failure = outage()
    for _ in range(20):
        with pytest.raises(RegistryUnavailableError):
            setup.stable()
    assert len(setup.registry.reads) == 1
    setup.registry.failure = None
    setup.clock.forward(1.1)
    assert setup.stable() == 1


def test_many_first_callers_share_one_read(setup: Setup) -> None:
    everyone_asked, callers = threading.Event(), 16
    setup.registry.before_read = lambda: None if everyone_asked.wait(10) else pytest.fail("alone")
    waiting = threading.Semaphore(0)

    def call() -> int:
        waiting.release()
        return setup.stable()

    with ThreadPoolExecutor(callers) as pool:
        answers = [pool.submit(call) for _ in range(callers)]
        for _ in range(callers):
            assert waiting.acquire(timeout=10)
        everyone_asked.set()
        assert {answer.result(timeout=10) for answer in answers} == {1}
    assert len(setup.registry.reads) == 1


@pytest.mark.parametrize("refused_before", [False, True])
def test_a_caller_does_not_wait_forever_for_another_ones_read(refused_before: bool) -> None:
    registry, clock = SwitchableRegistry(), HandClock()
    cache = RoutesCache(
        registry, ttl_s=TTL, clock=clock, log=lambda record: None, flight_limit_s=0.05
    )
    if refused_before:
        with pytest.raises(ModelNotFoundError):
            cache.get(MODEL)
        clock.forward(TTL + 0.1)
    reading, go_on = threading.Event(), threading.Event()

    def hang() -> None:
        reading.set()
        go_on.wait(20)

    registry.before_read = hang
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(cache.get, MODEL)
        assert reading.wait(10)
        with pytest.raises(RegistryUnavailableError):
            cache.get(MODEL)
        go_on.set()
        assert isinstance(first.exception(timeout=10), ModelNotFoundError)


def test_many_first_callers_share_one_failure(setup: Setup) -> None:
    setup.registry.failure = outage()
    with ThreadPoolExecutor(16) as pool:
        errors = [pool.submit(setup.stable).exception(timeout=10) for _ in range(64)]
    assert {type(error) for error in errors} == {RegistryUnavailableError}


def test_threads_under_changing_routes_only_ever_see_whole_documents() -> None:
    registry, clock = SwitchableRegistry(deployed(1, 2, stable="1")), HandClock()
    cache = RoutesCache(registry, ttl_s=TTL, clock=clock, log=lambda record: None)
    stop = threading.Event()

    def read() -> int:
        last, seen = 0, 0
        while not stop.is_set():
            routes = cache.get(MODEL)
            assert routes.resolve(None, "stable", "k").version in (1, 2)
            assert routes.revision >= last, "went back in time"
            last, seen = routes.revision, seen + 1
        return seen

    with ThreadPoolExecutor(8) as pool:
        readers = [pool.submit(read) for _ in range(8)]
        for _ in range(200):
            registry.put(registry.documents[MODEL])
            clock.forward(TTL + 0.1)
            cache.get(MODEL)
        stop.set()
        assert all(reader.result(timeout=30) > 0 for reader in readers)
    clock.forward(3600)
    assert cache.get(MODEL).revision == 201
