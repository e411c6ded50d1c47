"""``/invocations`` as its clients send it, byte for byte, over the real HTTP server.

Recorded from mlflow 3.17 (``ScoringServerClient``, pandas' CSV) and from the SageMaker Python SDK
2.257 with boto3 (its serializers, its deserializers' ``Accept``, its TensorFlow predictor).
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator

import numpy as np
import pytest
from modelport.envelope import Request, Response

from tests.support import runtime_bundles as bundles
from tests.support.runtime_world import HttpRuntime

ENDPOINT = "/endpoints/demo/invocations"
CUSTOM = "X-Amzn-SageMaker-Custom-Attributes"
MLFLOW = {
    "user-agent": "python-requests/2.34.2",
    "accept-encoding": "gzip, deflate",
    "accept": "*/*",
    "connection": "keep-alive",
}
PAIR = bundles.model(
    [bundles.node("Add", ["a", "b"], ["sum"]), bundles.node("Sub", ["a", "b"], ["less"])],
    [("a", bundles.FLOAT, ["N", 1]), ("b", bundles.FLOAT, ["N", 1])],
    [("sum", bundles.FLOAT, ["N", 1]), ("less", bundles.FLOAT, ["N", 1])],
)
SCRIPT = """
def predict_fn(data, model, context):
    context.set_response_header(0, "X-Amzn-SageMaker-Custom-Attributes", context.custom_attributes)
    return model.run(data)
"""


@pytest.fixture(scope="module")
def double(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpRuntime]:
    runtime = HttpRuntime(bundles.write_bundle(tmp_path_factory.mktemp("double"), bundles.DOUBLE))
    yield runtime.ready()
    runtime.close()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpRuntime]:
    runtime = HttpRuntime(bundles.write_bundle(tmp_path_factory.mktemp("pair"), PAIR))
    yield runtime.ready()
    runtime.close()


@pytest.fixture(scope="module")
def scripted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpRuntime]:
    folder = tmp_path_factory.mktemp("scripted")
    runtime = HttpRuntime(bundles.write_bundle(folder, bundles.DOUBLE, script=SCRIPT))
    yield runtime.ready()
    runtime.close()


def score(runtime: HttpRuntime, body: bytes, kind: str = "application/json") -> Response:
    headers = MLFLOW | {"content-type": kind}
    return runtime.send(Request("POST", "/invocations", headers, body, "7"))


def invoke(runtime: HttpRuntime, body: bytes, kind: str, accept: str = "", **more: str) -> Response:
    headers = {"content-type": kind} | ({"accept": accept} if accept else {}) | more
    return runtime.send(Request("POST", ENDPOINT, headers, body, "7"))


def test_mlflow_asks_whether_it_may(double: HttpRuntime) -> None:
    for path in ("/ping", "/health", "/version"):
        assert double.send(Request("GET", path, MLFLOW)).status == 200


def test_mlflow_sends_an_array(double: HttpRuntime) -> None:
    response = score(double, b'{"inputs": [[1.0, 2.0], [3.0, 4.0]]}')
    assert json.loads(response.body) == {"predictions": [[2, 4], [6, 8]]}
    assert response.headers["content-type"] == "application/json"


def test_mlflow_sends_data_frames(double: HttpRuntime, pair: HttpRuntime) -> None:
    body = (
        b'{"dataframe_split": {"index": [0, 1], "columns": ["p", "q"],'
        b' "data": [[1.0, 2.0], [3.0, NaN]]}}'
    )
    assert score(double, body).body == b'{"predictions":[{"y":[2.0,4.0]},{"y":[6.0,NaN]}]}'
    body = (
        b'{"dataframe_split": {"index": [0], "columns": ["a", "b"], "data": [[1.0, 3.0]]},'
        b' "params": {"top_k": 3}}'
    )
    assert score(pair, body).body == b'{"predictions":[{"sum":4.0,"less":-2.0}]}'


def test_pandas_sends_csv(double: HttpRuntime, pair: HttpRuntime) -> None:
    response = score(double, b"p,q\n1,2\n3,4\n", "text/csv")
    assert json.loads(response.body) == {"predictions": [{"y": [2, 4]}, {"y": [6, 8]}]}
    response = score(pair, b"a,b\n1.0,3.0\n2.0,\n", "text/csv; charset=utf-8")
    assert response.body == b'{"predictions":[{"sum":4.0,"less":-2.0},{"sum":NaN,"less":NaN}]}'


def test_mlflow_reads_why_not(double: HttpRuntime) -> None:
    response = score(double, b'{"rows": [[1.0, 2.0]]}')
    body = json.loads(response.body)
    assert (response.status, body["error_code"]) == (400, "BAD_REQUEST")
    assert body["message"].endswith("Received dictionary with input fields: 'rows'")
    assert score(double, b"PAR1", "application/vnd.apache.parquet").status == 415


def test_sagemakers_csv_has_no_header(double: HttpRuntime) -> None:
    response = invoke(double, b"1,2\n3,4", "text/csv", "text/csv")
    assert (response.headers["content-type"], response.body) == ("text/csv", b"2.0,4.0\n6.0,8.0\n")
    json_or_csv = invoke(double, b"1,2", "text/csv", "application/json, text/csv")
    assert json.loads(json_or_csv.body) == {"predictions": [[2, 4]]}


def test_sagemakers_numpy_serializer_sends_float64(double: HttpRuntime) -> None:
    stream = io.BytesIO()
    np.save(stream, np.array([[1.0, 2.0]]))
    response = invoke(double, stream.getvalue(), "application/x-npy", "application/x-npy")
    array = np.load(io.BytesIO(response.body))
    assert (array.dtype, array.tolist()) == (np.dtype("f4"), [[2, 4]])


def test_sagemakers_json_lines(double: HttpRuntime, pair: HttpRuntime) -> None:
    kind = "application/jsonlines"
    response = invoke(double, b'[1, 2]\n{"features": [3, 4]}', kind, kind)
    assert response.body == b"[2.0,4.0]\n[6.0,8.0]\n"
    assert (
        invoke(pair, b'{"a": [1], "b": [2]}', kind, kind).body == b'{"sum":[3.0],"less":[-1.0]}\n'
    )


def test_sagemakers_bytes_as_they_are(double: HttpRuntime) -> None:
    body, kind = np.array([[1, 2]], "<f4").tobytes(), "application/octet-stream"
    assert json.loads(invoke(double, body, kind, "*/*").body) == {"predictions": [[2, 4]]}
    assert invoke(double, body, kind, kind).body == np.array([[2, 4]], "<f4").tobytes()


def test_sagemakers_tensorflow_predictor(double: HttpRuntime) -> None:
    kind = "application/json"
    named = {CUSTOM: "tfs-model-name=demo,tfs-model-version=3"}
    for body in (b'{"instances": [[1, 2]]}', b"[[1, 2]]"):
        response = invoke(double, body, kind, kind, **named)
        assert json.loads(response.body) == {"predictions": [[2, 4]]}
    asked = {CUSTOM: "tfs-method=classify,tfs-model-name=demo"}
    response = invoke(double, b'{"examples": [{"x": [1, 2]}]}', kind, kind, **asked)
    assert json.loads(response.body) == {"results": [[["", 2], ["", 4]]]}


def test_custom_attributes_reach_the_script_and_come_back(scripted: HttpRuntime) -> None:
    attributes = {CUSTOM: "trace=1; a=b"}
    response = invoke(scripted, b"1,2", "text/csv", "text/csv", **attributes)
    assert response.headers[CUSTOM.lower()] == "trace=1; a=b"
    assert response.body == b"2.0,4.0\n"
