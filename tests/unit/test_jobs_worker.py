"""One answer per job, whoever dies where: every call of the worker in turn, and in any order."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from modelport.envelope import REFERENCE, Request, Response
from modelport.errors import (
    AnswerTooLargeError,
    BackendError,
    BackendGoneError,
    ModelFailedError,
    ModelTimeoutError,
    RegistryUnavailableError,
    ThrottledError,
)
from modelport.jobs import keys
from modelport.jobs.errors import QueueUnavailableError
from modelport.jobs.job import GAVE_UP, Answer, Failure
from modelport.references import SMALL, Put, Reference
from modelport.registry.memory import MemoryStore

from tests.support.jobs_world import INVISIBLE_S, JobsWorld, KilledError, killed, routes

GONE = Failure("gone", "it is gone")
HOOK = "https://hooks.example/done?x=1"
PASSING = ("throttled", "backend-gone", BackendError.code, "transfer-failed", "busy")


def accepted(world: JobsWorld, **headers: str) -> str:
    response = world.accept(b"row", "ada", **headers)
    assert response.status == 202
    id: str = json.loads(response.body)["id"]
    return id


def calls_of_a_run() -> list[str]:
    """Every call that a worker makes for a job with a webhook, in order."""
    world = JobsWorld()
    accepted(world, x_modelport_webhook=HOOK)
    world.line.cut()
    world.settle()
    return list(world.line.names)


CALLS = calls_of_a_run()


def check_done(world: JobsWorld, id: str) -> None:
    """The job has its one answer, and whoever wanted to know has been told."""
    assert json.loads(world.ask("status", id).body)["status"] == "succeeded"
    answer = world.ask("answer", id)
    assert (answer.status, answer.body) == (200, b"rowrow")
    assert world.news
    assert {news["status"] for news in world.news} == {"succeeded"}


def test_a_run_takes_asks_keeps_shows_and_tells_in_this_order() -> None:
    names = [name for name in CALLS if name != "store.get"]
    assert names == [
        "store.replace",
        "registry.routes",
        "payloads.get",
        "backend.invoke",
        "payloads.put",
        "store.replace",
        "tell",
        "store.replace",
    ]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("call", range(1, len(CALLS) + 1), ids=lambda n: f"{n}-{CALLS[n - 1]}")
def test_a_worker_killed_at_any_call_loses_nothing(call: int, after: bool) -> None:
    world = JobsWorld()
    id = accepted(world, x_modelport_webhook=HOOK)
    world.line.cut()
    (world.line.after if after else world.line.before)[call] = killed
    world.deliver("m-1")
    world.line.cut()
    world.settle()
    check_done(world, id)
    assert world.runs <= 2
    told_twice = CALLS.index("tell") + 1
    assert len(world.news) == (2 if (call, after) >= (told_twice, True) and call <= told_twice + 2
                               and not (call == len(CALLS) and after) else 1)  # fmt: skip


@pytest.mark.parametrize("call", range(1, len(CALLS) + 1), ids=lambda n: f"{n}-{CALLS[n - 1]}")
@pytest.mark.parametrize(
    "error",
    [RegistryUnavailableError("slow"), QueueUnavailableError("gone"), OSError("broken"),
     KeyError("nobody foresaw this")],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_call_that_fails_in_passing_only_delays_the_job(
    call: int, error: Exception, after: bool
) -> None:
    def fail() -> None:
        raise error

    world = JobsWorld()
    id = accepted(world, x_modelport_webhook=HOOK)
    world.line.cut()
    (world.line.after if after else world.line.before)[call] = fail
    world.deliver("m-1")
    world.line.cut()
    world.settle()
    check_done(world, id)


def test_a_write_whose_answer_was_lost_on_its_way_was_a_write() -> None:
    class Forgetful(MemoryStore):
        def replace(self, key: str, body: bytes, etag: str) -> bool:
            super().replace(key, body, etag)
            return False  # S3 wrote it, and refused the client's own second try

    world = JobsWorld(store=Forgetful())
    id = accepted(world, x_modelport_webhook=HOOK)
    world.deliver("m-1")
    check_done(world, id)
    assert (world.runs, len(world.news), world.queue.messages) == (1, 1, {})


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("call", range(1, 7))
def test_a_worker_killed_while_it_gives_a_job_up_has_it_given_up_all_the_same(
    call: int, after: bool
) -> None:
    world = JobsWorld(model=lambda request: Response(503, {}, b""))
    id = accepted(world, x_modelport_webhook=HOOK)
    while not world.queue.dead:
        world.deliver("m-1")
        world.clock.now += INVISIBLE_S
        world.queue.sweep()
    world.line.cut()
    (world.line.after if after else world.line.before)[call] = killed
    world.bury("m-1")
    world.line.cut()
    world.settle()
    error = world.job(id).error
    assert error is not None
    assert error.code == GAVE_UP
    assert {news["status"] for news in world.news} == {"failed"}


def test_workers_that_take_one_message_at_the_same_moment_run_the_model_once() -> None:
    world = JobsWorld()
    id = accepted(world)
    together = threading.Barrier(8)

    def deliver() -> None:
        together.wait(20)
        world.deliver("m-1")

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(deliver) for _ in range(8)]:
            done.result(timeout=30)
    world.settle()
    assert world.runs == 1
    assert world.ask("answer", id).body == b"rowrow"


@pytest.mark.parametrize("call", range(1, len(CALLS) + 1), ids=lambda n: f"{n}-{CALLS[n - 1]}")
def test_a_message_delivered_twice_at_once_runs_the_model_once(call: int) -> None:
    world = JobsWorld()
    id = accepted(world, x_modelport_webhook=HOOK)
    world.line.cut()
    world.line.before[call] = lambda: world.deliver("m-1")
    world.deliver("m-1")
    world.line.cut()
    world.settle()
    check_done(world, id)
    assert world.runs == 1


@pytest.mark.parametrize("call", range(1, len(CALLS) + 1), ids=lambda n: f"{n}-{CALLS[n - 1]}")
def test_what_is_canceled_while_it_runs_has_no_answer(call: int) -> None:
    world = JobsWorld()
    id = accepted(world, x_modelport_webhook=HOOK)
    world.line.cut()
    statuses: list[str] = []

    def cancel() -> None:
        try:
            statuses.append(json.loads(world.ask("cancel", id).body)["status"])
        except Exception:
            statuses.append("too late")

    world.line.before[call] = cancel
    world.deliver("m-1")
    world.line.cut()
    world.settle()
    status = json.loads(world.ask("status", id).body)["status"]
    assert status == ("canceled" if statuses == ["canceled"] else "succeeded")
    assert {news["status"] for news in world.news} == {status}


def test_a_lease_that_has_ended_gives_the_job_to_another_and_the_late_answer_is_dropped() -> None:
    world = JobsWorld()
    id = accepted(world)
    answers = iter([b"late", b"in time"])

    def model(request: Request) -> Response:
        body = next(answers)
        if body == b"late":  # this process froze for longer than its function may run
            world.clock.now += INVISIBLE_S
            world.deliver("m-1")
        return Response(200, {}, body)

    world.model = model
    world.deliver("m-1")
    world.settle()
    assert world.ask("answer", id).body == b"in time"
    assert world.job(id).attempts == 2
    lying = [key for key in world.payloads.bodies if key.startswith(f"jobs/{id}/answers/")]
    assert len(lying) == 2


def test_a_late_answer_is_dropped_while_another_run_holds_the_job() -> None:
    world = JobsWorld()
    id = accepted(world)

    def model(request: Request) -> Response:
        if world.runs == 1:  # frozen for longer than its function may run: another takes over,
            world.clock.now += INVISIBLE_S
            world.deliver("m-1")
            return Response(200, {}, b"late")
        board = world.board  # and while that one asks the model, the first one's answer comes
        held = board.get(id)
        answer = Answer(200, {}, keys.answer(id, "late"), 4)
        assert board.change(id, lambda job: job.answered("late", answer, 0.0)) is None
        assert board.change(id, lambda job: job.given_back("late", held.trouble or GONE)) is None
        assert board.change(id, lambda job: job.failed("late", GONE, 0.0)) is None
        return Response(200, {}, b"in time")

    world.model = model
    world.deliver("m-1")
    world.settle()
    assert world.ask("answer", id).body == b"in time"


@pytest.mark.parametrize(
    ("fails", "code", "status"),
    [
        (ModelFailedError("magika", 1, "r-1"), "model-failed", 500),
        (ModelTimeoutError("magika", 1, 870), "model-timeout", 504),
        (AnswerTooLargeError(7, 6, "the answer"), "answer-too-large", 413),
    ],
)
def test_what_repeating_would_not_help_fails_the_job(
    fails: Exception, code: str, status: int
) -> None:
    def model(request: Request) -> Response:
        if request.headers["content-type"] == REFERENCE:
            return Response(400, {}, b"an older version")
        raise fails

    world = JobsWorld(model=model)
    backend_error = isinstance(fails, ModelFailedError | ModelTimeoutError)
    id = accepted(world)
    if not backend_error:  # CallableBackend takes it for a failure of the model
        world.model = lambda request: Response(
            *((413, {"x-modelport-error": "answer-too-large"}, b'{"error":"too large"}')
              if request.headers["content-type"] != REFERENCE else (400, {}, b"")),
        )  # fmt: skip
    world.settle()
    told = json.loads(world.ask("status", id).body)
    assert told["status"] == "failed"
    answer = world.ask("answer", id)
    assert answer.status == status
    if backend_error:
        assert (told["error"]["code"], world.runs) == (code, 1)
        assert answer.headers["x-modelport-error"] == code


@pytest.mark.parametrize(
    "busy",
    [
        ThrottledError("the version"),
        BackendGoneError("magika", 1, "lambda"),
        BackendError("the endpoint failed outside the model"),
        Response(502, {"x-modelport-error": "transfer-failed"}, b"{}"),
        Response(429, {"retry-after": "7"}, b""),
        Response(503, {}, b"loading"),
    ],
    ids=["throttled", "gone", "place", "transfer", "429", "503"],
)
def test_a_busy_version_is_asked_again_later(busy: Exception | Response) -> None:
    first: list[int] = []

    def model(request: Request) -> Response:
        if first:
            return Response(200, {}, b"rowrow")
        first.append(1)
        if isinstance(busy, Exception):
            raise busy
        return busy

    world = JobsWorld(model=model)
    id = accepted(world)
    world.deliver("m-1")
    told = json.loads(world.ask("status", id).body)
    assert told["status"] == "queued"
    assert told["error"]["code"] in PASSING
    assert world.queue.messages["m-1"].visible_at == world.clock() + 10
    world.settle()
    assert world.ask("answer", id).body == b"rowrow"
    assert "error" not in json.loads(world.ask("status", id).body)


def test_what_stays_busy_ends_in_the_dead_letters_and_says_so() -> None:
    def model(request: Request) -> Response:
        raise ThrottledError("the version")

    world = JobsWorld(model=model)
    id = accepted(world, x_modelport_webhook=HOOK)
    world.settle()
    told = json.loads(world.ask("status", id).body)
    assert (told["status"], told["error"]["code"], told["attempts"]) == ("failed", GAVE_UP, 5)
    assert "5 tries" in told["error"]["message"]
    assert "concurrency limit" in told["error"]["message"]
    assert world.ask("answer", id).status == 503
    assert [news["status"] for news in world.news] == ["failed"]
    # An operator has it run once more.
    world.model = lambda request: Response(200, {}, b"at last")
    assert world.board.change(id, lambda job: job.revived()) is not None
    world.queue.send({"kind": "job", "id": id})
    world.settle()
    assert world.ask("answer", id).body == b"at last"


def test_a_worker_that_dies_every_time_gives_up_too() -> None:
    world = JobsWorld()
    id = accepted(world)

    def model(request: Request) -> Response:
        raise KilledError

    world.model = model
    world.settle()
    told = json.loads(world.ask("status", id).body)
    assert (told["status"], told["error"]["code"], world.runs) == ("failed", GAVE_UP, 5)


def test_a_models_own_refusal_is_the_jobs_answer() -> None:
    refusal = Response(400, {"content-type": "application/json"}, b'{"error":"no such input"}')
    world = JobsWorld(model=lambda request: refusal)
    id = accepted(world)
    world.settle()
    assert json.loads(world.ask("status", id).body)["status"] == "failed"
    answer = world.ask("answer", id)
    assert (answer.status, answer.body) == (400, b'{"error":"no such input"}')


def test_a_version_that_was_undeployed_meanwhile_fails_the_job_at_once() -> None:
    world = JobsWorld()
    id = accepted(world)
    world.routes = routes().without_deployment(1)
    world.settle()
    told = json.loads(world.ask("status", id).body)
    assert (told["status"], told["error"]["code"]) == ("failed", "version-not-found")
    assert world.ask("answer", id).status == 404


def test_large_bodies_and_answers_go_by_reference() -> None:
    seen: list[Reference] = []

    def model(request: Request) -> Response:
        assert request.headers["content-type"] == REFERENCE
        reference = Reference.from_body(request.body)
        seen.append(reference)
        key = reference.put.removeprefix(world.payloads.base).removesuffix("?put")
        world.payloads.put(key, b"y" * 9_000_000, {})
        return Put(200, {"content-type": "text/plain"}, 9_000_000).response({})

    world = JobsWorld(model=model)
    upload = json.loads(world.ask("upload", body=b'{"content_length": 5}').body)["upload"]
    key = keys.upload(keys.owner_of("arn:aws:iam::1:user/ada"), upload)
    world.payloads.put(key, b"x" * 5_000_000, {})
    response = world.accept(b"", x_modelport_body=upload)
    id = json.loads(response.body)["id"]
    world.settle()
    answer = world.ask("answer", id)
    assert answer.status == 303
    assert "/answers/" in answer.headers["location"]
    assert seen[0].content_type == "text/plain"
    assert key in seen[0].get
    told = json.loads(world.ask("status", id).body)
    assert told["answer"] == {"status": 200, "content_type": "text/plain", "bytes": 9_000_000}


def test_an_upload_that_grew_after_its_job_was_taken_is_never_read() -> None:
    world = JobsWorld()
    upload = json.loads(world.ask("upload", body=b'{"content_length": 5}').body)["upload"]
    key = keys.upload(keys.owner_of("arn:aws:iam::1:user/ada"), upload)
    world.payloads.put(key, b"row", {})
    id: str = json.loads(world.accept(b"", x_modelport_body=upload).body)["id"]
    world.payloads.put(key, bytes(SMALL + 1), {})
    world.settle()
    answer = world.ask("answer", id)
    assert (answer.status, answer.headers["x-modelport-error"]) == (413, "payload-too-large")
    assert world.runs == 0


def test_a_webhook_that_fails_is_told_again_and_never_fails_the_job() -> None:
    world = JobsWorld(webhook_down=True)
    id = accepted(world, x_modelport_webhook=HOOK)
    world.settle()
    assert world.ask("answer", id).body == b"rowrow"
    assert world.runs == 1
    assert [r for r in world.records if r["event"] == "webhook-failed"]


def counted(world: JobsWorld) -> list[dict[str, Any]]:
    """What each run that a version had a part in counts for."""
    names = ("requests", "errors", "crashes", "throttles", "predicted_3", "bytes_out")
    return [
        {name: line[name] for name in names if name in line}
        for line in world.records
        if line["event"] == "job-run"
    ]


@pytest.mark.parametrize(
    ("answer", "counts"),
    [
        (Response(200, {"x-modelport-predicted": "3=2"}, b"ab"),
         {"requests": 1, "predicted_3": 2, "bytes_out": 2}),
        (Response(400, {}, b"no"), {"requests": 1, "bytes_out": 2}),
        (Response(500, {}, b"no"), {"requests": 1, "errors": 1, "bytes_out": 2}),
        (ModelFailedError("magika", 1, "r-1"), {"requests": 1, "errors": 1, "crashes": 1}),
        (ModelTimeoutError("magika", 1, 870), {"requests": 1, "errors": 1}),
    ],
)  # fmt: skip
def test_a_run_counts_for_its_version(
    answer: Response | Exception, counts: dict[str, float]
) -> None:
    def model(request: Request) -> Response:
        if isinstance(answer, Exception):
            raise answer
        return answer

    world = JobsWorld(model=model)
    accepted(world)
    world.settle()
    assert counted(world) == [counts]
    (line,) = [line for line in world.records if line["event"] == "job-run"]
    assert (line["environment"], line["model"], line["version"]) == ("test", "magika", "1")


def test_what_keeps_a_run_from_its_version_does_not_count() -> None:
    def unavailable() -> None:
        raise RegistryUnavailableError("slow")

    world = JobsWorld()
    accepted(world)
    world.line.cut()
    world.line.before[CALLS.index("registry.routes") + 1] = unavailable
    world.deliver("m-1")
    assert counted(world) == []
    world.settle()
    assert counted(world) == [{"requests": 1, "bytes_out": 6}]


def test_every_try_of_a_busy_version_counts() -> None:
    world = JobsWorld(model=lambda request: Response(429, {}, b""))
    accepted(world)
    world.settle()
    assert counted(world) == [{"requests": 1, "throttles": 1}] * 5


def test_messages_that_say_nothing_go_to_the_dead_letters_and_no_further() -> None:
    world = JobsWorld()
    for message in ({}, {"kind": "job"}, {"kind": "job", "id": "../x"}, {"kind": "other"}):
        world.queue.send(message)
    world.settle()
    assert {record["event"] for record in world.records} == {"message-unknown", "job-not-found"}


def test_a_webhook_that_is_down_for_a_while_is_told_in_the_end() -> None:
    world = JobsWorld(webhook_down=True)
    accepted(world, x_modelport_webhook=HOOK)
    world.deliver("m-1")
    world.webhook_down = False
    world.settle()
    assert [news["status"] for news in world.news] == ["succeeded"]
    assert world.runs == 1


Step = tuple[str, int]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["deliver", "kill", "killed-after", "twice", "cancel", "wait", "again",
                         "fails"]),
        st.integers(1, 14),
    ),
    max_size=12,
)  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(STEPS)
def test_any_order_of_events_ends_in_one_answer_that_never_changes(steps: list[Step]) -> None:
    world = JobsWorld()
    id = accepted(world, idempotency_key="k-1", x_modelport_webhook=HOOK)
    seen: list[tuple[str, bytes]] = []

    def look() -> None:
        state = world.job(id).state
        if world.job(id).over:
            seen.append((state, world.ask("answer", id).body if state == "succeeded" else b""))

    def twice() -> None:
        for waiting in list(world.queue.messages):
            world.deliver(waiting)

    def unavailable() -> None:
        raise RegistryUnavailableError("slow")

    actions: dict[str, Callable[[], None]] = {
        "kill": killed,
        "killed-after": killed,
        "fails": unavailable,
        "twice": twice,
    }
    for action, number in steps:
        world.line.cut()
        if action == "wait":
            world.clock.now += number * 100
        elif action == "cancel":
            world.board.change(id, lambda job: job.canceled(world.clock()))
        elif action == "again":
            assert accepted(world, idempotency_key="k-1", x_modelport_webhook=HOOK) == id
        else:
            if action != "deliver":
                at = world.line.after if action == "killed-after" else world.line.before
                at[number] = actions[action]
            for waiting in list(world.queue.messages):
                world.deliver(waiting)
        world.line.cut()
        look()
    world.settle()
    look()
    assert len(set(seen)) == 1
    state, body = seen[0]
    assert state in ("succeeded", "canceled", "failed")
    if state == "failed":
        error = world.job(id).error
        assert error is not None
        assert error.code == GAVE_UP
    if state == "succeeded":
        assert body == b"rowrow"
    assert {news["status"] for news in world.news} <= {state}
