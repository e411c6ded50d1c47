"""InvokeEndpoint as boto3 sees it: limits, headers, variants, and the errors of a model."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.local.conftest import eventually
from tests.support.sagemaker_world import SageMaker, container_tree, sagemaker

LIMIT = 6_291_456


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SageMaker]:
    folder = tmp_path_factory.mktemp("sagemaker")
    tree = container_tree(folder / "tree")
    with sagemaker(tree, folder / "home", "--invoke-limit", "1.5") as running:
        running.endpoint("tiny", WHO="tiny")
        yield running


def model_error(world: SageMaker, asked: object) -> Any:
    response = world.refused(world.call, "tiny", json.dumps(asked).encode())
    assert response["Error"]["Code"] == "ModelError"
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 424
    return response


def test_an_answer_names_its_variant_and_carries_the_models_attributes(world: SageMaker) -> None:
    answer = world.call("tiny", b'{"attributes": "a=1"}', ContentType="application/json")
    assert answer["InvokedProductionVariant"] == "tiny"
    assert answer["CustomAttributes"] == "a=1"
    assert answer["ContentType"] == "application/json"
    assert "x-own" not in answer["ResponseMetadata"]["HTTPHeaders"]
    assert answer["ResponseMetadata"]["RequestId"]


def test_only_the_headers_of_the_api_reach_the_container(world: SageMaker) -> None:
    sent = {
        "Content-Type": "text/csv",
        "Accept": "application/json",
        "X-Amzn-SageMaker-Custom-Attributes": "trace=1",
        "X-Amzn-SageMaker-Inference-Id": "id-1",
        "X-Amzn-SageMaker-Target-Model": "m.tar.gz",
        "Inference-Header-Content-Length": "12",
        "X-Modelport-Request-Id": "lost",
        "Authorization": "secret",
        "User-Agent": "somebody",
        "X-Forwarded-For": "10.0.0.1",
    }
    url = f"{world.url}/endpoints/tiny/invocations"
    told = httpx.post(url, content=b"1,2", headers=sent).json()
    kept = ("content-type", "accept")
    expected = {
        name.lower(): value
        for name, value in sent.items()
        if name.lower() in kept or name.lower().startswith("x-amzn-sagemaker-")
    }
    own = {name: value for name, value in told["headers"].items() if name in expected}
    assert own == expected
    assert set(told["headers"]) - set(expected) == {"host", "content-length"}
    assert told["path"] == "/invocations"


def test_a_body_up_to_the_limit_passes_and_one_byte_more_does_not(world: SageMaker) -> None:
    assert json.loads(world.call("tiny", b" " * LIMIT)["Body"])["received"] == LIMIT
    url = f"{world.url}/endpoints/tiny/invocations"
    refused = httpx.post(url, content=b" " * (LIMIT + 1))
    assert refused.status_code == 413
    assert refused.json()["message"] == f"HTTP content length exceeded {LIMIT} bytes."


def test_an_answer_up_to_the_limit_passes_and_one_byte_more_does_not(world: SageMaker) -> None:
    assert len(world.call("tiny", json.dumps({"bytes": LIMIT}).encode())["Body"]) == LIMIT
    response = model_error(world, {"bytes": LIMIT + 1})
    assert f"larger than {LIMIT} bytes" in response["OriginalMessage"]


def test_a_serverless_variant_takes_four_megabytes(world: SageMaker) -> None:
    world.model("lambdaesque")
    config = {"MemorySizeInMB": 2048, "MaxConcurrency": 5}
    world.config("serverless", {"model": "lambdaesque", "ServerlessConfig": config})
    world.client.create_endpoint(EndpointName="serverless", EndpointConfigName="serverless")
    assert world.settled("serverless")["EndpointStatus"] == "InService"
    four = 4 * 1024 * 1024
    assert json.loads(world.call("serverless", b" " * four)["Body"])["received"] == four
    response = world.refused(world.call, "serverless", b" " * (four + 1))
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 413
    assert str(four) in response["Error"]["Message"]


@pytest.mark.parametrize(("status", "side"), [(400, "client"), (503, "server"), (302, "server")])
def test_an_error_of_the_model_is_a_model_error(world: SageMaker, status: int, side: str) -> None:
    response = model_error(world, {"status": status, "text": '{"error": "shape"}'})
    assert response["OriginalStatusCode"] == status
    assert response["OriginalMessage"] == '{"error": "shape"}'
    group = "arn:aws:logs:us-east-1:000000000000:log-group:/aws/sagemaker/Endpoints/tiny"
    assert response["LogStreamArn"].startswith(f"{group}:log-stream:tiny/")
    words = f'Received {side} error ({status}) from primary with message "{{"error": "shape"}}"'
    assert words in response["Error"]["Message"]


def test_a_container_that_takes_too_long_is_a_model_error(world: SageMaker, tmp_path: Path) -> None:
    go = tmp_path / "go"
    response = model_error(world, {"wait_for": str(go), "started": str(tmp_path / "started")})
    go.touch()
    assert response["OriginalStatusCode"] == 0
    assert "timed out while waiting for a response" in response["OriginalMessage"]
    assert world.told("tiny")["who"] == "tiny"


def test_attributes_over_the_limit_are_refused_in_both_directions(world: SageMaker) -> None:
    assert world.told("tiny", CustomAttributes="x" * 1024)["who"] == "tiny"
    response = world.refused(world.call, "tiny", CustomAttributes="x" * 1025)
    assert response["Error"]["Code"] == "ValidationError"
    assert "customAttributes" in response["Error"]["Message"]
    response = model_error(world, {"attributes": "x" * 1025})
    assert "custom attributes" in response["OriginalMessage"]


def test_variants_share_by_weight_and_can_be_named(world: SageMaker) -> None:
    for name in ("light", "heavy"):
        world.model(name, WHO=name)
    weights = {"light": 1.0, "heavy": 3.0}
    variants = [{"model": name, "InitialVariantWeight": each} for name, each in weights.items()]
    world.config("split", *variants)
    world.client.create_endpoint(EndpointName="split", EndpointConfigName="split")
    assert world.settled("split")["EndpointStatus"] == "InService"
    counts = Counter(world.told("split")["who"] for _ in range(200))
    # 50 are expected: seven standard deviations of a fair split lie within these bounds.
    assert 8 < counts["light"] < 92
    answer = world.call("split", TargetVariant="light")
    assert answer["InvokedProductionVariant"] == "light"
    response = world.refused(world.call, "split", TargetVariant="middle")
    assert response["Error"]["Code"] == "ValidationError"
    assert response["Error"]["Message"] == "Variant middle not found for Request"


def test_a_container_that_dies_in_an_invocation_is_an_error_and_comes_back(
    world: SageMaker,
) -> None:
    world.endpoint("fragile", WHO="fragile")
    (pid,) = world.pids("fragile")
    response = world.refused(world.call, "fragile", b'{"die": true}')
    assert response["Error"]["Code"] == "ModelError"
    assert response["OriginalStatusCode"] == 0
    assert eventually(lambda: answers(world, "fragile", not_pid=pid))
    assert world.told("fragile")["who"] == "fragile"


def answers(world: SageMaker, name: str, *, not_pid: int) -> bool:
    (variant,) = world.settled(name)["ProductionVariants"]
    return world.pids(name) != [not_pid] and variant["CurrentInstanceCount"] == 1


def test_the_log_has_a_line_per_invocation_and_never_a_payload(world: SageMaker) -> None:
    answer = world.call("tiny", b"a secret payload")
    line = f"INVOKE RequestId: {answer['ResponseMetadata']['RequestId']} Variant: tiny Status: 200"
    assert line in world.log("tiny")
    assert "secret" not in world.log("tiny")


@pytest.mark.parametrize("path", ["/endpoints/tiny", "/endpoints//invocations", "/other"])
def test_other_paths_are_no_operations(world: SageMaker, path: str) -> None:
    refused = httpx.post(world.url + path, content=b"{}")
    assert refused.status_code == 404
    assert refused.headers["x-amzn-errortype"] == "UnknownOperationException"


def test_an_asynchronous_invocation_is_refused_with_words(world: SageMaker) -> None:
    response = world.refused(
        world.runtime.invoke_endpoint_async, EndpointName="tiny", InputLocation="s3://bucket/key"
    )
    assert "async-invocations is not supported" in response["Error"]["Message"]
