"""Copies leave the router beside its callers: bounded, counted, and never in anybody's way."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from modelport.backends import CallableBackend
from modelport.envelope import REFERENCE, Handler, Request, Response, Stream
from modelport.grammar import Call
from modelport.routes import Policy, Routes, Rule, Shadow
from modelport.settings import RouterSettings
from modelport.shadows.message import LIMIT, ShadowCall

from functions.router.router import router_over
from functions.router.shadow_queue import (
    MOST_BYTES,
    MOST_COPIES,
    TOLD_EVERY_S,
    QueueClient,
    ShadowQueue,
    SqsSender,
    sampled,
)
from functions.router.shadowing import shadows_of
from tests.support.router_world import (
    MODEL,
    Answer,
    HandClock,
    Recorder,
    SwitchableRegistry,
    World,
    deployed,
)

#: Longer than any of this takes; who waits for it has failed.
LONG_S = 20.0
PATH = f"/v1/models/{MODEL}:predict"
ANSWER = Response(200, {"content-type": "application/json"}, b'{"predictions":[1]}')


class Box:
    """Where messages arrive; `wait_for` blocks until so many have."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._arrived = threading.Condition()

    def __call__(self, text: str) -> None:
        with self._arrived:
            self.texts.append(text)
            self._arrived.notify_all()

    def wait_for(self, count: int) -> list[ShadowCall]:
        with self._arrived:
            assert self._arrived.wait_for(lambda: len(self.texts) >= count, LONG_S)
            return [ShadowCall.from_json(json.loads(text)) for text in self.texts]


class Hanging:
    """A queue service that never answers until it is released."""

    def __init__(self) -> None:
        self.reached, self.release = threading.Event(), threading.Event()

    def __call__(self, text: str) -> None:
        self.reached.set()
        assert self.release.wait(LONG_S)


class Refusing:
    """A queue service that refuses everything; `asked` counts."""

    def __init__(self) -> None:
        self.asked = threading.Semaphore(0)

    def __call__(self, text: str) -> None:
        self.asked.release()
        raise ConnectionError("no such queue")


def shadowed(*shadows: Shadow, aliases: str = "1", rules: tuple[Rule, ...] = ()) -> Routes:
    routes = deployed(1, 2, 3, stable=aliases, canary="2")
    return routes.with_policy(Policy(shadows=shadows, rules=rules))


class Door:
    """The router's Lambda handler over models, with shadows that are sent by ``send``."""

    def __init__(
        self,
        routes: Routes,
        send: Callable[[str], None],
        models: dict[int | str, Handler] | None = None,
        *,
        most_copies: int = MOST_COPIES,
        most_bytes: int = MOST_BYTES,
        jobs: Any = None,
    ) -> None:
        self.clock, self.records = HandClock(), list[dict[str, Any]]()
        self.world = World(routes)

        def log(record: Any) -> None:
            self.records.append(dict(record))

        self.queue = ShadowQueue(
            send,
            environment="test",
            log=log,
            clock=self.clock,
            most_copies=most_copies,
            most_bytes=most_bytes,
        )
        live: dict[int | str, Handler] = {1: Recorder(), 2: Recorder(), 3: Recorder()}
        self.world.router = router_over(
            SwitchableRegistry(routes),
            {"lambda": CallableBackend(models or live)},
            settings=self.world.settings,
            clock=self.clock,
            log=log,
            shadows=self.queue,
            jobs=None if jobs is None else lambda: jobs,
        )

    def post(self, path: str = PATH, body: bytes = b'{"instances":[1]}', **headers: str) -> Answer:
        return self.world.post(path, body, **headers)

    @property
    def lost(self) -> list[dict[str, Any]]:
        return [record for record in self.records if record.get("event") == "shadows-lost"]


def test_a_copy_of_what_was_answered_leaves() -> None:
    box = Box()
    door = Door(shadowed(Shadow(3)), box)
    answer = door.post(x_modelport_key="caller-7", authorization="Bearer secret")
    assert answer.status == 200
    (copy,) = box.wait_for(1)
    assert (copy.model, copy.live, copy.shadow) == (MODEL, 1, 3)
    assert copy.request.path == PATH
    assert copy.request.body == b'{"instances":[1]}'
    assert copy.request.request_id == answer.headers["x-modelport-request-id"]
    assert copy.answered.body == answer.body
    assert datetime.fromisoformat(copy.at).tzinfo == UTC
    assert "caller-7" not in box.texts[0]
    assert "secret" not in box.texts[0]
    assert not door.lost


@pytest.mark.parametrize(
    "path", [PATH, f"/v2/models/{MODEL}/infer", f"/endpoints/{MODEL}/invocations"]
)
def test_every_protocols_predictions_are_copied(path: str) -> None:
    box = Box()
    Door(shadowed(Shadow(3)), box).post(path)
    assert box.wait_for(1)[0].request.path == path


@pytest.mark.parametrize(
    ("shadow", "path", "copied"),
    [
        (Shadow(3), PATH, True),
        (Shadow(3, of="stable"), PATH, True),
        (Shadow(3, of="stable"), f"/v1/models/{MODEL}/labels/stable:predict", True),
        (Shadow(3, of="stable"), f"/v1/models/{MODEL}/labels/canary:predict", False),
        (Shadow(3, of="canary"), f"/v1/models/{MODEL}/labels/canary:predict", True),
        (Shadow(3, of="canary"), PATH, False),
        (Shadow(3, of="stable"), f"/v1/models/{MODEL}/versions/1:predict", False),
        (Shadow(3), f"/v1/models/{MODEL}/versions/1:predict", True),
        # Never the version that answered.
        (Shadow(3), f"/v1/models/{MODEL}/versions/3:predict", False),
        (Shadow(1), PATH, False),
    ],
)
def test_a_shadow_gets_the_calls_of_its_alias(shadow: Shadow, path: str, copied: bool) -> None:
    box = Box()
    # Behind it a shadow of everything, so that its copy says that the first was passed over.
    door = Door(shadowed(shadow, Shadow(2)), box)
    assert door.post(path).status == 200
    others = 0 if "canary" in path else 1
    copies = box.wait_for(copied + others)
    assert [copy.shadow for copy in copies] == [shadow.version] * copied + [2] * others


def test_a_rule_that_sends_to_an_alias_counts_as_that_alias() -> None:
    box = Box()
    rules = (Rule("x-team", "red", "canary"),)
    door = Door(shadowed(Shadow(3, of="canary"), rules=rules), box)
    door.post(x_team="blue")
    door.post(x_team="red")
    assert [copy.live for copy in box.wait_for(1)] == [2]


@pytest.mark.parametrize("status", [201, 204, 303, 400, 429, 500])
def test_only_answers_of_200_are_copied(status: int) -> None:
    box = Box()
    models: dict[int | str, Handler] = {
        1: lambda request: Response(status, {}, b"{}"),
        2: lambda request: ANSWER,
    }
    door = Door(shadowed(Shadow(3)), box, models)
    assert door.post().status == status
    door.post(f"/v1/models/{MODEL}/versions/2:predict")
    assert [copy.live for copy in box.wait_for(1)] == [2]


def test_questions_and_streams_are_not_copied() -> None:
    offered = Box()
    queue = ShadowQueue(offered, environment="test", log=lambda record: None)
    routes = shadowed(Shadow(3))
    live = routes.deployments[1]
    asked = Request("POST", PATH, {}, b"{}", "id")
    pieces = Stream(200, {}, pieces=(piece for piece in [b"a"]))
    queue.offer(routes, Call("v1", "predict", MODEL), asked, live, pieces)
    assert next(pieces.pieces) == b"a"
    queue.offer(routes, Call("v2", "generate", MODEL), asked, live, ANSWER)
    queue.offer(routes, Call("v1", "predict", MODEL), asked, live, ANSWER)
    assert len(offered.wait_for(1)) == 1


# --- who is sampled -------------------------------------------------------------------------------


def test_a_sample_is_as_large_as_it_says_and_the_same_each_time() -> None:
    ids = [f"request-{number}" for number in range(20_000)]
    ten = {one for one in ids if sampled(one, Shadow(3, 10.0))}
    assert ten == {one for one in ids if sampled(one, Shadow(3, 10.0))}
    assert abs(len(ten) / len(ids) - 0.10) < 0.01
    assert ten < {one for one in ids if sampled(one, Shadow(3, 30.0))}
    other = {one for one in ids if sampled(one, Shadow(4, 10.0))}
    assert abs(len(ten & other) / len(ten) - 0.10) < 0.03  # another shadow's is another sample
    assert all(sampled(one, Shadow(3, 100.0)) for one in ids)


# --- what cannot leave ----------------------------------------------------------------------------


def test_a_queue_that_hangs_delays_nobody_and_holds_no_more_than_it_may() -> None:
    hanging = Hanging()
    door = Door(shadowed(Shadow(3)), hanging)
    assert door.post().status == 200
    assert hanging.reached.wait(LONG_S)  # the thread is stuck now, and stays so
    for _ in range(MOST_COPIES + 5):
        assert door.post().status == 200
    assert not hanging.release.is_set()
    counted = sum(record["shadows_lost"] for record in door.lost)
    door.clock.forward(TOLD_EVERY_S)
    assert door.post().status == 200
    counted = sum(record["shadows_lost"] for record in door.lost)
    assert counted == 6
    (line, *_) = door.lost
    assert (line["model"], line["version"], line["problem"]) == (MODEL, "3", "queue-full")
    assert line["environment"] == "test"
    assert line["_aws"]["CloudWatchMetrics"][0]["Metrics"][0]["Name"] == "shadows_lost"
    hanging.release.set()


def test_a_queue_that_refuses_costs_copies_and_no_answers() -> None:
    refusing = Refusing()
    door = Door(shadowed(Shadow(3)), refusing)
    for _ in range(3):
        assert door.post().status == 200
        assert refusing.asked.acquire(timeout=LONG_S)  # the thread lives on after each failure
    _until(lambda: _told(door) == 3)
    assert door.lost[0]["problem"] == "ConnectionError"
    assert not [record for record in door.records if record.get("event") == "failure"]


def _told(door: Door) -> int:
    door.clock.forward(TOLD_EVERY_S)
    door.post(f"/v1/models/{MODEL}/versions/3:predict")  # no copy of its own
    return sum(int(record["shadows_lost"]) for record in door.lost)


def _until(true: Callable[[], bool]) -> None:
    """Go on until it is; the suite's own limit ends what never is."""
    while not true():
        threading.Event().wait(0.001)


@pytest.mark.parametrize(
    ("body", "kind", "problem"),
    [
        (b"x" * (LIMIT + 1), "text/plain", "too-large"),
        (b"{}", REFERENCE, "carried-by-reference"),
        (b"{}", REFERENCE.upper() + "; a=b", "carried-by-reference"),
    ],
)
def test_what_no_message_can_carry_is_lost_at_once(body: bytes, kind: str, problem: str) -> None:
    box = Box()
    records: list[Any] = []
    queue = ShadowQueue(box, environment="test", log=records.append, clock=HandClock())
    routes = shadowed(Shadow(3))
    asked = Request("POST", PATH, {"content-type": kind}, body, "id")
    queue.offer(routes, Call("v1", "predict", MODEL), asked, routes.deployments[1], ANSWER)
    (line,) = records
    assert (line["shadows_lost"], line["problem"]) == (1, problem)
    assert not box.texts


def test_a_body_that_was_uploaded_is_nothing_to_copy() -> None:
    class Elsewhere:
        """Answers calls whose bodies lie elsewhere, as jobs do."""

        def carry(self, *given: Any) -> Response:
            return ANSWER

    box = Box()
    door = Door(shadowed(Shadow(3)), box, jobs=Elsewhere())
    assert door.post(body=b"", x_modelport_body="id").status == 200
    assert door.post().status == 200
    (copy,) = box.wait_for(1)
    assert copy.request.body == b'{"instances":[1]}'
    assert [line["problem"] for line in door.lost] == ["carried-by-reference"]


def test_what_proves_too_large_as_a_message_is_lost_too() -> None:
    box, records = Box(), list[Any]()
    clock = HandClock()
    queue = ShadowQueue(box, environment="test", log=records.append, clock=clock)
    routes = shadowed(Shadow(3))
    wide = Request("POST", PATH, {}, b"\xff" * (LIMIT - 1000), "id")  # a third more in base64
    call, live = Call("v1", "predict", MODEL), routes.deployments[1]
    queue.offer(routes, call, wide, live, ANSWER)
    queue.offer(routes, call, replace(wide, body=b"{}"), live, ANSWER)
    box.wait_for(1)
    queue.offer(routes, call, replace(wide, body=b"{}"), live, ANSWER)
    assert [record["problem"] for record in records] == ["too-large"]


def test_bytes_are_bounded_as_well_as_copies() -> None:
    hanging = Hanging()
    door = Door(shadowed(Shadow(3)), hanging, most_bytes=1000)
    assert door.post(body=b'{"instances":[1]}').status == 200
    assert hanging.reached.wait(LONG_S)
    for _ in range(3):
        assert door.post(body=b" " * 400).status == 200
    assert sum(record["shadows_lost"] for record in door.lost) == 1
    hanging.release.set()


def test_losses_are_told_now_and_then_not_each_time() -> None:
    door = Door(shadowed(Shadow(3)), Hanging(), most_copies=0)
    for _ in range(5):
        door.post()
    assert [record["shadows_lost"] for record in door.lost] == [1]
    door.clock.forward(TOLD_EVERY_S)
    door.post()
    assert [record["shadows_lost"] for record in door.lost] == [1, 5]


def test_nothing_is_started_before_the_first_copy() -> None:
    before = threading.active_count()
    made: list[Any] = []

    def new_client() -> Any:
        made.append(object())
        return made[-1]

    sender = SqsSender(new_client, "url")
    queue = ShadowQueue(sender, environment="test", log=lambda record: None)
    routes = shadowed(Shadow(3))
    asked = Request("POST", PATH, {}, b"{}", "id")
    call = Call("v1", "predict", MODEL, version=3)
    queue.offer(routes, call, asked, routes.deployments[3], ANSWER)
    assert threading.active_count() == before
    assert not made


def test_the_sender_makes_one_client_and_sends_the_text() -> None:
    sent: list[dict[str, str]] = []

    class Client:
        def send_message(self, **parameters: str) -> None:
            sent.append(parameters)

    made: list[Client] = []

    def new_client() -> Client:
        made.append(Client())
        return made[-1]

    sender = SqsSender(new_client, "https://sqs/queue")
    sender("one")
    sender("two")
    assert sent == [
        {"QueueUrl": "https://sqs/queue", "MessageBody": "one"},
        {"QueueUrl": "https://sqs/queue", "MessageBody": "two"},
    ]
    assert len(made) == 1


def test_shadows_are_made_for_the_first_copy_where_there_is_a_queue() -> None:
    def never() -> QueueClient:
        raise AssertionError("nothing has been copied yet")

    assert shadows_of(RouterSettings("bucket", "test"), never, print) is None
    sent = threading.Event()

    class Client:
        def send_message(self, **parameters: str) -> None:
            sent.set()

    settings = RouterSettings("bucket", "test", shadow_queue_url="https://sqs/queue")
    shadows = shadows_of(settings, Client, print)
    assert shadows is not None
    routes = shadowed(Shadow(3))
    asked = Request("POST", PATH, {}, b"{}", "id")
    shadows.offer(routes, Call("v1", "predict", MODEL), asked, routes.deployments[1], ANSWER)
    assert sent.wait(LONG_S)
