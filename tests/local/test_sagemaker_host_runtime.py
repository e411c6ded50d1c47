"""The real runtime with real models behind InvokeEndpoint: what callers of SageMaker get."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from modelport.envelope import Request, Response
from modelport.sagemaker_envelope import HEADER, attributes_of, body_of, unwrapped

from tests.conftest import ROOT
from tests.local.conftest import processes_with
from tests.support.runtime_bundles import DOUBLE, NEGATE, TEXT, write_bundle
from tests.support.sagemaker_world import SageMaker, sagemaker

JSON = "application/json"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SageMaker]:
    """One version in service; its bundle lies where a pull would have put it."""
    home = tmp_path_factory.mktemp("real")
    with sagemaker(ROOT, home) as running:
        running.endpoint("double", **published(home, DOUBLE, 3))
        yield running


def published(home: Path, body: bytes, version: int, place_of: int = 0) -> dict[str, str]:
    """Lay a bundle down in its (or another) version's place; the variables of its container."""
    unnamed = home / f"unnamed-{version}"
    settings = write_bundle(unnamed, body, version=version)
    digest = settings.digest.rpartition(":")[2]
    place = home / "bundles" / f"{settings.model}-{place_of or version}-{digest}"
    place.parent.mkdir(exist_ok=True)
    unnamed.rename(place)
    return {**settings.to_env(), "HOME_OF_VERSION": f"{home}-{version}"}


@pytest.mark.parametrize(
    ("kind", "body", "answer"),
    [
        (JSON, b'{"instances": [[1.0, 2.5]]}', {"predictions": [[2.0, 5.0]]}),
        (JSON, b'{"inputs": [[1.0, 2.5]]}', {"predictions": [[2.0, 5.0]]}),
        ("text/csv", b"1,2.5\n3,4\n", {"predictions": [[2.0, 5.0], [6.0, 8.0]]}),
    ],
)
def test_requests_of_sagemakers_own_clients(
    world: SageMaker, kind: str, body: bytes, answer: object
) -> None:
    got = world.call("double", body, ContentType=kind, Accept=JSON)
    assert json.loads(got["Body"]) == answer
    assert got["InvokedProductionVariant"] == "double"


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/models/demo:predict", {"instances": [[1.0, 2.5]]}, 200),
        ("/v1/models/demo/versions/3:predict", {"instances": [[1.0, 2.5]]}, 200),
        (
            "/v2/models/demo/infer",
            {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}]},
            200,
        ),
        ("/v1/models/demo:predict", {"wrong": 1}, 400),
        ("/v1/models/other:predict", {"instances": [[1.0, 2.5]]}, 404),
    ],
)
def test_a_routers_request_travels_whole_through_sagemaker(
    world: SageMaker, path: str, body: Any, status: int
) -> None:
    sent = Request("POST", path, {"content-type": JSON}, json.dumps(body).encode(), "request-1")
    got = world.call(
        "double", body_of(sent), ContentType=JSON, CustomAttributes=attributes_of(sent)
    )
    carried = {"content-type": got["ContentType"], HEADER: got["CustomAttributes"]}
    answer = unwrapped(Response(200, carried, got["Body"]))
    assert answer is not None
    assert answer.status == status
    assert answer.headers["x-modelport-version"] == "3"


def test_what_a_model_refuses_is_a_model_error_with_its_words(world: SageMaker) -> None:
    response = world.refused(world.call, "double", b'{"instances": [["a"]]}', ContentType=JSON)
    assert response["Error"]["Code"] == "ModelError"
    assert response["OriginalStatusCode"] == 400
    assert "error" in json.loads(response["OriginalMessage"])


def test_another_version_takes_over_in_place(world: SageMaker) -> None:
    world.model("negate", **published(world.home, NEGATE, 4))
    world.config("double-2", {"model": "negate"})
    world.client.update_endpoint(EndpointName="double", EndpointConfigName="double-2")
    assert world.settled("double")["EndpointStatus"] == "InService", world.log("double")
    got = world.call("double", b'{"instances": [[1.0, 2.5]]}', ContentType=JSON)
    assert json.loads(got["Body"]) == {"predictions": [[-1.0, -2.5]]}
    assert processes_with(f"HOME_OF_VERSION={world.home}-4")
    assert not processes_with(f"HOME_OF_VERSION={world.home}-3")


def test_a_bundle_of_another_version_fails_the_endpoint(world: SageMaker) -> None:
    world.model("mixed", **{**published(world.home, TEXT, 5, 6), "MODELPORT_VERSION": "6"})
    world.config("mixed", {"model": "mixed"})
    world.client.create_endpoint(EndpointName="mixed", EndpointConfigName="mixed")
    assert world.settled("mixed")["EndpointStatus"] == "Failed"
    assert "version of the bundle" in world.log("mixed")
