"""What only Lambda has: init errors, events that are no envelope, and the 6 MB answer limit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from modelport.envelope import Request, Response

from tests.support import runtime_bundles as bundles
from tests.support.runtime_world import LambdaRuntime

V1 = "/v1/models/demo/versions/3:predict"


@pytest.fixture
def text(tmp_path: Path) -> Iterator[LambdaRuntime]:
    runtime = LambdaRuntime(bundles.write_bundle(tmp_path, bundles.TEXT))
    yield runtime
    runtime.close()


def test_the_wrong_bundle_is_an_init_error_with_its_reason(tmp_path: Path) -> None:
    settings = bundles.write_bundle(tmp_path, bundles.DOUBLE)
    runtime = LambdaRuntime(replace(settings, digest="sha256:" + "0" * 64))
    report = runtime.init_error()
    assert report["errorType"] == "IntegrityError"
    assert "digest of the bundle" in report["errorMessage"]
    assert runtime.exit_code() == 1
    runtime.close()


def test_an_unset_variable_is_an_init_error_naming_it(tmp_path: Path) -> None:
    settings = bundles.write_bundle(tmp_path, bundles.DOUBLE)
    runtime = LambdaRuntime(settings, {"MODELPORT_DIGEST": ""})
    report = runtime.init_error()
    assert report["errorType"] == "InvalidSettingError"
    assert "MODELPORT_DIGEST" in report["errorMessage"]
    runtime.close()


@pytest.mark.parametrize("event", [{}, [], {"modelport": 9}, {"modelport": 1, "method": "GET"}])
def test_an_event_that_is_no_envelope_is_400(text: LambdaRuntime, event: object) -> None:
    response = Response.from_event(text.invoke(json.dumps(event).encode()))
    assert response.status == 400
    assert response.headers["x-modelport-error"] == "malformed-request"


def test_without_an_id_in_the_envelope_lambdas_own_is_used(text: LambdaRuntime) -> None:
    response = text.send(Request("GET", "/nowhere"))
    assert response.headers["x-modelport-request-id"] == "request-1"


def test_an_answer_over_6_mb_says_number_limit_and_way_out(text: LambdaRuntime) -> None:
    body = json.dumps({"instances": ["x" * 3_000_000]}).encode()
    response = text.send(Request("POST", V1, {}, body))
    assert response.status == 413
    message = json.loads(response.body)["error"]
    assert "6,291,456" in message
    assert message.endswith("; send fewer rows per request or ask for fewer outputs")
    text.wait_for('"status":413')


def test_an_answer_just_below_the_limit_goes_through(text: LambdaRuntime) -> None:
    body = json.dumps({"instances": ["x" * 2_600_000]}).encode()
    response = text.send(Request("POST", V1, {}, body))
    assert response.status == 200
    assert len(response.body) > 6_000_000
