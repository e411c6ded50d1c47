"""When a version's place fails: the fallback, what callers and the log are told, and 429s."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping

import pytest
from modelport import errors as e
from modelport.backends import CallableBackend
from modelport.envelope import Handler, Request, Response, Stream
from modelport.refusals import refusal
from modelport.routes import Deployment, Rule, Shadow

from functions.router.dispatch import Dispatcher
from functions.router.exchange import Exchange
from functions.router.versions import FALLBACK_WITHIN_S
from tests.support.router_world import (
    MODEL,
    HandClock,
    Recorder,
    SwitchableRegistry,
    World,
    deployed,
    ruled,
)

PREDICT = f"/v1/models/{MODEL}:predict"
PATHS = {
    "v1": PREDICT,
    "v1 classify": f"/v1/models/{MODEL}:classify",
    "v1 regress": f"/v1/models/{MODEL}:regress",
    "v2": f"/v2/models/{MODEL}/infer",
    "v2 generate": f"/v2/models/{MODEL}/generate",
    "v2 generate_stream": f"/v2/models/{MODEL}/generate_stream",
    "sagemaker": f"/endpoints/{MODEL}/invocations",
}


def raising(error: Exception) -> Handler:
    def fail(request: Request) -> Response:
        raise error

    return fail


def answering(status: int, code: str = "") -> Handler:
    headers = {"content-type": "application/json"} | ({"x-modelport-error": code} if code else {})
    return lambda request: Response(status, headers, b'{"error":"no"}')


def world(
    first: Handler, spare: Handler | None = None, *, alias: str = "stable", **policy: object
) -> World:
    """Version 1 answers, version 3 where it fails."""
    routes = deployed(1, 2, 3, stable="1", canary="1")
    models: Mapping[int | str, Handler] = {1: first, 2: Recorder(), 3: spare or Recorder()}
    return World(ruled(routes, fallbacks={alias: 3}, **policy), models=models)


FAILURES = [
    (raising(e.BackendGoneError(MODEL, 1, "lambda")), "backend-gone", 503),
    (raising(e.ModelFailedError(MODEL, 1, "r")), "model-failed", 500),
    (raising(e.ThrottledError("it", 7)), "throttled", 429),
    (raising(e.BackendError("outside the model")), "backend", 502),
    (raising(ValueError("secret")), "model-failed", 500),
    (answering(500, "internal"), "internal", 500),
    (answering(500), "status-500", 500),
    (answering(502), "status-502", 502),
    (answering(503, "Über; x=1"), "status-503", 503),
]


@pytest.mark.parametrize(("first", "reason", "status"), FAILURES)
def test_the_fallback_answers_once_and_everybody_is_told(
    first: Handler, reason: str, status: int
) -> None:
    spare = Recorder()
    asked = world(first, spare)
    answer = asked.post(PREDICT, b'{"instances":[7]}')
    assert (answer.status, answer.body) == (200, b'{"predictions":[1]}')
    assert answer.headers["x-modelport-fallback"] == f"from=1;reason={reason}"
    assert answer.headers["x-modelport-version"] == "3"
    assert answer.headers["x-modelport-digest"] == f"sha256:{3:064x}"
    (request,) = spare.requests
    assert request.body == b'{"instances":[7]}'
    assert request.headers["x-modelport-version"] == "3"
    assert "x-modelport-fallback" not in request.headers
    line = asked.lines[-1]
    assert (str(line["version"]), str(line["answered_by"])) == ("1", "3")
    assert line["fallback_reason"] == reason


@pytest.mark.parametrize(("first", "reason", "status"), FAILURES)
def test_a_fallback_that_fails_too_gives_the_first_error(
    first: Handler, reason: str, status: int
) -> None:
    for spare in (
        raising(e.BackendGoneError(MODEL, 3, "lambda")),
        raising(e.ModelTimeoutError(MODEL, 3, 27)),
        raising(RuntimeError("a bug")),
        answering(500, "other"),
        answering(503),
    ):
        asked = world(first, spare)
        answer = asked.post(PREDICT)
        assert answer.status == status
        assert answer.headers["x-modelport-version"] == "1"
        assert "x-modelport-fallback" not in answer.headers
        assert asked.lines[-1]["fallback_reason"] == reason


def test_limits_of_the_fallbacks_place_are_not_the_callers_business() -> None:
    class TooSmall:
        def invoke(self, deployment: Deployment, model: str, request: Request) -> Response:
            raise e.PayloadTooLargeError(9, 8, "the request to the model")

    routes = deployed(1, 3, stable="1")
    small = Deployment(3, "small", "x", "sha256:3")
    routes = ruled(routes.with_deployment(small), fallbacks={"stable": 3})
    down = CallableBackend({1: raising(e.ThrottledError("it"))})
    answer = World(routes, backends={"lambda": down, "small": TooSmall()}).post(PREDICT)
    assert answer.status == 429


@pytest.mark.parametrize(
    "first",
    [
        raising(e.ModelTimeoutError(MODEL, 1, 27)),
        answering(400, "invalid-tensor"),
        answering(404),
        answering(413),
        answering(429),
        answering(501),
        answering(504),
        Recorder(),
    ],
)
def test_what_is_no_failure_of_the_place_is_answered_as_it_is(first: Handler) -> None:
    spare = Recorder()
    asked = world(first, spare)
    answer = asked.post(PREDICT)
    assert spare.requests == []
    assert "x-modelport-fallback" not in answer.headers
    assert asked.lines[-1]["fallback_reason"] is None


@pytest.mark.parametrize(
    ("path", "headers", "falls_back"),
    [
        (PREDICT, {}, True),
        (PATHS["v2"], {}, True),
        (PATHS["v2 generate_stream"], {}, True),
        (PATHS["sagemaker"], {}, True),
        (f"/v1/models/{MODEL}/labels/stable:predict", {}, True),
        (PREDICT, {"x_modelport_version": "stable"}, True),
        (PREDICT, {"x_tenant": "acme"}, True),
        (f"/v1/models/{MODEL}/versions/1:predict", {}, False),
        (PATHS["v2"].replace("/infer", "/versions/1/infer"), {}, False),
        (PATHS["sagemaker"], {"x_amzn_sagemaker_target_variant": "1"}, False),
        (PREDICT, {"x_modelport_version": "1"}, False),
        (f"/v1/models/{MODEL}/labels/canary:predict", {}, False),
    ],
)
def test_whoever_names_a_version_gets_that_one_or_its_failure(
    path: str, headers: dict[str, str], falls_back: bool
) -> None:
    asked = world(answering(503), rules=(Rule("x-tenant", "acme", "stable"),))
    answer = asked.post(path, b"{}", **headers)
    assert answer.status == (200 if falls_back else 503)


def test_statistics_are_asked_of_the_version_itself() -> None:
    assert world(answering(503)).get(f"/v2/models/{MODEL}/stats").status == 503


def test_an_alias_has_its_own_fallback() -> None:
    asked = world(answering(503), alias="canary")
    assert asked.post(f"/v1/models/{MODEL}/labels/canary:predict").status == 200
    assert asked.post(PREDICT).status == 503


def test_a_version_is_no_fallback_for_itself() -> None:
    first = Recorder(Response(503))
    routes = ruled(deployed(1, stable="1"), fallbacks={"stable": 1})
    assert World(routes, models={1: first}).post(PREDICT).status == 503
    assert len(first.requests) == 1


def test_unnamed_calls_count_as_stables_also_without_one() -> None:
    routes = ruled(deployed(1, 3), fallbacks={"stable": 1})
    models: Mapping[int | str, Handler] = {3: answering(503), 1: Recorder()}
    answer = World(routes, models=models).post(PREDICT)
    assert answer.headers["x-modelport-fallback"] == "from=3;reason=status-503"


def test_after_a_slow_failure_there_is_no_time_for_another_version() -> None:
    for slow, status in ((FALLBACK_WITHIN_S - 1, 200), (FALLBACK_WITHIN_S + 1, 503)):
        spare = Recorder()

        def late(request: Request) -> Response:
            asked.clock.forward(slow)  # noqa: B023
            return Response(503)

        asked = world(late, spare)
        assert asked.post(PREDICT).status == status


def test_why_the_first_version_failed_stays_in_the_log() -> None:
    asked = world(raising(ValueError("the password is hunter2")))
    answer = asked.post(PREDICT)
    assert answer.status == 200
    assert "hunter2" not in str((answer.headers, answer.body))
    (failure,) = [record for record in asked.records if record.get("event") == "failure"]
    assert "hunter2" in failure["traceback"]


def test_a_stream_that_failed_at_its_start_is_ended_before_the_fallback_answers() -> None:
    ended = []

    def pieces() -> object:
        try:
            yield b"never read"
        finally:
            ended.append(True)

    def failing(request: Request) -> Response:
        stream = pieces()
        next(stream)  # type: ignore[call-overload]
        return Stream(500, {}, pieces=stream)  # type: ignore[arg-type]

    answer = world(failing).post(PATHS["v2 generate_stream"])
    assert answer.status == 200
    assert ended == [True]


@pytest.mark.parametrize("percent", [1, 50, 100])
@pytest.mark.parametrize(
    ("error", "code", "failed"),
    [
        (lambda: e.BackendGoneError(MODEL, 1, "lambda"), "backend-gone", 503),
        (lambda: e.ThrottledError("it"), "throttled", 429),
    ],
)
def test_a_backend_that_fails_now_and_then_is_answered_for(
    percent: int, error: Callable[[], e.BackendError], code: str, failed: int
) -> None:
    chance = random.Random(percent)

    def flaky(request: Request) -> Response:
        if chance.random() * 100 < percent:
            raise error()
        return Response(200, {"content-type": "application/json"}, b"{}")

    asked = world(flaky)
    answers = [asked.post(PREDICT) for _ in range(400)]
    assert {answer.status for answer in answers} == {200}
    by = Counter(answer.headers["x-modelport-version"] for answer in answers)
    assert by["3"] == pytest.approx(4 * percent, abs=30)
    told = Counter(line["fallback_reason"] for line in asked.lines)
    assert told[code] == by["3"]

    bare = World(deployed(1), models={1: flaky})
    statuses = Counter(bare.post(PREDICT).status for _ in range(400))
    assert statuses[failed] == pytest.approx(4 * percent, abs=40)
    assert statuses[200] == 400 - statuses[failed]


# --- throttled ------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_a_throttled_backend_is_429_with_when_to_come_back_in_every_protocol(path: str) -> None:
    models: Mapping[int | str, Handler] = {1: raising(e.ThrottledError("it", 4))}
    answer = World(deployed(1), models=models).post(path)
    assert (answer.status, answer.headers["retry-after"]) == (429, "4")
    assert answer.headers["x-modelport-error"] == "throttled"
    assert answer.error == "it is at its concurrency limit; try again in 4 s"


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_a_model_that_is_busy_itself_says_when_to_come_back(path: str) -> None:
    def busy(request: Request) -> Response:
        response = refusal(429, "the queue is full", "throttled")
        response.headers["retry-after"] = "2"
        return response

    answer = World(deployed(1), models={1: busy}).post(path)
    assert (answer.status, answer.headers["retry-after"]) == (429, "2")


# --- shadows --------------------------------------------------------------------------------------


class Shown:
    """Shadows that remember what they were offered, or fail."""

    def __init__(self, problem: Exception | None = None) -> None:
        self.offers: list[tuple[int, int]] = []
        self._problem = problem

    def offer(self, *offered: object) -> None:
        deployment, response = offered[3], offered[4]
        assert isinstance(deployment, Deployment)
        assert isinstance(response, Response)
        self.offers.append((deployment.version, response.status))
        if self._problem is not None:
            raise self._problem


def shadowed(shown: Shown, first: Handler, **policy: object) -> Callable[[str], Response]:
    """What answers a path, with ``shown`` offered what version 1, or 3, answers."""
    routes = ruled(deployed(1, 3, stable="1"), fallbacks={"stable": 3}, **policy)
    models: Mapping[int | str, Handler] = {1: first, 3: Recorder()}
    clock = HandClock()
    records: list[object] = []
    dispatcher = Dispatcher(
        SwitchableRegistry(routes),
        {"lambda": CallableBackend(models)},
        routes_ttl_s=5,
        clock=clock,
        log=records.append,
        shadows=shown,
    )
    exchange = Exchange(dispatcher, clock, records.append)
    return lambda path: exchange.answer(Request("POST", path, {}, b"{}", "id"), None)


def test_shadows_are_offered_what_was_answered_and_by_whom() -> None:
    shown = Shown()
    assert shadowed(shown, Recorder(), shadows=(Shadow(3),))(PREDICT).status == 200
    assert shadowed(shown, answering(503), shadows=(Shadow(3),))(PREDICT).status == 200
    assert shown.offers == [(1, 200), (3, 200)]
    shadowed(shown, Recorder())(PREDICT)
    assert len(shown.offers) == 2, "there are no shadows"


def test_a_shadow_that_fails_is_nobodys_business() -> None:
    shown = Shown(RuntimeError("queue gone"))
    assert shadowed(shown, Recorder(), shadows=(Shadow(3),))(PREDICT).status == 200
    assert len(shown.offers) == 1
