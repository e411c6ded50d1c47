"""The Python client's uploads and jobs against an API that lacks, breaks or fakes them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import modelport.client as mp
import numpy as np
import pytest
from modelport.client.elsewhere import CARRIED

from tests.support.cli_world import Terminal
from tests.support.faulty_api import FaultyApi, answering, hanging_up, inferring, refusing

X = np.array([[1, 2]], np.float32)
ID = "0123456789abcdef" * 2
EAGER = mp.Retries(first_pause_s=0.001)
LARGE = b"x" * (CARRIED + 1)
Serve = Callable[..., FaultyApi]


@pytest.fixture
def serve() -> Iterator[Serve]:
    with ExitStack() as stack:
        yield lambda *script: stack.enter_context(FaultyApi(list(script)).serving())


def _post(url: str, body: bytes, timeout: float) -> mp.Reply:
    with mp.Client(url, retries=EAGER, timeout=timeout) as client:
        return client.post("/v1/models/demo:predict", body, {"content-type": "text/plain"})


def _post_async(url: str, body: bytes, timeout: float) -> mp.Reply:
    async def run() -> mp.Reply:
        async with mp.AsyncClient(url, retries=EAGER, timeout=timeout) as client:
            headers = {"content-type": "text/plain"}
            return await client.post("/v1/models/demo:predict", body, headers)

    return asyncio.run(run())


@pytest.fixture(params=[_post, _post_async], ids=["sync", "async"])
def post(request: pytest.FixtureRequest) -> Callable[..., mp.Reply]:
    call: Callable[[str, bytes, float], mp.Reply] = request.param
    return lambda url, body=b"row", timeout=30.0: call(url, body, timeout)


def job(status: str = "queued", code: int = 202, **more: Any) -> Any:
    document = {"id": ID, "status": status, "model": "demo", "version": "3", **more}
    headers = {"retry-after": "0"} if status in ("queued", "running") else {}
    return answering(code, json.dumps(document).encode(), headers)


def paths(api: FaultyApi) -> list[str]:
    return [f"{asked.method} {asked.path}" for asked in api.asked]


@pytest.mark.parametrize("status", [404, 405, 501])
def test_a_server_without_uploads_gets_the_body_itself(
    serve: Serve, post: Callable[..., mp.Reply], status: int
) -> None:
    api = serve(refusing(status, "no such path"), answering(200, b"done"))
    assert post(api.url, LARGE).body == b"done"
    assert paths(api) == ["POST /uploads", "POST /v1/models/demo:predict"]
    assert json.loads(api.asked[0].body) == {"content_length": len(LARGE)}
    assert len(api.asked[1].body) == len(LARGE)


@pytest.mark.parametrize(
    "place",
    [b"", b"[]", b"{}", b'{"upload":"1","url":1,"headers":{}}',
     b'{"upload":"1","url":"file:///etc/passwd","headers":{}}',
     b'{"upload":"1","url":"/relative","headers":{}}',
     b'{"upload":"1","url":"http://x/","headers":[]}'],
)  # fmt: skip
def test_a_place_that_is_none_is_not_uploaded_to(
    serve: Serve, post: Callable[..., mp.Reply], place: bytes
) -> None:
    api = serve(answering(200, place))
    with pytest.raises(mp.UnreadableAnswerError):
        post(api.url, LARGE)
    assert paths(api) == ["POST /uploads"]


@pytest.mark.parametrize("where", ["", "/relative", "ftp://x/y", "javascript:1"])
def test_an_answer_elsewhere_is_only_followed_over_http(
    serve: Serve, post: Callable[..., mp.Reply], where: str
) -> None:
    api = serve(answering(303, b"", {"location": where}))
    with pytest.raises(mp.UnreadableAnswerError):
        post(api.url)
    assert len(api.asked) == 1


def test_an_answer_elsewhere_is_fetched_without_the_callers_headers(
    serve: Serve, post: Callable[..., mp.Reply]
) -> None:
    bucket = serve(hanging_up, answering(200, b"large", {"content-type": "a/b"}))
    told = {"location": f"{bucket.url}/o?X-Amz-Signature=s", "x-modelport-version": "3"}
    api = serve(answering(303, b"", told))
    reply = post(api.url)
    assert (reply.body, reply.content_type, reply.answered_by.version) == (b"large", "a/b", "3")
    assert paths(bucket) == ["GET /o?X-Amz-Signature=s"] * 2
    assert not [name for name in bucket.asked[0].headers if name.startswith("x-modelport")]
    assert "authorization" not in bucket.asked[0].headers


def test_other_redirects_are_not_followed(serve: Serve, post: Callable[..., mp.Reply]) -> None:
    for status in (301, 302, 307, 308):
        api = serve(answering(status, b"", {"location": "http://127.0.0.1:1/"}))
        with pytest.raises(mp.UnreadableAnswerError, match=f"status {status}"):
            post(api.url)


def test_a_call_that_has_become_a_job_is_waited_for(
    serve: Serve, post: Callable[..., mp.Reply]
) -> None:
    api = serve(
        job(), job("queued", 200), refusing(503, "away"), job("running", 200),
        job("succeeded", 200), answering(200, b"answer", {"x-modelport-job": ID}),
    )  # fmt: skip
    assert post(api.url).body == b"answer"
    assert paths(api) == [
        "POST /v1/models/demo:predict", *[f"GET /jobs/{ID}"] * 4, f"GET /jobs/{ID}/answer",
    ]  # fmt: skip


def test_a_job_that_takes_longer_than_the_call_may_is_named(
    serve: Serve, post: Callable[..., mp.Reply]
) -> None:
    api = serve(job(), answering(200, json.dumps({"id": ID, "status": "queued"}).encode()))
    with pytest.raises(mp.JobPendingError, match=ID) as caught:
        post(api.url, timeout=0.9)
    assert caught.value.job == ID
    assert f"jobs wait {ID}" in caught.value.hint
    assert len(api.asked) == 2


@pytest.mark.parametrize("status", [429, 500, 503, 504])
def test_the_answer_of_a_job_is_not_asked_for_again_however_it_reads(
    serve: Serve, post: Callable[..., mp.Reply], status: int
) -> None:
    failed = refusing(status, "gave up", {"x-modelport-job": ID})
    api = serve(job(), job("failed", 200), failed)
    with pytest.raises(mp.AnswerError, match="gave up"):
        post(api.url)
    assert len(api.asked) == 3


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"id":1,"status":"queued"}', b'{"id":"x"}', b'{"error":5}']
)
def test_a_job_that_cannot_be_read_is_said(
    serve: Serve, post: Callable[..., mp.Reply], body: bytes
) -> None:
    with pytest.raises(mp.UnreadableAnswerError):
        post(serve(answering(202, body)).url)


def test_tries_of_one_request_have_one_key_and_other_requests_others(serve: Serve) -> None:
    api = serve(hanging_up, refusing(503, "away"), job())
    with mp.Client(api.url, retries=EAGER) as client:
        taken = client.model("demo").predict_later({"x": X}, webhook="https://hooks.example/")
        assert taken.id == ID
        client.model("demo").predict_later({"x": X})
    asked: list[Mapping[str, str]] = [each.headers for each in api.asked]
    keys = [headers["idempotency-key"] for headers in asked]
    assert len(set(keys[:3])) == 1
    assert keys[3] not in keys[:3]
    assert {headers["prefer"] for headers in asked} == {"respond-async"}
    assert asked[0]["x-modelport-webhook"] == "https://hooks.example/"


def test_a_server_without_jobs_has_answered_at_once(serve: Serve) -> None:
    api = serve(inferring(X))

    async def run() -> None:
        async with mp.AsyncClient(api.url) as client:
            done = await client.model("demo").predict_later({"x": X})
            assert (done.id, (await done.status()).over) == ("", True)
            np.testing.assert_array_equal((await done.result())["y"], X)

    asyncio.run(run())
    with mp.Client(api.url) as client:
        done = client.model("demo").predict_later({"x": X})
        assert (done.id, done.status().over) == ("", True)
        np.testing.assert_array_equal(done.result()["y"], X)


def test_ids_go_into_paths_as_what_they_are(serve: Serve) -> None:
    api = serve(refusing(404, "there is no job"))
    with mp.Client(api.url) as client, pytest.raises(mp.NothingThereError):
        client.job("../v1/models?x").status()
    assert api.asked[0].path == "/jobs/..%2Fv1%2Fmodels%3Fx"


def test_invoke_prints_the_job(serve: Serve, tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    (tmp_path / "deployments.toml").write_text('[environment]\nname = "dev"\nauth = "none"\n')
    for data in ('{"instances": [1]}', "row.npy"):
        np.save(tmp_path / "row.npy", X)
        signature = {"name": "demo", "versions": ["3"], "platform": "x", "outputs": [],
                     "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}]}  # fmt: skip
        asks = [answering(200, json.dumps(signature).encode())] if data == "row.npy" else []
        api = serve(*asks, job())
        terminal.environ["MODELPORT_ENDPOINT"] = api.url
        said = terminal.ok("invoke", "demo", "--data", data, "--later")
        assert said.out.strip() == ID
        assert f"modelport jobs wait {ID}" in said.err
    at_once = serve(answering(200, b'{"predictions":[1]}'))
    terminal.environ["MODELPORT_ENDPOINT"] = at_once.url
    refused = terminal("invoke", "demo", "--data", '{"instances": [1]}', "--later")
    assert (refused.code, "no jobs" in refused.err) == (2, True)
