"""A version on SageMaker, from publish to answers through API Gateway, on the local cloud.

The real stack by the real cdk, the real runtime behind InvokeEndpoint, the real router before it.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import boto3
import pytest
from engine import DEFAULT_ENGINE

from tests.local.conftest import eventually
from tests.local.test_end_to_end import infer, scaling
from tests.support.local_cloud import LocalCloud, local_cloud

ENDPOINT = "modelport-local-scale-v1"
SIZE = ("--target", "sagemaker", "--instance-type", "ml.m5.large")
DIES = "import os\n\n\ndef model_fn(model_dir):\n    os._exit(3)\n"


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    """A cloud with one version of ×2 on an endpoint."""
    folder = tmp_path_factory.mktemp("endpoints")
    with local_cloud(folder / "home", DEFAULT_ENGINE) as running:
        running.modelport("publish", str(scaling(folder / "x2", 2)), "--name", "scale")
        deployed = running.modelport("deploy", "scale:1", *SIZE)
        assert (deployed["target"], deployed["resource"]) == ("sagemaker", ENDPOINT)
        running.settled("scale")
        yield running


def client(cloud: LocalCloud, service: str) -> Any:
    """A client that finds its service as anybody's would: by the standard variables."""
    name = service.upper().replace("-", "_")
    make: Any = boto3.client  # the stubs want a literal name
    return make(service, endpoint_url=cloud.environment[f"AWS_ENDPOINT_URL_{name}"])


def endpoints(cloud: LocalCloud) -> list[str]:
    with closing(client(cloud, "sagemaker")) as sagemaker:
        return [each["EndpointName"] for each in sagemaker.list_endpoints()["Endpoints"]]


@pytest.mark.parametrize(
    ("path", "body", "answer"),
    [
        ("/v1/models/scale:predict", {"instances": [[1.0, 2.5]]}, {"predictions": [[2.0, 5.0]]}),
        ("/v1/models/scale/versions/1:predict", {"inputs": [[1.0, 2.5]]}, {"outputs": [[2, 5]]}),
        ("/endpoints/scale/invocations", {"instances": [[3.0, 4.0]]}, {"predictions": [[6, 8]]}),
    ],
)
def test_it_answers_through_the_api_in_every_protocol(
    cloud: LocalCloud, path: str, body: object, answer: object
) -> None:
    got = cloud.post(path, body)
    assert got.status_code == 200, got.text
    assert got.json() == answer
    assert got.headers["x-modelport-version"] == "1"


def test_it_speaks_open_inference(cloud: LocalCloud) -> None:
    answer = cloud.post("/v2/models/scale/infer", {**infer(), "id": "mine"})
    assert answer.json()["outputs"][0]["data"] == [2.0, 2.0]
    assert answer.json()["id"] == "mine"
    assert cloud.get("/v2/models/scale/ready").status_code == 200


def test_its_error_is_the_callers_protocols_own(cloud: LocalCloud) -> None:
    answer = cloud.post("/v2/models/scale/infer", infer(name="z"))
    assert answer.status_code == 400
    assert "z" in answer.json()["error"]


def test_any_client_of_sagemaker_can_call_it(cloud: LocalCloud) -> None:
    with closing(client(cloud, "sagemaker-runtime")) as runtime:
        answer = runtime.invoke_endpoint(
            EndpointName=ENDPOINT, ContentType="text/csv", Accept="application/json", Body=b"1,2.5"
        )
        assert json.loads(answer["Body"].read()) == {"predictions": [[2.0, 5.0]]}
        assert answer["InvokedProductionVariant"] == "primary"


def test_a_killed_container_comes_back(cloud: LocalCloud) -> None:
    with cloud.http.stream("GET", cloud.environment["AWS_ENDPOINT_URL_SAGEMAKER"]) as answer:
        running = json.loads(answer.read())
    (pid,) = running[ENDPOINT]["processes"]["primary"]
    os.kill(pid, signal.SIGKILL)
    path, body = "/v1/models/scale:predict", {"instances": [[1.0, 2.5]]}
    assert eventually(lambda: cloud.post(path, body).status_code == 200)
    assert (cloud.home / f"logs/endpoints/{ENDPOINT}.log").read_text().count("ready:") == 2


def test_a_version_that_answers_wrongly_leaves_no_endpoint(
    cloud: LocalCloud, tmp_path: Path
) -> None:
    wrong = scaling(tmp_path / "wrong", 5, golden_factor=6)
    version = cloud.modelport("publish", str(wrong), "--name", "scale", "--no-verify")["version"]
    _, error = cloud.refused("deploy", f"scale:{version}", *SIZE)
    assert "golden" in json.dumps(error)
    assert endpoints(cloud) == [ENDPOINT]
    assert cloud.get("/v2/models/scale").json()["versions"] == ["1"]


def test_a_version_that_does_not_start_fails_its_deploy_with_the_services_words(
    cloud: LocalCloud, tmp_path: Path
) -> None:
    broken = scaling(tmp_path / "broken", 7)
    (broken / "inference.py").write_text(DIES)
    version = cloud.modelport("publish", str(broken), "--name", "scale", "--no-verify")["version"]
    _, error = cloud.refused("deploy", f"scale:{version}", *SIZE)
    assert "did not pass the ping health check" in json.dumps(error)
    assert endpoints(cloud) == [ENDPOINT]
    assert cloud.post("/v1/models/scale:predict", {"instances": [[1, 1]]}).status_code == 200


def test_undeploy_leaves_nothing_of_it(cloud: LocalCloud) -> None:
    cloud.modelport("undeploy", "scale:1")
    with closing(client(cloud, "sagemaker")) as sagemaker:
        assert sagemaker.list_endpoints()["Endpoints"] == []
        assert sagemaker.list_endpoint_configs()["EndpointConfigs"] == []
        assert sagemaker.list_models()["Models"] == []
