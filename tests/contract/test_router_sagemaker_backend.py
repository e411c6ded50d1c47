"""`SageMakerBackend` over a real socket: every way a call can end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from modelport.aws import Clients, Timeouts
from modelport.backends import SageMakerBackend
from modelport.envelope import Request, Response
from modelport.errors import (
    AnswerTooLargeError,
    BackendError,
    BackendGoneError,
    MalformedRequestError,
    ModelFailedError,
    ModelportError,
    ModelTimeoutError,
    PayloadTooLargeError,
    ThrottledError,
)
from modelport.routes import Deployment
from modelport.sagemaker_envelope import HEADER, MARK

from tests.support.aws_world import environment
from tests.support.router_world import HandClock, World, deployed
from tests.support.sagemaker_api import (
    LIMIT,
    Endpoint,
    SageMakerApi,
    container,
    model_error,
    refusing,
    sagemaker_api,
    version,
)

NAME = "modelport-test-m-v2"
DEPLOYMENT = Deployment(2, "sagemaker", NAME, "sha256:0", {"instance_type": "ml.g5.xlarge"})
PATH = "/v2/models/m/versions/2/infer"
HEADERS = {
    "accept": "application/json",
    "content-type": "application/octet-stream",
    "inference-header-content-length": "17",
    "x-modelport-request-id": "r-1",
}


@pytest.fixture
def api() -> Iterator[SageMakerApi]:
    with sagemaker_api() as running:
        yield running


def client(url: str, read_timeout: float = 20) -> Any:
    return Clients(environment("SAGEMAKER_RUNTIME", url)).sagemaker(Timeouts(1, read_timeout))


def backend_at(
    url: str, read_timeout: float = 20, clock: Callable[[], float] = time.monotonic
) -> SageMakerBackend:
    return SageMakerBackend(lambda: client(url, read_timeout), timeout_s=read_timeout, clock=clock)


def ask(
    at: str | SageMakerBackend,
    body: bytes = b'{"instances":[1]}',
    headers: dict[str, str] | None = None,
    read_timeout: float = 20,
) -> Response:
    backend = backend_at(at, read_timeout) if isinstance(at, str) else at
    request = Request("POST", PATH, HEADERS if headers is None else headers, body, "r-1")
    return backend.invoke(DEPLOYMENT, "m", request)


@pytest.mark.parametrize("body", [b'{"instances":["\xc3\xa9"]}', bytes(range(256)), b""])
def test_a_request_and_its_answer_cross_byte_for_byte(api: SageMakerApi, body: bytes) -> None:
    def echo(request: Request) -> Response:
        assert (request.method, request.path) == ("POST", PATH)
        assert (request.headers, request.request_id) == (HEADERS, "r-1")
        return Response(201, {"content-type": "x/y", "x-modelport-version": "2"}, request.body)

    api.endpoints[NAME] = version(echo)
    answer = ask(api.url, body)
    assert answer == Response(201, {"content-type": "x/y", "x-modelport-version": "2"}, body)


def test_a_request_without_body_and_content_type_arrives_without_them(api: SageMakerApi) -> None:
    seen: list[Request] = []

    def model(request: Request) -> Response:
        seen.append(request)
        return Response(204)

    api.endpoints[NAME] = version(model)
    assert ask(api.url, b"", {}) == Response(204)
    assert seen == [Request("POST", PATH, {}, b"", "r-1")]


@pytest.mark.parametrize("status", [400, 404, 415, 429, 500, 503])
def test_a_models_own_error_arrives_as_the_model_said_it(api: SageMakerApi, status: int) -> None:
    said = Response(status, {"content-type": "application/json"}, b'{"error": "whole words"}')
    api.endpoints[NAME] = version(lambda request: said)
    assert ask(api.url) == said


TIMED_OUT = "Your invocation timed out while waiting for a response from container primary."


@pytest.mark.parametrize(
    ("endpoint", "error", "says"),
    [
        (refusing(424, "ModelError", TIMED_OUT), ModelTimeoutError, "within 60 s"),
        (model_error(504, "secret"), ModelTimeoutError, "within 60 s"),
        (model_error(500, "secret row"), ModelFailedError, "r-1"),
        (model_error(400, "secret row"), ModelFailedError, "r-1"),
        (model_error(429, "secret"), ThrottledError, "concurrency limit"),
        (model_error(413, "secret"), AnswerTooLargeError, "the answer, as SageMaker carries it"),
        (
            container(lambda request: Response(200, {}, b"x" * (LIMIT + 1))),
            AnswerTooLargeError,
            "carries it, is too large; the limit is 6,291,456 bytes; send fewer rows",
        ),
        (refusing(424, "ModelError", "secret"), ModelFailedError, "r-1"),
        (container(lambda request: Response(200, {}, b"not ours")), ModelFailedError, "r-1"),
        (
            container(lambda request: Response(200, {HEADER: MARK + "{}"}, b"secret")),
            ModelFailedError,
            "r-1",
        ),
        (refusing(400, "ValidationError", "Endpoint x not found."), BackendGoneError, "is gone"),
        (refusing(403, "AccessDeniedException"), BackendGoneError, "is gone"),
        (refusing(400, "ThrottlingException"), ThrottledError, "concurrency limit"),
        (refusing(429, "ModelNotReadyException"), ThrottledError, "try again"),
        (refusing(503, "ServiceUnavailable"), ThrottledError, "try again"),
        (refusing(500, "InternalFailure"), BackendError, "failed outside the model"),
        (refusing(530, "InternalDependencyException"), BackendError, "failed outside the model"),
        (refusing(413, ""), PayloadTooLargeError, "6,291,456"),
        (lambda request: None, BackendGoneError, "is gone"),
    ],
)
def test_each_way_to_fail_has_its_error_and_leaks_nothing(
    api: SageMakerApi, endpoint: Endpoint, error: type[ModelportError], says: str
) -> None:
    api.endpoints[NAME] = endpoint
    with pytest.raises(error, match=says) as caught:
        ask(api.url)
    assert type(caught.value) is error
    assert "secret" not in caught.value.message


def test_an_endpoint_that_does_not_exist_is_gone(api: SageMakerApi) -> None:
    with pytest.raises(BackendGoneError, match="sagemaker backend of model m version 2"):
        ask(api.url)


def test_nobody_listening_is_gone(api: SageMakerApi) -> None:
    with sagemaker_api() as other:
        url = other.url
    with pytest.raises(BackendGoneError):
        ask(url)


def test_a_model_that_is_silent_for_too_long_timed_out_and_is_not_asked_again(
    api: SageMakerApi,
) -> None:
    enough = threading.Event()

    def silent(request: Request) -> None:
        enough.wait(20)

    api.endpoints[NAME] = silent
    try:
        with pytest.raises(ModelTimeoutError, match=r"within 0\.3 s"):
            ask(api.url, read_timeout=0.3)
    finally:
        enough.set()
    assert len(api.requests) == 1


def test_a_connection_that_died_in_the_pool_is_tried_once_more(api: SageMakerApi) -> None:
    answering = version(lambda request: Response(200))
    turns = iter([answering, lambda request: None, answering])
    api.endpoints[NAME] = lambda request: next(turns)(request)
    backend = backend_at(api.url, clock=HandClock())
    assert [ask(backend).status for _ in range(2)] == [200, 200]
    assert len(api.requests) == 3


def test_a_connection_that_broke_under_a_running_model_does_not_run_it_twice(
    api: SageMakerApi,
) -> None:
    clock = HandClock()

    def work_and_hang_up(request: Request) -> None:
        clock.forward(1.1)

    backend = backend_at(api.url, clock=clock)
    api.endpoints[NAME] = version(lambda request: Response(200))
    ask(backend)
    api.endpoints[NAME] = work_and_hang_up
    with pytest.raises(BackendGoneError):
        ask(backend)
    assert len(api.requests) == 2


def test_the_body_limit_is_sagemakers_and_nothing_larger_is_sent(api: SageMakerApi) -> None:
    api.endpoints[NAME] = version(lambda request: Response(200, {}, request.body))
    assert len(ask(api.url, b"\xff" * LIMIT).body) == LIMIT
    with pytest.raises(PayloadTooLargeError, match=r"is 6,291,457 bytes; the limit is 6,291,456"):
        ask(api.url, b"\xff" * (LIMIT + 1))
    assert len(api.requests) == 1


def test_headers_that_do_not_fit_stay_behind(api: SageMakerApi) -> None:
    seen: list[Request] = []

    def model(request: Request) -> Response:
        seen.append(request)
        return Response(200)

    api.endpoints[NAME] = version(model)
    ask(api.url, headers=HEADERS | {"x-modelport-note": "c" * 1024})
    assert seen[0].headers == HEADERS
    with pytest.raises(PayloadTooLargeError, match="custom attributes"):
        ask(api.url, headers=HEADERS | {"x-amzn-sagemaker-custom-attributes": "c" * 1024})
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("header", "size"),
    [("content-type", 1025), ("accept", 1025), ("x-amzn-sagemaker-inference-id", 65)],
)
def test_a_header_longer_than_sagemaker_takes_is_the_callers_fault(
    api: SageMakerApi, header: str, size: int
) -> None:
    with pytest.raises(MalformedRequestError, match=f"{header} has {size:,} characters"):
        ask(api.url, headers={header: "x" * size})
    assert api.requests == []


def test_the_inference_id_travels_where_data_capture_sees_it(api: SageMakerApi) -> None:
    api.endpoints[NAME] = version(lambda request: Response(200))
    ask(api.url, headers={"x-amzn-sagemaker-inference-id": "id-7"})
    assert api.requests[0].headers["x-amzn-sagemaker-inference-id"] == "id-7"


def test_the_client_is_made_once_and_only_when_an_endpoint_is_called(api: SageMakerApi) -> None:
    made: list[Any] = []

    def new_client() -> Any:
        made.append(client(api.url))
        return made[-1]

    backend = SageMakerBackend(new_client)
    assert made == []
    api.endpoints[NAME] = version(lambda request: Response(200))
    for _ in range(3):
        assert backend.invoke(DEPLOYMENT, "m", Request("GET", "/ready")).status == 200
    assert len(made) == 1


def world(url: str, target: str = "sagemaker") -> World:
    backend = SageMakerBackend(lambda: client(url))
    routes = deployed(2, target=target)
    return World(routes, backends={"sagemaker": backend, "lambda": backend})


def test_a_variant_that_a_call_of_one_version_names_is_the_endpoints(api: SageMakerApi) -> None:
    name = deployed(2).deployments[2].resource
    api.endpoints[name] = version(lambda request: Response(200))
    path = "/endpoints/magika/versions/2/invocations"
    answer = world(api.url).post(path, x_amzn_sagemaker_target_variant="primary")
    assert answer.status == 200
    assert api.requests[0].headers["x-amzn-sagemaker-target-variant"] == "primary"
    both = world(api.url, "lambda").post(path, x_amzn_sagemaker_target_variant="primary")
    assert both.status == 400
    assert "both select a version" in both.error


def test_a_variant_the_endpoint_does_not_have_is_the_callers_fault(api: SageMakerApi) -> None:
    name = deployed(2).deployments[2].resource
    said = "Variant other of Endpoint secret not found"
    api.endpoints[name] = refusing(400, "ValidationError", said)
    path = "/endpoints/magika/versions/2/invocations"
    answer = world(api.url).post(path, x_amzn_sagemaker_target_variant="other")
    assert answer.status == 400
    assert "has no variant 'other'" in answer.error
    assert "secret" not in answer.error
