"""Requests as real clients send them, byte for byte, recorded from tritonclient[http] 2.73."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from modelport.envelope import Request, Response

from tests.support import runtime_bundles as bundles
from tests.support.runtime_world import HttpRuntime

# tritonclient sends no content type at all, and asks for binary outputs unless it lists them.
TRITON = {"user-agent": "python/gevent-http-client-2.6.1"}
PAIR = (
    b'"inputs":[{"name":"a:0","shape":[1,2],"datatype":"FP32","data":[1.0,2.0]},'
    b'{"name":"b:0","shape":[1,2],"datatype":"FP32","data":[3.0,4.0]}]'
)
LATEST, PINNED = "/v2/models/demo/infer", "/v2/models/demo/versions/3/infer"


@pytest.fixture(scope="module")
def summing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpRuntime]:
    runtime = HttpRuntime(bundles.write_bundle(tmp_path_factory.mktemp("sum"), bundles.SUM))
    yield runtime.ready()
    runtime.close()


@pytest.fixture(scope="module")
def logarithm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpRuntime]:
    runtime = HttpRuntime(bundles.write_bundle(tmp_path_factory.mktemp("log"), bundles.LOG))
    yield runtime.ready()
    runtime.close()


def send(runtime: HttpRuntime, path: str, body: bytes, **headers: str) -> Response:
    return runtime.send(Request("POST", path, TRITON | headers, body, "7"))


def test_infer_without_outputs_gets_all_of_them_as_json(summing: HttpRuntime) -> None:
    body = b"{" + PAIR + b',"parameters":{"binary_data_output":true}}'
    response = send(summing, LATEST, body)
    assert response.status == 200
    assert "inference-header-content-length" not in response.headers
    assert [output["name"] for output in json.loads(response.body)["outputs"]] == [
        "sum:0",
        "diff:0",
    ]


def test_infer_with_an_id_and_a_json_output(summing: HttpRuntime) -> None:
    outputs = b',"outputs":[{"name":"sum:0","parameters":{"binary_data":false}}]}'
    response = send(summing, PINNED, b'{"id":"7",' + PAIR + outputs)
    answer = json.loads(response.body)
    assert answer["id"] == "7"
    assert answer["outputs"] == [
        {"name": "sum:0", "shape": [1, 2], "datatype": "FP32", "data": [4.0, 6.0]}
    ]


def test_bare_nan_in_an_infer_request_is_read(logarithm: HttpRuntime) -> None:
    body = (
        b'{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","data":[NaN]}],'
        b'"parameters":{"binary_data_output":true}}'
    )
    response = send(logarithm, LATEST, body)
    assert response.status == 400
    assert "output 'log' cannot be encoded" in json.loads(response.body)["error"]


def test_binary_tensors_are_refused_in_words_not_misread(logarithm: HttpRuntime) -> None:
    head = (
        b'{"inputs":[{"name":"x","shape":[1],"datatype":"FP32",'
        b'"parameters":{"binary_data_size":4}}],"parameters":{"binary_data_output":true}}'
    )
    length = {"Inference-Header-Content-Length": str(len(head))}
    response = send(logarithm, LATEST, head + b"\x00\x00\x80?", **length)
    assert response.status == 400
    assert "binary tensor data" in json.loads(response.body)["error"]


def test_a_compressed_body_is_refused_in_words(logarithm: HttpRuntime) -> None:
    response = send(logarithm, LATEST, b"\x1f\x8b", **{"content-encoding": "gzip"})
    assert response.status == 415
    assert "gzip" in json.loads(response.body)["error"]


def test_kserve_asks_the_root_path_for_life(summing: HttpRuntime) -> None:
    assert json.loads(summing.send(Request("GET", "/")).body) == {"status": "alive"}
