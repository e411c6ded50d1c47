"""What crosses SageMaker: everything that fits, the needed first, and nothing hostile."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelport.envelope import Request, Response
from modelport.errors import MalformedRequestError, PayloadTooLargeError
from modelport.sagemaker_envelope import (
    HEADER,
    LIMIT,
    MARK,
    attributes_of,
    body_of,
    unwrap,
    unwrapped,
    wrap,
)

NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,20}", fullmatch=True)
VALUES = st.text(
    st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=60
)
CARRIED = st.dictionaries(st.sampled_from(["content-type", "accept"]), VALUES)
HEADERS = st.builds(lambda a, b: a | b, st.dictionaries(NAMES, VALUES, max_size=4), CARRIED)
OF_THE_CONNECTION = {"content-length", "host", "connection", "transfer-encoding"}


def through_sagemaker(request: Request) -> Request:
    """What arrives at ``POST /invocations``: SageMaker fills in what the call left out."""
    headers = {
        "content-type": request.headers.get("content-type", "application/octet-stream"),
        "accept": request.headers.get("accept", "*/*"),
        "host": "model.aws.local",
        "content-length": str(len(body_of(request))),
        HEADER: attributes_of(request),
    }
    return Request("POST", "/invocations", headers, body_of(request), "made up here")


@given(HEADERS, st.binary(max_size=50), st.sampled_from(["GET", "POST"]), st.text(max_size=20))
def test_a_request_arrives_as_it_was_sent(
    headers: dict[str, str], body: bytes, method: str, request_id: str
) -> None:
    sent = Request(method, "/v2/models/m/versions/3/infer", headers, body, request_id)
    text = attributes_of(sent)
    assert len(text) <= LIMIT
    assert text.isascii()
    assert text.isprintable()
    kept = {name: value for name, value in headers.items() if name not in OF_THE_CONNECTION}
    expected = Request(method, sent.path, kept, body, request_id)
    assert unwrap(through_sagemaker(sent)) == expected
    assert body_of(sent)


@given(HEADERS, st.binary(max_size=50), st.integers(200, 599))
def test_an_answer_arrives_as_it_was_given(
    headers: dict[str, str], body: bytes, status: int
) -> None:
    given_back = Response(status, headers, body)
    carried = wrap(given_back)
    assert carried.status == 200
    assert carried.headers.keys() == {"content-type", HEADER}
    assert len(carried.headers[HEADER]) <= LIMIT
    gone = OF_THE_CONNECTION | {"accept"}
    kept = {name: value for name, value in headers.items() if name not in gone}
    if not kept.get("content-type", "x"):
        del kept["content-type"]  # an empty one says nothing
    assert unwrapped(carried) == Response(status, kept, body)


@given(st.dictionaries(NAMES, st.text("x", max_size=900), max_size=8))
def test_headers_that_do_not_fit_stay_behind_and_the_needed_ones_come_first(
    headers: dict[str, str],
) -> None:
    needed = {"inference-header-content-length": "123", "content-encoding": "gzip"}
    arrived = unwrap(through_sagemaker(Request("POST", "/p", headers | needed, b"{}", "r")))
    assert arrived is not None
    assert arrived.headers.items() >= needed.items()
    assert arrived.headers.items() <= (headers | needed).items()


def test_what_the_runtime_reads_goes_before_what_it_does_not() -> None:
    headers = {"accept-encoding": "x" * 600, "x-modelport-request-id": "y" * 600}
    arrived = unwrap(through_sagemaker(Request("POST", "/p", headers, b"{}", "r")))
    assert arrived is not None
    assert arrived.headers == {"x-modelport-request-id": "y" * 600}


def test_an_answers_digest_goes_before_everything_that_is_long() -> None:
    headers = {"x-modelport-route": "r" * 1000, "x-modelport-digest": "sha256:" + "a" * 64}
    answer = unwrapped(wrap(Response(503, headers)))
    assert answer == Response(503, {"x-modelport-digest": "sha256:" + "a" * 64})


@pytest.mark.parametrize(
    "request_",
    [
        Request("POST", "/" + "p" * LIMIT, {}, b"{}"),
        Request("POST", "/p", {}, b"{}", "r" * LIMIT),
        Request("POST", "/p", {"content-encoding": "g" * LIMIT}, b"{}"),
    ],
)
def test_what_a_request_cannot_do_without_is_never_left_behind(request_: Request) -> None:
    with pytest.raises(PayloadTooLargeError, match=r"limit is 1,024 bytes") as caught:
        attributes_of(request_)
    assert "1,024" in caught.value.message


@pytest.mark.parametrize("attributes", ["", "tfs-model-name=m", "modelport", "modelport/2 {}"])
def test_a_callers_own_attributes_are_left_alone(attributes: str) -> None:
    headers = {HEADER: attributes} if attributes else {}
    assert unwrap(Request("POST", "/invocations", headers)) is None
    assert unwrapped(Response(200, headers)) is None


REQUEST = {"m": "POST", "p": "/v1", "i": "r", "x": "", "h": {}}
ANSWER = {"s": 200, "x": "", "h": {}}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "{}",
        "[" * 1000,
        "x" * 2000,
        *(
            json.dumps(change)
            for change in (
                REQUEST | {"m": 1},
                REQUEST | {"m": "post"},
                REQUEST | {"m": "P" * 17},
                REQUEST | {"p": "no-slash"},
                REQUEST | {"p": None},
                REQUEST | {"p": "/v1\r\nx: y"},
                REQUEST | {"p": "/v1/\ud800"},
                REQUEST | {"h": {"n": "\udfff"}},
                REQUEST | {"i": 7},
                REQUEST | {"x": []},
                REQUEST | {"h": []},
                REQUEST | {"h": {"Upper": "v"}},
                REQUEST | {"h": {"": "v"}},
                REQUEST | {"h": {"n": 1}},
                REQUEST | {"h": {"n": "a\r\nset-cookie: b"}},
                REQUEST | {"h": {"n\r\nx": "v"}},
            )
        ),
    ],
)
def test_a_hostile_request_is_refused(text: str) -> None:
    with pytest.raises(MalformedRequestError, match="begins as the router's and is not"):
        unwrap(Request("POST", "/invocations", {HEADER: MARK + text}))


@pytest.mark.parametrize(
    "change",
    [
        {"s": "200"},
        {"s": True},
        {"s": 200.5},
        {"s": 100},
        {"s": 99_999},
        {"s": None},
        {"x": 1},
        {"h": None},
        {"h": {"n": "a\nb"}},
    ],
)
def test_a_hostile_answer_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(MalformedRequestError):
        unwrapped(Response(200, {HEADER: MARK + json.dumps(ANSWER | change)}))


@given(st.text(max_size=200))
def test_no_text_does_anything_but_pass_or_be_refused(text: str) -> None:
    try:
        unwrap(Request("POST", "/invocations", {HEADER: MARK + text}))
        unwrapped(Response(200, {HEADER: MARK + text}))
    except MalformedRequestError:
        pass


def test_headers_that_others_speak_for_cannot_be_smuggled_in() -> None:
    smuggled = REQUEST | {"h": {"content-length": "0", "content-type": "a/b", "host": "elsewhere"}}
    headers = {HEADER: MARK + json.dumps(smuggled), "content-type": "application/json"}
    arrived = unwrap(Request("POST", "/invocations", headers, b"{}"))
    assert arrived == Request("POST", "/v1", {"content-type": "application/json"}, b"{}", "r")
