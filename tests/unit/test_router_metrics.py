"""What a prediction counts for: CloudWatch's format, whose failure it was, and hostile versions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelport import telemetry
from modelport.backends import CallableBackend
from modelport.embedded_metrics import members, text
from modelport.envelope import Request, Response
from modelport.errors import (
    BackendGoneError,
    ModelFailedError,
    ModelportError,
    ModelTimeoutError,
    ThrottledError,
)
from modelport.grammar import parse
from modelport.refusals import refusal
from modelport.routes import Policy, Routes
from modelport.routes.rollout import Guard, Rollout
from modelport.routes.weights import Weighted

from functions.router.lines import lines
from functions.router.trace import Trace
from tests.support.embedded_metrics import dimensions_of, metrics_of
from tests.support.router_world import MODEL, HandClock, World, deployed

PATH = f"/v1/models/{MODEL}:predict"
BODY = b'{"instances":[1]}'
ANSWER = b'{"predictions":[1]}'


class Version:
    """A model that takes its time and answers, or raises, what it is told."""

    def __init__(self, outcome: Response | ModelportError, seconds: float = 0.25) -> None:
        self.outcome, self.seconds = outcome, seconds
        self.clock: HandClock | None = None

    def __call__(self, request: Request) -> Response:
        if self.clock is not None:
            self.clock.forward(self.seconds)
        if isinstance(self.outcome, ModelportError):
            raise self.outcome
        return self.outcome


def answer(**headers: str) -> Response:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(200, {"content-type": "application/json", **sent}, ANSWER)


def world(routes: Routes, *versions: Version) -> World:
    """Version 1, 2 … behind a router."""
    handlers: dict[int | str, Any] = dict(enumerate(versions, 1))
    made = World(routes, backends={"lambda": CallableBackend(handlers)})
    for version in versions:
        version.clock = made.clock
    return made


def counted(routes: Routes, *versions: Version, path: str = PATH) -> list[dict[str, Any]]:
    """The lines with metrics of one prediction."""
    made = world(routes, *versions)
    made.post(path, BODY)
    return [record for record in made.records if "_aws" in record]


def only(outcome: Response | ModelportError, routes: Routes | None = None) -> dict[str, float]:
    (line,) = counted(routes or deployed(1), Version(outcome))
    return metrics_of(line)


def with_rollout(*guards: Guard, state: str = "running") -> Routes:
    """Version 1 with a candidate 2 on its way."""
    now, before = "2026-01-01T00:00:00Z", (Weighted(1),)
    rollout = Rollout(
        alias="stable",
        candidate=2,
        stable=1,
        before=before,
        steps=(50.0, 100.0),
        every_s=60.0,
        window_s=60,
        guards=guards,
        alpha=0.05,
        min_samples=1,
        started=now,
        since=now,
        moved=(now,),
        state=state,
    )
    return deployed(1, 2, stable="1").with_rollout(rollout)


# --- the line -------------------------------------------------------------------------------------


def test_a_prediction_counts_for_the_version_that_was_asked() -> None:
    timing = "model;dur=200.5"
    (line,) = counted(
        deployed(1, 2, stable="2"), Version(answer()), Version(answer(server_timing=timing))
    )
    assert metrics_of(line) == {
        "requests": 1,
        "requests_v1": 1,
        "backend_ms": 250.0,
        "router_ms": 0.0,
        "model_ms": 200.5,
        "bytes_in": len(BODY),
        "bytes_out": len(ANSWER),
    }
    assert dimensions_of(line) == ("test", MODEL, "2")
    assert line["_aws"]["Timestamp"] > 1_700_000_000_000


def test_every_metric_has_the_resolution_that_short_windows_need_and_its_unit() -> None:
    (line,) = counted(deployed(1), Version(answer()))
    (directive,) = line["_aws"]["CloudWatchMetrics"]
    assert directive["Namespace"] == telemetry.NAMESPACE
    units = {metric["Name"]: metric["Unit"] for metric in directive["Metrics"]}
    assert (units["requests"], units["backend_ms"], units["bytes_in"]) == (
        "Count",
        "Milliseconds",
        "Bytes",
    )
    assert {metric["StorageResolution"] for metric in directive["Metrics"]} == {1}


def test_each_protocol_has_its_own_count() -> None:
    paths = {"v2": f"/v2/models/{MODEL}/infer", "sagemaker": f"/endpoints/{MODEL}/invocations"}
    for protocol, path in paths.items():
        (line,) = counted(deployed(1), Version(answer()), path=path)
        assert metrics_of(line)[f"requests_{protocol}"] == 1


@pytest.mark.parametrize("path", [f"/v2/models/{MODEL}", "/v1/models/nobody", "/nowhere", "/"])
def test_what_is_no_prediction_has_no_metrics(path: str) -> None:
    made = World(deployed(1))
    made.get(path)
    (line,) = made.lines
    assert "_aws" not in line
    assert line["environment"] == "test"


def test_a_prediction_that_reached_no_version_counts_for_none() -> None:
    assert (
        counted(deployed(1), Version(answer()), path=f"/v1/models/{MODEL}/labels/x:predict") == []
    )


def test_neither_payload_nor_caller_nor_key_is_in_a_line() -> None:
    made = world(deployed(1), Version(answer()))
    made.post(PATH, b'{"instances":["secret"]}', x_modelport_key="secret", authorization="secret")
    assert "secret" not in json.dumps(made.records)


# --- whose fault ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcome", "failures"),
    [
        (answer(), set()),
        (refusal(400, "no", "malformed-request"), set()),
        (refusal(501, "no such verb", "not-supported"), set()),
        (refusal(500, "the model raised", "model-failed"), {"errors"}),
        (refusal(503, "not yet", "not-ready"), {"errors"}),
        (refusal(429, "full", "throttled"), {"throttles"}),
        (ThrottledError("it"), {"throttles"}),
        (ModelTimeoutError(MODEL, 1, 3), {"errors"}),
        (ModelFailedError(MODEL, 1, "r"), {"errors", "crashes"}),
        (BackendGoneError(MODEL, 1, "lambda"), {"errors", "crashes"}),
    ],
)
def test_errors_crashes_and_throttles_are_told_apart(
    outcome: Response | ModelportError, failures: set[str]
) -> None:
    found = only(outcome)
    kinds = {telemetry.ERRORS, telemetry.CRASHES, telemetry.THROTTLES, telemetry.FALLBACKS}
    assert {name for name in found if name in kinds} == failures
    assert found["requests"] == 1


def test_a_fallbacks_answer_is_an_error_of_the_first_and_a_request_of_the_second() -> None:
    routes = deployed(1, 2, stable="1").with_policy(Policy(fallbacks={"stable": 2}))
    gone = Version(BackendGoneError(MODEL, 1, "lambda"), seconds=0.5)
    second = Version(answer(server_timing="model;dur=3, cold", x_modelport_predicted="a=1"))
    first, other = counted(routes, gone, second)
    assert (dimensions_of(first)[2], dimensions_of(other)[2]) == ("1", "2")
    assert metrics_of(first) == {
        "requests": 1, "requests_v1": 1, "errors": 1, "crashes": 1, "fallbacks": 1,
        "backend_ms": 500.0, "router_ms": 0.0, "bytes_in": len(BODY),
    }  # fmt: skip
    assert metrics_of(other) == {
        "requests": 1, "requests_v1": 1, "backend_ms": 250.0, "model_ms": 3.0, "cold_starts": 1,
        "predicted_a": 1, "predictions": 1, "bytes_in": len(BODY), "bytes_out": len(ANSWER),
    }  # fmt: skip
    assert (first["status"], first["answered_by"], other["event"]) == (200, "2", "fallback")
    assert first["request_id"] == other["request_id"]


@pytest.mark.parametrize(
    ("outcome", "failures"),
    [
        (ModelFailedError(MODEL, 2, "r"), {"errors", "crashes"}),
        (refusal(503, "not yet", "not-ready"), {"errors"}),
        (ThrottledError("it"), {"throttles"}),
    ],
)
def test_a_fallback_that_fails_too_has_its_own_failure(
    outcome: Response | ModelportError, failures: set[str]
) -> None:
    routes = deployed(1, 2, stable="1").with_policy(Policy(fallbacks={"stable": 2}))
    gone = Version(BackendGoneError(MODEL, 1, "lambda"))
    first, other = counted(routes, gone, Version(outcome))
    assert (dimensions_of(first)[2], dimensions_of(other)[2]) == ("1", "2")
    kinds = {telemetry.ERRORS, telemetry.CRASHES, telemetry.THROTTLES, telemetry.FALLBACKS}
    assert metrics_of(first).keys() & kinds == {"errors", "crashes"}
    assert metrics_of(other).keys() & kinds == failures
    assert metrics_of(other)["requests"] == 1


def test_a_throttled_version_with_a_fallback_is_no_error() -> None:
    routes = deployed(1, 2, stable="1").with_policy(Policy(fallbacks={"stable": 2}))
    first, _ = counted(routes, Version(ThrottledError("it")), Version(answer()))
    found = metrics_of(first)
    assert (found["throttles"], found["fallbacks"]) == (1, 1)
    assert "errors" not in found


# --- what rollouts ask for ------------------------------------------------------------------------


def test_while_a_rollout_runs_its_guards_limits_are_counted_of_both_versions() -> None:
    relative = Guard("p95", "latency", 1.2, True, 300, stable_slower_than_ms=249.5)
    routes = with_rollout(relative, Guard("slow", "latency", 0.1, slower_than_ms=200))
    for version in (1, 2):
        path = f"/v1/models/{MODEL}/versions/{version}:predict"
        (line,) = counted(routes, Version(answer()), Version(answer()), path=path)
        found = {name for name in metrics_of(line) if name.startswith("slower_than_")}
        assert found == {telemetry.slower_than(249.5), telemetry.slower_than(200)}


def test_a_cold_start_is_not_held_against_a_version() -> None:
    routes = with_rollout(Guard("slow", "latency", 0.1, slower_than_ms=200))
    cold = answer(server_timing="model;dur=1.5, cold")
    (line,) = counted(routes, Version(cold), Version(cold))
    found = metrics_of(line)
    assert found["cold_starts"] == 1
    assert not any(name.startswith("slower_than_") for name in found)


@pytest.mark.parametrize("state", ["succeeded", "rolled-back", "aborted"])
def test_a_rollout_that_ended_costs_no_metrics(state: str) -> None:
    routes = with_rollout(Guard("slow", "latency", 0.1, slower_than_ms=200), state=state)
    (line,) = counted(routes, Version(answer()), Version(answer()))
    assert not any(name.startswith("slower_than_") for name in metrics_of(line))


def test_rows_are_counted_by_what_was_predicted() -> None:
    found = only(answer(x_modelport_predicted="3=1,1e2=7,cat=2"))
    predicted = {name: value for name, value in found.items() if name.startswith("predicted_")}
    assert predicted == {"predicted_3": 1, "predicted_1e2": 7, "predicted_cat": 2}


# --- versions that say anything -------------------------------------------------------------------

HOSTILE = st.one_of(
    st.text(max_size=400),
    st.text(alphabet="model;dur=.0123456789, coldnaif\n\x00é", max_size=200),
    st.lists(st.text(alphabet='ab=,19."{}é', max_size=70), max_size=80).map(",".join),
    st.integers(0, 200).map(lambda n: ",".join(f"c{i}=1" for i in range(n))),
    st.just("a=1" * 100_000),
)


@given(timing=HOSTILE, predicted=HOSTILE, status=st.integers(200, 599))
def test_whatever_a_version_says_the_line_is_lawful_and_bounded(
    timing: str, predicted: str, status: int
) -> None:
    said = {"server-timing": timing, telemetry.PREDICTED_HEADER: predicted}
    routes = deployed(1)
    deployment = routes.deployments[1]
    trace = Trace(parse("POST", PATH), routes, deployment, deployment, backend_s=0.1, said=said)
    request, response = Request("POST", PATH, {}, BODY, "r"), Response(status, {}, b"")
    (line,) = lines("test", request, response, trace, 0.2, False, None, 1)
    found = metrics_of(line)
    named = [name for name in found if name.startswith("predicted_")]
    assert len(named) <= telemetry.MOST_CATEGORIES
    assert all(len(name) <= len("predicted_") + 64 for name in named)
    assert found.get("model_ms", 0) >= 0
    assert len(json.dumps(line)) < 12_000


@pytest.mark.parametrize(
    ("timing", "model_ms", "cold"),
    [
        ("model;dur=1.234", 1.234, False),
        ("model;dur=1.234, cold", 1.234, True),
        ("cold", None, True),
        ("cold,model;dur=7", 7.0, True),
        ("model;dur=nan", None, False),
        ("model;dur=-1", None, False),
        ("model;dur=1e999", None, False),
        ("supermodel;dur=1, coldish", None, False),
    ],
)
def test_server_timing_is_read_as_the_runtime_writes_it(
    timing: str, model_ms: float | None, cold: bool
) -> None:
    found = only(answer(server_timing=timing))
    assert (found.get("model_ms"), "cold_starts" in found) == (model_ms, cold)


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), float("-inf")])
def test_a_time_that_is_none_never_breaks_the_line(seconds: float) -> None:
    routes = deployed(1)
    trace = Trace(parse("POST", PATH), routes, routes.deployments[1], backend_s=seconds)
    request = Request("POST", PATH, {}, BODY, "r")
    (line,) = lines("test", request, Response(200), trace, seconds, False, None, 1)
    assert metrics_of(line)["requests"] == 1
    assert (line["duration_ms"], line["backend_ms"]) == (None, None)


def test_callers_get_what_a_version_says_of_its_time_and_prediction() -> None:
    made = world(
        deployed(1), Version(answer(server_timing="model;dur=1", x_modelport_predicted="a=1"))
    )
    headers = made.post(PATH).headers
    assert (headers["server-timing"], headers["x-modelport-predicted"]) == ("model;dur=1", "a=1")


# --- the format -----------------------------------------------------------------------------------


@given(
    st.dictionaries(
        st.from_regex(r"[a-z][a-z0-9_.-]{0,60}", fullmatch=True).filter(
            lambda name: name not in ("environment", "model", "version")
        ),
        st.floats() | st.integers(-(10**9), 10**9),
        max_size=250,
    )
)
def test_any_counts_become_lawful_directives_of_at_most_a_hundred(counts: dict[str, float]) -> None:
    line = members("dev", MODEL, 1, counts, 1_700_000_000_000)
    finite = {name: value for name, value in counts.items() if abs(value) < float("inf")}
    assert metrics_of(line) == finite
    assert json.loads(text(line)) == line


def test_a_record_without_metrics_is_written_as_any_other() -> None:
    assert text({"path": Path("x"), "n": 1}) == '{"path":"x","n":1}'
    foreign = {"_aws": {"Timestamp": 1, "CloudWatchMetrics": []}}
    assert json.loads(text(foreign)) == foreign


def test_a_deployments_version_is_text_in_every_line() -> None:
    made = World(deployed(3))
    made.get(f"/v2/models/{MODEL}")
    made.post(PATH)
    assert [line["version"] for line in made.lines] == ["3", "3"]
