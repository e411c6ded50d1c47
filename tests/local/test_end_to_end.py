"""The whole path on a local cloud: publish, deploy with cdk, call, move traffic, fail, recover.

The same tests run on every engine that this machine can run.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import onnx
import pytest
from onnx import TensorProto, helper

from tests.support.local_cloud import LocalCloud, local_cloud

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient

NEEDS_313 = pytest.mark.skipif(
    shutil.which("python3.13") is None, reason="this engine needs a python3.13 on the PATH"
)
SCRIPT = '''\
"""Does what its input says: raises, sleeps, dies, or counts its bytes."""
import json
import os
import time


def input_fn(data, content_type):
    return bytes(data)


def predict_fn(data, model):
    if data == b"raise":
        raise RuntimeError("a secret of the model")
    if data == b"sleep":
        time.sleep(60)
    if data == b"die":
        os._exit(3)
    return {"bytes": len(data)}


def output_fn(prediction, accept):
    return json.dumps(prediction), "application/json"


def generate_fn(prompt, parameters, model):
    yield from prompt.split()[: parameters.get("words")]
'''


@pytest.fixture(scope="module", params=["ministack", pytest.param("localstack", marks=NEEDS_313)])
def cloud(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalCloud]:
    """A cloud with three versions of one model deployed: ×2, ×3, and ×4 with a script."""
    folder = tmp_path_factory.mktemp(request.param)
    with local_cloud(folder / "home", request.param) as running:
        for factor in (2, 3):
            running.modelport(
                "publish", str(scaling(folder / f"x{factor}", factor)), "--name", "scale"
            )
        scripted = scaling(folder / "x4", 4)
        (scripted / "inference.py").write_text(SCRIPT)
        running.modelport("publish", str(scripted), "--name", "scale")
        for version in (1, 2):
            running.modelport("deploy", f"scale:{version}")
        running.modelport("deploy", "scale:3", "--timeout", "3")
        yield running


def lambda_api(cloud: LocalCloud) -> LambdaClient:
    return boto3.client("lambda", endpoint_url=cloud.environment["AWS_ENDPOINT_URL"])


def scaling(folder: Path, factor: float, golden_factor: float | None = None) -> Path:
    """A bundle whose model multiplies float32 [-1, 2] by ``factor``."""
    node = helper.make_node("Mul", ["x", "factor"], ["y"])
    graph = helper.make_graph(
        [node],
        "scale",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 2])],
        [helper.make_tensor("factor", TensorProto.FLOAT, [], [factor])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    (folder / "golden").mkdir(parents=True)
    onnx.save(model, str(folder / "model.onnx"))
    tensor = {"datatype": "FP32", "shape": [1, 2]}
    expected = golden_factor or factor
    golden = {
        "inputs": [{"name": "x", "data": [1.0, 2.5], **tensor}],
        "outputs": [{"name": "y", "data": [expected, 2.5 * expected], **tensor}],
    }
    (folder / "golden" / "one.json").write_text(json.dumps(golden))
    return folder


def infer(
    datatype: str = "FP32", shape: tuple[int, ...] = (1, 2), name: str = "x"
) -> dict[str, object]:
    data = [1.0] * 2
    return {"inputs": [{"name": name, "datatype": datatype, "shape": list(shape), "data": data}]}


@pytest.mark.parametrize(("version", "factor"), [(1, 2.0), (2, 3.0), (3, 4.0)])
def test_a_version_answers_in_every_protocol(
    cloud: LocalCloud, version: int, factor: float
) -> None:
    rows = cloud.post(f"/v1/models/scale/versions/{version}:predict", {"instances": [[1, 2]]})
    assert rows.json() == {"predictions": [[factor, 2 * factor]]}
    columns = cloud.post(f"/v1/models/scale/versions/{version}:predict", {"inputs": [[1, 2]]})
    assert columns.json() == {"outputs": [[factor, 2 * factor]]}
    answer = cloud.post(f"/v2/models/scale/versions/{version}/infer", infer())
    assert answer.json()["outputs"][0]["data"] == [factor, factor]
    assert answer.headers["x-modelport-model"] == "scale"
    assert answer.headers["x-modelport-version"] == str(version)
    assert answer.headers["x-modelport-digest"].startswith("sha256:")
    assert "rev=" in answer.headers["x-modelport-route"]


def test_the_verbs_colon_may_be_encoded(cloud: LocalCloud) -> None:
    answer = cloud.post("/v1/models/scale/versions/1%3Apredict", {"instances": [[1, 2]]})
    assert answer.json() == {"predictions": [[2.0, 4.0]]}


def test_a_raw_body_reaches_the_script_unchanged(cloud: LocalCloud) -> None:
    body = bytes(range(256)) * 40
    answer = cloud.post("/endpoints/scale/versions/3/invocations", body)
    assert answer.json() == {"bytes": len(body)}


def test_a_script_generates_text_whole_and_in_events(cloud: LocalCloud) -> None:
    asked = {"id": "7", "text_input": "one two three", "parameters": {"words": 2}}
    about = {"id": "7", "model_name": "scale", "model_version": "3"}
    answer = cloud.post("/v2/models/scale/versions/3/generate", asked)
    assert answer.json() == {**about, "text_output": "onetwo"}
    events = cloud.post("/v2/models/scale/versions/3/generate_stream", asked)
    assert events.headers["content-type"] == "text/event-stream; charset=utf-8"
    documents = [
        json.loads(line.removeprefix("data: ")) for line in events.text.split("\n\n") if line
    ]
    assert documents == [{**about, "text_output": word} for word in ("one", "two")]
    refused = cloud.post("/v2/models/scale/versions/1/generate", asked)
    assert refused.status_code == 501
    assert "has no generate_fn" in refused.json()["error"]


def test_metadata_and_health(cloud: LocalCloud) -> None:
    metadata = cloud.get("/v2/models/scale").json()
    assert metadata["versions"] == ["1", "2", "3"]
    assert metadata["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}]
    assert cloud.get("/v2/health/ready").status_code == 200
    assert cloud.get("/v2/models/scale/versions/2/ready").status_code == 200
    status = cloud.get("/v1/models/scale/versions/1").json()
    assert status["model_version_status"][0]["state"] == "AVAILABLE"
    assert "signature_def" in cloud.get("/v1/models/scale/metadata").json()["metadata"]


def test_traffic_splits_sticks_moves_and_comes_back(cloud: LocalCloud) -> None:
    def version(key: str) -> str:
        answer = cloud.post("/v2/models/scale/infer", infer(), x_modelport_key=key)
        return answer.headers["x-modelport-version"]

    cloud.modelport("route", "scale", "stable=1:80,2:20")
    cloud.settled("scale")
    counts = Counter(version(f"caller-{n}") for n in range(200))
    assert 15 <= counts["2"] <= 65  # four standard deviations around 40
    assert len({version("caller-1") for _ in range(5)}) == 1

    cloud.modelport("promote", "scale:2")
    cloud.settled("scale")
    assert {version(f"caller-{n}") for n in range(20)} == {"2"}
    by_label = cloud.post("/v1/models/scale/labels/stable:predict", {"instances": [[1, 1]]})
    assert by_label.headers["x-modelport-version"] == "2"

    cloud.modelport("rollback", "scale")
    cloud.settled("scale")
    assert Counter(version(f"caller-{n}") for n in range(200)) == counts
    actions = [
        change["action"] for change in cloud.modelport("log", "scale", "--verify")["changes"]
    ]
    assert actions[:3] == ["rollback", "promote", "route"]


@pytest.mark.parametrize(
    ("path", "body", "status", "says"),
    [
        ("/v2/models/scale/versions/1/infer", b'{"inputs": [', 400, "JSON"),
        ("/v1/models/scale/versions/1:predict", b'{"instances": ', 400, "JSON"),
        ("/v1/models/scale/versions/1:predict", {}, 400, "instances"),
        ("/v2/models/scale/versions/1/infer", infer(name="z"), 400, "z"),
        ("/v2/models/scale/versions/1/infer", infer(datatype="INT64"), 400, "expected FP32"),
        ("/v2/models/scale/versions/1/infer", infer(shape=(2, 1)), 400, "[-1,2]"),
        ("/v1/models/scale/versions/9:predict", {"instances": [[1, 1]]}, 404, "9"),
        ("/v2/models/absent/infer", infer(), 404, "absent"),
        ("/v2/models/scale/versions/canary/infer", infer(), 404, "canary"),
        ("/v2/models/Not%20Good/infer", infer(), 400, "a-z, 0-9"),
        ("/v2/models/scale/explode", infer(), 404, "/v2/models/M/infer"),
    ],
)
def test_bad_input_gets_a_clear_error_in_the_callers_protocol(
    cloud: LocalCloud, path: str, body: object, status: int, says: str
) -> None:
    answer = cloud.post(path, body, content_type="application/json")
    assert answer.status_code == status, answer.text
    assert says in answer.json()["error"]
    assert "Traceback" not in answer.text


def test_versions_are_measured_where_they_run_and_promoted_on_that_evidence(
    cloud: LocalCloud,
) -> None:
    sent = {"instances": [[1, 2], [3, 1]], "labels": [1, 1], "task": "classification"}
    answer = cloud.post("/v1/models/scale/versions/2:evaluate", sent)
    assert answer.json()["metrics"]["accuracy"] == 0.5
    bucket = cloud.environment["MODELPORT_BUCKET"]
    rows = "\n".join(["a,b,label", *("1,2,1", "2,1,0", "3,1,0", "0,1,1", "2,1,1") * 4])
    with closing(boto3.client("s3", endpoint_url=cloud.environment["AWS_ENDPOINT_URL"])) as s3:
        s3.put_object(Bucket=bucket, Key="sets/test.csv", Body=rows.encode())
    data = ("--data", f"s3://{bucket}/sets/test.csv", "--task", "classification")
    # LocalStack's REST API gives binary answers in base64, so nothing binary gets through it.
    rest = "rest" in (cloud.home / "deployments.toml").read_text()
    through = ("--through", "process" if rest else "endpoint")
    told = cloud.modelport("evaluate", "scale:2", *data, *through, "--compare", "1")
    assert told["metrics"]["accuracy"]["value"] == 0.8
    assert told["comparison"]["verdict"] == "no difference beyond chance"
    to = ("promote", "scale:2", "--alias", "measured")
    code, error = cloud.refused(*to, "--require", "accuracy>=0.9")
    assert (code, error["code"]) == (4, "gate-failed")
    cloud.modelport(*to, "--require", "accuracy>=0.8", "--no-worse-than", "1")
    cloud.modelport("route", "scale", "measured=")


def test_a_body_over_the_limit_names_number_limit_and_way_out(cloud: LocalCloud) -> None:
    large = b"x" * 6_100_000
    answer = cloud.post("/endpoints/scale/versions/3/invocations", large, content_type="text/plain")
    if "rest" in (cloud.home / "deployments.toml").read_text():
        # A REST API hands every body over as base64, so Lambda refuses it before our router can.
        assert answer.status_code >= 400
    else:
        assert answer.status_code == 413
        assert "6,000,000" in answer.json()["error"]


def test_a_model_that_raises_says_nothing_of_its_inside(cloud: LocalCloud) -> None:
    answer = cloud.post("/endpoints/scale/versions/3/invocations", b"raise")
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert cloud.post("/endpoints/scale/versions/3/invocations", b"fine").json() == {"bytes": 4}


def test_a_model_that_hangs_is_a_timeout_and_the_next_call_works(cloud: LocalCloud) -> None:
    answer = cloud.post("/endpoints/scale/versions/3/invocations", b"sleep")
    assert answer.status_code == 504
    assert "3 s" in answer.json()["error"]
    assert cloud.post("/endpoints/scale/versions/3/invocations", b"fine").status_code == 200


def test_a_model_that_dies_is_replaced(cloud: LocalCloud) -> None:
    assert cloud.post("/endpoints/scale/versions/3/invocations", b"die").status_code == 500
    assert cloud.post("/endpoints/scale/versions/3/invocations", b"fine").status_code == 200


def test_a_version_that_answers_wrongly_is_not_deployed(cloud: LocalCloud, tmp_path: Path) -> None:
    wrong = scaling(tmp_path / "wrong", 5, golden_factor=6)
    version = cloud.modelport("publish", str(wrong), "--name", "scale", "--no-verify")["version"]
    code, error = cloud.refused("deploy", f"scale:{version}")
    assert code == 5
    assert "golden" in json.dumps(error)
    assert cloud.get("/v2/models/scale").json()["versions"] == ["1", "2", "3"]
    assert f"version = {version}" not in (cloud.home / "deployments.toml").read_text()


def test_a_version_an_alias_uses_cannot_be_undeployed(cloud: LocalCloud) -> None:
    cloud.modelport("route", "scale", "pinned=1")
    code, error = cloud.refused("undeploy", "scale:1")
    assert (code, error["code"]) == (4, "version-in-use")
    assert cloud.post("/v2/models/scale/versions/1/infer", infer()).status_code == 200


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("route", "scale", "stable=1:-1,2:1"), 2),
        (("route", "scale", "stable=1:x"), 2),
        (("route", "scale", "stable=99"), 4),
        (("deploy", "scale:99"), 3),
        (("show", "absent"), 3),
        (("publish", __file__, "--name", "scale"), 2),
    ],
)
def test_the_command_line_refuses_and_says_why(
    cloud: LocalCloud, arguments: tuple[str, ...], code: int
) -> None:
    assert cloud.refused(*arguments)[0] == code


def test_a_backend_that_is_gone_is_503(cloud: LocalCloud, tmp_path: Path) -> None:
    bundle = scaling(tmp_path / "gone", 7)
    cloud.modelport("publish", str(bundle), "--name", "gone")
    cloud.modelport("deploy", "gone:1")
    with closing(lambda_api(cloud)) as functions:
        functions.delete_function(FunctionName="modelport-local-gone-v1")
    answer = cloud.post("/v2/models/gone/infer", infer())
    assert answer.status_code == 503
    assert "gone" in answer.json()["error"]


def test_undeploy_takes_a_version_out(cloud: LocalCloud, tmp_path: Path) -> None:
    cloud.modelport("publish", str(scaling(tmp_path / "short", 8)), "--name", "short")
    cloud.modelport("deploy", "short:1")
    assert cloud.post("/v2/models/short/infer", infer()).status_code == 200
    cloud.modelport("undeploy", "short:1")
    cloud.settled("scale")
    with closing(lambda_api(cloud)) as functions:
        names = {function["FunctionName"] for function in functions.list_functions()["Functions"]}
    assert "modelport-local-short-v1" not in names
