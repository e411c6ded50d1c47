"""The two ways of an event, straight and through the app: the same answer, whatever is sent."""

from __future__ import annotations

import asyncio
import base64
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mangum.adapter import DEFAULT_TEXT_MIME_TYPES
from modelport import grammar
from modelport.envelope import Request, Response
from modelport.errors import ThrottledError

from functions.router.gateway import TEXTS
from functions.router.handler import Handler, through_app
from functions.router.straight import goes_straight, straight
from tests.conftest import ROOT
from tests.support.api_events import Event, http_v2, rest_v1
from tests.support.router_world import MODEL, World, deployed

PREDICT = f"/v1/models/{MODEL}:predict"


@pytest.fixture(scope="module", autouse=True)
def loop() -> Iterator[None]:
    """Lambda's main thread has an event loop."""
    own = asyncio.new_event_loop()
    asyncio.set_event_loop(own)
    yield
    asyncio.set_event_loop(None)
    own.close()


def answering(request: Request) -> Response:
    """A model that answers with what its body says: how, and which bytes."""
    if request.body.startswith(b"throttled"):
        raise ThrottledError("it", 3)
    if request.body.startswith(b"broken"):
        raise RuntimeError("secret")
    kind = request.headers.get("accept", "application/json")
    said = {"content-type": kind} if kind else {}
    seen = base64.b64encode(request.path.encode()).decode()
    return Response(200 + len(request.body) % 3, {**said, "x-modelport-seen": seen}, request.body)


def world() -> World:
    routes = deployed(1, 2, stable="1:50,2:50", canary="2")
    return World(routes, models={1: answering, 2: answering}, max_body_bytes=150)


class Ways:
    """Two routers over the same world: one is asked straight, the other through its app."""

    def __init__(self) -> None:
        self.short, self.long = world(), world()
        self.app: Handler = through_app(self.long.app)

    def same(self, event: Event) -> dict[str, Any] | None:
        """The answer of the straight way, once the app has given the same; None if it has none."""
        for each in (self.short, self.long):
            each.records.clear()
        answer = straight(self.short.router, event)
        if answer is None:
            assert self.short.records == []
            return None
        through = self.app(event, None)
        assert list(answer.items()) == list(through.items())
        assert list(answer["headers"].items()) == list(through["headers"].items())
        assert untimed(self.short) == untimed(self.long)
        return answer


def untimed(world: World) -> list[dict[str, Any]]:
    return [
        {name: value for name, value in record.items() if name not in ("_aws", "traceback")}
        for record in world.records
    ]


#: Made within the loop of the fixture.
both = cache(Ways)
ways = [
    PREDICT,
    f"/v1/models/{MODEL}/versions/2:predict",
    f"/v1/models/{MODEL}/labels/canary:predict",
]
ways += [f"/v2/models/{MODEL}/infer", f"/endpoints/{MODEL}/invocations", f"/v2/models/{MODEL}"]
# Not the server's statistics: they tell the time of day.
ways += ["/", "/ping", "/invocations", "/v2/health/live", "/v2/health/ready", "/v1/models"]
ways += ["/v1/models/ghost:predict", f"/v1/models/{MODEL}%3Apredict", f"/v2/models/{MODEL}/stats"]
ways += [
    f"/v1/models/{MODEL}/versions/9:predict",
    f"/V1/Models/{MODEL}:predict",
]
paths = st.sampled_from(ways) | st.text(st.characters(codec="utf-8"), max_size=12).map(
    lambda name: f"/v1/models/{name}:predict"
)
queries = st.sampled_from(["", "", "?a=b", "?a=%20&b", "?é", "?a b", "?dialect=kserve&a=1&a=2"])
words = st.sampled_from(
    ["", "1", "2", "canary", "a=b; c=d", "application/json", "text/plain; charset=utf-8", "image/x"]
) | st.text(st.characters(codec="utf-8"), max_size=8)
headers = st.dictionaries(
    st.sampled_from(
        ["Accept", "content-type", "content-length", "cookie", "x-modelport-version",
         "x-modelport-key", "x-amzn-sagemaker-target-variant", "x-é", "Host", "X-Forwarded-Port"]
    ),
    words,
    max_size=5,
)  # fmt: skip
bodies = st.binary(max_size=200) | st.sampled_from([b"{}", b"throttled", b"broken", b"\xff" * 150])
odds = st.sampled_from(
    [
        {}, {}, {}, {"cookies": ["a=b", "c=d"]}, {"cookies": []}, {"headers": None},
        {"body": None}, {"body": 5}, {"body": "!", "isBase64Encoded": True}, {"body": "\ud800"},
        {"version": None}, {"version": "1.0"}, {"rawQueryString": None},
        {"requestContext": {"requestId": "r", "identity": {"sourceIp": "192.0.2.1"}}},
        {"requestContext": {"elb": {}}}, {"requestContext": None}, {"httpMethod": None},
        {"multiValueHeaders": {"Cookie": ["a=1", "b=2"], "x-a": []}},
    ]
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from([http_v2, rest_v1]),
    st.sampled_from(["POST", "POST", "GET", "HEAD", "PUT"]),
    paths,
    queries,
    bodies,
    headers,
    odds,
)
def test_both_ways_give_the_same_answer_to_the_last_byte(
    gateway: Any, method: str, path: str, query: str, body: bytes, sent: dict[str, str], odd: Event
) -> None:
    both().same(gateway(method, path + query, body, sent) | odd)


@pytest.mark.parametrize("gateway", [http_v2, rest_v1])
@pytest.mark.parametrize("stage", ["prod", "v1", "$default"])
@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", PREDICT), ("POST", f"/v2/models/{MODEL}/infer"), ("HEAD", f"/v2/models/{MODEL}")],
)
def test_what_models_are_called_for_goes_straight(
    gateway: Any, stage: str, method: str, path: str
) -> None:
    body = b"" if method == "HEAD" else b'{"instances":[1]}'
    kind = {"content-type": "application/json", "authorization": "secret", "cookie": "a=b"}
    answer = both().same(gateway(method, path, body, kind, stage=stage))
    assert answer is not None
    assert answer["statusCode"] < 300
    assert answer["body"] == body.decode()


@pytest.mark.parametrize("gateway", [http_v2, rest_v1])
def test_a_body_that_is_too_large_goes_straight_too(gateway: Any) -> None:
    answer = both().same(gateway("POST", PREDICT, bytes(200)))
    assert answer is not None
    assert answer["statusCode"] == 413
    for length in ("151", "0151", "9" * 5000):
        declared = both().same(gateway("POST", PREDICT, b"1", {"content-length": length}))
        assert declared is not None
        assert declared["statusCode"] == 413


def test_documentation_jobs_and_the_repository_are_the_apps() -> None:
    managed = {
        (call.protocol, call.verb)
        for call in (grammar.Call(protocol, verb) for protocol, verb, *_ in grammar.RULES)
        if not goes_straight(call)
    }
    assert {protocol for protocol, _ in managed} == {"docs", "jobs", "v2"}
    assert {verb for protocol, verb in managed if protocol == "v2"} == {
        "repository-index",
        "repository-load",
        "repository-unload",
    }
    for path in (
        "/docs",
        "/jobs/1",
        f"/v2/models/{MODEL}/openapi.json",
        "/nowhere",
        "/v2/models/X",
    ):
        assert straight(both().short.router, http_v2("GET", path)) is None


def test_both_ways_take_the_same_kinds_for_text() -> None:
    assert list(TEXTS) == DEFAULT_TEXT_MIME_TYPES


@pytest.mark.parametrize(("kind", "there"), [("on-demand", False), ("snap-start", True)])
def test_the_app_is_there_at_once_only_where_nobody_waits_for_the_start(
    kind: str, there: bool
) -> None:
    program = (
        "import sys; import functions.router.handler as h; h.build(h.os.environ);"
        "print('fastapi' in sys.modules, 'functions.router.docs' in sys.modules)"
    )
    environment = {
        "PYTHONPATH": f"{ROOT / 'layers/core/python'}:{ROOT}",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_LAMBDA_INITIALIZATION_TYPE": kind,
        "MODELPORT_BUCKET": "bucket",
        "MODELPORT_ENVIRONMENT": "test",
    }
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [str(there)] * 2
