"""Whose credentials sign, and how they are renewed."""

from __future__ import annotations

import threading

import pytest
from modelport.aws.credentials import (
    RENEW_BEFORE_S,
    BotocoreSource,
    Credentials,
    Renewed,
    source_of,
)
from modelport.aws.errors import CredentialsError

from tests.support.aws_world import KEYS

CONTAINER = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1:1/c"}


class Clock:
    """Seconds since the epoch, moved by hand."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


class Container:
    """Gives credentials that last an hour, or fails."""

    def __init__(self, clock: Clock) -> None:
        self.clock, self.asked, self.away = clock, 0, False

    def __call__(self) -> Credentials:
        self.asked += 1
        if self.away:
            raise CredentialsError("away")
        return Credentials(f"K{self.asked}", "s", "t", self.clock() + 3600)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_the_environments_keys_come_first() -> None:
    source = source_of(KEYS | CONTAINER | {"AWS_SESSION_TOKEN": "t"})
    keys = KEYS["AWS_ACCESS_KEY_ID"], KEYS["AWS_SECRET_ACCESS_KEY"]
    assert source() == Credentials(*keys, "t")


@pytest.mark.parametrize(
    ("environ", "kind"),
    [
        (CONTAINER, Renewed),
        ({"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/c"}, Renewed),
        ({}, BotocoreSource),
        (KEYS | {"AWS_CREDENTIAL_EXPIRATION": "2026-01-01T00:00:00Z"}, BotocoreSource),
        (CONTAINER | {"AWS_WEB_IDENTITY_TOKEN_FILE": "/t"}, BotocoreSource),
        ({"AWS_ACCESS_KEY_ID": "only half"}, BotocoreSource),
    ],
)
def test_every_environment_has_the_source_that_botocore_chooses(
    environ: dict[str, str], kind: type
) -> None:
    assert isinstance(source_of(environ), kind)


def test_fetched_ones_are_kept_until_shortly_before_they_expire(clock: Clock) -> None:
    container = Container(clock)
    source = Renewed(container, clock)
    assert [source().access_key for _ in range(3)] == ["K1"] * 3
    clock.now += 3600 - RENEW_BEFORE_S + 1
    assert [source().access_key for _ in range(3)] == ["K2"] * 3
    assert container.asked == 2


def test_a_renewal_that_fails_leaves_the_old_ones_while_they_are_valid(clock: Clock) -> None:
    container = Container(clock)
    source = Renewed(container, clock)
    source()
    container.away = True
    clock.now += 3600 - RENEW_BEFORE_S + 1
    assert [source().access_key for _ in range(5)] == ["K1"] * 5
    assert container.asked == 2  # one renewal was tried, and not one for each call
    clock.now += 11
    assert source().access_key == "K1"
    assert container.asked == 3
    clock.now += RENEW_BEFORE_S
    with pytest.raises(CredentialsError, match="away"):
        source()
    container.away = False
    clock.now += 2
    assert source().access_key == "K5"


def test_ones_that_never_last_long_are_not_fetched_for_each_call(clock: Clock) -> None:
    asked: list[float] = []

    def short() -> Credentials:
        asked.append(clock())
        return Credentials(f"K{len(asked)}", "s", "t", clock() + RENEW_BEFORE_S / 2)

    source = Renewed(short, clock)
    assert [source().access_key for _ in range(5)] == ["K1"] * 5
    clock.now += 11
    assert [source().access_key for _ in range(5)] == ["K2"] * 5


def test_one_thread_renews_and_the_others_go_on(clock: Clock) -> None:
    begun, go_on = threading.Event(), threading.Event()
    container = Container(clock)

    def slow() -> Credentials:
        if container.asked:
            begun.set()
            assert go_on.wait(10)
        return container()

    source = Renewed(slow, clock)
    source()
    clock.now += 3600 - RENEW_BEFORE_S + 1
    renewed: list[str] = []
    thread = threading.Thread(target=lambda: renewed.append(source().access_key))
    thread.start()
    try:
        assert begun.wait(10)
        assert source().access_key == "K1"
    finally:
        go_on.set()
        thread.join()
    assert renewed == ["K2"]
    assert source().access_key == "K2"


def test_without_any_yet_all_wait_for_one_fetch(clock: Clock) -> None:
    container = Container(clock)
    source = Renewed(container, clock)
    got: list[str] = []
    threads = [threading.Thread(target=lambda: got.append(source().access_key)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (got, container.asked) == (["K1"] * 8, 1)


def test_who_waited_for_a_fetch_that_failed_does_not_repeat_it(clock: Clock) -> None:
    container = Container(clock)
    container.away = True
    source = Renewed(container, clock)
    for _ in range(3):
        with pytest.raises(CredentialsError, match="away"):
            source()
    assert container.asked == 1
