"""Requests as real clients send them, byte for byte, recorded from tritonclient[http] 2.73."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from modelport.envelope import Request, Response
from onnx import TensorProto

from tests.support import runtime_bundles as bundles
from tests.support.runtime_world import HttpRuntime, LambdaRuntime

# tritonclient sends no content type at all, and asks for binary outputs unless it lists them.
TRITON = {"user-agent": "python/gevent-http-client-2.6.1"}
PAIR = (
    b'"inputs":[{"name":"a:0","shape":[1,2],"datatype":"FP32","data":[1.0,2.0]},'
    b'{"name":"b:0","shape":[1,2],"datatype":"FP32","data":[3.0,4.0]}]'
)
LATEST, PINNED = "/v2/models/demo/infer", "/v2/models/demo/versions/3/infer"


Runtime = HttpRuntime | LambdaRuntime
LENGTH = "inference-header-content-length"


@pytest.fixture(scope="module", params=[HttpRuntime, LambdaRuntime], ids=["http", "lambda"])
def open_(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[bytes], Runtime]]:
    """Runtimes by model, started when first asked for."""
    started: dict[bytes, Runtime] = {}

    def open_model(model: bytes) -> Runtime:
        if model not in started:
            settings = bundles.write_bundle(tmp_path_factory.mktemp("model"), model)
            started[model] = request.param(settings).ready()
        return started[model]

    yield open_model
    for runtime in started.values():
        runtime.close()


Open = Callable[[bytes], Runtime]


def send(runtime: Runtime, path: str, body: bytes, **headers: str) -> Response:
    sent = {name.replace("_", "-"): text for name, text in headers.items()}
    return runtime.send(Request("POST", path, TRITON | sent, body, "7"))


def send_raw(runtime: Runtime, recorded: tuple[bytes, int], **headers: str) -> Response:
    """What tritonclient's generate_request_body gave: a body and how much of it is JSON."""
    body, size = recorded
    return send(runtime, LATEST, body, **{LENGTH: str(size)}, **headers)


def cut(response: Response) -> tuple[dict[str, Any], bytes]:
    assert response.status == 200, response.body
    size = int(response.headers[LENGTH])
    return json.loads(response.body[:size]), response.body[size:]


def test_infer_without_outputs_gets_all_of_them_in_binary(open_: Open) -> None:
    body = b"{" + PAIR + b',"parameters":{"binary_data_output":true}}'
    answer, tail = cut(send(open_(bundles.SUM), LATEST, body))
    assert [output["name"] for output in answer["outputs"]] == ["sum:0", "diff:0"]
    assert np.frombuffer(tail, np.float32).tolist() == [4, 6, -2, -2]


def test_infer_with_an_id_and_a_json_output(open_: Open) -> None:
    outputs = b',"outputs":[{"name":"sum:0","parameters":{"binary_data":false}}]}'
    response = send(open_(bundles.SUM), PINNED, b'{"id":"7",' + PAIR + outputs)
    answer = json.loads(response.body)
    assert answer["id"] == "7"
    assert answer["outputs"] == [
        {"name": "sum:0", "shape": [1, 2], "datatype": "FP32", "data": [4.0, 6.0]}
    ]


def test_bare_nan_goes_in_as_json_and_out_in_binary(open_: Open) -> None:
    body = (
        b'{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","data":[NaN]}],'
        b'"parameters":{"binary_data_output":true}}'
    )
    _, tail = cut(send(open_(bundles.LOG), LATEST, body))
    assert np.isnan(np.frombuffer(tail, np.float32)).all()


MIXED = (
    b'{"inputs":[{"name":"a:0","shape":[1,2],"datatype":"FP32","parameters":{"binary_data_size":8}'
    b'},{"name":"b:0","shape":[1,2],"datatype":"FP32","data":[1.0,2.0]}],"outputs":[{"name":"sum:0'
    b'","parameters":{"binary_data":true}},{"name":"diff:0","parameters":{"binary_data":false}}]}'
    b"\x00\x00\x80?\x00\x00\x00@",
    275,
)
TEXTS = (
    b'{"inputs":[{"name":"text","shape":[2],"datatype":"BYTES","parameters":{"binary_data_size":10'
    b'}}],"parameters":{"binary_data_output":true}}\x02\x00\x00\x00\xc3\xa9\x00\x00\x00\x00',
    137,
)
CLASSES = (
    b'{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","parameters":{"binary_data_size":8}}]'
    b',"outputs":[{"name":"y","parameters":{"classification":2,"binary_data":true}}]}'
    b"\x00\x00\x80?\x00\x00\x00@",
    171,
)
EMPTY = (
    b'{"inputs":[{"name":"x","shape":[0,2],"datatype":"FP32","parameters":{"binary_data_size":0}}]'
    b',"parameters":{"binary_data_output":true}}',
    134,
)
BRAIN = (
    b'{"inputs":[{"name":"x","shape":[1],"datatype":"BF16","parameters":{"binary_data_size":2}}],"'
    b'parameters":{"binary_data_output":true}}\xc0?',
    132,
)
SCALAR = (
    b'{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","parameters":{"binary_data_size":8}},'
    b'{"name":"factor","shape":[],"datatype":"FP32","parameters":{"binary_data_size":4}}],"paramet'
    b'ers":{"binary_data_output":true}}\x00\x00\x80?\x00\x00\x00@\x00\x00@@',
    217,
)
BF16_IDENTITY = bundles.model(
    [bundles.node("Identity", ["x"], ["y"])],
    [("x", TensorProto.BFLOAT16, ["N"])],
    [("y", TensorProto.BFLOAT16, ["N"])],
)


def test_raw_and_json_tensors_mixed_both_ways(open_: Open) -> None:
    answer, tail = cut(send_raw(open_(bundles.SUM), MIXED))
    assert np.frombuffer(tail, np.float32).tolist() == [2, 4]
    assert answer["outputs"][1]["data"] == [0.0, 0.0]


@pytest.mark.parametrize(
    ("model", "recorded", "tail"),
    [
        (bundles.TEXT, TEXTS, b"\x02\x00\x00\x00\xc3\xa9\x00\x00\x00\x00" * 2),
        (bundles.DOUBLE, CLASSES, b"\x0a\0\0\x004.000000:1\x0a\0\0\x002.000000:0"),
        (bundles.DOUBLE, EMPTY, b""),
        (BF16_IDENTITY, BRAIN, b"\xc0?"),
        (bundles.SCALE, SCALAR, b"\x00\x00@@\x00\x00\xc0@"),
    ],
    ids=["text", "classes", "empty", "bf16", "scalar"],
)
def test_raw_tensors_of_every_kind(
    open_: Open, model: bytes, recorded: tuple[bytes, int], tail: bytes
) -> None:
    assert cut(send_raw(open_(model), recorded))[1] == tail


def test_the_aio_client_calls_raw_tensors_json(open_: Open) -> None:
    response = send_raw(open_(bundles.SUM), MIXED, content_type="application/json")
    assert cut(response)[1] == b"\x00\x00\x00@\x00\x00\x80@"


@pytest.mark.parametrize(
    ("coding", "squeeze", "undo"),
    [("gzip", gzip.compress, gzip.decompress), ("deflate", zlib.compress, zlib.decompress)],
)
def test_compressed_both_ways_with_the_length_of_the_json_as_it_was(
    open_: Open,
    coding: str,
    squeeze: Callable[[bytes], bytes],
    undo: Callable[[bytes], bytes],
) -> None:
    body, size = MIXED
    runtime = open_(bundles.SUM)
    headers = {"content_encoding": coding, "accept_encoding": coding}
    response = send_raw(runtime, (squeeze(body), size), **headers)
    assert response.headers["content-encoding"] == coding
    plain = send_raw(runtime, MIXED)
    assert undo(response.body) == plain.body
    assert response.headers[LENGTH] == plain.headers[LENGTH]


def test_a_body_that_is_not_what_it_says_is_refused_in_words(open_: Open) -> None:
    response = send(open_(bundles.LOG), LATEST, b"\x1f\x8b", content_encoding="gzip")
    assert response.status == 400
    assert "ends too early" in json.loads(response.body)["error"]


def test_statistics_and_the_repository_answer(open_: Open) -> None:
    runtime = open_(bundles.NEGATE)
    assert send(runtime, "/v2/repository/index", b"").status == 200
    before = statistics_of(runtime)["inference_count"]
    body = b'{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[1,2]}]}'
    assert send(runtime, LATEST, body).status == 200
    assert statistics_of(runtime)["inference_count"] == before + 1
    refused = send(runtime, "/v2/repository/models/demo/unload", b"{}")
    assert (refused.status, "modelport undeploy" in str(refused.body)) == (501, True)


def statistics_of(runtime: Runtime) -> dict[str, Any]:
    answer = runtime.send(Request("GET", "/v2/models/stats", TRITON))
    (entry,) = json.loads(answer.body)["model_stats"]
    return dict(entry)


def test_kserve_asks_the_root_path_for_life(open_: Open) -> None:
    assert json.loads(open_(bundles.SUM).send(Request("GET", "/")).body) == {"status": "alive"}
