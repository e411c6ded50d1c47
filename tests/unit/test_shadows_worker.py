"""What the worker does with copies: asks any target, counts, compares, and never keeps one."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelport.aws import CallError, Inference
from modelport.backends import Backend, CallableBackend, SageMakerBackend
from modelport.envelope import Handler, Request, Response, Stream
from modelport.errors import (
    BackendGoneError,
    IntegrityError,
    ModelFailedError,
    ModelportError,
    ModelTimeoutError,
    PayloadTooLargeError,
    RegistryUnavailableError,
    ThrottledError,
)
from modelport.manifest import Manifest
from modelport.sagemaker_envelope import unwrap, wrap
from modelport.shadows.message import ShadowCall
from modelport.telemetry import PREDICTED_HEADER

from functions.worker.messages import consume
from functions.worker.shadows import (
    LIMIT_S,
    MOST_RECEIVES,
    OLDEST_S,
    ROUTES_TTL_S,
    SLACK_S,
    TRIES,
    ShadowRunner,
)
from tests.support.embedded_metrics import metrics_of
from tests.support.router_world import MODEL, HandClock, SwitchableRegistry, deployed

PATH = f"/v1/models/{MODEL}:predict"
LIVE, SHADOW = 1, 2
JSON = {"content-type": "application/json"}
NOW = 1_700_000_000.0


def scores(*row: float, summary: str = "") -> Response:
    headers = JSON | ({PREDICTED_HEADER: summary} if summary else {})
    return Response(200, headers, json.dumps({"predictions": [list(row)]}).encode())


def copy(live: Response | None = None, **members: Any) -> dict[str, Any]:
    """A message about a call that was answered with ``live``."""
    asked = Request("POST", PATH, dict(JSON), b'{"instances":[[1]]}', "id-1")
    answer = live or scores(0.1, 0.9)
    text = ShadowCall.of(MODEL, LIVE, SHADOW, asked, answer, "2026-01-01T00:00:00Z").to_text()
    assert text is not None
    message: dict[str, Any] = json.loads(text) | members
    return message


class Registry(SwitchableRegistry):
    """A registry some of whose versions have labels."""

    labelled: frozenset[int] = frozenset()

    def manifest(self, model: str, version: int) -> Manifest:
        found = super().manifest(model, version)
        if version not in self.labelled:
            return found
        settings = replace(found.content.settings, labels="labels.txt")
        return replace(found, content=replace(found.content, settings=settings))


class World:
    """A worker over a shadow version on one target, with all it said."""

    def __init__(
        self,
        shadow: Handler | None = None,
        *,
        target: str = "lambda",
        backend: Backend | None = None,
    ) -> None:
        self.registry = Registry(deployed(LIVE, SHADOW, target=target))
        self.clock = HandClock()
        self.lines: list[dict[str, Any]] = []
        self.waits: list[float] = []
        self.asked: list[Request] = []

        def answering(request: Request) -> Response:
            self.asked.append(request)
            return (shadow or (lambda _: scores(0.2, 0.8)))(request)

        self.runner = ShadowRunner(
            self.registry,
            {target: backend or CallableBackend({SHADOW: answering})},
            "test",
            lambda record: self.lines.append(json.loads(json.dumps(record))),
            clock=self.clock,
            now=lambda: NOW,
            sleep=self.waits.append,
        )

    def take(self, *bodies: Any, receives: int = 1, left_s: float = 900.0) -> list[str]:
        """Have the worker take messages; the ids of those that come again."""
        records = [
            {
                "messageId": str(number),
                "receiptHandle": str(number),
                "body": body if isinstance(body, str) else json.dumps(body),
                "attributes": {"ApproximateReceiveCount": str(receives)},
            }
            for number, body in enumerate(bodies)
        ]
        log: Callable[[Any], None] = self.lines.append
        done = consume({"Records": records}, {"shadow": self.runner}, NOW + left_s, log)
        return [each["itemIdentifier"] for each in done["batchItemFailures"]]

    def counted(self) -> dict[str, float]:
        """The metrics of the one line there is, and that they are this version's."""
        (line,) = self.lines
        assert line["event"] == "shadow"
        where = (line["environment"], line["model"], line["version"])
        assert where == ("test", MODEL, str(SHADOW))
        assert line["live_version"] == str(LIVE)
        counts = metrics_of(line)
        assert not counts.keys() & {"requests", "errors", "crashes", "throttles", "backend_ms"}
        return counts


def test_a_copy_is_asked_compared_and_counted_for_the_shadow_version() -> None:
    world = World(lambda request: scores(0.2, 0.8, summary="dog=1"))
    assert world.take(copy()) == []
    assert world.counted() == {
        "shadow_requests": 1,
        "shadow_ms": 0.0,
        "compared": 1,
        "disagreed": 0,
        "predicted_dog": 1,
        "predictions": 1,
    }
    (asked,) = world.asked
    assert (asked.method, asked.path, asked.body) == ("POST", PATH, b'{"instances":[[1]]}')
    assert asked.headers == JSON | {"x-modelport-request-id": "id-1"}
    assert asked.request_id == "id-1"


def test_what_disagrees_is_counted_and_the_line_says_where_not_what() -> None:
    world = World(lambda request: scores(0.87654, 0.12345))
    world.take(copy())
    counts = world.counted()
    assert (counts["compared"], counts["disagreed"]) == (1, 1)
    (line,) = world.lines
    assert (line["agrees"], line["why"], line["rows"]) == (False, "row 0", 1)
    text = json.dumps(line)
    assert "0.87654" not in text
    assert "instances" not in text


@pytest.mark.parametrize(
    ("answer", "counts"),
    [
        (Response(400, JSON, b"{}"), {"compared": 1, "disagreed": 1}),
        (Response(404, JSON, b"{}"), {"compared": 1, "disagreed": 1}),
        (Response(501, JSON, b"{}"), {"incomparable": 1}),
        (Response(500, JSON, b"{}"), {"shadow_errors": 1}),
        (Response(503, JSON, b"{}"), {"shadow_errors": 1}),
        (Response(200, {"content-type": "image/png"}, b"\x89"), {"incomparable": 1}),
        (Response(200, JSON, b"["), {"incomparable": 1}),
        (Response(200, JSON, b"[" * 100_000), {"incomparable": 1}),
        (Response(200, JSON, b" " * 3_000_000), {"incomparable": 1}),
    ],
)
def test_every_answer_counts_for_something(answer: Response, counts: dict[str, int]) -> None:
    world = World(lambda request: answer)
    assert world.take(copy()) == []
    found = world.counted()
    assert found.pop("shadow_ms") == 0.0
    assert found == {"shadow_requests": 1, **counts}


def test_a_stream_is_taken_whole() -> None:
    pieces = (piece for piece in (b'{"predictions":', b"[[0.2,0.8]]}"))
    world = World(lambda request: Stream(200, JSON, pieces=pieces))
    world.take(copy())
    assert world.counted()["disagreed"] == 0


class Raising:
    """A backend that fails so often and then answers."""

    def __init__(self, error: ModelportError, times: int = 99) -> None:
        self.asked = 0
        self._error, self._times = error, times

    def invoke(self, deployment: Any, model: str, request: Request) -> Response:
        self.asked += 1
        if self.asked <= self._times:
            raise self._error
        return scores(0.2, 0.8)


GONE = BackendGoneError(MODEL, SHADOW, "lambda")
FAILED = {"shadow_requests": 1, "shadow_errors": 1}


@pytest.mark.parametrize(
    ("error", "asked", "counts"),
    [
        (GONE, TRIES, FAILED | {"shadow_crashes": 1}),
        (ModelFailedError(MODEL, SHADOW, "id-1"), 1, FAILED | {"shadow_crashes": 1}),
        (ModelTimeoutError(MODEL, SHADOW, LIMIT_S), 1, FAILED),
        (ThrottledError("it"), TRIES, {"shadows_lost": 1}),
        (PayloadTooLargeError(9, 8, "it"), 1, {"shadow_requests": 1, "incomparable": 1}),
    ],
)
def test_a_shadow_that_is_down_costs_a_line_and_no_message(
    error: ModelportError, asked: int, counts: dict[str, int]
) -> None:
    backend = Raising(error)
    world = World(backend=backend)
    assert world.take(copy()) == []
    assert world.counted() == counts
    assert backend.asked == asked
    assert len(world.waits) == asked - 1
    assert world.lines[0]["error"] == error.code


def test_what_fails_in_passing_is_tried_once_more() -> None:
    world = World(backend=Raising(GONE, times=1))
    world.take(copy())
    assert world.counted()["compared"] == 1


@pytest.mark.parametrize(
    "failure", [RegistryUnavailableError("away"), IntegrityError("routes", "a", "b")]
)
def test_without_routes_a_copy_is_lost_and_counted(failure: ModelportError) -> None:
    world = World()
    world.registry.failure = failure
    assert world.take(copy()) == []
    assert world.counted() == {"shadows_lost": 1}


@pytest.mark.parametrize(("labelled", "disagreed"), [((), 1), ((LIVE,), 0), ((SHADOW,), 0)])
def test_labels_of_either_version_make_scores_of_its_numbers(
    labelled: tuple[int, ...], disagreed: int
) -> None:
    world = World(lambda request: scores(3.0, 6.0))
    world.registry.labelled = frozenset(labelled)
    world.take(copy(scores(2.0, 4.0)), copy(scores(2.0, 4.0)))
    assert [line["disagreed"] for line in world.lines] == [disagreed] * 2


@pytest.mark.parametrize("missing", [{"shadow": 7}, {"model": "other"}])
def test_a_version_that_is_gone_costs_its_copies(missing: dict[str, Any]) -> None:
    world = World()
    message = copy(**missing)
    message["request"]["path"] = f"/v1/models/{message['model']}:predict"
    assert world.take(message) == []
    (line,) = world.lines
    assert line["shadows_lost"] == 1
    assert not world.asked


def test_a_target_that_nobody_knows_here_is_a_shadow_that_is_down() -> None:
    world = World(target="lambda")
    world.registry.put(deployed(LIVE, SHADOW, target="elsewhere"))
    assert world.take(copy()) == []
    assert world.counted() == FAILED | {"shadow_crashes": 1}


def test_routes_are_read_now_and_then_not_each_time() -> None:
    world = World()
    world.take(copy(), copy())
    assert len(world.registry.reads) == 1
    world.clock.forward(ROUTES_TTL_S + 1)
    world.take(copy())
    assert len(world.registry.reads) == 2


def test_without_time_a_copy_waits_but_not_for_ever() -> None:
    world = World()
    assert world.take(copy(), left_s=LIMIT_S + SLACK_S - 1) == ["0"]
    assert not world.lines
    assert world.take(copy(), left_s=1, receives=MOST_RECEIVES) == []
    assert world.counted()["compared"] == 1


def test_a_copy_that_waited_too_long_is_dropped_unasked() -> None:
    def at(seconds: float) -> dict[str, Any]:
        return copy(at=datetime.fromtimestamp(NOW - seconds, UTC).isoformat())

    world = World()
    assert world.take(at(OLDEST_S + 1)) == []
    assert world.counted() == {"shadows_lost": 1}
    assert not world.asked
    world.take(at(OLDEST_S - 1), at(-3600))  # clocks differ
    assert len(world.asked) == 2


def test_a_copy_that_keeps_ending_the_worker_is_dropped_unasked() -> None:
    world = World()
    assert world.take(copy(), receives=MOST_RECEIVES + 1) == []
    assert world.counted() == {"shadows_lost": 1}
    assert not world.asked


def test_large_answers_are_compared_by_what_was_told_of_them() -> None:
    message = copy(scores(0.1, 0.9, summary="dog=1"))
    message["answer"] = {"headers": message["answer"]["headers"], "digest": "sha256:other"}
    for summary, disagreed in (("dog=1", 0), ("cat=1", 1)):
        world = World(lambda request, said=summary: scores(0.2, 0.8, summary=said))  # type: ignore[misc]
        world.take(message)
        assert world.counted()["disagreed"] == disagreed


# --- hostile messages -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "hostile",
    [
        {"kind": "shadow"},
        copy(model="../../etc"),
        copy(shadow="2"),
        copy(request={"method": "GET", "path": "/", "headers": {}, "body": ""}),
        copy(request=None),
        copy(answer=[]),
        copy(schema=99),
    ],
)
def test_what_is_no_copy_is_logged_without_its_words_and_dropped(hostile: Any) -> None:
    world = World()
    assert world.take(hostile) == []
    (line,) = world.lines
    assert line["event"] == "shadow-malformed"
    assert "etc" not in json.dumps(line)
    assert not world.asked


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(sorted(copy())), json_values))
def test_no_message_ever_ends_in_a_traceback_or_comes_again(changed: dict[str, Any]) -> None:
    world = World()
    assert world.take(copy() | changed | {"kind": "shadow"}) == []
    assert [line["event"] for line in world.lines] in (["shadow"], ["shadow-malformed"])


# --- across targets -------------------------------------------------------------------------------


class Endpoint:
    """SageMaker's runtime over a container that speaks as ours does behind it."""

    def __init__(self, model: Handler) -> None:
        self.model = model
        self.bodies: list[bytes] = []

    def invoke(self, endpoint: str, body: bytes, headers: Mapping[str, str]) -> Inference:
        self.bodies.append(body)
        asked = unwrap(Request("POST", "/invocations", dict(headers), body))
        assert asked is not None
        carried = wrap(self.model(asked))
        return Inference(dict(carried.headers), carried.body)


def test_a_gpu_endpoint_shadows_a_live_function() -> None:
    seen: list[Request] = []

    def model(request: Request) -> Response:
        seen.append(request)
        return scores(0.2, 0.8, summary="1=1")

    endpoint = Endpoint(model)
    world = World(target="sagemaker", backend=SageMakerBackend(lambda: endpoint))
    world.take(copy())
    counts = world.counted()
    assert (counts["compared"], counts["disagreed"], counts["predicted_1"]) == (1, 0, 1)
    assert world.lines[0]["target"] == "sagemaker"
    assert (seen[0].path, seen[0].request_id) == (PATH, "id-1")
    assert endpoint.bodies == [b'{"instances":[[1]]}']


def test_an_endpoint_that_is_away_is_a_shadow_that_is_down() -> None:
    class Away:
        def invoke(self, endpoint: str, body: bytes, headers: Mapping[str, str]) -> Inference:
            raise CallError("connection refused")

    world = World(target="sagemaker", backend=SageMakerBackend(Away))
    assert world.take(copy()) == []
    assert world.counted() == FAILED | {"shadow_crashes": 1}
