"""Clients of Triton, KServe and MLServer, unmodified, through the local cloud's API Gateway.

Each runs in an environment of its own, with the versions that its lock names, and prints what it
was told; what TensorFlow Serving's users send is plain HTTP.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.local.test_end_to_end import scaling
from tests.support import runtime_bundles as bundles
from tests.support.client_environments import client_environment
from tests.support.local_cloud import LocalCloud, local_cloud
from tests.support.runtime_world import HttpRuntime
from tests.support.typed_bundles import TYPES, echo

SCRIPTS = ROOT / "tests" / "clients"
DOUBLED = {n: [2.0 * n, 2.0] for n in range(6)}
BRAIN = [1.5, -2.0, 3.00405527047391e38]


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    """A model that doubles, and two that give back what they got."""
    folder = tmp_path_factory.mktemp("clients")
    # onnxruntime runs brain floats and text in no one model.
    most = [name for name in TYPES if name != "bf16"]
    bundles = {
        "scale": scaling(folder / "scale", 2),
        "echo": echo(folder / "echo", most),
        "brain": echo(folder / "brain", ["bf16"]),
    }
    with local_cloud(folder / "home", "ministack") as running:
        for name, bundle in bundles.items():
            running.modelport("publish", str(bundle), "--name", name)
            running.modelport("deploy", f"{name}:1")
        yield running


def told(cloud: LocalCloud, environment: str, script: str, url: str) -> Any:
    return json.loads(client_environment(environment).run(SCRIPTS / script, url, env={}))


def test_tritons_http_clients(cloud: LocalCloud) -> None:
    answers = told(cloud, "triton", "triton_http.py", cloud.endpoint.partition("://")[2])
    sync, aio = answers["sync"], answers["aio"]
    ways = ("binary", "nothing_said", "json", "json_in", "json_out", "empty", "gzip", "deflate")
    assert {way: sync[way] for way in ways} == {way: [] for way in ways}
    assert (sync["id"], sync["bf16"], aio["bf16"]) == ("r-1", BRAIN, BRAIN)
    assert [sync[name] for name in ("live", "ready", "model_ready", "not_ready")] == [
        True,
        True,
        True,
        False,
    ]
    assert "binary_tensor_data" in sync["extensions"]
    assert sync["metadata"]["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}]
    assert sync["index"] == ["brain", "echo", "scale"]
    assert sync["statistics"] == "echo"
    assert {"echo", "brain"} <= set(sync["all_statistics"])
    assert sync["classes"] == "4.000000:1"
    assert "modelport deploy" in sync["load"][1]
    assert "modelport undeploy" in sync["unload"][1]
    assert sync["absent"][0] == "404"
    assert sync["wrong"] == ["400", "input 'x': expected FP32 [-1,2], got FP32 [1,3]"]
    assert aio["answers"] == [[]] * 10
    assert aio["live"]


def test_kserves_rest_client(cloud: LocalCloud) -> None:
    answers = told(cloud, "kserve", "kserve_rest.py", cloud.endpoint)
    v1, v2 = answers["v1"], answers["v2"]
    assert [v1["live"], v1["model_ready"]] == [True, True]
    assert v1["answer"] == {"predictions": [[2, 4], [6, 8]]}
    assert v1["explain"][0] == 501
    assert v1["absent"][0] == v2["absent"][0] == 404
    assert [v2["live"], v2["ready"], v2["model_ready"]] == [True, True, True]
    assert v2["answers"] == [[[2, 4], [6, 8]]] * 2
    assert v2["names"] == ["scale"] * 2
    assert v2["half"] == [0.5, -2.0]


def test_mlserver_infer(cloud: LocalCloud, tmp_path: Path) -> None:
    assert mlserver_infer(cloud.endpoint.partition("://")[2], "scale", tmp_path) == DOUBLED


def test_mlserver_infer_in_binary(tmp_path: Path) -> None:
    # It calls binary bodies JSON, and gateways that read JSON as text destroy them; a container's
    # own server does not.
    runtime = HttpRuntime(bundles.write_bundle(tmp_path, bundles.DOUBLE)).ready()
    try:
        url = f"127.0.0.1:{runtime.port}"
        assert mlserver_infer(url, "demo", tmp_path, "--binary-data") == DOUBLED
    finally:
        runtime.close()


def mlserver_infer(url: str, model: str, folder: Path, *options: str) -> dict[int, list[float]]:
    """What each of six requests of a file got, by its line."""
    asked, answered = folder / "asked.jsonl", folder / "answered.jsonl"
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 2]}
    lines = [{"id": str(n), "inputs": [{**tensor, "data": [n, 1]}]} for n in range(6)]
    asked.write_text("".join(json.dumps(line) + "\n" for line in lines))
    environment = client_environment("mlserver")
    environment.run(
        environment.python.with_name("mlserver"),
        *("infer", "--url", url, "--model-name", model),
        *("--input-data-path", str(asked), "--output-data-path", str(answered)),
        *("--workers", "2", "--batch-size", "2", *options),
        env={},
    )
    answers = map(json.loads, answered.read_text().splitlines())
    return {a["parameters"]["batch_index"]: a["outputs"][0]["data"] for a in answers}


def test_tensorflow_servings_users(cloud: LocalCloud) -> None:
    def predict(document: str, verb: str = "predict", at: str = "") -> Any:
        answer = cloud.post(f"/V1/models/scale{at}:{verb}", document.encode())
        assert answer.headers["content-type"] == "application/json"
        return json.loads(answer.content) if answer.status_code == 200 else answer.json()["error"]

    named = '{"signature_name": "serving_default", "instances": [{"x": [1, 2]}, {"x": [3, 4]}]}'
    assert predict(named, at="/versions/1") == {"predictions": [[2, 4], [6, 8]]}
    assert predict('{"inputs": {"x": [[1, 2]]}}') == {"outputs": [[2, 4]]}
    odd = predict('{"instances": [[NaN, -Infinity]]}')["predictions"][0]
    assert math.isnan(odd[0])
    assert odd[1] == -math.inf
    classes = predict('{"examples": [{"x": [1, 2]}]}', "classify")
    assert classes == {"results": [[["", 2.0], ["", 4.0]]]}
    assert predict('{"instances": []}') == "No values in 'instances' array"
    assert "not found in signature def" in predict('{"signature_name": "s", "instances": [[1, 2]]}')
    assert "Servable not found" in predict('{"instances": [[1, 2]]}', at="/versions/9")
    assert predict('{"instances": [[1, 2]]}', at="/labels/canary") == (
        "Unrecognized servable version label: canary"
    )
    status = cloud.get("/v1/models/scale").json()
    assert (status["name"], status["ready"]) == ("scale", True)
    assert status["model_version_status"][0]["version"] == "1"
