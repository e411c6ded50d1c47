"""OpenAPI documents: valid for any signature, examples that fit, paths that exist."""

from __future__ import annotations

import json
import math
from typing import Any

import jsonschema_rs
import pytest
import schemathesis
from hypothesis import given, settings
from hypothesis import strategies as st
from modelport import grammar
from modelport.goldens import Golden, Tensor
from modelport.manifest import Content, Manifest, ModelSettings
from modelport.openapi import About, Place, model_document, model_page, server_document
from modelport.openapi.about import MAX_EXAMPLE
from modelport.signature import DATATYPES, Signature, TensorSpec

RUNTIME = Place(router=False)
ROUTER = Place(router=True, root="../../..")

_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "BOOL": st.booleans(),
    "BYTES": st.text(max_size=5),
    **{name: st.integers(0, 100) for name in DATATYPES if "INT" in name},
    **{name: st.floats(-100, 100, width=16) for name in ("FP16", "BF16", "FP32", "FP64")},
}


@st.composite
def tensors(draw: st.DrawFn, name: str, rows: int) -> tuple[TensorSpec, Tensor]:
    datatype = draw(st.sampled_from(sorted(DATATYPES)))
    shape = tuple(draw(st.lists(st.integers(1, 3), max_size=3)))
    if shape:
        shape = (rows, *shape[1:])
    declared = tuple(draw(st.sampled_from((dim, -1))) for dim in shape)
    count = math.prod(shape)
    data = tuple(draw(st.lists(_VALUES[datatype], min_size=count, max_size=count)))
    return TensorSpec(name, datatype, declared), Tensor(name, datatype, shape, data)


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    """A version with any signature and a golden that fits it."""
    rows = draw(st.integers(1, 3))
    names = st.text("ab:/\"'<é ", min_size=1, max_size=6)
    inputs = draw(st.lists(names, min_size=1, max_size=3, unique=True))
    outputs = draw(st.lists(names, min_size=1, max_size=3, unique=True))
    taken = [draw(tensors(name, rows)) for name in inputs]
    given_back = [draw(tensors(name, rows)) for name in outputs]
    signature = Signature(tuple(spec for spec, _ in taken), tuple(spec for spec, _ in given_back))
    golden = Golden("one", tuple(t for _, t in taken), tuple(t for _, t in given_back))
    script = draw(st.sampled_from((None, "inference.py")))
    content = Content((), signature, ModelSettings(script=script), (golden,))
    return manifest(content)


def manifest(content: Content) -> Manifest:
    return Manifest("demo", 3, content, "2026-01-01T00:00:00Z")


def about(golden: Golden | None = None, **settings: Any) -> About:
    signature = Signature((TensorSpec("x", "FP32", (-1, 2)),), (TensorSpec("y", "FP32", (-1, 2)),))
    content = Content(
        (), signature, ModelSettings(**settings), (golden,) if golden else (), "What it is for."
    )
    return About.of(manifest(content))


def bodies(document: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Every media type object with examples, with where it stands."""
    found = []
    for path, item in document["paths"].items():
        for operation in item.values():
            contents = [operation.get("requestBody", {}).get("content", {})]
            contents += [each.get("content", {}) for each in operation["responses"].values()]
            found += [(path, body) for content in contents for body in content.values()]
    return [(path, body) for path, body in found if "examples" in body]


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(manifests())
def test_any_signature_makes_a_valid_document_whose_examples_fit(version: Manifest) -> None:
    for place in (RUNTIME, ROUTER):
        document = json.loads(json.dumps(model_document(About.of(version), place)))
        schemathesis.openapi.from_dict(document).validate()
        for path, body in bodies(document):
            schema = {**body["schema"], "components": document["components"]}
            validator = jsonschema_rs.Draft202012Validator(schema)
            for example in body["examples"].values():
                assert validator.is_valid(example["value"]), (path, example, body["schema"])


@pytest.mark.parametrize(
    ("selector", "v1", "other"),
    [
        ("", "", ""),
        ("3", "/versions/3", "/versions/3"),
        ("canary", "/labels/canary", "/versions/canary"),
    ],
)
def test_paths_name_what_the_document_was_asked_for(selector: str, v1: str, other: str) -> None:
    place = Place(router=True, root="../../..", selector=selector)
    document = model_document(about(), place)
    assert f"/v1/models/demo{v1}:predict" in document["paths"]
    assert f"/v2/models/demo{other}/infer" in document["paths"]
    assert f"/endpoints/demo{other}/invocations" in document["paths"]
    assert document["servers"][0]["url"] == "../../.."


@pytest.mark.parametrize("place", [RUNTIME, ROUTER], ids=["runtime", "router"])
@pytest.mark.parametrize("script", [None, "inference.py"])
def test_what_is_documented_is_in_the_grammar(place: Place, script: str | None) -> None:
    for document in (model_document(about(script=script), place), server_document(place)):
        for path, item in document["paths"].items():
            for method in item:
                grammar.parse(method.upper(), path.replace("{model}", "demo"))


def test_a_runtime_takes_invocations_at_its_root() -> None:
    assert "/invocations" in model_document(about(), RUNTIME)["paths"]


def test_generating_text_takes_a_script() -> None:
    assert "/v2/models/demo/generate" not in model_document(about(), ROUTER)["paths"]
    scripted = model_document(about(script="inference.py"), ROUTER)["paths"]
    assert "/v2/models/demo/generate" in scripted
    stream = scripted["/v2/models/demo/generate_stream"]["post"]["responses"]["200"]["content"]
    assert list(stream) == ["text/event-stream"]


def test_the_golden_is_the_example_in_every_form() -> None:
    golden = Golden(
        "g",
        (Tensor("x", "FP32", (1, 2), (1.0, 2.0)),),
        (Tensor("y", "FP32", (1, 2), (3.0, 4.0)),),
    )
    document = model_document(about(golden), ROUTER)
    predict = document["paths"]["/v1/models/demo:predict"]["post"]
    taken = predict["requestBody"]["content"]["application/json"]["examples"]
    answered = predict["responses"]["200"]["content"]["application/json"]["examples"]
    assert taken["rows"]["value"] == {"instances": [[1.0, 2.0]]}
    assert taken["columns"]["value"] == {"inputs": {"x": [[1.0, 2.0]]}}
    assert answered["rows"]["value"] == {"predictions": [[3.0, 4.0]]}
    assert answered["columns"]["value"] == {"outputs": [[3.0, 4.0]]}
    csv = document["paths"]["/endpoints/demo/invocations"]["post"]["requestBody"]["content"]
    assert csv["text/csv"]["examples"]["rows"]["value"] == "1.0,2.0\n"


def test_a_large_golden_is_left_out_and_nothing_of_it_is_kept() -> None:
    count = 200_000
    large = Golden(
        "g",
        (Tensor("x", "FP32", (count // 2, 2), (0.5,) * count),),
        (Tensor("y", "FP32", (1, 2), (3.0, 4.0)),),
    )
    known = about(large)
    assert known.golden is not None
    assert known.golden.name == "invented"
    assert len(json.dumps(model_document(known, ROUTER))) < 10 * MAX_EXAMPLE


def test_a_large_input_has_no_example_at_all() -> None:
    signature = Signature(
        (TensorSpec("x", "FP32", (1, 3, 224, 224)),), (TensorSpec("y", "FP32", (1, 9)),)
    )
    known = About.of(manifest(Content((), signature)))
    assert known.golden is None
    assert not bodies(model_document(known, ROUTER))


def test_not_a_number_is_no_example() -> None:
    golden = Golden(
        "g",
        (Tensor("x", "FP32", (1, 2), (math.nan, 2.0)),),
        (Tensor("y", "FP32", (1, 2), (3.0, 4.0)),),
    )
    shown = [body["examples"] for _, body in bodies(model_document(about(golden), ROUTER))]
    assert shown
    assert "NaN" not in json.dumps(shown)


def test_whole_numbers_have_their_range() -> None:
    signature = Signature(
        (TensorSpec("n", "INT8", (2,)), TensorSpec("u", "UINT64", (-1,))),
        (TensorSpec("y", "FP32", (-1,)),),
    )
    known = About.of(manifest(Content((), signature)))
    request = model_document(known, ROUTER)["components"]["schemas"]["V1PredictRequest"]
    columns = next(form for form in request["oneOf"] if form["required"] == ["inputs"])
    taken = columns["properties"]["inputs"]["properties"]
    assert taken["n"]["minItems"] == taken["n"]["maxItems"] == 2
    assert (taken["n"]["items"]["minimum"], taken["n"]["items"]["maximum"]) == (-128, 127)
    assert taken["u"]["items"]["maximum"] == 2**64 - 1
    assert "maxItems" not in taken["u"]


def test_half_precision_has_no_json_in_v2() -> None:
    signature = Signature((TensorSpec("h", "FP16", (-1,)),), (TensorSpec("g", "FP16", (-1,)),))
    known = About.of(manifest(Content((), signature)))
    infer = model_document(known, ROUTER)["paths"]["/v2/models/demo/infer"]["post"]
    assert list(infer["requestBody"]["content"]) == ["application/octet-stream"]


def test_signing_is_described_where_the_door_asks_for_it() -> None:
    signed = model_document(about(), Place(router=True, auth="iam"))
    assert signed["security"] == [{"sigv4": []}]
    assert signed["components"]["securitySchemes"]["sigv4"]["name"] == "Authorization"
    predict = signed["paths"]["/v1/models/demo:predict"]["post"]
    assert "403" in predict["responses"]
    assert "security" not in model_document(about(), ROUTER)


def test_the_version_and_what_was_said_of_it_are_told() -> None:
    info = model_document(about(), ROUTER)["info"]
    assert (info["title"], info["version"], info["summary"]) == ("demo", "3", "What it is for.")
    assert info["x-modelport-digest"].startswith("sha256:")


def test_a_great_many_tensors_still_fit_through_a_gateway() -> None:
    many = tuple(TensorSpec(f"feature_{i}", "FP32", (-1, 8)) for i in range(5_000))
    known = About.of(manifest(Content((), Signature(many, many))))
    document = model_document(known, ROUTER)
    schemathesis.openapi.from_dict(document).validate()
    assert len(json.dumps(document)) < 4_000_000
    assert len(model_page(document)) < 4_000_000
    assert len(document["x-modelport-signature"]["inputs"]) == 5_000
