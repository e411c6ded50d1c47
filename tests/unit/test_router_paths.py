"""Which version answers which path, what it is sent, and what comes back with its answer."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from modelport.envelope import Response

from tests.support.api_events import Event, http_v2, rest_v1
from tests.support.router_world import MODEL, Recorder, World, deployed

PREDICT = f"/v1/models/{MODEL}:predict"
INFER = f"/v2/models/{MODEL}/infer"
INVOCATIONS = f"/endpoints/{MODEL}/invocations"


@pytest.mark.parametrize(
    ("path", "version", "route"),
    [
        (PREDICT, "1", "default"),
        (f"/v1/models/{MODEL}/versions/2:predict", "2", "2"),
        (f"/v1/models/{MODEL}/versions/2%3Apredict", "2", "2"),
        (f"/V1/Models/{MODEL}/labels/canary:predict", "3", "canary"),
        (INFER, "1", "default"),
        (f"/v2/models/{MODEL}/versions/2/infer", "2", "2"),
        (f"/v2/models/{MODEL}/versions/canary/infer", "3", "canary"),
        (INVOCATIONS, "1", "default"),
        (f"/endpoints/{MODEL}/versions/3/invocations", "3", "3"),
        (f"/endpoints/{MODEL}/versions/canary/invocations", "3", "canary"),
    ],
)
def test_the_path_selects_the_version(path: str, version: str, route: str) -> None:
    world = World(deployed(1, 2, 3, stable="1", canary="3"))
    answer = world.post(path)
    assert answer.status == 200
    assert answer.headers["x-modelport-model"] == MODEL
    assert answer.headers["x-modelport-version"] == version
    assert answer.headers["x-modelport-digest"] == f"sha256:{int(version):064x}"
    assert answer.headers["x-modelport-route"] == f"{route};rev=1"
    assert answer.headers["x-modelport-request-id"] == "JKJaXmPLvHcESHA="


def test_without_stable_the_highest_deployed_version_answers() -> None:
    assert World(deployed(1, 10, 2), models={10: Recorder()}).post(PREDICT).status == 200


@pytest.mark.parametrize(("variant", "version"), [("2", "2"), ("canary", "3")])
def test_the_sagemaker_variant_header_selects_too(variant: str, version: str) -> None:
    world = World(deployed(1, 2, 3, stable="1", canary="3"))
    answer = world.post(INVOCATIONS, X_Amzn_SageMaker_Target_Variant=variant)
    assert answer.headers["x-modelport-version"] == version


def test_path_and_variant_header_together_are_refused() -> None:
    path = f"/endpoints/{MODEL}/versions/1/invocations"
    answer = World(deployed(1, 2)).post(path, x_amzn_sagemaker_target_variant="2")
    assert answer.status == 400
    assert "send one of them" in answer.error


def test_the_variant_header_means_nothing_outside_sagemaker() -> None:
    answer = World(deployed(1, 2)).post(PREDICT, x_amzn_sagemaker_target_variant="1")
    assert answer.headers["x-modelport-version"] == "2"


def test_the_model_gets_the_canonical_path_the_same_bytes_and_no_credentials() -> None:
    model = Recorder()
    world = World(deployed(1, stable="1"), models={1: model})
    world.post(
        f"/v1/models/{MODEL}/labels/stable%3Apredict",
        b'{"instances": [NaN,  1e5]}',
        Authorization="AWS4-HMAC-SHA256 secret",
        Cookie="session=secret",
        Accept="application/json",
        X_Amzn_SageMaker_Custom_Attributes="tfs-model-name=m",
        Inference_Header_Content_Length="12",
        x_modelport_key="caller-7",
        x_modelport_version="99",
        x_forwarded_for="192.0.2.1",
    )
    (seen,) = model.requests
    assert (seen.method, seen.path) == ("POST", f"/v1/models/{MODEL}:predict")
    assert seen.body == b'{"instances": [NaN,  1e5]}'
    assert seen.headers == {
        "content-type": "application/json",
        "accept": "application/json",
        "x-amzn-sagemaker-custom-attributes": "tfs-model-name=m",
        "inference-header-content-length": "12",
        "x-modelport-model": MODEL,
        "x-modelport-version": "1",
        "x-modelport-digest": f"sha256:{1:064x}",
        "x-modelport-route": "stable;rev=1",
        "x-modelport-request-id": seen.request_id,
    }


def test_the_models_answer_keeps_status_body_and_content_headers_only() -> None:
    said = Response(
        418,
        {
            "Content-Type": "application/octet-stream",
            "inference-header-content-length": "3",
            "x-modelport-version": "99",
            "x-modelport-error": "invalid-tensor",
            "x-modelport-note": "caf\u00e9",
            "set-cookie": "a=b",
            "connection": "close",
        },
        b"\x00\xff\x80",
    )
    answer = World(deployed(1), models={1: lambda _: said}).post(INFER)
    assert (answer.status, answer.body) == (418, b"\x00\xff\x80")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["inference-header-content-length"] == "3"
    assert answer.headers["x-modelport-version"] == "1"
    assert answer.headers["x-modelport-error"] == "invalid-tensor"
    assert not {"set-cookie", "connection", "x-modelport-note"} & set(answer.headers)


@pytest.mark.parametrize("build", [http_v2, rest_v1])
@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b'{"instances": ["\xc3\xa9"]}'),
        ("application/octet-stream", bytes(range(256))),
        ("application/octet-stream", b""),
    ],
)
def test_bodies_come_through_both_gateways_byte_for_byte(
    build: Callable[..., Event], content_type: str, body: bytes
) -> None:
    event = build("POST", INFER, body, {"Content-Type": content_type})
    answer = World(deployed(1)).send(event)
    assert (answer.status, answer.body) == (200, body)
    assert answer.headers["content-type"] == content_type


def test_v1_status_is_what_tensorflow_serving_and_kserve_say() -> None:
    world = World(deployed(1, 2, stable="1"))
    document = world.get(f"/v1/models/{MODEL}").json()
    assert document["name"] == MODEL
    assert document["ready"] is True
    assert document["model_version_status"] == [
        {
            "version": version,
            "state": "AVAILABLE",
            "status": {"error_code": "OK", "error_message": ""},
        }
        for version in ("2", "1")
    ]
    one = world.get(f"/v1/models/{MODEL}/labels/stable").json()
    assert [entry["version"] for entry in one["model_version_status"]] == ["1"]


def test_v1_metadata_has_the_doubled_signature_def() -> None:
    answer = World(deployed(1, 2)).get(f"/v1/models/{MODEL}/versions/1/metadata")
    document = answer.json()
    assert document["model_spec"] == {"name": MODEL, "signature_name": "", "version": "1"}
    signature = document["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["inputs"] == {
        "bytes": {
            "dtype": "DT_INT32",
            "name": "bytes:0",
            "tensor_shape": {
                "dim": [{"size": "-1", "name": ""}, {"size": "2048", "name": ""}],
                "unknown_rank": False,
            },
        }
    }
    assert signature["outputs"]["scores"]["dtype"] == "DT_FLOAT"
    assert signature["method_name"] == "tensorflow/serving/predict"
    assert answer.headers["x-modelport-version"] == "1"


def test_v2_metadata_lists_the_deployed_versions_as_strings() -> None:
    assert World(deployed(1, 2, 10)).get(f"/v2/models/{MODEL}/versions/2").json() == {
        "name": MODEL,
        "versions": ["1", "2", "10"],
        "platform": "onnx_onnxv1",
        "inputs": [{"name": "bytes", "datatype": "INT32", "shape": [-1, 2048]}],
        "outputs": [{"name": "scores", "datatype": "FP32", "shape": [-1, 214]}],
    }


def test_questions_about_a_model_do_not_wake_it() -> None:
    model = Recorder()
    world = World(deployed(1), models={1: model})
    for path in ("v1/models/M", "v1/models/M/metadata", "v2/models/M", "v2/models/M/ready"):
        answer = world.get("/" + path.replace("M", MODEL))
        assert answer.status == 200
        assert answer.headers["x-modelport-version"] == "1"
    assert model.requests == []


def test_server_questions_have_answers() -> None:
    world = World(deployed(1), deployed(1, model="other"))
    for _ in range(2):
        assert world.get("/v1/models").json() == {"models": [MODEL, "other"]}
    assert world.registry.listings == 1
    assert world.get("/v2").json()["name"] == "modelport"
    assert world.get("/v2/health/live").json() == {"live": True}
    assert world.get("/v2/health/ready").json() == {"ready": True, "live": True}
    assert world.get(f"/v2/models/{MODEL}/ready").json() == {"name": MODEL, "ready": True}
    assert world.get("/ping").status == 200


def test_head_is_get_without_its_body() -> None:
    answer = World(deployed(1)).send(http_v2("HEAD", f"/v2/models/{MODEL}"))
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["x-modelport-version"] == "1"


def test_every_request_is_one_line_with_the_same_keys_and_no_payload() -> None:
    world = World(deployed(1, 2, stable="1:50,2:50"))
    world.post(f"/v1/models/{MODEL}/labels/stable:predict", b'{"instances":["secret"]}')
    world.get("/nowhere")
    first, second = world.lines
    keys = list(second)
    assert list(first)[: len(keys)] == keys == [
        "request_id",
        "environment",
        "model",
        "version",
        "answered_by",
        "fallback_reason",
        "alias",
        "target",
        "protocol",
        "verb",
        "status",
        "duration_ms",
        "backend_ms",
        "cold_start",
        "bytes_in",
        "bytes_out",
        "route_revision",
        "error",
    ]  # fmt: skip
    assert first["model"] == MODEL
    assert first["alias"] == "stable"
    assert (first["status"], first["error"], first["cold_start"]) == (200, None, True)
    assert (first["bytes_in"], first["bytes_out"], first["route_revision"]) == (24, 24, 1)
    assert (second["status"], second["error"]) == (404, "route-not-found")
    assert second["cold_start"] is False
    assert "secret" not in json.dumps(world.records)
