"""MLflow's and SageMaker's own clients, unmodified, through the local cloud's API Gateway.

Each runs in an environment of its own; modelport is beside MLflow as the wheel people install.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.local.test_end_to_end import scaling
from tests.support import runtime_bundles as bundles
from tests.support.client_environments import UV, client_environment
from tests.support.local_cloud import LocalCloud, local_cloud
from tests.support.runtime_world import HttpRuntime

SCRIPTS = ROOT / "tests" / "clients"
ANSWER = [[2, 4], [6, 8]]
LISTED = {"predictions": ANSWER}
#: Gives custom attributes back, and fails where it is asked to.
SCRIPT = """
def predict_fn(data, model, context):
    if (data["x"] == 13).all():
        raise RuntimeError("a secret of the model")
    if context.custom_attributes:
        name = "X-Amzn-SageMaker-Custom-Attributes"
        context.set_response_header(0, name, context.custom_attributes)
    return model.run(data)
"""


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    """A cloud with a model that doubles."""
    folder = tmp_path_factory.mktemp("clients")
    bundle = scaling(folder / "scale", 2)
    (bundle / "inference.py").write_text(SCRIPT)
    with local_cloud(folder / "home", "ministack") as running:
        running.modelport("publish", str(bundle), "--name", "scale")
        running.modelport("deploy", "scale:1")
        yield running


@pytest.fixture(scope="module")
def sagemaker(cloud: LocalCloud, tmp_path_factory: pytest.TempPathFactory) -> Any:
    readme = (ROOT / "README.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)
    (block,) = [text for text in blocks if "before-sign" in text]
    keys = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION")
    env = {name: cloud.environment[name] for name in (*keys, "MODELPORT_ENDPOINT")}
    home = str(tmp_path_factory.mktemp("home"))
    said = client_environment("sagemaker").run(
        SCRIPTS / "sagemaker_calls.py", cloud.endpoint, block, env={**env, "HOME": home}
    )
    return json.loads(said.splitlines()[-1])  # before it, the SDK says where it found no settings


def test_boto3_invokes_in_every_media_type(sagemaker: Any) -> None:
    told = sagemaker["boto3"]
    assert json.loads(told["json"][1]) == json.loads(told["csv_to_json"][1]) == LISTED
    assert told["csv"][:2] == ["text/csv", "2.0,4.0\n6.0,8.0\n"]
    assert told["npy"] == ["application/x-npy", ANSWER]
    assert told["lines"][:2] == ["application/jsonlines", "[2.0,4.0]\n[6.0,8.0]\n"]
    assert told["attributes"] == "trace=7"


def test_boto3_raises_with_the_status_and_the_words(sagemaker: Any) -> None:
    told = sagemaker["boto3"]
    refusals = ("malformed", "wrong", "absent", "kind", "raised")
    assert [told[name][0] for name in refusals] == [400, 400, 404, 415, 500]
    assert "input 'x': expected FP32 [-1,2], got FP32 [1,3]" in told["wrong"][2]
    assert "absent" in told["absent"][2]
    assert "text/csv" in told["kind"][2]
    assert "secret" not in told["raised"][2]


def test_the_sdks_predictors(sagemaker: Any) -> None:
    told = sagemaker["sdk"]
    assert told["json"] == json.loads(told["default"]) == LISTED
    assert told["csv"] == [["2.0", "4.0"], ["6.0", "8.0"]]
    assert told["numpy"] == told["lines"] == ANSWER
    assert told["pandas"] == [[6, 8]]  # pandas takes the first line for names


def test_the_sdks_tensorflow_predictor(sagemaker: Any) -> None:
    told = sagemaker["sdk"]
    assert told["tensorflow"] == [LISTED, LISTED, {"outputs": ANSWER}]
    assert told["tensorflow_classify"] == {"results": [[["", 2.0], ["", 4.0]]]}
    assert told["tensorflow_regress"][0] == 400
    assert "regress" in told["tensorflow_regress"][2]


def test_boto3_signs_for_api_gateway_as_the_readme_says(sagemaker: Any) -> None:
    assert sagemaker["signed"] == "us-east-1/execute-api/aws4_request"


def test_mlflows_scoring_client(cloud: LocalCloud, tmp_path: Path) -> None:
    runtime = HttpRuntime(bundles.write_bundle(tmp_path, bundles.DOUBLE)).ready()
    try:
        said = client_environment("mlflow").run(
            SCRIPTS / "mlflow_scoring.py",
            *("127.0.0.1", str(runtime.port), cloud.endpoint),
            env={"HOME": str(tmp_path)},
        )
    finally:
        runtime.close()
    told = json.loads(said)
    server, gateway = told["server"], told["gateway"]
    assert server["frame"] == [{"y": row} for row in ANSWER]
    assert server["array"] == server["params"] == ANSWER
    assert "error code 400" in server["wrong"]
    assert gateway["split"] == gateway["records"] == [{"y": row} for row in ANSWER]
    assert [gateway[key] for key in ("instances", "inputs", "csv")] == [ANSWER] * 3
    status, body = gateway["absent"]
    assert (status, json.loads(body)["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST")


@pytest.fixture(scope="module")
def installed(cloud: LocalCloud, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The variables with which MLflow finds modelport's wheel, the cloud and cdk's programs."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    target = ["--target", str(folder / "installed"), "--python", sys.executable]
    subprocess.run([str(UV), "pip", "install", "-q", "--no-deps", *target, str(wheel)], check=True)
    path = f"{Path(sys.executable).parent}{os.pathsep}{cloud.environment['PATH']}"
    return {**cloud.environment, "PATH": path, "PYTHONPATH": str(folder / "installed")}


def test_mlflows_deployments(cloud: LocalCloud, installed: dict[str, str], tmp_path: Path) -> None:
    models = [str(scaling(tmp_path / f"x{n}", n) / "model.onnx") for n in (2, 3)]
    environment = client_environment("mlflow")
    told = json.loads(
        environment.run(
            SCRIPTS / "mlflow_deployments.py",
            *(*models, str(tmp_path)),
            env=installed,
            limit_s=300,
        ).splitlines()[-1]
    )
    assert told["created"] == ["logged", "onnx", 1]
    assert told["again"][0] == "RESOURCE_ALREADY_EXISTS"
    assert told["got"] == [1]
    assert told["array"] == told["named"] == told["plain"] == ANSWER
    assert told["frame"] == [{"y": row} for row in ANSWER]
    assert told["wrong"][0] == "INVALID_PARAMETER_VALUE"
    assert told["updated"] == 2
    assert told["pinned"] == [ANSWER, [[3, 6], [9, 12]]]
    assert (told["listed"], told["left"]) == (["logged", "scale"], ["scale"])
    assert told["gone"][0] == "RESOURCE_DOES_NOT_EXIST"

    said = environment.run(
        environment.python.with_name("mlflow"),
        *("deployments", "create", "-t", "modelport", "--name", "by-command"),
        *("-m", str(tmp_path / "one"), "-C", "tune=false"),
        env=installed,
        limit_s=300,
    )
    assert "by-command" in said
    answer = cloud.post("/endpoints/by-command/invocations", {"inputs": [[1, 2]]})
    assert answer.json() == {"predictions": [[2, 4]]}
