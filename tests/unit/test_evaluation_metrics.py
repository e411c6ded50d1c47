"""Metrics, intervals and paired comparisons: by hand, against scikit-learn and scipy, by draws."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from modelport import scoring
from modelport.evaluation import bootstrap
from modelport.evaluation.calibration import calibration
from modelport.evaluation.comparison import compared
from modelport.evaluation.errors import DataSetError, UnusableAnswerError
from modelport.evaluation.evaluated import Evaluated, evaluated
from modelport.evaluation.pairs import mcnemar, mean_interval
from scipy import stats
from sklearn import metrics


def classified(
    labels: list[Any], scores: Any, names: tuple[str, ...] = (), **more: Any
) -> Evaluated:
    options = {"resamples": 0, "seed": 0} | more
    return evaluated("classification", labels, np.asarray(scores), names, "m:1", **options)


def valued(labels: list[float], values: Any, **more: Any) -> Evaluated:
    options = {"resamples": 0, "seed": 0} | more
    return evaluated("regression", labels, np.asarray(values), (), "m:1", **options)


def test_a_binary_classifier_by_hand() -> None:
    chances = [[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.7, 0.3]]
    found = classified(["ham", "ham", "spam", "spam"], chances, ("ham", "spam"))
    told = {name: figure.value for name, figure in found.metrics.items()}
    assert told["accuracy"] == 0.5
    # Of the four pairs of a spam and a ham, spam ranks higher in three.
    assert told["roc_auc"] == 0.75
    assert told["log_loss"] == pytest.approx(-np.log([0.9, 0.4, 0.8, 0.3]).mean())
    assert found.details["confusion"] == [[1, 1], [1, 1]]
    assert found.details["classes"][0] == {
        "name": "ham",
        "precision": 0.5,
        "recall": 0.5,
        "f1": 0.5,
        "rows": 2,
    }
    assert {(each["is"], each["said"]) for each in found.details["most_confused"]} == {
        ("ham", "spam"),
        ("spam", "ham"),
    }
    assert found.details["scores"] == "probabilities"
    assert found.outcomes.tolist() == [True, False, True, False]


def test_many_classes_are_those_of_scikit_learn() -> None:
    generator = np.random.default_rng(0)
    actual = generator.integers(0, 4, 300)
    logits = generator.normal(size=(300, 4))
    logits[np.arange(300), actual] += 1
    found = classified(actual.tolist(), logits.astype(np.float32))
    chances, rule = scoring.probabilities(logits.astype(np.float32))
    assert rule == found.details["scores"] == "softmax"
    expected = metrics.roc_auc_score(actual, chances, multi_class="ovr")
    assert found.metrics["roc_auc"].value == pytest.approx(expected)
    assert found.metrics["log_loss"].value == pytest.approx(metrics.log_loss(actual, chances))
    predicted = logits.argmax(1)
    expected = metrics.f1_score(actual, predicted, average="weighted")
    assert found.metrics["f1_weighted"].value == pytest.approx(expected)
    assert found.details["confusion"] == metrics.confusion_matrix(actual, predicted).tolist()


def test_labels_without_scores_say_what_is_left_out_and_why() -> None:
    found = classified([2, 10, "10"], np.array([2, 10, 2]))
    assert found.classes == ("2", "10")
    assert found.metrics["accuracy"].value == pytest.approx(2 / 3)
    assert set(found.left_out) == {"roc_auc", "log_loss", "ece"}
    assert "without scores" in found.left_out["log_loss"]
    named = classified(["ham", 1], np.array([0, 0]), ("ham", "spam"))
    assert named.classes == ("ham", "spam")


def test_whole_numbers_side_by_side_are_scores() -> None:
    found = classified([0, 1], [[5, 1], [2, 3]])
    assert (found.details["scores"], found.metrics["accuracy"].value) == ("softmax", 1)


def test_one_class_alone_has_no_ranks() -> None:
    found = classified([0, 0], [[0.6, 0.4], [0.7, 0.3]], resamples=100)
    assert found.left_out == {"roc_auc": "the labels are all of one class"}
    assert found.metrics["accuracy"].value == 1
    assert found.details["confusion"] == [[2]]


def test_more_classes_than_a_matrix_has_room_for() -> None:
    found = classified(list(range(150)), np.eye(150), resamples=100)
    assert found.details["confusion"] is None
    assert found.details["most_confused"] == []


def test_regression_by_hand() -> None:
    found = valued([1, 2, 4], [[1.0], [2.5], [3.0]])
    told = {name: figure.value for name, figure in found.metrics.items()}
    assert told == {
        "mae": pytest.approx(0.5),
        "rmse": pytest.approx((1.25 / 3) ** 0.5),
        "r2": pytest.approx(1 - 1.25 / (14 / 3)),
    }
    assert valued([2, 2], [1.0, 2.0]).left_out == {"r2": "the labels do not vary"}


@pytest.mark.parametrize(
    ("labels", "answers", "said"),
    [
        ([0, 1], [[0.1, np.nan], [1, 1]], "cannot be ranked: row 1 is not finite"),
        ([0, 1], [[[0.1]], [[0.2]]], r"answers are of shape \[2, 1, 1\]"),
        ([0, 1], [["a", "b"], ["a", "b"]], "several labels for each row"),
        ([0, 1], [[0.1, 0.9]], r"shape \[1, 2\] to 2 rows"),
    ],
)
def test_answers_without_metrics(labels: list[int], answers: Any, said: str) -> None:
    with pytest.raises(UnusableAnswerError, match=said):
        classified(labels, np.array(answers))


def test_answers_that_are_no_values() -> None:
    with pytest.raises(UnusableAnswerError, match="row 2 is not one"):
        valued([1, 2], [1.0, np.inf])
    with pytest.raises(UnusableAnswerError, match="one number for each row"):
        valued([1, 2], [[1.0, 2.0], [1.0, 2.0]])


def test_a_label_that_is_no_class_is_named() -> None:
    with pytest.raises(DataSetError, match="row 2: 'eggs' is none of the 2 classes of m:1"):
        classified(["ham", "eggs"], np.eye(2), ("ham", "spam"))


def test_calibration_by_hand() -> None:
    chances = np.array([[0.95, 0.05], [0.95, 0.05], [0.35, 0.65], [1.0, 0.0]])
    actual = np.array([0, 1, 1, 0])
    found = calibration(chances, actual, chances.argmax(1))
    # Three rows between 0.9 and 1, two of them right; one between 0.6 and 0.7, right.
    mean = (0.95 + 0.95 + 1) / 3
    assert found["ece"] == pytest.approx((3 * (mean - 2 / 3) + (1 - 0.65)) / 4)
    assert [each["rows"] for each in found["bins"]] == [1, 3]
    assert found["bins"][1]["accuracy"] == pytest.approx(2 / 3)


def test_counts_drawn_are_rows_drawn() -> None:
    """Multinomial draws of cells have the distribution of rows drawn with replacement."""
    generator = np.random.default_rng(3)
    actual, predicted = generator.integers(0, 3, 60), generator.integers(0, 3, 60)
    drawn = bootstrap.class_draws([(actual, predicted)], resamples=4000, seed=0)[0]
    by_rows = []
    for _ in range(1500):
        rows = generator.integers(0, 60, 60)
        counted = scoring.counts(actual[rows], predicted[rows], 3)
        by_rows.append(scoring.averages(*counted)["f1_macro"])
    assert drawn["f1_macro"].mean() == pytest.approx(np.mean(by_rows), abs=0.006)
    assert drawn["f1_macro"].std() == pytest.approx(np.std(by_rows), rel=0.08)


def test_ranks_drawn_are_scikit_learns_with_weights() -> None:
    generator = np.random.default_rng(1)
    positive = generator.random(80) < 0.4
    scores = generator.integers(0, 12, 80) / 11  # many are equal
    area = bootstrap._area(positive, scores)
    for _ in range(20):
        weights = np.bincount(generator.integers(0, 80, 80), minlength=80)
        expected = metrics.roc_auc_score(positive, scores, sample_weight=weights)
        assert area(weights) == pytest.approx(expected)


def test_the_intervals_hold_what_they_say() -> None:
    """Of 300 samples, the share whose 95 % interval has the true accuracy is near 95 %."""
    generator = np.random.default_rng(5)
    held = 0
    for seed in range(300):
        actual = generator.integers(0, 2, 150)
        predicted = np.where(generator.random(150) < 0.8, actual, 1 - actual)
        low, high = bootstrap.of_classes(actual, predicted, resamples=300, seed=seed)["accuracy"]
        held += low <= 0.8 <= high
    # The percentile interval of 150 rows is a little short: 93 to 94 % on average.
    assert 0.90 <= held / 300 <= 0.98


def test_the_intervals_of_values_hold_what_they_say() -> None:
    generator = np.random.default_rng(6)
    held = 0
    for seed in range(200):
        actual = generator.normal(size=200)
        predicted = actual + generator.normal(size=200)
        low, high = bootstrap.of_values(actual, predicted, resamples=300, seed=seed)["rmse"]
        held += low <= 1 <= high
    assert 0.88 <= held / 200 <= 0.99


def test_the_same_seed_gives_the_same_intervals() -> None:
    generator = np.random.default_rng(0)
    labels, scores = generator.integers(0, 3, 50).tolist(), generator.normal(size=(50, 3))
    first, second = (classified(labels, scores, resamples=100, seed=7) for _ in range(2))
    assert first.metrics == second.metrics
    other = classified(labels, scores, resamples=100, seed=8)
    assert first.metrics["accuracy"] != other.metrics["accuracy"]
    for name, figure in first.metrics.items():
        if name != "ece":
            assert figure.low is not None
            assert figure.high is not None
            assert figure.low <= figure.value <= figure.high


@given(st.integers(0, 400), st.integers(0, 400))
@settings(deadline=None, max_examples=80)
def test_mcnemar_is_the_exact_binomial_test(won: int, lost: int) -> None:
    expected = stats.binomtest(won, won + lost, 0.5).pvalue if won + lost else 1.0
    assert mcnemar(won, lost) == pytest.approx(expected, rel=1e-9)


def test_mcnemar_of_many_rows_is_small_and_no_error() -> None:
    assert mcnemar(500_000, 400_000) == 0
    assert mcnemar(500_000, 500_000) == pytest.approx(1, abs=1e-2)


def test_the_mean_interval_is_near_the_normal_one() -> None:
    values = np.random.default_rng(0).normal(size=2000)
    low, high = mean_interval(values, resamples=2000, seed=0)
    half = 1.96 * values.std() / 2000**0.5
    assert low == pytest.approx(values.mean() - half, abs=0.005)
    assert high == pytest.approx(values.mean() + half, abs=0.005)


def test_a_better_classifier_is_called_better() -> None:
    generator = np.random.default_rng(2)
    actual = generator.integers(0, 2, 400)
    labels = actual.tolist()

    def right(share: float) -> Evaluated:
        said = np.where(generator.random(400) < share, actual, 1 - actual)
        return classified(labels, np.eye(2)[said])

    good, poor = right(0.9), right(0.7)
    found = compared(good, poor, resamples=300, seed=0)
    assert found["verdict"] == "better"
    assert compared(poor, good, resamples=300, seed=0)["verdict"] == "worse"
    assert compared(good, good, resamples=300, seed=0)["verdict"] == "no difference beyond chance"
    difference = found["differences"]["accuracy"]
    accuracies = [each.metrics["accuracy"].value for each in (good, poor)]
    assert difference["value"] == pytest.approx(accuracies[0] - accuracies[1])
    assert 0 < difference["low"] < difference["value"] < difference["high"]
    test = found["test"]
    assert test["only_this_right"] == int((good.outcomes & ~poor.outcomes).sum())
    table = [test["only_this_right"], test["only_other_right"]]
    assert test["p"] == pytest.approx(stats.binomtest(table[0], sum(table)).pvalue)


def test_a_better_regressor_is_called_better() -> None:
    generator = np.random.default_rng(2)
    actual = generator.normal(size=300)
    near = valued(actual.tolist(), actual + generator.normal(scale=0.5, size=300))
    far = valued(actual.tolist(), actual + generator.normal(scale=0.8, size=300))
    found = compared(near, far, resamples=300, seed=0)
    assert found["verdict"] == "better"
    assert found["test"]["p"] == stats.wilcoxon(near.outcomes, far.outcomes).pvalue
    assert found["differences"]["rmse"]["high"] < 0
    assert found["differences"]["r2"]["low"] > 0
    assert compared(near, near, resamples=300, seed=0)["test"]["p"] == 1
    assert compared(far, near, resamples=300, seed=0)["verdict"] == "worse"


def test_numbers_that_tables_spell_otherwise_are_those_numbers() -> None:
    """A CSV that pandas wrote says 1.0 or True where the version says 1."""
    for labels in (["1.0", "0.0", "1.00"], ["True", "false", "TRUE"]):
        answered = classified(labels, np.array([1, 0, 0]))
        assert answered.metrics["accuracy"].value == pytest.approx(2 / 3)
        assert answered.classes == ("0", "1")
        scored = classified(labels, np.array([0.9, 0.2, 0.1]), ("ham", "spam"))
        assert scored.actual.tolist() == [1, 0, 1]
    named = classified(["1.0", "True"], np.array([0, 1]), ("1.0", "True"))
    assert named.metrics["accuracy"].value == 1
    texts = classified(["1.0", "1"], np.array(["1.0", "1.0"]))  # text is what it says
    assert texts.metrics["accuracy"].value == 0.5
    with pytest.raises(DataSetError, match=r"'1\.5'"):
        classified(["1.5"], np.array([0.5]))


def test_values_too_far_off_for_squares_have_no_metrics() -> None:
    with pytest.raises(UnusableAnswerError, match=r"row 2 is 1e\+200 off"):
        valued([1, 2, 3], [1.0, 1e200, 3.0], resamples=100)


def test_labels_whose_spread_has_no_squares_do_not_vary() -> None:
    found = valued([1e-200, 0.0], [0.0, 0.0], resamples=100)
    assert set(found.metrics) == {"mae", "rmse"}
    assert found.left_out == {"r2": "the labels do not vary"}
    told = compared(found, found, resamples=100, seed=0)
    assert set(told["differences"]) == {"mae", "rmse"}
    assert bootstrap.interval(np.array([np.nan, np.nan])) is None
