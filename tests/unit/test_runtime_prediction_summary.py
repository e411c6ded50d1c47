"""What an answer's header tells of its predictions: which output, which category, within bounds."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from modelport.goldens.form import Asked
from modelport.goldens.golden import Golden, Tensor
from modelport.goldens.v2 import build_binary
from modelport.signature import Signature, TensorSpec
from modelport.telemetry import PREDICTED_HEADER, categories

from functions.runtime.prediction_summary import (
    HEADER,
    LONGEST,
    MOST_CATEGORIES,
    MOST_ELEMENTS,
    MOST_ROWS,
    PredictionSummary,
    bucket,
)
from tests.support import runtime_bundles as bundles
from tests.support.runtime_planes import SAGEMAKER, V1, V2, open_plane, v2_tensor

SCORES = TensorSpec("scores", "FP32", (-1, 3))
LABEL = TensorSpec("label", "INT64", (-1,))
WORDS = TensorSpec("words", "BYTES", (-1,))
VALUE = TensorSpec("value", "FP32", (-1, 1))
_WRITTEN = re.compile(r"[A-Za-z0-9_.-]{1,64}=[1-9][0-9]*(,[A-Za-z0-9_.-]{1,64}=[1-9][0-9]*)*")


def told(
    array: Any, *outputs: TensorSpec, labels: tuple[str, ...] = (), name: str = ""
) -> str | None:
    specs = outputs or (SCORES,)
    found = PredictionSummary(Signature((), specs), labels)
    return found.of({name or specs[0].name: np.asarray(array)})


def floats(*rows: list[float]) -> Any:
    return np.array(rows, np.float32)


def test_scores_count_for_each_rows_highest() -> None:
    rows = floats([0.1, 0.7, 0.2], [0.9, 0.1, 0.0], [0.0, 0.6, 0.4])
    assert told(rows) == "1=2,0=1"
    assert told(rows[:1]) == "1=1"
    assert told(rows, labels=("cat", "dog", "eel")) == "dog=2,cat=1"


@pytest.mark.parametrize("label", ["", "a b", "ä", "x" * 65, "7", "nan", "other", "a=b", "a,b"])
def test_a_label_that_would_not_read_back_leaves_its_number(label: str) -> None:
    rows = floats([0.1, 0.7, 0.2])
    assert told(rows, labels=("cat", label, "eel")) == "1=1"
    assert told(rows, labels=("cat",)) == "1=1"


def test_rows_with_nan_are_told_as_such() -> None:
    nan = math.nan
    assert told(floats([0.1, nan, 0.2])) == "nan=1"
    assert told(floats([0.1, nan, 0.2], [0.9, 0.0, 0.0])) == "0=1,nan=1"


def test_whole_numbers_and_text_are_their_own_category() -> None:
    labels = np.array([3, 1, 3, 1, 3])
    assert told(labels, LABEL) == "3=3,1=2"
    assert told(labels, LABEL, labels=("a", "b", "c", "d")) == "d=3,b=2"
    assert told(labels.reshape(-1, 1), TensorSpec("label", "INT64", (-1, 1))) == "3=3,1=2"
    assert told(np.array([12_345, -40]), LABEL) == "-1e1=1,1e4=1"
    assert told(np.array(["cat", "no good", "cat"], object), WORDS) == "cat=2,other=1"


def test_values_fall_into_buckets_of_sign_and_power() -> None:
    values = floats([250.0], [999.0], [-0.3], [0.0], [1e-12], [1e30])
    assert told(values, VALUE) == "0=2,1e2=2,-1e-1=1,1e9=1"
    assert [bucket(v) for v in (math.inf, -math.inf, math.nan)] == ["inf", "-inf", "nan"]


@pytest.mark.parametrize(
    ("outputs", "chosen"),
    [
        ((LABEL, SCORES), "scores"),
        ((VALUE, LABEL), "label"),
        ((VALUE, WORDS), "words"),
        ((VALUE, TensorSpec("grid", "FP32", (-1, 8, 8))), "value"),
    ],
)
def test_a_version_is_always_told_about_by_one_output(
    outputs: tuple[TensorSpec, ...], chosen: str
) -> None:
    summary = PredictionSummary(Signature((), outputs))
    arrays_of = {
        "scores": floats([0.1, 0.9, 0.0]),
        "label": np.array([5]),
        "value": floats([1.5]),
        "words": np.array(["yes"], object),
        "grid": np.zeros((1, 8, 8), np.float32),
    }
    given = {spec.name: arrays_of[spec.name] for spec in outputs}
    assert summary.of(given) == summary.of({chosen: arrays_of[chosen]}) is not None
    # Who asks for other outputs only is not told about by those.
    assert summary.of({name: array for name, array in given.items() if name != chosen}) is None


@pytest.mark.parametrize(
    "spec",
    [
        TensorSpec("y", "FP32", (-1, 8, 8)),
        TensorSpec("y", "BOOL", (-1,)),
        TensorSpec("y", "BF16", (-1, 3)),
        TensorSpec("y", "FP32", ()),
    ],
)
def test_other_outputs_are_not_told_about(spec: TensorSpec) -> None:
    assert PredictionSummary(Signature((), (spec,))).of({"y": floats([1.0, 2.0])}) is None


def test_what_is_large_is_left_out() -> None:
    wide = TensorSpec("scores", "FP32", (-1, -1))
    assert told(np.zeros((1, MOST_ELEMENTS), np.float32), wide) == f"0={1}"
    assert told(np.zeros((1, MOST_ELEMENTS + 1), np.float32), wide) is None
    assert told(np.zeros((MOST_ROWS, 2), np.float32), wide) == f"0={MOST_ROWS}"
    assert told(np.zeros((MOST_ROWS + 1, 2), np.float32), wide) is None
    assert told(np.zeros((0, 3), np.float32), wide) is None


def test_many_categories_are_bounded_and_none_is_lost() -> None:
    few = told(np.arange(MOST_CATEGORIES), LABEL)
    assert few is not None
    assert "other" not in few
    for labels in ((), tuple(f"a-rather-long-label-{at}" for at in range(1000))):
        text = told(np.arange(1000), LABEL, labels=labels)
        assert text is not None
        assert len(text) <= LONGEST
        parts = [part.rsplit("=", 1) for part in text.split(",")]
        assert len(parts) <= MOST_CATEGORIES
        assert parts[-1][0] == "other"
        assert sum(int(rows) for _, rows in parts) == 1000
        assert sum(categories(text).values()) == 1000  # and who counts takes all of it


_DATATYPES = {"float16": "FP16", "float32": "FP32", "float64": "FP64", "int8": "INT8",
              "uint64": "UINT64", "int64": "INT64", "bool": "BOOL"}  # fmt: skip


@given(st.data())
def test_whatever_a_model_gives_is_told_in_bounds(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(sorted(_DATATYPES)))
    shape = data.draw(arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=40))
    array = data.draw(arrays.arrays(kind, shape))
    rank = data.draw(st.integers(1, 2))
    spec = TensorSpec("y", _DATATYPES[kind], (-1,) * rank)
    text = PredictionSummary(Signature((), (spec,))).of({"y": array})
    if text is not None:
        assert _WRITTEN.fullmatch(text)
        assert len(text) <= LONGEST
        assert sum(int(part.rsplit("=", 1)[1]) for part in text.split(",")) == len(array)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (V1, {"instances": [[1, 2], [4, 3]]}),
        (V1, {"inputs": [[1, 2], [4, 3]]}),
        (V2, {"inputs": [v2_tensor("x", [1, 2, 4, 3], [2, 2])]}),
        (SAGEMAKER, {"instances": [[1, 2], [4, 3]]}),
        (SAGEMAKER, {"dataframe_split": {"columns": ["a", "b"], "data": [[1, 2], [4, 3]]}}),
        (SAGEMAKER, {"inputs": [v2_tensor("x", [1, 2, 4, 3], [2, 2])]}),
    ],
)
def test_every_protocol_carries_it(tmp_path: Path, path: str, body: Any) -> None:
    plane = open_plane(tmp_path, bundles.DOUBLE)
    assert plane.post(path, body).headers[HEADER] == "0=1,1=1"


def test_raw_tensors_carry_it_too(tmp_path: Path) -> None:
    plane = open_plane(tmp_path, bundles.DOUBLE)
    golden = Golden("g", inputs=(Tensor("x", "FP32", (1, 2), (1.0, 2.0)),))
    headers, body = build_binary(golden, Asked(plane.plane.subject.signature))
    answer = plane.post(V2, body, headers)
    assert answer.status == 200
    assert answer.headers[HEADER] == "1=1"


def test_who_counts_and_who_tells_call_it_the_same() -> None:
    assert HEADER == PREDICTED_HEADER


def test_refusals_and_scripts_say_nothing_of_predictions(tmp_path: Path) -> None:
    plane = open_plane(tmp_path / "plain", bundles.DOUBLE)
    assert HEADER not in plane.post(V1, {"instances": "no"}).headers
    script = "def predict_fn(data, model):\n    return [[1.0, 2.0]]\n"
    scripted = open_plane(tmp_path / "scripted", bundles.DOUBLE, script=script)
    answer = scripted.post(SAGEMAKER, {"instances": [[1, 2]]})
    assert answer.status == 200
    assert HEADER not in answer.headers
