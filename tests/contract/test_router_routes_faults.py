"""What S3 can do to a router's routes: fail, tear, be edited, go back, at every call in turn."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from modelport.errors import IntegrityError, ModelportError, RegistryUnavailableError
from modelport.registry.s3 import S3Registry
from modelport.routes import Routes, Weighted

from functions.router.routes_cache import RoutesCache
from tests.support.registry_world import BUCKET, s3_client
from tests.support.router_world import MODEL, HandClock, deployed
from tests.support.s3_answers import Answer, S3Answers, refusal, s3_answering

TTL = 5.0


def document(routes: Routes) -> Answer:
    """What S3 answers while these routes lie there."""
    body = routes.to_bytes()
    return Answer(200, body, {"ETag": f'"{hash(body)}"', "Content-Type": "application/json"})


def moved(routes: Routes, version: int) -> Routes:
    after = routes.with_alias("stable", (Weighted(version),))
    return routes.changed(after, action="route", detail={}, who="ada", at="")


FIRST = moved(deployed(1, 2, 3, stable="1"), 1)
SECOND = moved(FIRST, 2)


def edited(**fields: Any) -> Answer:
    data = json.loads(FIRST.to_bytes()) | fields
    return replace(document(FIRST), body=json.dumps(data).encode(), headers={"ETag": '"edited"'})


#: What can go wrong with one answer, and which errors it is to a process that knows nothing.
FAULTS: dict[str, tuple[Answer, type[ModelportError]]] = {
    "internal error": (refusal(500, "InternalError"), RegistryUnavailableError),
    "slow down": (refusal(503, "SlowDown"), RegistryUnavailableError),
    "access denied": (refusal(403, "AccessDenied"), RegistryUnavailableError),
    "connection lost": (replace(document(FIRST), cut=40), RegistryUnavailableError),
    "half a document": (
        Answer(200, FIRST.to_bytes()[:300], {"ETag": '"half"'}),
        IntegrityError,
    ),
    "an empty one": (Answer(200, b"", {"ETag": '"e"'}), IntegrityError),
    "another model's": (document(moved(deployed(1, model="other"), 1)), IntegrityError),
    "edited weights": (
        edited(aliases={"stable": [{"version": 3, "weight": 100.0}]}),
        IntegrityError,
    ),
    "edited revision": (edited(revision=9), IntegrityError),
    "a page of HTML": (Answer(200, b"<html>captive</html>", {"ETag": '"h"'}), IntegrityError),
}
#: What only a process that knows more can find wrong.
STALE = {
    "an earlier revision": document(moved(deployed(1, 2, 3), 3)),
    "the same revision anew": document(moved(deployed(1, 2, 3, stable="3"), 3)),
}


@dataclass
class Router:
    """A routes cache over S3, with a clock wound by hand."""

    server: S3Answers
    clock: HandClock = field(default_factory=HandClock)
    records: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.client = s3_client(self.server.endpoint, tries=1)
        self.cache = RoutesCache(
            S3Registry(self.client, BUCKET),
            ttl_s=TTL,
            clock=self.clock,
            log=lambda record: self.records.append(dict(record)),
            spawn=lambda task: task(),
        )

    def stable(self) -> int:
        return self.cache.get(MODEL).resolve(None, None, "k").version

    def later(self) -> int:
        """What a busy router answers half a TTL later, and a bit: its check has run by then."""
        self.clock.forward(TTL / 2 + 0.1)
        self.stable()
        return self.stable()


@pytest.fixture
def serving() -> Iterator[Callable[..., Router]]:
    with ExitStack() as stack:

        def serve(*answers: Answer) -> Router:
            router = Router(stack.enter_context(s3_answering(*answers)))
            stack.callback(router.client.close)
            return router

        yield serve


@pytest.mark.parametrize("fault", FAULTS)
def test_a_process_that_knows_nothing_says_so_and_tries_again(
    serving: Callable[..., Router], fault: str
) -> None:
    spoilt, error = FAULTS[fault]
    router = serving(spoilt, document(FIRST))
    with pytest.raises(error):
        router.stable()
    router.clock.forward(1.1)
    assert router.stable() == 1


@pytest.mark.parametrize("at", [1, 2, 3])
@pytest.mark.parametrize("fault", [*FAULTS, *STALE])
def test_whatever_happens_later_the_last_good_routes_stay_until_there_are_better(
    serving: Callable[..., Router], fault: str, at: int
) -> None:
    spoilt = FAULTS[fault][0] if fault in FAULTS else STALE[fault]
    good = [document(FIRST)] * at
    router = serving(*good, *[spoilt] * 2, document(SECOND))
    assert router.stable() == 1
    for _ in range(at - 1):
        assert router.later() == 1
    assert router.later() == 1, "while it lasts"
    assert router.later() == 1
    (record,) = router.records
    refused = fault in STALE or FAULTS[fault][1] is IntegrityError
    assert record["event"] == ("routes-refused" if refused else "registry-failing")
    assert record["kept_revision"] == FIRST.revision
    assert router.later() == 2, "and when it is over"
