"""Bodies and answers that lie elsewhere, over real sockets that lie, stop, redirect and drip."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from modelport.envelope import REFERENCE, Request, Response
from modelport.references import Put

from functions.runtime.data_plane import DataPlane
from functions.runtime.lambda_transport import check_answer_size
from functions.runtime.loading import load
from tests.support import runtime_bundles as bundles
from tests.support.loopback import Exchange, serving

SCRIPT = """
def input_fn(data, content_type):
    return data

def predict_fn(data, model):
    return data

def output_fn(prediction, accept):
    return b'"' * 4_500_000 if prediction == b"large" else prediction[:20]
"""


class Bucket(Exchange):
    """Objects that behave as their names say."""

    objects: ClassVar[dict[str, bytes]] = {}
    put_headers: ClassVar[dict[str, str]] = {}
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        name = self.path.partition("?")[0]
        self.asked.append(self.path)
        body = self.objects.get(name)
        if name.endswith("/redirect"):
            self.answer((302, {"Location": "/elsewhere"}, b""))
        elif name.endswith("/error"):
            self.answer((500, {}, b"<secret/>"))
        elif name.endswith("/denied"):
            self.answer((403, {}, b"<Code>AccessDenied</Code>"))
        elif name.endswith("/hang-up"):
            self.answer(None)
        elif name.endswith("/short"):
            self._declaring(1000, b"x" * 10)
        elif name.endswith("/long"):
            self._declaring(5, b"large and a lot more")
        elif name.endswith("/huge"):
            self._declaring(10**12, b"")
        elif name.endswith("/negative"):
            self._declaring(-5, b"x")
        elif name.endswith("/unsaid"):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"x" * 100)
            self.close_connection = True
        elif body is None:
            self.answer((404, {}, b"<Code>NoSuchKey</Code>"))
        else:
            self.answer((200, {}, body))

    def _declaring(self, size: int, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(size))
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    def do_PUT(self) -> None:
        body = self.body()
        if "denied" in self.path:
            self.answer((403, {}, b""))
            return
        self.objects[self.path.partition("?")[0]] = body
        self.put_headers.update(self.headers.items())
        self.answer((200, {}, b""))


@pytest.fixture
def bucket() -> Iterator[str]:
    Bucket.objects.clear()
    Bucket.put_headers.clear()
    Bucket.asked.clear()
    with serving(Bucket) as url:
        yield f"{url}/payloads/"


def plane_of(folder: Path, base: str, **options: Any) -> DataPlane:
    settings = bundles.write_bundle(folder, bundles.DOUBLE, script=SCRIPT)
    from dataclasses import replace

    return load(replace(settings, payloads_url=base, memory_mb=256), check_answer_size, **options)


def ask(plane: DataPlane, get: str, put: str = "", path: str = "/invocations") -> Response:
    body = json.dumps({"get": get, "put": put, "content_type": "text/plain"}).encode()
    return plane.handle(Request("POST", path, {"content-type": REFERENCE}, body, "r-1"))


def test_a_body_is_fetched_and_answered_as_if_it_had_been_sent(tmp_path: Path, bucket: str) -> None:
    Bucket.objects["/payloads/uploads/a"] = b"a row" + b"x" * 7_000_000
    answer = ask(plane_of(tmp_path, bucket), f"{bucket}uploads/a?X-Amz-Signature=s%2F")
    assert (answer.status, answer.body[:5]) == (200, b"a row")
    assert Bucket.asked == ["/payloads/uploads/a?X-Amz-Signature=s%2F"]


def test_an_answer_that_no_event_carries_is_put_where_the_request_says(
    tmp_path: Path, bucket: str
) -> None:
    plane = plane_of(tmp_path, bucket)
    Bucket.objects["/payloads/a"] = b"large"
    answer = ask(plane, f"{bucket}a", f"{bucket}jobs/1/answer?sig=1")
    put = Put.of(answer)
    assert put is not None
    assert (put.status, put.size) == (200, 4_500_000)
    assert Bucket.objects["/payloads/jobs/1/answer"] == b'"' * 4_500_000
    assert Bucket.put_headers["Content-Type"] == put.headers["content-type"]
    assert answer.headers["x-modelport-version"] == "3"
    # A small one comes back as it is, and one without a place is refused with the number.
    Bucket.objects["/payloads/a"] = b"small"
    assert ask(plane, f"{bucket}a", f"{bucket}b").body == b"small"
    Bucket.objects["/payloads/a"] = b"large"
    refused = ask(plane, f"{bucket}a")
    assert (refused.status, refused.headers["x-modelport-error"]) == (413, "answer-too-large")


@pytest.mark.parametrize(
    ("name", "status", "code", "says"),
    [
        ("missing", 404, "body-gone", "is not there, or no longer"),
        ("denied", 404, "body-gone", "is not there, or no longer"),
        ("redirect", 502, "transfer-failed", "status 302"),
        ("error", 502, "transfer-failed", "status 500"),
        ("hang-up", 502, "transfer-failed", "RemoteDisconnected"),
        ("short", 502, "transfer-failed", "10 of 1,000 bytes"),
        ("unsaid", 502, "transfer-failed", "size is not said"),
        ("negative", 502, "transfer-failed", "size is not said"),
        ("huge", 413, "payload-too-large", "1,000,000,000,000 bytes; the limit is 67,108,864"),
    ],
)
def test_what_goes_wrong_on_the_way_is_said_without_secrets(
    tmp_path: Path, bucket: str, name: str, status: int, code: str, says: str
) -> None:
    answer = ask(plane_of(tmp_path, bucket), f"{bucket}{name}?X-Amz-Signature=secret")
    assert (answer.status, answer.headers["x-modelport-error"]) == (status, code)
    text = json.loads(answer.body)["error"]
    assert says in text
    assert "secret" not in text
    assert "127.0.0.1" not in text


def test_no_more_is_read_than_was_declared(tmp_path: Path, bucket: str) -> None:
    answer = ask(plane_of(tmp_path, bucket), f"{bucket}long", f"{bucket}answer")
    put = Put.of(answer)
    assert put is not None  # it read "large" and not a byte more
    assert put.size == 4_500_000


def test_an_answer_that_cannot_be_put_away_is_an_error(tmp_path: Path, bucket: str) -> None:
    Bucket.objects["/payloads/a"] = b"large"
    answer = ask(plane_of(tmp_path, bucket), f"{bucket}a", f"{bucket}denied")
    assert (answer.status, answer.headers["x-modelport-error"]) == (502, "transfer-failed")


def test_nobody_is_asked_beyond_the_base(tmp_path: Path, bucket: str) -> None:
    plane = plane_of(tmp_path, bucket)
    for url in (bucket.replace("payloads", "other") + "a", bucket[:-1] + "x/a", f"{bucket}../a"):
        assert ask(plane, url).status == 400
    assert not Bucket.asked


def test_tensors_come_by_reference_in_every_protocol(tmp_path: Path, bucket: str) -> None:
    from dataclasses import replace

    settings = bundles.write_bundle(tmp_path, bundles.DOUBLE)
    plane = load(replace(settings, payloads_url=bucket), check_answer_size)
    tensor = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}
    for path, document in (
        ("/v2/models/demo/versions/3/infer", {"inputs": [tensor]}),
        ("/v1/models/demo/versions/3:predict", {"instances": [[1, 2]]}),
    ):
        Bucket.objects["/payloads/a"] = body = json.dumps(document).encode()
        sent = plane.handle(Request("POST", path, {"content-type": "application/json"}, body, "r"))
        named = json.dumps({"get": f"{bucket}a", "put": "", "content_type": "application/json"})
        request = Request("POST", path, {"content-type": REFERENCE}, named.encode(), "r")
        assert plane.handle(request).body == sent.body
        assert sent.status == 200
