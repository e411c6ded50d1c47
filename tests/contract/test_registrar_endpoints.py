"""The registrar's calls of SageMaker, with boto3's own clients over a real socket."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from modelport.envelope import Request, Response
from modelport.errors import ModelFailedError, ModelTimeoutError
from modelport.manifest import Content, Manifest
from modelport.sagemaker_envelope import HEADER, MARK
from modelport.signature import Signature, TensorSpec

from functions.registrar.place import Failure, State
from functions.registrar.prober import Prober
from functions.registrar.sagemaker_endpoints import SageMakerEndpoints
from tests.support.sagemaker_api import (
    SageMakerApi,
    container,
    model_error,
    refusing,
    sagemaker_api,
    version,
)

NAME = "modelport-t-m-v1"
ASKED = Request("POST", "/v1/models/m/versions/1:predict", {"accept": "*/*"}, b"{}", "r-1")


@pytest.fixture
def api() -> Iterator[SageMakerApi]:
    with sagemaker_api() as running:
        yield running


def endpoints(url: str, read_timeout: float = 20) -> SageMakerEndpoints:
    config = Config(read_timeout=read_timeout, retries={"total_max_attempts": 1})
    named: dict[str, Any] = {"endpoint_url": url, "region_name": "us-east-1", "config": config}
    return SageMakerEndpoints(
        boto3.client("sagemaker", **named), boto3.client("sagemaker-runtime", **named)
    )


@pytest.mark.parametrize(
    ("described", "state"),
    [
        ({"EndpointStatus": "InService"}, State("ready")),
        ({"EndpointStatus": "Creating"}, State("pending", "Creating")),
        ({"EndpointStatus": "Updating"}, State("pending", "Updating")),
        ({"EndpointStatus": "SystemUpdating"}, State("pending", "SystemUpdating")),
        ({"EndpointStatus": "RollingBack"}, State("pending", "RollingBack")),
        (
            {"EndpointStatus": "Failed", "FailureReason": "did not pass the ping health check"},
            State("failed", "did not pass the ping health check"),
        ),
        ({"EndpointStatus": "UpdateRollbackFailed"}, State("failed", "UpdateRollbackFailed")),
        ({"EndpointStatus": "OutOfService"}, State("failed", "OutOfService")),
        ({"EndpointStatus": "Deleting"}, State("failed", "Deleting")),
        (None, None),
    ],
)
def test_the_state_of_an_endpoint(
    api: SageMakerApi, described: dict[str, str] | None, state: State | None
) -> None:
    if described is not None:
        api.described[NAME] = described
    assert endpoints(api.url).state(NAME) == state


def test_a_question_travels_in_the_attributes_and_its_answer_comes_back(api: SageMakerApi) -> None:
    seen: list[Request] = []
    answer = Response(409, {"content-type": "a/b", "x-modelport-digest": "sha256:0"}, b"whole")

    def model(request: Request) -> Response:
        seen.append(request)
        return answer

    api.endpoints[NAME] = version(model)
    assert endpoints(api.url).ask(NAME, ASKED) == answer
    ready = Request("GET", "/v2/models/m/versions/1/ready", {}, b"", "r-2")
    assert endpoints(api.url).ask(NAME, ready) == answer
    assert seen == [ASKED, ready]


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "ThrottlingException"),
        (429, "ModelNotReadyException"),
        (503, "ServiceUnavailable"),
        (500, "InternalFailure"),
        (530, "InternalDependencyException"),
    ],
)
def test_an_endpoint_without_capacity_is_not_a_failure(
    api: SageMakerApi, status: int, code: str
) -> None:
    api.endpoints[NAME] = refusing(status, code)
    assert endpoints(api.url).ask(NAME, ASKED) is None


def test_a_container_that_fails_is_told_with_its_log(api: SageMakerApi) -> None:
    api.endpoints[NAME] = model_error(500, "CUDA out of memory")
    failure = endpoints(api.url).ask(NAME, ASKED)
    assert isinstance(failure, Failure)
    assert "(500) from primary" in failure.words
    assert "CUDA out of memory" in failure.words
    assert failure.words.endswith("(log: arn:aws:logs:secret)")
    assert not failure.timed_out


def test_both_ways_to_be_late_are_told_as_that(api: SageMakerApi) -> None:
    said = "Your invocation timed out while waiting for a response from container primary."
    api.endpoints[NAME] = refusing(424, "ModelError", said)
    failure = endpoints(api.url).ask(NAME, ASKED)
    assert isinstance(failure, Failure)
    assert failure.timed_out
    enough = threading.Event()

    def silent(request: Request) -> None:
        enough.wait(20)

    api.endpoints[NAME] = silent
    try:
        failure = endpoints(api.url, read_timeout=0.3).ask(NAME, ASKED)
    finally:
        enough.set()
    assert isinstance(failure, Failure)
    assert failure.timed_out


@pytest.mark.parametrize("headers", [{}, {HEADER: "their=own"}, {HEADER: MARK + "{}"}])
def test_something_else_than_a_version_is_a_failure(
    api: SageMakerApi, headers: dict[str, str]
) -> None:
    api.endpoints[NAME] = container(lambda request: Response(200, headers, b"hello"))
    assert isinstance(endpoints(api.url).ask(NAME, ASKED), Failure)


def test_a_right_that_is_missing_is_said_as_aws_says_it(api: SageMakerApi) -> None:
    api.endpoints[NAME] = refusing(403, "AccessDeniedException", "not authorized: InvokeEndpoint")
    with pytest.raises(ClientError, match="not authorized: InvokeEndpoint"):
        endpoints(api.url).ask(NAME, ASKED)


def manifest() -> Manifest:
    x = TensorSpec("x", "FP32", (1,))
    return Manifest("m", 1, Content((), Signature((x,), (x,))), "2026-01-01T00:00:00Z")


def test_the_prober_verifies_an_endpoint_as_it_verifies_a_function(api: SageMakerApi) -> None:
    digest = {"x-modelport-digest": manifest().digest}
    api.described[NAME] = {"EndpointStatus": "InService"}
    api.endpoints[NAME] = version(lambda request: Response(200, digest))
    prober = Prober(endpoints(api.url), budget_s=5)
    assert prober.verify(manifest(), NAME, 60).requests == 1


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ("Your invocation timed out while waiting for a response", ModelTimeoutError),
        ("Received server error (500)", ModelFailedError),
    ],
)
def test_the_prober_refuses_an_endpoint_that_fails(
    api: SageMakerApi, said: str, error: type[Exception]
) -> None:
    api.described[NAME] = {"EndpointStatus": "InService"}
    api.endpoints[NAME] = refusing(424, "ModelError", said)
    with pytest.raises(error):
        Prober(endpoints(api.url), budget_s=5).verify(manifest(), NAME, 60)
