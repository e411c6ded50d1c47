"""Every error has a status, the protocol's shape and wording, and tells nothing it should not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from modelport import errors as e
from modelport.envelope import Request, Response
from modelport.refusals import STATUSES, status_of

from tests.support.api_events import http_v2
from tests.support.router_world import MODEL, Recorder, World, deployed, outage

PREDICT = f"/v1/models/{MODEL}:predict"


def every_error(root: type[e.ModelportError] = e.ModelportError) -> Iterator[type]:
    yield root
    for kind in root.__subclasses__():
        yield from every_error(kind)


def test_every_error_of_the_tree_has_a_row_in_the_status_table() -> None:
    tree = {kind for kind in every_error() if kind.__module__ == "modelport.errors"}
    assert tree == set(STATUSES)


def test_an_error_without_a_row_takes_its_parents() -> None:
    class OddTensorError(e.TensorError):
        pass

    assert status_of(OddTensorError("x", "FP32", "FP64")) == 400


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (e.ModelFailedError(MODEL, 1, "r"), 500),
        (e.ModelTimeoutError(MODEL, 1, 30), 504),
        (e.ThrottledError("model", 3), 429),
        (e.BackendGoneError(MODEL, 1, "lambda"), 503),
    ],
)
def test_backend_errors_keep_their_status_code_and_identity(
    error: e.BackendError, status: int
) -> None:
    def fail(request: Request) -> Response:
        raise error

    answer = World(deployed(1), models={1: fail}).post(PREDICT)
    assert (answer.status, answer.error) == (status, error.message)
    assert answer.headers["x-modelport-error"] == error.code
    assert answer.headers["x-modelport-version"] == "1"
    assert answer.headers.get("retry-after") == ("3" if status == 429 else None)


def test_a_model_that_raises_tells_the_caller_only_the_request_id() -> None:
    def fail(request: Request) -> Response:
        raise ValueError("the password is hunter2")

    world = World(deployed(1), models={1: fail})
    answer = world.post(PREDICT)
    assert answer.status == 500
    assert "hunter2" not in answer.error
    assert "JKJaXmPLvHcESHA=" in answer.error
    (failure,) = [r for r in world.records if r.get("event") == "failure"]
    assert "hunter2" in failure["traceback"]
    assert failure["request_id"] == "JKJaXmPLvHcESHA="


def test_what_nobody_foresaw_is_a_json_500_with_the_traceback_in_the_log_only() -> None:
    world = World(deployed(1))
    world.registry.failure = RuntimeError("a bug in the registry")
    answer = world.post(PREDICT)
    assert answer.status == 500
    assert "bug" not in answer.error
    assert answer.headers["x-modelport-error"] == "internal"
    assert answer.headers["x-modelport-request-id"] in answer.error
    assert any("a bug in the registry" in r.get("traceback", "") for r in world.records)
    assert world.lines[-1]["error"] == "internal"


@pytest.mark.parametrize(
    ("method", "path", "message"),
    [
        ("POST", "/v1/models/gone:predict", "Servable not found for request: Latest(gone)"),
        (
            "POST",
            f"/v1/models/{MODEL}/versions/7:predict",
            f"Servable not found for request: Specific({MODEL}, 7)",
        ),
        (
            "GET",
            f"/v1/models/{MODEL}/versions/7/metadata",
            f"Servable not found for request: Specific({MODEL}, 7)",
        ),
        ("GET", "/v1/models/gone", "Could not find any versions of model gone"),
        ("GET", f"/v1/models/{MODEL}/versions/7", f"Could not find version 7 of model {MODEL}"),
        (
            "POST",
            f"/v2/models/{MODEL}/versions/7/infer",
            f"Could not find version 7 of model {MODEL}",
        ),
        ("GET", "/v2/models/gone/ready", "Could not find any versions of model gone"),
        (
            "POST",
            f"/endpoints/{MODEL}/versions/beta/invocations",
            f"model {MODEL} has no alias 'beta'; aliases: stable",
        ),
    ],
)
def test_what_is_not_there_is_404_in_the_protocols_own_words(
    method: str, path: str, message: str
) -> None:
    world = World(deployed(1, stable="1"))
    answer = world.send(http_v2(method, path))
    assert (answer.status, answer.error) == (404, message)


@pytest.mark.parametrize("rest", [":predict", ":classify", "", "/metadata"])
def test_an_unknown_label_is_a_bad_request_as_in_tensorflow_serving(rest: str) -> None:
    method = "POST" if rest.startswith(":") else "GET"
    event = http_v2(method, f"/v1/models/{MODEL}/labels/beta{rest}")
    answer = World(deployed(1, stable="1")).send(event)
    assert (answer.status, answer.error) == (400, "Unrecognized servable version label: beta")
    assert answer.headers["x-modelport-error"] == "alias-not-found"


def test_a_published_model_without_deployments_is_404() -> None:
    answer = World(deployed()).post(PREDICT)
    assert answer.status == 404
    assert answer.headers["x-modelport-error"] == "no-version-deployed"


@pytest.mark.parametrize(
    ("path", "status"),
    [("/v1", 404), ("/v3/models/m", 404), ("/V1/models/m:predict/x", 400), ("/v2/nothing", 404)],
)
def test_an_unknown_path_says_which_paths_exist(path: str, status: int) -> None:
    """Below /v1/ it is a bad request, as TensorFlow Serving has it; elsewhere 404."""
    answer = World(deployed(1)).get(path)
    assert answer.status == status
    assert answer.error.startswith(f"Malformed request: GET {path}")
    assert "/v1/models/M:predict" in answer.error
    assert "/v2/models/M/infer" in answer.error


def test_the_containers_own_path_without_a_model_is_not_the_routers() -> None:
    answer = World(deployed(1)).post("/invocations")
    assert answer.status == 404
    assert "/endpoints/M/invocations" in answer.error


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", PREDICT, "POST"),
        ("DELETE", f"/v2/models/{MODEL}/infer", "POST"),
        ("POST", f"/v2/models/{MODEL}", "GET"),
        ("PROPFIND", "/v1/models", "GET"),
    ],
)
def test_a_known_path_with_the_wrong_method_is_405(method: str, path: str, allow: str) -> None:
    answer = World(deployed(1)).send(http_v2(method, path))
    assert answer.status == 405
    assert answer.headers["allow"] == allow
    assert allow in answer.error


@pytest.mark.parametrize(
    "path",
    [
        "/v1/models/Not_A_Name:predict",
        f"/v1/models/{MODEL}/versions/99999999999:predict",
        f"/v1/models/{MODEL}/versions/1/labels/a:predict",
        f"/v2/models/{MODEL}/versions/-x/infer",
    ],
)
def test_impossible_names_are_400_and_never_reach_the_registry(path: str) -> None:
    world = World(deployed(1))
    assert world.post(path).status == 400
    assert world.registry.reads == []


def test_a_body_over_the_limit_says_the_number_the_limit_and_the_way_out() -> None:
    model = Recorder()
    world = World(deployed(1), models={1: model}, max_body_bytes=1000)
    answer = world.post(PREDICT, b"[" + b" " * 1200 + b"]")
    assert answer.status == 413
    assert "1,202 bytes" in answer.error
    assert "1,000 bytes" in answer.error
    assert "send fewer rows per request" in answer.error
    assert model.requests == []
    assert world.post(PREDICT, b" " * 1000).status == 200


def test_a_declared_length_over_the_limit_is_refused_without_reading() -> None:
    answer = World(deployed(1), max_body_bytes=1000).post(PREDICT, b"{}", content_length="5000")
    assert answer.status == 413
    assert "5,000 bytes" in answer.error


def test_a_target_without_a_backend_is_503() -> None:
    answer = World(deployed(1, target="sagemaker")).post(f"/endpoints/{MODEL}/invocations")
    assert answer.status == 503
    assert "sagemaker" in answer.error


def test_a_registry_that_is_down_at_the_start_is_503_with_retry_after() -> None:
    world = World(deployed(1))
    world.registry.failure = outage()
    for path in (PREDICT, f"/v2/models/{MODEL}/infer"):
        answer = world.post(path)
        assert (answer.status, answer.headers["retry-after"]) == (503, "2")
        assert answer.headers["x-modelport-error"] == "registry-unavailable"
    assert world.get("/v2/health/ready").status == 503
    assert world.get("/v2/health/live").status == 200
    world.registry.failure = None
    world.clock.forward(1.1)
    assert world.post(PREDICT).status == 200


@pytest.mark.parametrize(
    "error",
    [
        e.RegistryUnavailableError("AccessDenied: arn:aws:sts::1:assumed-role/router"),
        e.IntegrityError("routes", "arn:aws:s3:::bucket", "other"),
        e.InvalidSettingError("BUCKET", "arn:aws:s3:::bucket", "is not one"),
    ],
)
def test_what_the_registry_says_about_itself_stays_in_the_log(error: e.ModelportError) -> None:
    world = World(deployed(1))
    world.registry.failure = error
    answer = world.post(PREDICT)
    assert answer.status >= 500
    assert answer.headers["x-modelport-error"] == error.code
    assert "arn:" not in answer.error
    assert any("arn:" in record.get("traceback", "") for record in world.records)


def test_a_registry_that_goes_down_later_is_not_noticed_by_callers() -> None:
    world = World(deployed(1))
    assert world.post(PREDICT).status == 200
    assert world.get(f"/v2/models/{MODEL}").status == 200
    assert world.get("/v2/health/ready").status == 200
    world.registry.failure = outage()
    for _ in range(5):
        world.clock.forward(3600)
        assert world.post(PREDICT).status == 200
        assert world.get(f"/v2/models/{MODEL}").status == 200
        assert world.get("/v2/health/ready").status == 200
