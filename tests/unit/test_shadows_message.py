"""The message of a shadow's call: what it carries, what it leaves behind, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelport.envelope import Request, Response
from modelport.errors import MalformedRequestError
from modelport.shadows.message import ShadowCall, digest_of
from modelport.telemetry import PREDICTED_HEADER as PREDICTED

AT = "2026-01-01T00:00:00+00:00"
PATH = "/v1/models/magika:predict"


def call(
    body: bytes = b'{"instances":[1]}', answer: bytes = b'{"predictions":[2]}', **headers: str
) -> ShadowCall:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    asked = Request("POST", PATH, {"content-type": "application/json"} | named, body, "id-1")
    told = {"content-type": "application/json", PREDICTED: "1e0=1", "server": "model"}
    return ShadowCall.of("magika", 3, 4, asked, Response(200, told, answer), AT)


def text(**kept: Any) -> str:
    found = call(**kept).to_text()
    assert found is not None
    return found


@pytest.mark.parametrize("body", [b"", b"{}", "é\x00\ufffe".encode(), bytes(range(256))])
def test_a_call_comes_back_as_it_was_sent(body: bytes) -> None:
    sent = call(body=body, answer=body)
    message = text(body=body, answer=body)
    assert message.isascii()
    assert message.isprintable()  # what a queue refuses is escaped
    assert ShadowCall.from_json(json.loads(message)) == sent


def test_who_called_stays_behind() -> None:
    message = text(
        x_modelport_key="caller-7", authorization="Bearer secret", cookie="s=1", x_api_key="k",
        x_modelport_route="stable;rev=1", x_modelport_version="3", x_amz_security_token="t",
        accept="*/*", accept_encoding="gzip",
        x_amzn_sagemaker_custom_attributes="tfs-method=predict",
    )  # fmt: skip
    document = json.loads(message)
    assert document["request"]["headers"] == {
        "content-type": "application/json",
        "accept": "*/*",
        "x-amzn-sagemaker-custom-attributes": "tfs-method=predict",
    }
    assert document["answer"]["headers"] == {"content-type": "application/json", PREDICTED: "1e0=1"}
    for secret in ("caller-7", "secret", "s=1", "stable", 'model"'):
        assert secret not in message.replace('"model":', "")


def test_what_is_too_large_goes_without_the_answer_and_then_not_at_all() -> None:
    answer = b"[" + b"1," * 1000 + b"1]"
    whole, small = text(answer=answer), call(answer=answer).to_text(1000)
    assert small is not None
    assert len(small) <= 1000 < len(whole)
    read = ShadowCall.from_json(json.loads(small))
    assert read.answered.body is None
    assert read.answered.digest == digest_of(answer)
    assert read.answered.headers[PREDICTED] == "1e0=1"
    assert call(body=b"x" * 1000).to_text(1000) is None
    assert call(body=b"\xff" * 700).to_text(1000) is None  # base64 is a third longer


@given(st.binary(max_size=300), st.binary(max_size=300), st.integers(0, 1500))
def test_a_message_never_is_larger_than_it_may(body: bytes, answer: bytes, limit: int) -> None:
    found = call(body=body, answer=answer).to_text(limit)
    assert found is None or len(found.encode()) <= limit


def changed(**members: Any) -> Any:
    return json.loads(text()) | members


def within(member: str, **members: Any) -> Any:
    document = json.loads(text())
    return document | {member: document[member] | members}


@pytest.mark.parametrize(
    "document",
    [
        None, [], "x", 1, {},
        changed(kind="job"), changed(schema=2), changed(model="../x"), changed(model=7),
        changed(live="3"), changed(live=True), changed(live=0), changed(shadow=-1),
        changed(shadow=2**40), changed(request_id=5), changed(at=None), changed(at="x"),
        changed(request=[]),
        changed(answer=None),
        within("request", path="/v1/models/other:predict"),
        within("request", path="/v1/models/magika/versions/3:predict"),
        within("request", path="/v1/models/magika/labels/stable:predict"),
        within("request", path="/v1/models/magika"),
        within("request", path="/v2/models/magika/generate_stream"),
        within("request", path="http://169.254.169.254/"),
        within("request", path=7),
        within("request", body=7), within("request", body="***", base64=True),
        within("request", body="\ud800"),
        within("request", headers=None),
        within("request", headers={"content-type": "a\r\nx: y"}),
        within("request", headers={"content-type": 5}),
        within("request", headers={"accept": "a" * 5000}),
        within("answer", body=None), within("answer", headers="x"),
    ],
)  # fmt: skip
def test_whatever_is_no_such_message_is_refused(document: Any) -> None:
    with pytest.raises(MalformedRequestError) as refused:
        ShadowCall.from_json(document)
    assert len(refused.value.message) < 200


def test_unknown_headers_and_members_are_left_out() -> None:
    document = within("request", headers={"host": "evil", "content-type": "text/csv"})
    read = ShadowCall.from_json(document | {"more": {"deep": [1]}})
    assert read.request.headers == {"content-type": "text/csv"}
    assert read.request.method == "POST"


_LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
_NAMES = st.sampled_from(["kind", "schema", "model", "live", "request", "answer", "headers", "at"])


@given(
    st.recursive(
        _LEAVES, lambda inner: st.lists(inner) | st.dictionaries(_NAMES, inner), max_leaves=20
    )
)
def test_no_json_makes_reading_fail_otherwise(hostile: Any) -> None:
    with pytest.raises(MalformedRequestError):
        ShadowCall.from_json(hostile)
