"""Envelopes that are none: each is told apart in words, and none of them fails later."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelport.envelope import LARGE, Request, Response, read
from modelport.errors import MalformedRequestError

ASKED: dict[str, Any] = {"modelport": 1, "method": "GET", "path": "/", "headers": {}}
ANSWERED: dict[str, Any] = {"modelport": 1, "status": 200, "headers": {}}


@pytest.mark.parametrize(
    ("event", "words"),
    [
        ([], "not a modelport envelope of version 1"),
        ({"modelport": 2}, "not a modelport envelope of version 1"),
        ({"modelport": 1, "path": "/"}, "the envelope lacks method, headers"),
        (ASKED | {"method": 1}, "the envelope's method is not a string"),
        (ASKED | {"path": None}, "the envelope's path is not a string"),
        (ASKED | {"headers": []}, "the envelope's headers is not an object"),
        (ASKED | {"headers": {"a": 1}}, "the envelope has a header that is not a string"),
        (ASKED | {"request_id": 1}, "the envelope's request_id is not a string"),
        (ASKED | {"body": 1}, "the envelope's body is not a string"),
        (ASKED | {"body": "\ud800"}, "the envelope's body has half a surrogate pair"),
        (ASKED | {"body": "é", "base64": True}, "the envelope's body is not base64"),
        (ASKED | {"body": "*", "base64": True}, "the envelope's body is not base64"),
    ],
)
def test_what_is_no_request_is_refused(event: Any, words: str) -> None:
    with pytest.raises(MalformedRequestError) as refused:
        Request.from_event(event)
    assert refused.value.message == words


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        (b"", "the function's answer is not JSON"),
        (b"\xff", "the function's answer is not JSON"),
        (b"[" * 100_000, "the function's answer is not JSON"),
        (b"null", "not a modelport envelope of version 1"),
        (json.dumps(ANSWERED | {"status": True}).encode(), "status is not a number"),
        (json.dumps(ANSWERED | {"status": "200"}).encode(), "status is not a number"),
        (json.dumps(ANSWERED | {"body": "é", "base64": 1}).encode(), "body is not base64"),
    ],
)
def test_what_is_no_answer_is_refused(payload: bytes, words: str) -> None:
    with pytest.raises(MalformedRequestError, match=words):
        Response.from_event(payload)


_TEXT = st.text(st.characters(codec="utf-8"))


@given(st.binary(), st.dictionaries(_TEXT, _TEXT))
def test_what_is_one_comes_back(body: bytes, headers: dict[str, str]) -> None:
    request = Request("POST", "/x", headers, body, "id")
    assert Request.from_event(json.loads(request.to_event())) == request
    response = Response(201, headers, body)
    assert Response.from_event(json.dumps(response.to_event()).encode()) == response


_BODIES = st.one_of(
    st.binary(max_size=200),
    st.text(st.characters(codec="utf-8"), max_size=200).map(str.encode),
    st.text('ab"\\/\n\t\r\x00{}[]:,é', max_size=200).map(str.encode),
    st.sampled_from([b'","base64":false}', b',"body":"', b"\\", b'\\"', b"\\\\", b'"']),
)


@given(_BODIES, _BODIES, st.dictionaries(_TEXT, _TEXT, max_size=3), st.booleans())
def test_a_large_body_is_read_as_any_other(
    before: bytes, after: bytes, headers: dict[str, str], named: bool
) -> None:
    # A header by the body's name stands before it, and may say what the body's end looks like.
    headers |= {"body": '","base64":false}'} if named else {}
    body = before + b"1.5," * (LARGE // 4) + after
    request = Request("POST", "/x", headers, body, "id")
    assert Request.from_event(read(request.to_event())) == request
    assert Request.from_event(read(bytearray(request.to_event()))) == request
    response = Response(201, headers, body)
    assert Response.from_event(json.dumps(response.to_event()).encode()) == response


_PADDING = "1" * LARGE


@pytest.mark.parametrize(
    "text",
    [
        '{"a":"b","body":"%s","base64":false}',
        '{"a":{"x":1,"body":"%s","base64":false}',
        '{"a":{"x":1,"body":"%s"},"b":"","base64":false}',
        '{"a":",\\"body\\":\\"%s","base64":false}',
        '{"a":1,"body":"\\u0031%s","base64":true}',
        '{"a":1,"body":"%s\\","base64":false}',
        '{"a":1,"body":"%s" ,"base64":false}',
        '[1,"body":"%s","base64":false}',
        '{"a":1,"body":"x","body":"%s","base64":false}',
        '{"a":1,"body":"%s\\q","base64":false}',
    ],
)
def test_what_only_looks_like_an_envelope_is_read_by_the_parser(text: str) -> None:
    payload = (text % _PADDING).encode()
    try:
        expected = json.loads(payload)
    except ValueError:
        with pytest.raises(ValueError, match="line 1"):
            read(payload)
        return
    found = read(payload)
    if isinstance(found.get("body"), bytes):
        found["body"] = found["body"].decode()
    assert found == expected
