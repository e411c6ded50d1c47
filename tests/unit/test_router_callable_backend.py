"""Models as functions of this process: found by resource or version, failing like real ones."""

from __future__ import annotations

import pytest
from modelport.backends import CallableBackend
from modelport.envelope import Request, Response
from modelport.errors import BackendGoneError, ModelFailedError, ModelTimeoutError
from modelport.routes import Deployment

REQUEST = Request("POST", "/v1/models/m/versions/2:predict", {}, b"{}", "r-1")
DEPLOYMENT = Deployment(2, "lambda", "modelport-test-m-v2", "sha256:0")


def test_a_handler_is_found_by_resource_before_version() -> None:
    backend = CallableBackend(
        {2: lambda _: Response(500), "modelport-test-m-v2": lambda _: Response(200)}
    )
    assert backend.invoke(DEPLOYMENT, "m", REQUEST).status == 200
    assert (
        CallableBackend({2: lambda _: Response(201)}).invoke(DEPLOYMENT, "m", REQUEST).status == 201
    )


def test_no_handler_means_the_backend_is_gone() -> None:
    with pytest.raises(BackendGoneError, match="model m version 2"):
        CallableBackend({1: lambda _: Response(200)}).invoke(DEPLOYMENT, "m", REQUEST)


def test_what_a_handler_raises_is_a_model_failure_with_its_cause() -> None:
    def fail(request: Request) -> Response:
        raise ZeroDivisionError("boom")

    with pytest.raises(ModelFailedError, match="r-1") as caught:
        CallableBackend({2: fail}).invoke(DEPLOYMENT, "m", REQUEST)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert "boom" not in caught.value.message


def test_a_backend_error_of_a_handler_passes_as_it_is() -> None:
    def stall(request: Request) -> Response:
        raise ModelTimeoutError("m", 2, 3)

    with pytest.raises(ModelTimeoutError):
        CallableBackend({2: stall}).invoke(DEPLOYMENT, "m", REQUEST)
