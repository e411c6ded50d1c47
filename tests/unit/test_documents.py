"""Manifest, goldens, envelope and settings: what is written reads back, the rest is refused."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelport.envelope import Request, Response
from modelport.errors import (
    IntegrityError,
    InvalidBundleError,
    InvalidNameError,
    InvalidSettingError,
    MalformedRequestError,
)
from modelport.goldens import Golden, Tensor, load_goldens
from modelport.goldens.forms import Asked, requests, uncarried
from modelport.manifest import Content, File, Manifest
from modelport.settings import RegistrarSettings, RouterSettings, RuntimeSettings
from modelport.signature import Signature, TensorSpec

SIGNATURE = Signature((TensorSpec("x", "FP32", (-1, 2)),), (TensorSpec("y", "FP32", (-1, 1)),))
X = Tensor("x", "FP32", (2, 2), (1.0, 2.0, 3.0, 4.0))
Y = Tensor("y", "FP32", (2, 1), (3.0, 7.0))
GOLDEN = Golden("sum", (X,), (Y,))
RAW = Golden("file", content_type="application/pdf", body=b"%PDF\xff", answer={"label": "pdf"})
MANIFEST = Manifest(
    "m",
    1,
    Content((File("model.onnx", "sha256:" + "a" * 64, 12),), SIGNATURE, goldens=(GOLDEN, RAW)),
    "2026-01-01T00:00:00Z",
)


def test_a_manifest_survives_its_bytes() -> None:
    assert Manifest.from_bytes(MANIFEST.to_bytes()) == MANIFEST


def test_the_digest_covers_the_content_and_nothing_else() -> None:
    assert replace(MANIFEST, version=2, created="later").digest == MANIFEST.digest
    other = replace(MANIFEST.content, description="other")
    assert other.digest != MANIFEST.digest


@pytest.mark.parametrize(
    "edit", [{"description": "edited"}, {"schema": 9}, {"digest": "sha256:0"}, {"files": None}]
)
def test_an_edited_manifest_is_refused(edit: dict[str, object]) -> None:
    data = json.loads(MANIFEST.to_bytes()) | edit
    with pytest.raises(IntegrityError):
        Manifest.from_bytes(json.dumps(data).encode())


@given(st.binary(max_size=100))
def test_any_bytes_are_a_manifest_or_an_integrity_error(body: bytes) -> None:
    with pytest.raises(IntegrityError):
        Manifest.from_bytes(body)


# --- goldens --------------------------------------------------------------------------------------


def check(golden: Golden, form: str, body: bytes) -> str | None:
    found = (request for request in requests(golden, Asked(SIGNATURE)) if request.form == form)
    return next(found).check({}, body)


def test_a_tensor_golden_is_asked_in_every_form() -> None:
    bodies = {r.form: r.body for r in requests(GOLDEN, Asked(SIGNATURE))}
    assert json.loads(bodies["v1 columns"]) == {"inputs": {"x": [[1.0, 2.0], [3.0, 4.0]]}}
    assert json.loads(bodies["v1 rows"]) == {"instances": [[1.0, 2.0], [3.0, 4.0]]}
    assert json.loads(bodies["v2 json"])["inputs"][0]["data"] == [1.0, 2.0, 3.0, 4.0]
    assert bodies["sagemaker csv"] == b"1.0,2.0\n3.0,4.0\n"


def test_a_raw_golden_goes_to_invocations_only_and_says_why() -> None:
    (request,) = requests(RAW, Asked(SIGNATURE))
    assert (request.protocol, request.body) == ("sagemaker", b"%PDF\xff")
    assert {one.form for one in uncarried([RAW], Asked(SIGNATURE))} >= {"v1 rows", "v2 binary"}


def test_half_precision_has_no_json_form_in_v2() -> None:
    golden = Golden("half", (replace(X, datatype="FP16"),), (Y,))
    said = {one.form: one.reason for one in uncarried([golden], Asked(SIGNATURE))}
    assert "FP16" in said["v2 json"]
    assert "v2 binary" not in said


def test_answers_within_the_tolerance_agree() -> None:
    assert check(GOLDEN, "v1 columns", b'{"outputs": [[3.00001], [7.0]]}') is None
    v2 = {"outputs": [{"name": "y", "datatype": "FP32", "shape": [2, 1], "data": [3.0, 7.0]}]}
    assert check(GOLDEN, "v2 json", json.dumps(v2).encode()) is None
    assert check(RAW, "raw", b'{"label": "pdf"}') is None


@pytest.mark.parametrize(
    ("form", "body", "problem"),
    [
        ("v1 columns", b'{"outputs": [[3.1], [7.0]]}', "y[0][0]: expected 3.0, got 3.1"),
        ("v1 columns", b'{"outputs": [[3.0]]}', "expected 2 values, got 1"),
        ("v1 columns", b'{"predictions": [[3.0], [7.0]]}', "no 'outputs'"),
        ("v1 columns", b"[]", "not a JSON object"),
        ("v1 columns", b"{", "not JSON"),
        ("v2 json", b'{"outputs": []}', "missing"),
        (
            "v2 json",
            b'{"outputs": [{"name": "y", "datatype": "FP64", "shape": [2, 1], "data": [3, 7]}]}',
            "expected datatype FP32, got FP64",
        ),
    ],
)
def test_a_wrong_answer_says_what_is_wrong(form: str, body: bytes, problem: str) -> None:
    assert problem in (check(GOLDEN, form, body) or "")


def test_text_is_sent_as_base64_over_v1_and_nests_by_shape() -> None:
    tensor = Tensor("s", "BYTES", (1, 2), ("a", "b"))
    encoded = [{"b64": base64.b64encode(text).decode()} for text in (b"a", b"b")]
    assert tensor.nested() == [encoded]
    assert Tensor("x", "FP32", (), (1.5,)).nested() == 1.5
    assert Tensor("x", "FP32", (2, 0, 3), ()).nested() == [[], []]


def test_goldens_are_read_from_a_folder(tmp_path: Path) -> None:
    (tmp_path / "b.json").write_text(
        json.dumps({"content_type": "text/plain", "body": "b.txt", "answer": 1})
    )
    (tmp_path / "b.txt").write_bytes(b"\xff")
    (tmp_path / "a.json").write_text(json.dumps(GOLDEN.to_json()))
    assert [golden.name for golden in load_goldens(tmp_path)] == ["a", "b"]
    assert load_goldens(tmp_path)[1].body == b"\xff"


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "{}",
        '{"body": "../secret", "content_type": "t", "answer": 1}',
        '{"body": "gone.bin", "content_type": "t", "answer": 1}',
        '{"inputs": [{"name": "x", "datatype": "FP32", "shape": [3], "data": 1}], "outputs": [1]}',
    ],
)
def test_a_broken_golden_names_its_file(tmp_path: Path, text: str) -> None:
    (tmp_path / "g.json").write_text(text)
    with pytest.raises(InvalidBundleError, match=r"g\.json"):
        load_goldens(tmp_path)


# --- envelope -------------------------------------------------------------------------------------


@given(st.binary(max_size=300))
def test_any_body_survives_the_envelope(body: bytes) -> None:
    request = Request("POST", "/v2/models/m/infer", {"content-type": "x"}, body, "id-1")
    assert Request.from_event(json.loads(request.to_event())) == request
    response = Response(200, {"a": "b"}, body)
    assert Response.from_event(json.dumps(response.to_event()).encode()) == response


@pytest.mark.parametrize(
    "event",
    [
        None,
        [],
        {},
        {"modelport": 2},
        {"modelport": 1, "method": "GET"},
        {"modelport": 1, "method": "GET", "path": "/", "headers": {}, "body": 1},
        {"modelport": 1, "method": "GET", "path": "/", "headers": {}, "body": "?", "base64": True},
    ],
)
def test_a_foreign_event_is_refused(event: object) -> None:
    with pytest.raises(MalformedRequestError):
        Request.from_event(event)


def test_a_foreign_answer_is_refused() -> None:
    for payload in (b"", b"null", b'{"errorMessage": "x"}'):
        with pytest.raises(MalformedRequestError):
            Response.from_event(payload)


# --- settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        RouterSettings("b", "dev", routes_ttl_s=0.5),
        RuntimeSettings("m", 3, "sha256:0", memory_mb=1769),
        RegistrarSettings("b", "dev"),
    ],
)
def test_what_infrastructure_writes_is_what_functions_read(
    settings: RouterSettings | RuntimeSettings | RegistrarSettings,
) -> None:
    assert type(settings).from_env(settings.to_env()) == settings


def test_a_missing_variable_is_named() -> None:
    with pytest.raises(InvalidSettingError, match="MODELPORT_ENVIRONMENT is not set"):
        RouterSettings.from_env({"MODELPORT_BUCKET": "b"})


@pytest.mark.parametrize(
    ("name", "value"),
    [("MODELPORT_ROUTES_TTL_S", "soon"), ("MODELPORT_MAX_BODY_BYTES", "-1")],
)
def test_an_invalid_variable_is_named(name: str, value: str) -> None:
    environ = {"MODELPORT_BUCKET": "b", "MODELPORT_ENVIRONMENT": "dev", name: value}
    with pytest.raises(InvalidSettingError, match=name):
        RouterSettings.from_env(environ)


def test_a_model_function_is_told_its_memory_by_lambda() -> None:
    environ = {
        "MODELPORT_MODEL": "m",
        "MODELPORT_VERSION": "1",
        "MODELPORT_DIGEST": "sha256:0",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
    }
    assert RuntimeSettings.from_env(environ).memory_mb == 512
    with pytest.raises(InvalidNameError):
        RuntimeSettings.from_env(environ | {"MODELPORT_MODEL": "No Good"})
