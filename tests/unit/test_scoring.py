"""What scores and counts come to, against scikit-learn and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from modelport import scoring
from sklearn import metrics

PAIRS = st.integers(1, 6).flatmap(
    lambda count: st.lists(
        st.tuples(st.integers(0, count - 1), st.integers(0, count - 1)), min_size=1, max_size=60
    )
)


@given(pairs=PAIRS)
@settings(deadline=None, max_examples=60)
def test_averages_are_those_of_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    actual, predicted = np.array(pairs).T
    counts = scoring.counts(actual, predicted, 8)
    found = scoring.averages(*counts)
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(actual, predicted))
    for average in ("macro", "weighted"):
        expected = metrics.precision_recall_fscore_support(
            actual, predicted, average=average, zero_division=0
        )
        for name, value in zip(("precision", "recall", "f1"), expected[:3], strict=True):
            assert found[f"{name}_{average}"] == pytest.approx(value)
    of_classes = metrics.precision_recall_fscore_support(
        actual, predicted, labels=range(8), zero_division=0
    )
    figures = scoring.class_figures(*counts)
    for name, values in zip(("precision", "recall", "f1"), of_classes[:3], strict=True):
        assert figures[name] == pytest.approx(values)


def test_averages_by_hand() -> None:
    # Three of class 0, one of them taken for 1; one of class 1, seen.
    found = scoring.averages(*scoring.counts(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1]), 2))
    assert found["accuracy"] == 0.75
    assert found["precision_macro"] == pytest.approx((1 + 1 / 2) / 2)
    assert found["recall_weighted"] == pytest.approx((3 * 2 / 3 + 1) / 4)
    assert found["f1_macro"] == pytest.approx((0.8 + 2 / 3) / 2)


@given(st.lists(st.tuples(*[st.floats(-30, 30)] * 3), min_size=2, max_size=40), st.data())
@settings(deadline=None, max_examples=40)
def test_log_loss_is_that_of_scikit_learn(
    rows: list[tuple[float, ...]], data: st.DataObject
) -> None:
    chances, _ = scoring.probabilities(np.array(rows))
    assert chances.sum(1) == pytest.approx(1)
    actual = np.array(
        data.draw(st.lists(st.integers(0, 2), min_size=len(rows), max_size=len(rows)))
    )
    expected = metrics.log_loss(actual, chances, labels=range(3))
    assert scoring.log_losses(chances, actual).mean() == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_rows_that_sum_to_one_are_probabilities_and_all_others_logits() -> None:
    given = np.array([[0.25, 0.75], [0.5, 0.5]])
    chances, rule = scoring.probabilities(given)
    assert (chances.tolist(), rule) == (given.tolist(), "probabilities")
    one_off, rule = scoring.probabilities(np.array([[0.25, 0.75], [0.5, 0.6]]))
    assert rule == "softmax"
    assert one_off[0, 1] == pytest.approx(1 / (1 + np.exp(-0.5)))
    assert scoring.probabilities(np.array([[1000.0, -1000.0]]))[0].tolist() == [[1, 0]]


def test_half_precision_is_near_enough() -> None:
    row = np.full((1, 200), 1 / 200, np.float16)
    assert scoring.probabilities(row)[1] == "probabilities"


def test_one_column_is_the_second_classs() -> None:
    assert scoring.probabilities(np.array([0.25, 1]))[0].tolist() == [[0.75, 0.25], [0, 1]]
    chances, rule = scoring.probabilities(np.array([[0.0], [-800.0], [800.0]]))
    assert rule == "sigmoid"
    assert chances[:, 1].tolist() == [0.5, 0.0, 1.0]


def test_a_row_that_is_not_finite_is_named() -> None:
    with pytest.raises(ValueError, match="row 2 is not finite"):
        scoring.probabilities(np.array([[0.0, 1.0], [np.nan, 1.0]]))


def test_labels_are_names_before_they_are_numbers() -> None:
    assert scoring.places(["b", "0", 1, 2.0, True], ["a", "b", "0"], 3).tolist() == [1, 2, 1, 2, 1]
    assert scoring.named(1, ["a", "b"]) == "b"
    assert scoring.named("1", ["1", "b"]) == "1"
    assert scoring.named(7, ["a", "b"]) == "7"
    assert scoring.named(1.0, []) == "1"
    assert scoring.named("9" * 5000, ["a"]) == "9" * 5000


@pytest.mark.parametrize("label", ["c", 3, -1, 1.5, "9" * 5000])
def test_a_label_that_is_no_class_is_named_with_its_row(label: object) -> None:
    with pytest.raises(ValueError, match=r"^row 2: "):
        scoring.places(["a", label], ["a", "b"], 3)


@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6)), min_size=2, max_size=40))
@settings(deadline=None, max_examples=40)
def test_regression_is_that_of_scikit_learn(pairs: list[tuple[float, float]]) -> None:
    actual, predicted = np.array(pairs).T
    found = scoring.regression(actual, predicted)
    assert found["mae"] == pytest.approx(metrics.mean_absolute_error(actual, predicted))
    assert found["rmse"] == pytest.approx(metrics.root_mean_squared_error(actual, predicted))
    if "r2" in found and np.ptp(actual) > 1e-3:
        assert found["r2"] == pytest.approx(metrics.r2_score(actual, predicted))


def test_what_does_not_vary_has_no_r2() -> None:
    assert scoring.regression(np.array([2.0, 2.0]), np.array([1.0, 2.0])) == {
        "mae": 0.5,
        "rmse": pytest.approx(0.5**0.5),
    }
