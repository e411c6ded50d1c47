"""API Gateway's events: stages, mappings and proxies in front of the path, and any input at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from modelport import grammar
from modelport.envelope import Request, Response
from modelport.errors import InvalidSettingError

from functions.router.gateway import headers_of, query_of, without_base_path
from functions.router.handler import build
from tests.support.api_events import Event, http_v2, rest_v1
from tests.support.router_world import MODEL, World, deployed

PREDICT = f"/v1/models/{MODEL}:predict"


def path_of(event: Event) -> str:
    plain = without_base_path(event)
    http = plain["requestContext"].get("http")
    path: str = http["path"] if http else plain["path"]
    assert http is None or plain["rawPath"] == path
    return path


@pytest.mark.parametrize(
    "event",
    [
        http_v2("POST", PREDICT),
        http_v2("POST", PREDICT, stage="prod"),
        http_v2("POST", PREDICT, stage="v1"),
        http_v2("POST", f"/v1/models/{MODEL}:predict", stage=MODEL),
        http_v2("POST", PREDICT, stage="prod", proxy=True),
        http_v2("POST", PREDICT, proxy=True),
        http_v2("POST", PREDICT, stage="v1", domain="api.example.com"),
        http_v2(
            "POST", PREDICT, stage="v1", domain="api.example.com", base_path="/ml/eu", proxy=True
        ),
        rest_v1("POST", PREDICT),
        rest_v1("POST", PREDICT, stage="v1"),
        rest_v1("POST", PREDICT, base_path="/ml/eu"),
    ],
)
def test_the_path_starts_at_the_routers_root_whatever_precedes_it(event: Event) -> None:
    assert path_of(event) == PREDICT
    assert World(deployed(1)).send(event).status == 200


@pytest.mark.parametrize("colon", [":", "%3A", "%3a"])
@pytest.mark.parametrize("build_event", [http_v2, rest_v1])
def test_the_colon_of_v1_survives_both_gateways(build_event: Any, colon: str) -> None:
    event = build_event("POST", f"/v1/models/{MODEL}{colon}predict", b"{}")
    assert World(deployed(1)).send(event).status == 200


def test_an_encoded_colon_survives_a_rest_mapping_with_a_decoded_proxy() -> None:
    event = rest_v1("POST", f"/v1/models/{MODEL}%3Apredict", b"{}", base_path="/ml")
    event["pathParameters"] = {"proxy": PREDICT.lstrip("/")}
    assert path_of(event) == f"/v1/models/{MODEL}%3Apredict"


def test_a_proxy_that_is_not_the_end_of_the_path_is_the_path() -> None:
    event = rest_v1("POST", "/rewritten", b"{}")
    event["pathParameters"] = {"proxy": PREDICT.lstrip("/")}
    assert path_of(event) == PREDICT


def test_the_root_of_a_stage_is_the_root() -> None:
    assert path_of(http_v2("GET", "", stage="prod")) == "/"


def test_the_event_itself_is_left_alone() -> None:
    event = http_v2("POST", PREDICT, stage="prod")
    without_base_path(event)
    assert event["rawPath"] == f"/prod{PREDICT}"


def test_a_missing_setting_fails_the_start_and_is_named() -> None:
    with pytest.raises(InvalidSettingError, match="MODELPORT_BUCKET"):
        build({"MODELPORT_ENVIRONMENT": "test"})


text = st.text(st.characters(codec="utf-8"), max_size=60)
segments = st.lists(
    st.sampled_from(
        ["v1", "v2", "models", MODEL, "versions", "labels", "1", "stable", "infer", "ready", ""]
    )
    | text,
    max_size=8,
)
paths = segments.map(lambda parts: "/" + "/".join(parts)) | st.builds(
    lambda name, verb: f"/v1/models/{name}:{verb}", text, st.sampled_from(["predict", "x"])
)
methods = st.sampled_from(["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "BREW"])
headers = st.dictionaries(
    st.sampled_from(
        [
            "accept",
            "content-type",
            "content-length",
            "x-modelport-key",
            "x-amzn-sagemaker-target-variant",
            "inference-header-content-length",
        ]
    ),
    text,
    max_size=4,
)

WORLD = World(deployed(1, 2, stable="1:50,2:50"))


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([http_v2, rest_v1]), methods, paths, st.binary(max_size=200), headers)
def test_no_request_of_a_caller_is_answered_with_a_server_error(
    build_event: Any, method: str, path: str, body: bytes, sent: dict[str, str]
) -> None:
    answer = WORLD.send(build_event(method, path, body, sent))
    assert answer.status < 500
    assert answer.headers["x-modelport-request-id"]
    if answer.status >= 400 and method != "HEAD":
        assert answer.error


@pytest.mark.parametrize("base", ["", "/ml/eu"])
@pytest.mark.parametrize(
    ("resource", "path", "parameters"),
    [
        ("/v2", "/v2", {}),
        ("/v2/{proxy+}", "/v2/health/live", {"proxy": "health/live"}),
        ("/v2/models/{model}", "/v2/models/m", {"model": "m"}),
        ("/v2/models/{model}/{proxy+}", "/v2/models/m/infer", {"model": "m", "proxy": "infer"}),
        (
            "/v2/models/{model}/versions/{version}/{proxy+}",
            "/v2/models/m%2Dn/versions/3/infer",
            {"model": "m-n", "version": "3", "proxy": "infer"},
        ),
        ("/v2/models/{model}/generate_stream", "/v2/models/m/generate_stream", {"model": "m"}),
    ],
)
def test_a_rest_resource_below_the_root_says_which_end_of_the_path_is_ours(
    base: str, resource: str, path: str, parameters: dict[str, str]
) -> None:
    event = rest_v1("POST", path)
    sent = {**event, "resource": resource, "path": base + path, "pathParameters": parameters}
    assert without_base_path(sent)["path"] == path


def _with(**changes: Any) -> Callable[[Event], Event]:
    return lambda event: {**event, **changes}


def _headed(**headers: Any) -> Callable[[Event], Event]:
    return lambda event: {**event, "headers": {**event["headers"], **headers}}


BOTH = pytest.mark.parametrize("build_event", [http_v2, rest_v1])


@BOTH
@pytest.mark.parametrize(
    "odd",
    [
        _headed(host="api.example.com:port"),
        _headed(host="[::1]:80"),
        _headed(**{"x-forwarded-port": "none"}),
        _headed(**{"x-odd": None}),
        _with(headers=None),
        _with(body=None),
        _with(multiValueHeaders={"x-a": None, "x-b": []}),
    ],
)
def test_what_is_odd_around_a_body_stops_no_event(
    build_event: Any, odd: Callable[[Event], Event]
) -> None:
    event = odd(build_event("POST", PREDICT, b"{}", {"content-type": "application/json"}))
    assert World(deployed(1)).send(event).status == 200


@BOTH
@pytest.mark.parametrize("body", ["a", "!!!!", "€", "e30", "\ud800"])
def test_a_body_that_is_not_what_the_event_says_is_refused_in_words(
    build_event: Any, body: str
) -> None:
    event = build_event("POST", PREDICT) | {"body": body, "isBase64Encoded": True}
    answer = World(deployed(1)).send(event)
    assert answer.status == 400
    assert "base64" in answer.error
    assert answer.headers["x-modelport-request-id"] == event["requestContext"]["requestId"]


def test_text_that_has_no_bytes_is_refused_in_words() -> None:
    event = http_v2("POST", PREDICT) | {"body": "\ud800"}
    assert World(deployed(1)).send(event).status == 400


@pytest.mark.parametrize("event", [{}, {"version": "2.0", "requestContext": {}}, {"resource": "/"}])
def test_an_event_of_no_gateway_is_told_so(event: Event) -> None:
    answer = World(deployed(1)).send(event)
    assert answer.status == 400
    assert "API Gateway" in answer.error


@pytest.mark.parametrize(
    "query",
    [
        {"queryStringParameters": {"dialect": "kserve"}},
        {"multiValueQueryStringParameters": {"dialect": ["tfs", "kserve"]}},
    ],
)
def test_a_rest_apis_query_reaches_the_model(query: dict[str, Any]) -> None:
    event = rest_v1("POST", PREDICT, b"{}") | query
    paths: list[str] = []

    def model(request: Request) -> Response:
        paths.append(request.path)
        return Response(200)

    assert World(deployed(1), models={1: model}).send(event).status == 200
    call = grammar.parse("POST", paths[0])
    assert call.option("dialect") == "kserve"
    assert query_of(event).endswith("dialect=kserve")


def test_headers_that_came_several_times_are_joined() -> None:
    event = rest_v1("POST", PREDICT) | {
        "headers": {"X-A": "2"},
        "multiValueHeaders": {"X-A": ["1", "2"], "X-B": ["3"]},
    }
    assert headers_of(event) == {"x-a": "1, 2", "x-b": "3"}
