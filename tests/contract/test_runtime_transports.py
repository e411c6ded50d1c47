"""One contract, two transports: the HTTP server and the Lambda handler answer alike.

Real processes: the server over loopback HTTP, and awslambdaric polling a Lambda Runtime API.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from modelport.envelope import Request, Response

from tests.support import runtime_bundles as bundles
from tests.support.runtime_world import HttpRuntime, LambdaRuntime

Runtime = HttpRuntime | LambdaRuntime
Open = Callable[[str], Runtime]

RAISING = """
def input_fn(data, content_type):
    raise RuntimeError("secret detail of " + content_type)
"""
MODELS: dict[str, tuple[bytes, str | None]] = {
    "sum": (bundles.SUM, None),
    "double": (bundles.DOUBLE, None),
    "text": (bundles.TEXT, None),
    "log": (bundles.LOG, None),
    "match": (bundles.MATCH, None),
    "raising": (bundles.DOUBLE, RAISING),
}
V1 = "/v1/models/demo/versions/3:predict"
V2 = "/v2/models/demo/versions/3/infer"


@pytest.fixture(scope="module", params=[HttpRuntime, LambdaRuntime], ids=["http", "lambda"])
def runtimes(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Open]:
    """Runtimes by model name, started when first asked for."""
    started: dict[str, Runtime] = {}

    def open_(name: str) -> Runtime:
        if name not in started:
            body, script = MODELS[name]
            settings = bundles.write_bundle(tmp_path_factory.mktemp(name), body, script=script)
            started[name] = request.param(settings).ready()
        return started[name]

    yield open_
    for runtime in started.values():
        runtime.close()


def post(runtime: Runtime, path: str, document: Any, **headers: str) -> Response:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    sent = {"content-type": "application/json"} | {
        k.replace("_", "-"): v for k, v in headers.items()
    }
    return runtime.send(Request("POST", path, sent, body, "request-from-test"))


def get(runtime: Runtime, path: str) -> Response:
    return runtime.send(Request("GET", path, {}, b"", "request-from-test"))


def v2(name: str, data: Any, *shape: int, datatype: str = "FP32") -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": list(shape), "data": data}


def error(response: Response) -> str:
    return str(json.loads(response.body)["error"])


def test_v1_rows_and_columns(runtimes: Open) -> None:
    row = {"a:0": [1, 2], "b:0": [0.5, 0.25]}
    rows = post(runtimes("sum"), V1, {"instances": [row]})
    assert rows.status == 200
    assert rows.headers["content-type"] == "application/json"
    assert json.loads(rows.body) == {"predictions": [{"sum:0": [1.5, 2.25], "diff:0": [0.5, 1.75]}]}
    columns = post(runtimes("sum"), V1, {"inputs": {k: [v] for k, v in row.items()}})
    assert json.loads(columns.body) == {
        "outputs": {"sum:0": [[1.5, 2.25]], "diff:0": [[0.5, 1.75]]}
    }


def test_v1_classifies_refuses_to_explain_and_speaks_kserves_dialect(runtimes: Open) -> None:
    double, examples = runtimes("double"), {"context": {}, "examples": [{"x": [0.45, 2]}]}
    answer = post(double, V1.replace(":predict", ":classify"), examples)
    assert (answer.status, answer.body) == (200, b'{"results":[[["",0.9],["",4.0]]]}')
    refused = post(double, V1.replace(":predict", ":regress"), examples)
    assert refused.status == 400
    assert "this version answers :predict, :classify" in error(refused)
    explained = post(double, V1.replace(":predict", ":explain"), {"instances": [[1, 2]]})
    assert (explained.status, explained.headers["x-modelport-error"]) == (501, "not-supported")
    kserve = post(double, f"{V1}?dialect=kserve", {"inputs": [[1, 2]]})
    assert json.loads(kserve.body) == {"predictions": [[2.0, 4.0]]}


def test_v2_with_id_and_a_chosen_output(runtimes: Open) -> None:
    response = post(
        runtimes("sum"),
        V2,
        {
            "id": "42",
            "inputs": [v2("a:0", [[1, 2]], 1, 2), v2("b:0", [3, 4], 1, 2)],
            "outputs": [{"name": "diff:0"}],
        },
    )
    assert json.loads(response.body) == {
        "model_name": "demo",
        "model_version": "3",
        "id": "42",
        "outputs": [v2("diff:0", [-2, -2], 1, 2)],
    }


@pytest.mark.parametrize("path", ["/invocations", "/endpoints/demo/versions/3/invocations"])
def test_sagemaker_json_and_csv(runtimes: Open, path: str) -> None:
    as_json = post(runtimes("double"), path, {"instances": [[1, 2]]})
    assert json.loads(as_json.body) == {"predictions": [[2, 4]]}
    as_csv = post(
        runtimes("double"), path, b"1,2\n3,4\n", content_type="text/csv", accept="text/csv"
    )
    assert as_csv.headers["content-type"] == "text/csv"
    assert as_csv.body == b"2.0,4.0\n6.0,8.0\n"


def test_text_travels_unharmed(runtimes: Open) -> None:
    response = post(runtimes("text"), V1, {"instances": ["größe", {"b64": "w6k="}, 'q"\\\n']})
    assert [row["same"] for row in json.loads(response.body)["predictions"]] == [
        "größe",
        "é",
        'q"\\\n',
    ]


def test_bare_nan_goes_in_and_out_of_v1(runtimes: Open) -> None:
    response = post(runtimes("log"), V1, b'{"instances": [NaN, Infinity, 0, 1]}')
    assert response.body == b'{"predictions":[NaN,Infinity,-Infinity,0.0]}'


def test_nan_in_v2_names_the_output_and_the_way_out(runtimes: Open) -> None:
    response = post(runtimes("log"), V2, {"inputs": [v2("x", [-1], 1)]})
    assert response.status == 400
    assert "output 'log'" in error(response)
    assert "binary_data_output" in error(response)


@pytest.mark.parametrize(
    ("path", "part"),
    [
        ("/v1/models", {"models": ["demo"]}),
        ("/v1/models/demo", {"name": "demo", "ready": True}),
        (
            "/v1/models/demo/versions/3/metadata",
            {"model_spec": {"name": "demo", "signature_name": "", "version": "3"}},
        ),
        ("/v2", {"name": "modelport"}),
        ("/v2/health/live", {"live": True}),
        ("/v2/health/ready", {"ready": True}),
        ("/v2/models/demo", {"name": "demo", "versions": ["3"], "platform": "onnx_onnxv1"}),
        ("/v2/models/demo/versions/3/ready", {"name": "demo", "ready": True}),
        ("/", {"status": "alive"}),
    ],
)
def test_questions_about_the_model(runtimes: Open, path: str, part: dict[str, Any]) -> None:
    response = get(runtimes("double"), path)
    assert response.status == 200
    answer = json.loads(response.body)
    assert {key: answer[key] for key in part} == part


def test_ping_is_200_and_a_blank_line(runtimes: Open) -> None:
    response = get(runtimes("double"), "/ping")
    assert (response.status, response.body) == (200, b"\n")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/models/other", 404, "model-not-found"),
        ("GET", "/v1/models/demo/versions/4", 404, "version-not-found"),
        ("POST", "/v1/models/demo/labels/canary:predict", 400, "alias-not-found"),
        ("POST", "/nowhere", 404, "route-not-found"),
        ("GET", V2, 405, "method-not-allowed"),
        ("POST", V1, 400, "malformed-request"),
    ],
)
def test_errors_have_the_protocols_shape_and_name_the_version(
    runtimes: Open, method: str, path: str, status: int, code: str
) -> None:
    runtime = runtimes("double")
    response = runtime.send(Request(method, path, {}, b"", "request-from-test"))
    assert response.status == status
    assert error(response)
    assert response.headers["x-modelport-error"] == code
    assert response.headers["x-modelport-request-id"] == "request-from-test"
    assert response.headers["x-modelport-model"] == "demo"
    assert response.headers["x-modelport-version"] == "3"
    assert response.headers["x-modelport-digest"].startswith("sha256:")


def test_a_model_that_fails_is_an_answer_with_the_details_in_its_log_only(runtimes: Open) -> None:
    runtime = runtimes("match")
    response = post(runtime, V1, {"inputs": {"a": [1, 2, 3], "b": [1, 2]}})
    assert response.status == 500
    assert response.headers["x-modelport-error"] == "model-failed"
    assert "request-from-test" in error(response)
    assert "broadcast" not in error(response)
    assert "broadcast" in runtime.wait_for("traceback")
    assert post(runtime, V1, {"inputs": {"a": [1], "b": [1]}}).status == 200


def test_a_script_that_raises_is_an_answer_with_the_details_in_its_log_only(runtimes: Open) -> None:
    runtime = runtimes("raising")
    response = post(runtime, "/invocations", b"\x00", content_type="image/png")
    assert response.status == 500
    assert "secret" not in error(response)
    assert "secret detail of image/png" in runtime.wait_for("traceback")
    assert post(runtime, V1, {"instances": [[1, 2]]}).status == 200


def test_one_json_log_line_per_request(runtimes: Open) -> None:
    runtime = runtimes("double")
    body = b'{"instances": [[1, 2]]}'
    sent = Request("POST", V1, {"content-type": "application/json"}, body, "logged-once")
    response = runtime.send(sent)
    runtime.wait_for("logged-once")
    (line,) = [line for line in runtime.request_lines() if line["request_id"] == "logged-once"]
    assert set(line) == {
        "request_id", "model", "version", "protocol", "verb", "status", "duration_ms", "model_ms",
        "cold_start", "bytes_in", "bytes_out",
    }  # fmt: skip
    assert (line["model"], line["version"], line["status"]) == ("demo", 3, 200)
    assert (line["protocol"], line["verb"]) == ("v1", "predict")
    assert (line["bytes_in"], line["bytes_out"]) == (len(body), len(response.body))
    assert line["duration_ms"] >= line["model_ms"] > 0
    colds = [line["cold_start"] for line in runtime.request_lines()]
    assert colds.count(True) <= 1


def test_v1_compares_answers_with_labels(runtimes: Open) -> None:
    path = V1.replace(":predict", ":evaluate")
    sent = {"instances": [[1, 2], [4, 1]], "labels": [1, 1], "task": "classification"}
    told = json.loads(post(runtimes("double"), path, sent).body)
    assert (told["rows"], told["metrics"]["accuracy"]) == (2, 0.5)
    refused = post(runtimes("double"), path, sent | {"labels": [1]})
    assert (refused.status, error(refused)) == (400, "there are 2 instances and 1 labels")
