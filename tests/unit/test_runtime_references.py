"""Which URLs a version reaches for: none but those below its base, whatever they are dressed as."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelport.envelope import REFERENCE, Request, Response
from modelport.errors import MalformedRequestError
from modelport.references import Put, Reference, ReferenceRefusedError

from functions.runtime.loading import load, most_fetched
from functions.runtime.references import checked, fetched, pieces
from tests.support import runtime_bundles as bundles

BASE = "https://good.example.test/bucket/"
HOSTILE = [
    "",
    BASE,
    "https://good.example.test.evil/bucket/x",
    "https://good.example.test@evil.test/bucket/x",
    "https://good.example.test:443/bucket/x",
    "https://GOOD.example.test/bucket/x",
    "http://good.example.test/bucket/x",
    "https://good.example.test/other/x",
    "https://good.example.test/bucketeer/x",
    "https://good.example.test/bucket",
    "https://good.example.test/bucket/../other/x",
    "https://good.example.test/bucket/%2e%2e/other/x",
    "https://good.example.test/bucket/%2E./other/x",
    "https://good.example.test/bucket/./x",
    "https://good.example.test/bucket/..%2fother",
    "https://good.example.test/bucket/..%5cother",
    "https://good.example.test/bucket/\\..\\other",
    "https://good.example.test/bucket/x#y",
    "https://good.example.test/bucket/x y",
    "https://good.example.test/bucket/x\r\nHost: evil.test",
    "https://good.example.test/bucket/x\ty",
    "https://good.example.test/bucket/ü",
    "https://good.example.test\\@evil.test/bucket/x",
    "//good.example.test/bucket/x",
    "/bucket/x",
    "file:///etc/passwd",
    "file://good.example.test/bucket/x",
    "ftp://good.example.test/bucket/x",
    "gopher://127.0.0.1:6379/_x",
    "http://169.254.169.254/latest/meta-data/",
    "http://169.254.170.2/v2/credentials",
    "http://[::1]/bucket/x",
    "http://2852039166/",
    "http://127.0.0.1:9001/2018-06-01/runtime/invocation/next",
    "javascript:alert(1)",
    " https://good.example.test/bucket/x",
]


def asking(get: str, put: str = "") -> Request:
    body = json.dumps({"get": get, "put": put, "content_type": "text/plain"}).encode()
    return Request("POST", "/v2/models/m/infer", {"content-type": REFERENCE}, body, "r-1")


@pytest.mark.parametrize("url", HOSTILE)
def test_nothing_but_what_lies_below_the_base_is_reached_for(url: str) -> None:
    for request in (asking(url), asking(f"{BASE}x", url or "x")):
        with pytest.raises(ReferenceRefusedError) as caught:
            fetched(request, BASE, 10)
        assert "evil" not in caught.value.message
        assert "169.254" not in caught.value.message


@pytest.mark.parametrize("base", [None, ""])
def test_a_version_that_was_given_no_base_reaches_for_nothing(base: str | None) -> None:
    with pytest.raises(ReferenceRefusedError):
        fetched(asking(f"{BASE}x"), base, 10)


@given(st.text(max_size=40), st.sampled_from([BASE, BASE[:-1], "https://", "//", ""]))
def test_any_text_is_refused_or_lies_below_the_base(text: str, before: str) -> None:
    try:
        parts = checked(before + text, BASE)
    except ReferenceRefusedError:
        return
    assert (parts.scheme, parts.netloc) == ("https", "good.example.test")
    assert parts.path.startswith("/bucket/")
    assert ".." not in unquote(parts.path).split("/")


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b"[" * 9000, b'{"get":1,"put":"","content_type":""}', b"\xff",
     b'{"get":null,"put":"","content_type":""}', b'"x"', b'{"get":"x"}'],
)  # fmt: skip
def test_what_is_no_reference_is_refused(body: bytes) -> None:
    with pytest.raises(MalformedRequestError, match="reference"):
        Reference.from_body(body)


def test_a_reference_to_a_reference_is_none() -> None:
    body = json.dumps({"get": f"{BASE}x", "put": "", "content_type": REFERENCE}).encode()
    with pytest.raises(MalformedRequestError):
        fetched(Request("POST", "/", {}, body), BASE, 10)


def test_references_and_answers_are_read_as_they_were_written() -> None:
    reference = Reference("https://a/b", "https://a/c", "text/csv")
    request = reference.of(Request("POST", "/p", {"accept": "x", "content-type": "y"}, b"z", "r"))
    assert request.headers == {"accept": "x", "content-type": REFERENCE}
    assert Reference.from_body(request.body) == reference
    put = Put(201, {"content-type": "a/b"}, 5)
    assert Put.of(put.response({"x-modelport-version": "1"})) == put
    assert Put.of(Response(200, {"content-type": "a/b"}, b"{}")) is None
    for body in (b"", b"{}", b'{"status":"1","headers":{},"size":1}',
                 b'{"status":999,"headers":{},"size":1}', b'{"status":200,"headers":[],"size":1}',
                 b'{"status":200,"headers":{"a":1},"size":1}'):  # fmt: skip
        with pytest.raises(MalformedRequestError):
            Put.of(Response(200, {"content-type": REFERENCE}, body))


def test_a_version_of_its_own_refuses_references_and_knows_no_jobs(tmp_path: Path) -> None:
    plane = load(bundles.write_bundle(tmp_path, bundles.DOUBLE))
    path = "/v2/models/demo/versions/3/infer"
    request = Request("POST", path, {"content-type": REFERENCE}, asking(f"{BASE}x").body, "r-1")
    answer = plane.handle(request)
    assert (answer.status, answer.headers["x-modelport-error"]) == (400, "reference-refused")
    for method, asked in (("POST", "/uploads"), ("GET", f"/jobs/{'0' * 32}")):
        assert plane.handle(Request(method, asked, {}, b"", "r-1")).status == 501


def test_how_much_is_fetched_follows_from_the_memory() -> None:
    assert most_fetched(1769) == 1769 * 1024 * 1024 // 4
    assert most_fetched(None) == 256 * 1024 * 1024


@pytest.mark.parametrize("size", [0, 1, 2**20, 2**20 + 1, 5 * 2**20])
def test_no_piece_of_an_answer_has_the_time_of_all_of_it(size: int) -> None:
    body = bytes(size)
    sent = list(pieces(body))
    assert b"".join(sent) == body
    assert all(0 < len(piece) <= 2**20 for piece in sent)
