"""The path grammar: every protocol's paths, their encodings, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelport.errors import (
    InvalidNameError,
    MalformedRequestError,
    ModelportError,
    RouteNotFoundError,
)
from modelport.grammar import Call, allowed_methods, canonical_path, parse

ACCEPTED = [
    ("POST", "/v1/models/m:predict", Call("v1", "predict", "m")),
    ("POST", "/v1/models/m%3Apredict", Call("v1", "predict", "m")),
    ("POST", "/V1/Models/m/Versions/3:PREDICT", Call("v1", "predict", "m", 3)),
    ("POST", "/v1/models/m/labels/canary:predict", Call("v1", "predict", "m", None, "canary")),
    ("POST", "/v1/models/m:classify", Call("v1", "classify", "m")),
    ("POST", "/v1/models/m/versions/3:regress", Call("v1", "regress", "m", 3)),
    ("POST", "/v1/models/m/labels/canary:evaluate", Call("v1", "evaluate", "m", None, "canary")),
    ("POST", "/V1/models/m:Explain", Call("v1", "explain", "m")),
    ("POST", "/v1/models/m:predict?dialect=kserve", Call("v1", "predict", "m")),
    ("GET", "/v1/models/m/labels/can%61ry", Call("v1", "status", "m", None, "canary")),
    ("GET", "/v1/models", Call("v1", "list")),
    ("GET", "/v1/models/m", Call("v1", "status", "m")),
    ("GET", "/v1/models/%6D/versions/2/metadata", Call("v1", "metadata", "m", 2)),
    ("GET", "/v2", Call("v2", "server-metadata")),
    ("GET", "/v2/health/live", Call("v2", "server-live")),
    ("GET", "/v2/health/ready", Call("v2", "server-ready")),
    ("GET", "/v2/models/m", Call("v2", "metadata", "m")),
    ("GET", "/v2/models/m/versions/7/ready", Call("v2", "ready", "m", 7)),
    ("POST", "/v2/models/m/versions/canary/infer", Call("v2", "infer", "m", None, "canary")),
    ("POST", "/endpoints/m/invocations", Call("sagemaker", "invocations", "m")),
    ("POST", "/endpoints/m/versions/2/invocations", Call("sagemaker", "invocations", "m", 2)),
    ("POST", "/invocations", Call("sagemaker", "invocations")),
    ("GET", "/ping", Call("sagemaker", "ping")),
]


@pytest.mark.parametrize(("method", "path", "call"), ACCEPTED)
def test_a_path_of_a_protocol_is_read(method: str, path: str, call: Call) -> None:
    found = parse(method, path)
    assert replace(found, query="") == call
    assert found.query == path.partition("?")[2]


@pytest.mark.parametrize(("method", "path", "call"), ACCEPTED)
def test_the_canonical_path_names_the_version_and_reads_back(
    method: str, path: str, call: Call
) -> None:
    if call.model:
        again = parse(method, canonical_path(parse(method, path), 42))
        assert again == Call(call.protocol, call.verb, "m", 42, query=path.partition("?")[2])


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/"),
        ("GET", "/v1/models/m:predict"),
        ("POST", "/v1/models/m:explode"),
        ("POST", "/v2/models/m/infer/more"),
        ("POST", "/v2/models//infer"),
        ("DELETE", "/v1/models/m"),
    ],
)
def test_other_paths_are_not_found(method: str, path: str) -> None:
    with pytest.raises(RouteNotFoundError, match="Malformed request"):
        parse(method, path)


@pytest.mark.parametrize(
    "path", ["/v1/models/UP:predict", "/v1/models/m/versions/0:predict", "/v1/models/m/versions/x"]
)
def test_an_impossible_name_in_a_known_path_says_what_is_allowed(path: str) -> None:
    with pytest.raises(InvalidNameError):
        parse("POST" if path.endswith("predict") else "GET", path)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/models/m/versions/1/labels/l:predict"),
        ("POST", "/V1/Models/m/Versions/1/Labels/l%3Aclassify"),
        ("GET", "/v1/models/m/versions/1/labels/l/metadata"),
        ("GET", "/v1/models/m/versions/1/labels/l"),
    ],
)
def test_version_and_label_together_are_refused_as_tensorflow_serving_does(
    method: str, path: str
) -> None:
    with pytest.raises(MalformedRequestError, match="cannot be supplied"):
        parse(method, path)


def test_an_option_is_the_querys_last_value_decoded() -> None:
    call = parse("POST", "/v1/models/m:predict?x=1&dialect=a&dialect=k%73erve&empty=")
    assert (call.option("dialect"), call.option("empty"), call.option("no")) == ("kserve", "", None)


def test_the_wrong_method_can_be_told_from_the_wrong_path() -> None:
    assert allowed_methods("/v2/models/m/infer") == ("POST",)
    assert allowed_methods("/nowhere") == ()


@given(st.sampled_from(["GET", "POST", "PUT"]), st.text(max_size=60).map(lambda text: "/" + text))
def test_any_path_is_a_call_or_a_clear_error(method: str, path: str) -> None:
    try:
        call = parse(method, path)
    except ModelportError:
        return
    assert call.protocol in {"v1", "v2", "sagemaker", "mlflow", "docs"}
