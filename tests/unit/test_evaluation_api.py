"""``:evaluate`` in the runtime: metrics of instances with labels, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from modelport.envelope import Request
from modelport.grammar import Call
from modelport.manifest import ModelSettings
from modelport.signature import Signature, TensorSpec
from sklearn import metrics

from functions.runtime.codecs import Subject
from functions.runtime.codecs.v1 import V1Codec
from functions.runtime.tensors import Tensors
from tests.support import runtime_bundles as bundles
from tests.support.router_world import World, deployed
from tests.support.runtime_planes import V1, Plane, open_plane
from tests.support.version_behind import behind

EVALUATE = V1.replace(":predict", ":evaluate")
FLOAT, INT64, STRING = bundles.FLOAT, bundles.INT64, bundles.STRING
SAME = bundles.model(
    [bundles.node("Identity", ["x"], ["y"])], [("x", FLOAT, ["N", 2])], [("y", FLOAT, ["N", 2])]
)
VALUE = bundles.model(
    [bundles.node("Identity", ["x"], ["y"])], [("x", FLOAT, ["N"])], [("y", FLOAT, ["N"])]
)
LABELS_ONLY = bundles.model(
    [bundles.node("Identity", ["x"], ["y"])], [("x", INT64, ["N"])], [("y", INT64, ["N"])]
)


@pytest.fixture(scope="module")
def same(tmp_path_factory: pytest.TempPathFactory) -> Plane:
    """Answers its two inputs as scores of the classes ham and spam."""
    folder = tmp_path_factory.mktemp("same")
    (folder / "labels.txt").write_text("ham\nspam\n")
    return open_plane(folder, SAME, settings=ModelSettings(labels="labels.txt"))


def body(instances: Any, labels: Any, task: str = "classification") -> dict[str, Any]:
    return {"instances": instances, "labels": labels, "task": task}


def test_classification_by_names_and_numbers(same: Plane) -> None:
    rows = [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.3, 0.7]]
    answer = same.answer(EVALUATE, body(rows, ["ham", 1, "spam", "1"]))
    assert (answer["task"], answer["rows"], answer["scores"]) == (
        "classification",
        4,
        "probabilities",
    )
    assert answer["metrics"]["accuracy"] == 0.75
    assert answer["confusion"] == [[1, 0], [1, 2]]
    assert [each["name"] for each in answer["classes"]] == ["ham", "spam"]
    assert answer["classes"][1]["recall"] == pytest.approx(2 / 3)
    expected = -np.log([0.9, 0.8, 0.4, 0.7]).mean()
    assert answer["metrics"]["log_loss"] == pytest.approx(expected, rel=1e-5)
    assert answer["left_out"] == {}


def test_what_is_measured_is_not_counted_as_predicted(same: Plane) -> None:
    answer = same.post(EVALUATE, body([[0.9, 0.1]], [0]))
    assert answer.status == 200
    assert "x-modelport-predicted" not in answer.headers
    assert "x-modelport-predicted" in same.post(V1, {"instances": [[0.9, 0.1]]}).headers


def test_logits_go_through_softmax(same: Plane) -> None:
    assert same.answer(EVALUATE, body([[-2, 3]], [1]))["scores"] == "softmax"


def test_regression(tmp_path: Path) -> None:
    plane = open_plane(tmp_path, VALUE)
    answer = plane.answer(EVALUATE, body([1, 2, 4], [1, 2.5, 3], "regression"))
    assert answer["metrics"]["mae"] == pytest.approx(0.5)
    assert answer["metrics"]["r2"] == pytest.approx(1 - 1.25 / 2.1666667, rel=1e-5)
    flat = plane.answer(EVALUATE, body([1, 2], [2, 2], "regression"))
    assert flat["left_out"] == {"r2": "the labels do not vary"}
    # One score a row also classifies: the second class's.
    assert plane.answer(EVALUATE, body([0.2, 0.9], [0, 1]))["metrics"]["accuracy"] == 1


def test_labels_without_scores(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("a\nb\nc\n")
    plane = open_plane(tmp_path, LABELS_ONLY, settings=ModelSettings(labels="labels.txt"))
    answer = plane.answer(EVALUATE, body([0, 1, 2, 7], ["a", "c", 2, "7"]))
    assert answer["metrics"]["accuracy"] == 0.75
    assert [each["name"] for each in answer["classes"]] == ["7", "a", "b", "c"]
    assert answer["left_out"] == {"log_loss": "the version answers labels without scores"}


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"instances": [[1, 2]], "labels": [0]}, "'task' must be one of classification"),
        (body([[1, 2]], [0], "ranking"), "'task' must be one of"),
        (body([[1, 2]], [0]) | {"k": 1}, "unknown key 'k'; allowed: instances, labels"),
        ({"labels": [0], "task": "classification"}, "Missing 'instances' key"),
        ({"instances": [[1, 2]], "task": "classification"}, "'labels' must be a list"),
        (body([[1, 2]], "ham"), "'labels' must be a list"),
        (body([[1, 2]], []), "0 labels, where 1 to 10,000 rows"),
        (body([[1, 2]] * 10_001, [0] * 10_001), "10,001 labels, where 1 to 10,000 rows"),
        (body([[1, 2]], [0, 1]), "there are 1 instances and 2 labels"),
        (body([[1, 2]], [2]), "it has 2 classes, numbered from 0 (ham, spam)"),
        (body([[1, 2]], ["eggs"]), "row 1: 'eggs'"),
        (body([[1, 2]], [True]), "label 1 is none: labels are whole numbers or text here"),
        (body([[1, 2]], [None]), "label 1 is none"),
        (body([[1, 2], [1, 2]], [0, 0.5]), "label 2 is none"),
        (body([[1, 2]], [1], "regression"), "for regression an output must be floating of shape"),
        (body([[1, 2, 3]], [1]), "input 'x'"),
    ],
)
def test_what_it_refuses(same: Plane, document: dict[str, Any], said: str) -> None:
    assert said in same.refusal(EVALUATE, document)


@pytest.mark.parametrize("label", ["NaN", "Infinity", "1e999", "1" * 400, '"1"', "true"])
def test_labels_of_a_regression_are_finite_numbers(tmp_path: Path, label: str) -> None:
    plane = open_plane(tmp_path, VALUE)
    sent = f'{{"instances": [1], "labels": [{label}], "task": "regression"}}'
    assert plane.refusal(EVALUATE, sent.encode())


def test_answers_that_are_not_finite_are_refused(tmp_path: Path, same: Plane) -> None:
    sent = b'{"instances": [[NaN, 1]], "labels": [0], "task": "classification"}'
    assert "row 1 is not finite" in same.refusal(EVALUATE, sent)
    plane = open_plane(tmp_path, VALUE)
    sent = b'{"instances": [Infinity], "labels": [0], "task": "regression"}'
    assert "not finite has no error" in plane.refusal(EVALUATE, sent)
    assert "too large" in plane.refusal(EVALUATE, body([1], [1e308], "regression"))


@pytest.mark.parametrize("target", ["lambda", "sagemaker"])
def test_it_works_through_the_router(tmp_path: Path, target: str) -> None:
    plane = open_plane(tmp_path, SAME).plane
    world = World(deployed(3, model="demo", target=target), backends=behind(target, plane.handle))
    sent = json.dumps(body([[1, 2], [3, 1]], [1, 0])).encode()
    answer = world.post("/v1/models/demo:evaluate", sent)
    assert answer.json()["metrics"]["accuracy"] == 1
    assert answer.headers["x-modelport-version"] == "3"
    refused = world.post("/v1/models/demo/versions/3:evaluate", b"{}")
    assert (refused.status, "'task' must be" in refused.error) == (400, True)


def evaluated(outputs: Tensors, labels: Sequence[Any], task: str, spec: TensorSpec) -> Any:
    """What the codec makes of a model's outputs, without the model."""
    signature = Signature((TensorSpec("x", "FP32", (-1,)),), (spec,))
    subject, call = Subject("demo", 3, "sha256:0", signature), Call("v1", "evaluate", "demo")
    sent = json.dumps(body([0] * len(labels), labels, task)).encode()
    parsed = V1Codec().parse(call, Request("POST", EVALUATE, {}, sent, "1"), subject)
    return json.loads(V1Codec().format(outputs, parsed, subject)[1])


@given(
    rows=st.lists(
        st.tuples(st.integers(0, 2), *[st.floats(-20, 20, width=32)] * 3), min_size=1, max_size=40
    )
)
@settings(deadline=None, max_examples=50)
def test_classification_equals_scikit_learn(rows: list[tuple[Any, ...]]) -> None:
    actual = [row[0] for row in rows]
    scores = np.array([row[1:] for row in rows], np.float32)
    answer = evaluated({"y": scores}, actual, "classification", TensorSpec("y", "FP32", (-1, 3)))
    predicted = scores.argmax(1)
    told = answer["metrics"]
    assert told["accuracy"] == pytest.approx(metrics.accuracy_score(actual, predicted))
    for average in ("macro", "weighted"):
        expected = metrics.f1_score(actual, predicted, average=average, zero_division=0)
        assert told[f"f1_{average}"] == pytest.approx(expected)
    there = sorted({*actual, *predicted.tolist()})
    if len(there) > 1:
        expected = metrics.confusion_matrix(actual, predicted, labels=there)
        assert answer["confusion"] == expected.tolist()


@given(
    rows=st.lists(
        st.tuples(st.floats(-1e4, 1e4), st.floats(-1e4, 1e4, width=32)), min_size=2, max_size=40
    )
)
@settings(deadline=None, max_examples=50)
def test_regression_equals_scikit_learn(rows: list[tuple[float, float]]) -> None:
    actual = [row[0] for row in rows]
    values = np.array([row[1] for row in rows], np.float32)
    answer = evaluated({"y": values}, actual, "regression", TensorSpec("y", "FP32", (-1,)))
    values = values.astype(np.float64)
    expected = metrics.mean_absolute_error(actual, values)
    assert answer["metrics"]["mae"] == pytest.approx(expected)
    expected = metrics.root_mean_squared_error(actual, values)
    assert answer["metrics"]["rmse"] == pytest.approx(expected)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


@given(
    rows=st.lists(st.lists(st.floats(width=32), min_size=2, max_size=2), min_size=1, max_size=4),
    labels=st.lists(ANYTHING, min_size=1, max_size=4) | ANYTHING,
    task=st.sampled_from(["classification", "regression"]) | ANYTHING,
)
@settings(deadline=None, max_examples=150)
def test_whatever_comes_is_answered_or_refused(
    same: Plane, rows: list[list[float]], labels: Any, task: Any
) -> None:
    response = same.post(EVALUATE, body(rows, labels, task))
    assert response.status in (200, 400), response.body
    json.loads(response.body)
