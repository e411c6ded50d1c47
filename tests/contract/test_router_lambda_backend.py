"""`LambdaBackend` over a real socket, with our client and boto3's: every way a call can end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest
from modelport.aws import Clients, Timeouts
from modelport.backends import LAMBDA_PAYLOAD_LIMIT, LambdaBackend
from modelport.envelope import Request, Response
from modelport.errors import (
    BackendGoneError,
    ModelFailedError,
    ModelportError,
    ModelTimeoutError,
    PayloadTooLargeError,
    ThrottledError,
)
from modelport.routes import Deployment

from tests.support.aws_world import environment
from tests.support.lambda_api import Function, LambdaApi, failing, lambda_api, model, refusing
from tests.support.router_world import HandClock

NAME = "modelport-test-m-v2"
DEPLOYMENT = Deployment(2, "lambda", NAME, "sha256:0", {"timeout_s": 7})


@pytest.fixture
def api() -> Iterator[LambdaApi]:
    with lambda_api() as running:
        yield running


def backend_at(
    endpoint: str, read_timeout: float = 20, clock: Callable[[], float] = time.monotonic
) -> LambdaBackend:
    functions = Clients(environment("LAMBDA", endpoint)).lambda_(Timeouts(1, read_timeout))
    return LambdaBackend(functions, timeout_s=read_timeout, clock=clock)


def ask(
    at: str | LambdaBackend, body: bytes = b'{"instances":[1]}', read_timeout: float = 20
) -> Response:
    backend = backend_at(at, read_timeout) if isinstance(at, str) else at
    request = Request("POST", "/v1/models/m/versions/2:predict", {"accept": "*/*"}, body, "r-1")
    return backend.invoke(DEPLOYMENT, "m", request)


@pytest.mark.parametrize("body", [b'{"instances":["\xc3\xa9"]}', bytes(range(256)), b""])
def test_a_request_and_its_answer_cross_byte_for_byte(api: LambdaApi, body: bytes) -> None:
    def echo(request: Request) -> Response:
        assert (request.method, request.path) == ("POST", "/v1/models/m/versions/2:predict")
        assert (request.headers, request.request_id) == ({"accept": "*/*"}, "r-1")
        return Response(201, {"content-type": "x/y"}, request.body)

    api.functions[NAME] = model(echo)
    assert ask(api.endpoint, body) == Response(201, {"content-type": "x/y"}, body)


@pytest.mark.parametrize(
    ("function", "error", "says"),
    [
        (
            failing("Sandbox.Timedout", "RequestId: 1 Error: Task timed out after 3.00 seconds"),
            ModelTimeoutError,
            "within 3 s",
        ),
        (failing("Sandbox.Timedout", ""), ModelTimeoutError, "within 7 s"),
        (
            failing("", "1 Task timed out after 30.03 seconds"),
            ModelTimeoutError,
            "30.03",
        ),
        (failing("ValueError", "Task timed out after 1.2.3 seconds"), ModelTimeoutError, "7 s"),
        (
            lambda payload: (200, {"X-Amz-Function-Error": "U"}, b"[" * 99_999),
            ModelFailedError,
            "r-1",
        ),
        (failing("ValueError", "secret row"), ModelFailedError, "r-1"),
        (failing("Runtime.ExitError", "signal: killed secret"), ModelFailedError, "r-1"),
        (
            failing("Function.ResponseSizeTooLarge", "secret"),
            PayloadTooLargeError,
            "carries it, is too large; the limit is 6,291,456 bytes; send fewer rows",
        ),
        (
            failing(
                "Function.ResponseSizeTooLarge",
                "Response payload size (7340032 bytes) exceeded maximum allowed payload size"
                " (6291556 bytes).",
            ),
            PayloadTooLargeError,
            "carries it, is 7,340,032 bytes; the limit is 6,291,456 bytes; send fewer rows",
        ),
        (
            failing(
                "Function.ResponseSizeTooLarge",
                "Response payload size exceeded maximum allowed payload size (6291556 bytes).",
            ),
            PayloadTooLargeError,
            "carries it, is too large",
        ),
        (lambda _: (200, {"X-Amz-Function-Error": "Unhandled"}, b"[]"), ModelFailedError, "r-1"),
        (lambda _: (200, {}, b'{"message": "secret"}'), ModelFailedError, "r-1"),
        (lambda _: (200, {}, b"null"), ModelFailedError, "r-1"),
        (lambda _: (200, {}, b"secret, not JSON"), ModelFailedError, "r-1"),
        (refusing(404, "ResourceNotFoundException"), BackendGoneError, "is gone"),
        (refusing(403, "AccessDeniedException"), BackendGoneError, "is gone"),
        (refusing(500, "ServiceException"), BackendGoneError, "is gone"),
        (refusing(429, "TooManyRequestsException"), ThrottledError, "concurrency limit"),
        (refusing(413, "RequestTooLargeException"), PayloadTooLargeError, "6,291,456"),
        (lambda _: None, BackendGoneError, "is gone"),
    ],
)
def test_each_way_to_fail_has_its_error_and_leaks_nothing(
    api: LambdaApi, function: object, error: type[ModelportError], says: str
) -> None:
    assert callable(function)
    api.functions[NAME] = function
    with pytest.raises(error, match=says.replace(".", r"\.")) as caught:
        ask(api.endpoint)
    assert "secret" not in caught.value.message


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        (None, 1),
        ("7", 7),
        ("0", 1),
        ("86400", 60),
        ("9" * 40, 1),
        ("-3", 1),
        ("Sat, 21 Nov 2026 08:00:00 GMT", 1),
    ],
)
def test_a_throttle_says_when_to_come_back(api: LambdaApi, said: str | None, seconds: int) -> None:
    headers = {"x-amzn-ErrorType": "TooManyRequestsException"}
    told = headers if said is None else headers | {"Retry-After": said}
    api.functions[NAME] = lambda _: (429, told, b'{"Reason": "CallerRateLimitExceeded"}')
    with pytest.raises(ThrottledError) as caught:
        ask(api.endpoint)
    assert caught.value.retry_after_s == seconds


def test_a_function_that_does_not_exist_is_gone(api: LambdaApi) -> None:
    with pytest.raises(BackendGoneError):
        ask(api.endpoint)


def test_nobody_listening_is_gone(api: LambdaApi) -> None:
    with lambda_api() as other:
        endpoint = other.endpoint
    with pytest.raises(BackendGoneError):
        ask(endpoint)


def test_a_model_that_is_silent_for_too_long_timed_out_and_is_not_asked_again(
    api: LambdaApi,
) -> None:
    enough = threading.Event()

    def silent(payload: bytes) -> None:
        enough.wait(20)

    api.functions[NAME] = silent
    try:
        with pytest.raises(ModelTimeoutError, match=r"within 0\.3 s"):
            ask(api.endpoint, read_timeout=0.3)
    finally:
        enough.set()
    assert len(api.payloads) == 1


def test_a_connection_that_died_in_the_pool_is_tried_once_more(api: LambdaApi) -> None:
    well = model(lambda request: Response(200))
    turns: Iterator[Function] = iter([well, lambda payload: None, well])
    api.functions[NAME] = lambda payload: next(turns)(payload)
    backend = backend_at(api.endpoint, clock=HandClock())
    assert [ask(backend).status for _ in range(2)] == [200, 200]
    assert len(api.payloads) == 3


def test_a_connection_that_broke_under_a_running_model_does_not_run_it_twice(
    api: LambdaApi,
) -> None:
    clock = HandClock()

    def work_and_hang_up(payload: bytes) -> None:
        clock.forward(1.1)

    backend = backend_at(api.endpoint, clock=clock)
    api.functions[NAME] = model(lambda request: Response(200))
    ask(backend)
    api.functions[NAME] = work_and_hang_up
    with pytest.raises(BackendGoneError):
        ask(backend)
    assert len(api.payloads) == 2


def test_over_a_new_connection_nothing_is_sent_twice(api: LambdaApi) -> None:
    api.functions[NAME] = lambda payload: None
    with pytest.raises(BackendGoneError):
        ask(backend_at(api.endpoint, clock=HandClock()))
    assert len(api.payloads) == 1


def test_the_payload_limit_counts_what_base64_adds_and_nothing_is_sent(api: LambdaApi) -> None:
    api.functions[NAME] = model(lambda request: Response(200))
    binary = b"\xff" * 4_700_000
    assert ask(api.endpoint, binary).status == 200
    assert len(api.payloads[-1]) <= LAMBDA_PAYLOAD_LIMIT
    with pytest.raises(PayloadTooLargeError) as caught:
        ask(api.endpoint, b"\xff" * 4_800_000)
    message = caught.value.message
    assert "body is 4,800,000 bytes" in message
    assert "6,291,456" in message
    assert "grows by a third" in message
    assert len(api.payloads) == 1


def test_the_payload_limit_holds_for_text_without_a_word_about_base64(api: LambdaApi) -> None:
    with pytest.raises(PayloadTooLargeError, match=r"fewer rows per request$"):
        ask(api.endpoint, b"[" + b"1," * 3_200_000 + b"1]")
    assert api.payloads == []
