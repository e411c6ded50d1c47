"""What crosses the router in every protocol: queries, binary bodies, codings, attributes."""

from __future__ import annotations

import base64
import gzip
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from modelport.envelope import Request, Response
from modelport.sagemaker_envelope import HEADER

from tests.support import runtime_bundles as bundles
from tests.support.api_events import Event, http_v2, rest_v1
from tests.support.router_world import MODEL, Recorder, World, deployed
from tests.support.runtime_planes import open_plane
from tests.support.version_behind import behind

INFER = f"/v2/models/{MODEL}/infer"
BINARY = bytes(range(256))
GATEWAYS = pytest.mark.parametrize("build", [http_v2, rest_v1])
TARGETS = pytest.mark.parametrize("target", ["lambda", "sagemaker"])

Build = Callable[..., Event]


def real(tmp_path: Path, target: str) -> World:
    """A router whose one version is a real data plane, carried as ``target`` carries it."""
    plane = open_plane(tmp_path, bundles.DOUBLE).plane
    return World(deployed(3, model="demo", target=target), backends=behind(target, plane.handle))


@TARGETS
@GATEWAYS
def test_the_query_reaches_the_version(tmp_path: Path, target: str, build: Build) -> None:
    world = real(tmp_path, target)

    def predict(query: str) -> Any:
        body = b'{"inputs":[[1,2]]}'
        path = f"/v1/models/demo:predict{query}"
        return world.send(build("POST", path, body, {"content-type": "application/json"}))

    assert predict("").json() == {"outputs": [[2.0, 4.0]]}
    assert predict("?dialect=kserve").json() == {"predictions": [[2.0, 4.0]]}
    assert predict("?x=%20y&dialect=k%73erve").json() == {"predictions": [[2.0, 4.0]]}
    refused = predict("?dialect=seldon")
    assert refused.status == 400
    assert "allowed: kserve, tfs" in refused.error


@TARGETS
def test_a_query_of_odd_characters_breaks_nothing(tmp_path: Path, target: str) -> None:
    event = http_v2("POST", "/v1/models/demo:predict?note=café \x7f", b'{"inputs":[[1,2]]}')
    event["headers"]["content-type"] = "application/json"
    assert real(tmp_path, target).send(event).status == 200


@TARGETS
def test_v1_through_the_router_classifies_and_refuses_in_its_words(
    tmp_path: Path, target: str
) -> None:
    world = real(tmp_path, target)
    answer = world.post("/v1/models/demo:classify", b'{"examples":[{"x":[1,2]}]}')
    assert answer.json() == {"results": [[["", 2.0], ["", 4.0]]]}
    refused = world.post("/v1/models/demo:regress", b'{"examples":[{"x":[1,2]}]}')
    assert refused.status == 400
    assert refused.error.startswith("Expected regression signature method_name")


@TARGETS
def test_custom_attributes_go_to_the_version_and_its_own_come_back(target: str) -> None:
    seen: list[Request] = []

    def model(request: Request) -> Response:
        seen.append(request)
        headers = {"content-type": "text/plain", HEADER: "mlflow-note=back"}
        return Response(200, headers | {"set-cookie": "a=b", "server": "model"}, b"ok")

    world = World(deployed(1, target=target), backends=behind(target, model))
    path = f"/endpoints/{MODEL}/invocations"
    answer = world.post(
        path,
        b"{}",
        X_Amzn_SageMaker_Custom_Attributes="tfs-model-name=m,tfs-method=classify",
        Authorization="secret",
        Cookie="secret",
    )
    assert (answer.status, answer.body) == (200, b"ok")
    assert answer.headers[HEADER] == "mlflow-note=back"
    assert seen[0].headers[HEADER] == "tfs-model-name=m,tfs-method=classify"
    assert "secret" not in str(seen[0].headers)
    assert not {"set-cookie", "server"} & set(answer.headers)


def test_attributes_too_long_to_go_beside_ours_are_refused_not_dropped() -> None:
    world = World(
        deployed(1, target="sagemaker"), backends=behind("sagemaker", lambda _: Response(200))
    )
    answer = world.post(
        f"/endpoints/{MODEL}/invocations", b"{}", X_Amzn_SageMaker_Custom_Attributes="a" * 1000
    )
    assert answer.status == 413
    assert "1,024" in answer.error
    assert "custom attributes" in answer.error
    assert answer.json()["error_code"] == "BAD_REQUEST"


ANSWERS = [
    ({"content-type": "application/octet-stream", "inference-header-content-length": "9"}, BINARY),
    ({"content-type": "application/vnd.sagemaker-triton.binary+json;json-header-size=9"}, BINARY),
    ({"content-type": "application/x-npy"}, b"\x93NUMPY\x01\x00" + BINARY),
    ({"content-type": "application/json", "content-encoding": "gzip"}, gzip.compress(b"{}")),
    ({"content-type": "application/json", "content-encoding": "deflate"}, zlib.compress(b"{}")),
    ({"content-type": "application/json", "inference-header-content-length": "2"}, b"{}" + BINARY),
    ({}, BINARY),
]


@GATEWAYS
@pytest.mark.parametrize(("headers", "body"), ANSWERS)
def test_a_binary_answer_leaves_byte_for_byte_whatever_its_type(
    build: Build, headers: dict[str, str], body: bytes
) -> None:
    world = World(deployed(1), models={1: lambda _: Response(200, dict(headers), body)})
    event = build("POST", INFER, b"{}", {"content-type": "application/json"})
    raw = world.raw(event)
    assert raw["isBase64Encoded"] is True
    assert base64.b64decode(raw["body"]) == body
    assert {name: raw["headers"][name] for name in headers} == headers
    assert raw["headers"]["content-length"] == str(len(body))


@GATEWAYS
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-type": "application/json"},
        {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": "4"},
        {"content-type": "application/json", "Content-Encoding": "gzip", "Accept-Encoding": "gzip"},
    ],
)
def test_a_body_in_base64_reaches_the_version_with_what_is_needed_to_read_it(
    build: Build, headers: dict[str, str]
) -> None:
    model = Recorder()
    event = build("POST", INFER, b"x", headers)
    event |= {"body": base64.b64encode(BINARY).decode(), "isBase64Encoded": True}
    assert World(deployed(1), models={1: model}).send(event).status == 200
    (seen,) = model.requests
    assert seen.body == BINARY
    assert seen.headers.items() >= {name.lower(): value for name, value in headers.items()}.items()


@GATEWAYS
@pytest.mark.parametrize("absent", [None, ""])
def test_a_body_that_is_not_there_or_plain_text_is_read(build: Build, absent: str | None) -> None:
    model = Recorder()
    world = World(deployed(1), models={1: model})
    event = build("POST", INFER) | {"body": absent, "isBase64Encoded": False}
    assert world.send(event).status == 200
    assert world.send(event | {"body": '{"é":1}'}).status == 200
    assert [request.body for request in model.requests] == [b"", '{"é":1}'.encode()]


@TARGETS
@GATEWAYS
def test_raw_tensors_cross_both_gateways_and_both_homes(
    tmp_path: Path, target: str, build: Build
) -> None:
    head = json.dumps(
        {
            "inputs": [
                {
                    "name": "x",
                    "shape": [1, 2],
                    "datatype": "FP32",
                    "parameters": {"binary_data_size": 8},
                }
            ],
            "parameters": {"binary_data_output": True},
        }
    ).encode()
    body = head + b"\x00\x00\x80\x3f\x00\x00\xc0\x7f"  # 1.0 and NaN: not UTF-8
    sent = {"inference-header-content-length": str(len(head))}
    event = build("POST", "/v2/models/demo/infer", body, sent)
    answer = real(tmp_path, target).send(event)
    assert answer.status == 200, answer.body
    size = int(answer.headers["inference-header-content-length"])
    assert json.loads(answer.body[:size])["outputs"][0]["name"] == "y"
    assert answer.body[size:] == b"\x00\x00\x00\x40\x00\x00\xc0\x7f"
