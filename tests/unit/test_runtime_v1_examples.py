"""V1's classify and regress: examples of named features in, TensorFlow Serving's results out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto

from functions.runtime.data_plane import DataPlane
from tests.support import runtime_bundles as bundles
from tests.support.runtime_planes import V1, Plane, open_plane

CLASSIFY = V1.replace(":predict", ":classify")
REGRESS = V1.replace(":predict", ":regress")
node, flt = bundles.node, bundles.FLOAT

#: Two features; the answer for both verbs, and the noise of a whole number beside them.
BOTH = bundles.model(
    [
        node("Mul", ["x", "weight"], ["y"]),
        node("ReduceMax", ["y"], ["highest"], axes=[1], keepdims=1),
        node("ArgMax", ["y"], ["best"], axis=1, keepdims=0),
    ],
    [("x", flt, ["N", 2]), ("weight", flt, ["N", 1])],
    [("best", TensorProto.INT64, ["N"]), ("y", flt, ["N", 2]), ("highest", flt, ["N", 1])],
)


def test_classify_pairs_each_score_with_its_label(tmp_path: Path) -> None:
    plane = open_plane(tmp_path, bundles.DOUBLE)
    document = {"examples": [{"x": [0.45, 0.05]}, {"x": [1, 2]}]}
    expected = {"results": [[["", 0.9], ["", 0.1]], [["", 2.0], ["", 4.0]]]}
    assert plane.answer(CLASSIFY, document) == expected
    assert b"0.9]" in plane.post(CLASSIFY, document).body  # no float32 noise
    for labels, words in [(("yes", "no"), ["yes", "no"]), (("yes",), ["yes", ""])]:
        labelled = _labelled(plane, labels)
        rows = labelled.answer(CLASSIFY, document)["results"]
        assert [[label for label, _ in row] for row in rows] == [words, words]


def _labelled(plane: Plane, labels: tuple[str, ...]) -> Plane:
    return Plane(DataPlane(replace(plane.plane.subject, labels=labels), plane.plane.model))


def test_regress_gives_one_value_for_each_example(tmp_path: Path) -> None:
    plane = open_plane(tmp_path, bundles.LOG)
    assert plane.answer(REGRESS, {"examples": [{"x": 1}, {"x": [1]}]}) == {"results": [0.0, 0.0]}
    assert plane.post(REGRESS, {"examples": [{"x": -1}, {"x": 0}]}).body == (
        b'{"results":[NaN,-Infinity]}'
    )


def test_scores_that_are_not_finite_are_bare(tmp_path: Path) -> None:
    log = bundles.model([node("Log", ["x"], ["y"])], [("x", flt, ["N", 2])], [("y", flt, ["N", 2])])
    assert open_plane(tmp_path, log).post(CLASSIFY, {"examples": [{"x": [0, 1]}]}).body == (
        b'{"results":[[["",-Infinity],["",0.0]]]}'
    )


def test_the_context_fills_every_example_and_an_examples_own_value_wins(tmp_path: Path) -> None:
    plane = open_plane(tmp_path, BOTH)
    document = {
        "signature_name": "serving_default",
        "context": {"weight": 10},
        "examples": [{"x": [1, 2]}, {"x": [1, 2], "weight": [3]}],
    }
    assert plane.answer(CLASSIFY, document) == {
        "results": [[["", 10.0], ["", 20.0]], [["", 3.0], ["", 6.0]]]
    }
    assert plane.answer(REGRESS, document) == {"results": [20.0, 6.0]}


@pytest.mark.parametrize(
    ("names", "first"),
    [(("a", "scores"), 2.0), (("probabilities", "b"), 1.0), (("a", "b"), 1.0)],
)
def test_which_of_several_outputs_classifies(
    tmp_path: Path, names: tuple[str, str], first: float
) -> None:
    body = bundles.model(
        [node("Identity", ["x"], [names[0]]), node("Add", ["x", "x"], [names[1]])],
        [("x", flt, ["N", 2])],
        [(name, flt, ["N", 2]) for name in names],
    )
    rows = open_plane(tmp_path, body).answer(CLASSIFY, {"examples": [{"x": [1, 0]}]})["results"]
    assert rows[0][0] == ["", first]


def test_a_text_output_called_classes_labels_the_scores(tmp_path: Path) -> None:
    body = bundles.model(
        [node("Identity", ["x"], ["scores"]), node("Identity", ["t"], ["classes"])],
        [("x", flt, ["N", 2]), ("t", bundles.STRING, ["N", 2])],
        [("scores", flt, ["N", 2]), ("classes", bundles.STRING, ["N", 2])],
    )
    document = {"examples": [{"x": [1, 0], "t": ["é", {"b64": "w6k="}]}]}
    plane = open_plane(tmp_path, body)
    assert plane.answer(CLASSIFY, document) == {"results": [[["é", 1.0], ["é", 0.0]]]}


def test_a_flat_feature_fills_the_rest_of_the_shape(tmp_path: Path) -> None:
    body = bundles.model(
        [node("ReduceSum", ["x"], ["y"], keepdims=0), node("ReduceMax", ["x"], ["m"], axes=[2])],
        [("x", flt, ["N", 2, "M"])],
        [("m", flt, ["N", 2, 1])],
    )
    plane = open_plane(tmp_path, body)
    message = plane.refusal(CLASSIFY, {"examples": [{"x": [1, 2, 3, 4]}]})
    assert "no output is floating and of shape [N,K] (m FP32 [-1,2,1])" in message
    assert message.endswith("this version answers :predict")


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({}, "When method is classify, key 'examples' is expected and was not found"),
        ({"examples": {}}, "Expecting 'examples' value to be an list/array of objects"),
        ({"examples": []}, "'examples' value is an empty array"),
        ({"examples": [[1, 2]]}, "Example must be JSON object but got JSON Array"),
        ({"examples": [{}], "context": 1}, "Example must be JSON object but got JSON Number"),
        (
            {"examples": [{"x": [1, 2]}, {}]},
            "Example 1: Feature: x (data type: FP32) is required but could not be found.",
        ),
        (
            {"examples": [{"x": [1, 2]}, {"x": [1, 2], "z": 1}]},
            "Example 1: feature: z is not an input of the model; inputs: x",
        ),
        (
            {"examples": [{"x": [1, 2]}], "context": {"z": 1}},
            "Context feature: z is not an input of the model; inputs: x",
        ),
        (
            {"examples": [{"x": [1, 2, 3]}]},
            "Example 0: Feature: x. Number of values != expected. values size: 3"
            " but output shape: [2]",
        ),
        (
            {"examples": [{"x": [[1, 2]]}]},
            "Example 0: Feature: x has element with unexpected JSON type: Array",
        ),
        (
            {"examples": [{"x": None}]},
            "Example 0: Feature: x has element with unexpected JSON type: Null",
        ),
        (
            {"examples": [{"x": {"y": 1}}]},
            "Example 0: Feature: x has element with unexpected JSON type: Object",
        ),
        (
            {"examples": [{"x": [1, "a"]}]},
            "Example 0: input 'x': expected FP32 [-1], got a string at [1]",
        ),
        (
            {"signature_name": "s", "examples": [{"x": [1, 2]}]},
            'Serving signature name: "s" not found in signature def',
        ),
        (b"[]", "the JSON document is not an object"),
    ],
)
def test_bad_examples_say_what_is_wrong(tmp_path: Path, document: Any, message: str) -> None:
    assert open_plane(tmp_path, bundles.DOUBLE).refusal(CLASSIFY, document) == message


def test_a_version_that_cannot_says_why_and_what_it_can(tmp_path: Path) -> None:
    plane = open_plane(tmp_path, bundles.DOUBLE)
    assert plane.refusal(REGRESS, {"examples": [{"x": [1, 2]}]}) == (
        "Expected regression signature method_name to be tensorflow/serving/regress."
        " Was: tensorflow/serving/predict; no output is floating and of shape [N] or [N,1]"
        " (y FP32 [-1,2]); this version answers :predict, :classify"
    )


def test_a_scalar_input_is_for_predict(tmp_path: Path) -> None:
    message = open_plane(tmp_path, bundles.SCALE).refusal(
        CLASSIFY, {"examples": [{"x": [1, 2], "factor": 2}]}
    )
    assert "input 'factor'" in message
    assert "send a scalar to :predict" in message


def test_a_context_cannot_be_blown_up_by_many_examples(tmp_path: Path) -> None:
    body = bundles.model(
        [node("Identity", ["x"], ["y"])], [("x", flt, ["N", "M"])], [("y", flt, ["N", "M"])]
    )
    document = {"context": {"x": [0.5] * 20_000}, "examples": [{}] * 1_000}
    message = open_plane(tmp_path, body).refusal(CLASSIFY, document, status=413)
    assert "80,000,000 bytes" in message
    assert "67,108,864 bytes" in message
    assert "send fewer examples" in message


def test_examples_of_different_lengths_are_told_apart(tmp_path: Path) -> None:
    body = bundles.model(
        [node("Identity", ["x"], ["y"])], [("x", flt, ["N", "M"])], [("y", flt, ["N", "M"])]
    )
    message = open_plane(tmp_path, body).refusal(
        CLASSIFY, {"examples": [{"x": [1]}, {"x": [1, 2]}]}
    )
    assert message == "Example 1: feature: x has 2 values where example 0 has 1"


# --- any document at all --------------------------------------------------------------------------

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=4)
    | st.just({"b64": "w6k="}),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["x", "weight", "b64", "z"]), inner, max_size=3)
    ),
    max_leaves=8,
)
keys = st.sampled_from(["examples", "context", "signature_name", "instances", "inputs"])
documents = st.dictionaries(keys, values, max_size=4) | values


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Plane:
    return open_plane(tmp_path_factory.mktemp("both"), BOTH)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([V1, CLASSIFY, REGRESS, f"{V1}?dialect=kserve"]), documents)
def test_any_document_is_an_answer_or_a_refusal_in_words(
    both: Plane, path: str, document: Any
) -> None:
    response = both.post(path, json.dumps(document).encode())
    assert response.status in {200, 400}, response.body
    if response.status == 400:
        assert json.loads(response.body)["error"]
