"""API Gateway's events: stages, mappings and proxies in front of the path, and any input at all."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from modelport.errors import InvalidSettingError

from functions.router.gateway import without_base_path
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
