"""The Python client against an API that fails, is silent, cuts and lies; sync and async alike."""

from __future__ import annotations

import asyncio
import gzip
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import modelport.client as mp
import numpy as np
import pytest

from tests.support.faulty_api import (
    METADATA,
    FaultyApi,
    answering,
    cut,
    hanging_up,
    inferring,
    refusing,
)

X = np.array([[1, 2]], np.float32)
GOOD = inferring(X)
EAGER = mp.Retries(first_pause_s=0.001)
Serve = Callable[..., FaultyApi]
Predict = Callable[..., mp.Outputs]


@pytest.fixture
def serve() -> Iterator[Serve]:
    with ExitStack() as stack:
        yield lambda *script: stack.enter_context(FaultyApi(list(script)).serving())


def _sync(url: str, inputs: Any, **options: Any) -> mp.Outputs:
    call = {k: options.pop(k) for k in ("outputs", "key", "request_id") if k in options}
    with mp.Client(url, **{"retries": EAGER, **options}) as client:
        return client.model("demo").predict(inputs, **call)


def _async(url: str, inputs: Any, **options: Any) -> mp.Outputs:
    async def run() -> mp.Outputs:
        call = {k: options.pop(k) for k in ("outputs", "key", "request_id") if k in options}
        async with mp.AsyncClient(url, **{"retries": EAGER, **options}) as client:
            return await client.model("demo").predict(inputs, **call)

    return asyncio.run(run())


@pytest.fixture(params=[_sync, _async], ids=["sync", "async"])
def predict(request: pytest.FixtureRequest) -> Predict:
    found: Predict = request.param
    return found


def test_an_answer_names_who_gave_it(serve: Serve, predict: Predict) -> None:
    api = serve(GOOD)
    outputs = predict(api.url, {"x": X}, key="me", request_id="mine", outputs=["y"])
    assert list(outputs) == ["y"]
    np.testing.assert_array_equal(outputs["y"], X)
    assert outputs["y"].flags.writeable
    assert outputs.answered_by == mp.AnsweredBy("demo", "3", "sha256:ab", "stable;rev=7", "r-7")
    assert (outputs.attempts, outputs.datatypes) == (1, {"y": "FP32"})
    (asked,) = api.asked
    assert (asked.method, asked.path) == ("POST", "/v2/models/demo/infer")
    assert asked.headers["x-modelport-key"] == "me"
    assert asked.headers["content-type"] == "application/octet-stream"
    length = int(asked.headers["inference-header-content-length"])
    assert b'"id":"mine"' in asked.body[:length]
    assert b'"outputs":[{"name":"y"}]' in asked.body[:length]
    assert asked.body[length:] == X.tobytes()


@pytest.mark.parametrize(
    "fault",
    [hanging_up, cut, *(refusing(status, "no") for status in (429, 502, 503, 504))],
    ids=["hangs-up", "cut", "429", "502", "503", "504"],
)
def test_what_passes_is_tried_again(serve: Serve, predict: Predict, fault: Any) -> None:
    api = serve(fault, GOOD)
    assert predict(api.url, {"x": X}).attempts == 2
    assert len(api.asked) == 2


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, mp.CallRefusedError),
        (401, mp.CallerDeniedError),
        (403, mp.CallerDeniedError),
        (404, mp.NothingThereError),
        (409, mp.StateForbidsError),
        (413, mp.CallRefusedError),
        (500, mp.ServerFailedError),
        (501, mp.CallRefusedError),
    ],
)
def test_what_stays_is_raised_at_once(
    serve: Serve, predict: Predict, status: int, kind: type[mp.AnswerError]
) -> None:
    api = serve(refusing(status, "because", {"x-modelport-version": "3"}))
    with pytest.raises(kind) as caught:
        predict(api.url, {"x": X})
    error = caught.value
    assert error.message == f"the API answered {status}: because (request r-1)"
    assert (error.status, error.remote_code, error.version) == (status, "some-code", "3")
    assert len(api.asked) == 1


def test_tries_end(serve: Serve, predict: Predict) -> None:
    api = serve(refusing(503, "not ready"))
    with pytest.raises(mp.TooBusyError):
        predict(api.url, {"x": X})
    assert len(api.asked) == EAGER.attempts


def test_a_gateway_timeout_is_tried_again_once_only(serve: Serve, predict: Predict) -> None:
    api = serve(refusing(504, "too slow"))
    with pytest.raises(mp.ServerFailedError):
        predict(api.url, {"x": X})
    assert len(api.asked) == 2


def test_a_long_retry_after_is_the_callers_to_wait_for(serve: Serve, predict: Predict) -> None:
    api = serve(refusing(429, "later", {"retry-after": "3600"}))
    with pytest.raises(mp.TooBusyError) as caught:
        predict(api.url, {"x": X})
    assert caught.value.retry_after_s == 3600
    assert len(api.asked) == 1


def test_a_retry_after_beyond_the_deadline_is_not_waited_for(
    serve: Serve, predict: Predict
) -> None:
    api = serve(refusing(503, "later", {"retry-after": "20"}))
    with pytest.raises(mp.TooBusyError):
        predict(api.url, {"x": X}, timeout=5)
    assert len(api.asked) == 1


def test_clients_of_a_server_in_trouble_run_out_of_repeats(serve: Serve) -> None:
    api = serve(refusing(503, "down"))
    with mp.Client(api.url, retries=EAGER) as client:
        for _ in range(10):
            with pytest.raises(mp.TooBusyError):
                client.model("demo").predict({"x": X})
    assert len(api.asked) == 20  # ten calls, and the ten repeats of the budget


@pytest.mark.parametrize("fault", ["silent", "dripping"])
def test_the_deadline_ends_waiting(serve: Serve, predict: Predict, fault: str) -> None:
    api = FaultyApi([])
    api.script = [getattr(api, fault)]
    with api.serving(), pytest.raises(mp.DeadlineError, match=r"within 0\.[23]\d* s \(1 attempt\)"):
        predict(api.url, {"x": X}, timeout=0.3)


def test_nobody_there_is_unavailable(predict: Predict) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(mp.EndpointUnavailableError):
        predict(f"http://127.0.0.1:{port}", {"x": X})


HEAD = (
    b'{"outputs":[{"name":"y","shape":[1],"datatype":"FP32","parameters":{"binary_data_size":4}}]}'
)
LIES = {
    "html": answering(200, b"<html>"),
    "no-outputs": answering(200, b'{"predictions": []}'),
    "outputs-no-list": answering(200, b'{"outputs": 7}'),
    "deep": answering(200, b"[" * 100_000),
    "more-than-there": inferring(X, parameters={"binary_data_size": 4000}),
    "less-than-there": inferring(X, parameters={"binary_data_size": 4}),
    "negative-size": inferring(X, parameters={"binary_data_size": -8}),
    "size-is-text": inferring(X, parameters={"binary_data_size": "8"}),
    "parameters-no-object": inferring(X, parameters=[1]),
    "huge-shape": inferring(X, shape=[2**62, 2**62]),
    "negative-shape": inferring(X, shape=[-1, 2]),
    "shape-no-list": inferring(X, shape="2"),
    "no-name": inferring(X, name=None),
    "unknown-datatype": inferring(X, datatype="FP8"),
    "header-longer-than-body": answering(200, HEAD, {"inference-header-content-length": "9999"}),
    "header-negative": answering(200, HEAD, {"inference-header-content-length": "-1"}),
    "header-in-the-middle": answering(200, HEAD, {"inference-header-content-length": "10"}),
    "rest-after-outputs": answering(
        200, HEAD + b"\0" * 9, {"inference-header-content-length": str(len(HEAD))}
    ),
    "broken-gzip": answering(200, b"nope", {"content-encoding": "gzip"}),
    "redirect": answering(307, b"", {"location": "http://elsewhere/"}),
    "json-data-of-another-size": answering(
        200, b'{"outputs":[{"name":"y","shape":[3],"datatype":"FP32","data":[1]}]}'
    ),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_a_lie_is_told_as_one(serve: Serve, predict: Predict, lie: Any) -> None:
    api = serve(lie)
    with pytest.raises(mp.UnreadableAnswerError, match="cannot be used"):
        predict(api.url, {"x": X})
    assert len(api.asked) == 1


def test_answers_may_be_so_large_and_no_larger(serve: Serve, predict: Predict) -> None:
    bomb = gzip.compress(bytes(5_000_000))
    for line in (
        answering(200, bytes(100_001)),
        answering(200, bomb, {"content-encoding": "gzip"}),
    ):
        api = serve(line)
        with pytest.raises(mp.UnreadableAnswerError, match="larger than 100,000 bytes"):
            predict(api.url, {"x": X}, max_answer_bytes=100_000)


def test_a_server_that_only_knows_json_is_understood(serve: Serve, predict: Predict) -> None:
    api = serve(
        answering(200, b'{"outputs":[{"name":"y","shape":[1,2],"datatype":"INT64","data":[3,4]}]}')
    )
    y = predict(api.url, {"x": X})["y"]
    assert (y.dtype, y.tolist()) == (np.int64, [[3, 4]])


def test_a_header_length_in_the_content_type_is_understood(serve: Serve, predict: Predict) -> None:
    kind = f"application/vnd.sagemaker-triton.binary+json;json-header-size={len(HEAD)}"
    api = serve(answering(200, HEAD + np.float32(7).tobytes(), {"content-type": kind}))
    assert predict(api.url, {"x": X})["y"].tolist() == [7]


def test_arrays_need_no_metadata_and_lists_need_it_once(serve: Serve) -> None:
    api = serve(GOOD, METADATA, GOOD)
    with mp.Client(api.url) as client:
        model = client.model("demo:3")
        for inputs in ({"x": X}, {"x": [[1, 2]]}, [[1, 2]], {"x": [[1, 2.5]]}):
            model.predict(inputs)
    assert [asked.method for asked in api.asked] == ["POST", "GET", "POST", "POST", "POST"]
    assert api.asked[1].path == "/v2/models/demo/versions/3"
    assert b'"datatype":"FP32"' in api.asked[2].body
    assert len({asked.client for asked in api.asked}) == 1  # one connection for all of them


def test_a_signature_that_was_wrong_is_asked_for_again(serve: Serve) -> None:
    api = serve(METADATA, refusing(400, "expected INT64"), METADATA, GOOD)
    with mp.Client(api.url) as client:
        model = client.model("demo")
        with pytest.raises(mp.CallRefusedError):
            model.predict({"x": [[1, 2]]})
        model.predict({"x": [[1, 2]]})
    assert [asked.method for asked in api.asked] == ["GET", "POST", "GET", "POST"]


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({"x": [[1, 2], [3]]}, "ragged"),
        ({"x": [["a", "b"]]}, "not numbers"),
        ({"x": [[1e300, 1]]}, "out of its range"),
        ({"z": [[1, 2]]}, "it has x"),
        ({"x": np.zeros(2, np.complex64)}, "complex64"),
        ({"x": np.array([object()])}, "object among text"),
    ],
)
def test_what_cannot_be_sent_is_not(serve: Serve, predict: Predict, inputs: Any, said: str) -> None:
    api = serve(METADATA)
    with pytest.raises(mp.InvalidValueError, match=said):
        predict(api.url, inputs)
    assert all(asked.method == "GET" for asked in api.asked)


def test_metadata_that_is_none_is_told(serve: Serve, predict: Predict) -> None:
    api = serve(answering(200, b'{"inputs": [{"name": 3}], "outputs": []}'))
    with pytest.raises(mp.UnreadableAnswerError, match="no metadata"):
        predict(api.url, {"x": [1]})


def test_bodies_can_be_compressed(serve: Serve, predict: Predict) -> None:
    api = serve(GOOD)
    predict(api.url, {"x": np.zeros((1000, 2), np.float32)}, compression="gzip")
    predict(api.url, {"x": X}, compression="gzip")
    large, small = api.asked
    assert large.headers["content-encoding"] == "gzip"
    body = gzip.decompress(large.body)
    assert len(body) == int(large.headers["inference-header-content-length"]) + 8000
    assert "content-encoding" not in small.headers
    assert large.headers["accept-encoding"] == "gzip"


def test_bodies_go_as_they_are_to_invocations(serve: Serve) -> None:
    api = serve(answering(200, b'{"label": "pdf"}', {"content-type": "application/json"}))
    with mp.Client(api.url + "/stage/") as client:
        reply = client.model("demo@canary").invoke(b"%PDF", "application/pdf", accept="text/csv")
    assert reply.json() == {"label": "pdf"}
    (asked,) = api.asked
    assert asked.path == "/stage/endpoints/demo/versions/canary/invocations"
    assert (asked.body, asked.headers["content-type"]) == (b"%PDF", "application/pdf")
    assert asked.headers["accept"] == "text/csv"


def test_readiness_is_a_yes_or_no(serve: Serve) -> None:
    api = serve(answering(200), refusing(404, "none"))
    with mp.Client(api.url, retries=EAGER) as client:
        assert client.model("demo").ready()
        assert not client.model("demo").ready()


@pytest.mark.parametrize(
    "endpoint", ["ftp://x", "not a url", "http://[::1", "http://u:p@x", "http://x?q", "http://x:y"]
)
def test_an_endpoint_that_is_none_is_refused(endpoint: str) -> None:
    with pytest.raises(mp.InvalidValueError, match="endpoint"):
        mp.Client(endpoint)


@pytest.mark.parametrize("options", [{"auth": "basic"}, {"compression": "br"}])
def test_settings_that_are_none_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(mp.InvalidValueError):
        mp.Client("http://127.0.0.1:9", **options)


def test_an_http_client_of_the_callers_own_is_used_and_left_open(serve: Serve) -> None:
    api = serve(GOOD)
    with httpx.Client(headers={"x-mine": "1"}, follow_redirects=True) as http:
        with mp.Client(api.url, http=http) as client:
            client.model("demo").predict({"x": X})
        assert not http.is_closed
    assert api.asked[0].headers["x-mine"] == "1"
