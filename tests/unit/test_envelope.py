"""Envelopes that are none: each is told apart in words, and none of them fails later."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelport.envelope import Request, Response
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
