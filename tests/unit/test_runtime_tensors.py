"""JSON and typed arrays become exactly the declared tensor, or an error that says which and why."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelport.errors import NotEncodableError, TensorError
from modelport.raw_tensors import widened
from modelport.signature import Signature, TensorSpec

from functions.runtime.tensors import (
    DTYPES,
    check_finite,
    check_names,
    check_shape,
    describe,
    from_array,
    from_json,
)

NAN, INF = math.nan, math.inf
DEEP: Any = 1.0
for _ in range(65):
    DEEP = [DEEP]


def spec(datatype: str, *shape: int) -> TensorSpec:
    return TensorSpec("x", datatype, shape)


@pytest.mark.parametrize(
    ("datatype", "data", "expected"),
    [
        ("FP32", 5, 5),
        ("FP32", [1, 2.5], [1, 2.5]),
        ("FP32", [NAN, INF, -INF], [NAN, INF, -INF]),
        ("FP64", [[1e308]], [[1e308]]),
        ("FP16", [0.5], [0.5]),
        ("INT64", [9007199254740993, 1.0], [9007199254740993, 1]),
        ("INT64", [-(2**63), 2**63 - 1], [-(2**63), 2**63 - 1]),
        ("UINT64", [2**64 - 1, 0], [2**64 - 1, 0]),
        ("INT8", [-128, 127], [-128, 127]),
        ("BOOL", [[True], [False]], [[True], [False]]),
        ("BYTES", [["a", ""]], [["a", ""]]),
        ("BYTES", "alone", "alone"),
        ("FP32", [], []),
        ("INT32", [[], []], [[], []]),
        ("BOOL", [[]], [[]]),
        ("BYTES", [], []),
    ],
)
def test_fitting_json_becomes_the_declared_dtype(datatype: str, data: Any, expected: Any) -> None:
    array = from_json(spec(datatype), data)
    assert array.dtype == DTYPES[datatype]
    np.testing.assert_array_equal(array, np.array(expected, DTYPES[datatype]))
    assert array.shape == np.array(expected, DTYPES[datatype]).shape


@pytest.mark.parametrize(
    ("datatype", "data", "got"),
    [
        ("FP32", [1, "2"], "a string at [1]"),
        ("FP32", [[1, 2], [3, None]], "null at [1][1]"),
        ("FP32", [1.5, True], "a boolean at [1]"),
        ("FP32", [0, {"b64": "eA=="}], "an object at [1]"),
        ("FP32", [[1, 2], [3]], "a ragged list: at depth 2 lengths 1 and 2"),
        ("FP32", [[1, 2], 3], "a list where elements differ in depth"),
        ("FP32", [1, [2]], "a list of another depth at [1]"),
        ("FP32", [1e39], "a number out of its range (1e+39)"),
        ("FP16", [1e6, INF], "a number out of its range (1e+06)"),
        ("FP64", [10**400], "a number out of its range"),
        ("INT64", [1.5], "1.5, which is not a whole number"),
        ("INT64", [NAN], "nan, which is not a whole number"),
        ("INT64", [INF], "inf, which is not a whole number"),
        ("INT64", [2.0**60], "1.152921504606847e+18, which has lost digits as a float"),
        ("INT64", [2**63], "9223372036854775808, which is out of its range"),
        ("INT64", [2**63, -1], "9223372036854775808, which is out of its range"),
        ("INT8", [0, 300], "300, which is out of its range"),
        ("UINT8", [-1], "-1, which is out of its range"),
        ("BOOL", [1, 0], "a number at [0]"),
        ("BOOL", [True, 1], "a number at [1]"),
        ("BYTES", ["a", 1], "a number at [1]"),
        ("BYTES", [{"b64": "eA=="}], "an object at [0]"),
        (
            "FP32",
            DEEP,
            "nested deeper than 64",
        ),
        ("BF16", ["1"], "a string at [0]"),
        ("BF16", [1e39], "a number out of its range (1e+39)"),
    ],
)
def test_unfitting_json_says_which_expected_and_got(datatype: str, data: Any, got: str) -> None:
    with pytest.raises(TensorError) as caught:
        from_json(spec(datatype, -1), data)
    assert caught.value.message.startswith(f"input 'x': expected {datatype} [-1], got ")
    assert caught.value.message.endswith(got)


@pytest.mark.parametrize(
    ("value", "got"),
    [
        ({"b64": "*"}, "not base64"),
        ({"b64": "/w=="}, "not UTF-8"),
        ({"b64": 1}, 'not {"b64": "<base64>"}'),
        ({"b64": "eA==", "more": 1}, 'not {"b64": "<base64>"}'),
    ],
)
def test_base64_text_that_is_not_is_refused(value: Any, got: str) -> None:
    with pytest.raises(TensorError, match="input 'x'") as caught:
        from_json(spec("BYTES", -1), [value], b64=True)
    assert got in caught.value.message


def test_base64_text_and_plain_text_may_mix() -> None:
    array = from_json(spec("BYTES", -1), ["a", {"b64": "w6k="}], b64=True)
    assert array.tolist() == ["a", "é"]


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=20))
def test_no_int64_ever_changes(values: list[int]) -> None:
    assert from_json(spec("INT64", -1), values).tolist() == values


@given(st.lists(st.floats(width=32), max_size=20))
def test_no_float32_ever_changes(values: list[float]) -> None:
    np.testing.assert_array_equal(from_json(spec("FP32", -1), values), np.array(values, np.float32))


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists))
def test_any_json_is_a_tensor_or_a_tensor_error(data: Any) -> None:
    for datatype in DTYPES:
        with suppress(TensorError):
            assert from_json(spec(datatype, -1), data).dtype == DTYPES[datatype]


def test_typed_arrays_widen_but_never_narrow() -> None:
    assert from_array(spec("FP64", -1), np.array([1], np.float32)).dtype == np.float64
    array = np.array([1], np.float32)
    assert from_array(spec("FP32", -1), array) is array
    assert from_array(spec("FP32", -1), array.astype(">f4")).dtype == np.dtype("=f4")
    for narrower in (np.array([1.0]), np.array(["a"]), np.array([None], object)):
        with pytest.raises(TensorError):
            from_array(spec("FP32", -1), narrower)
    with pytest.raises(TensorError):
        from_array(spec("BF16", -1), array)


def test_brain_floats_round_to_the_nearest_and_widen_exactly() -> None:
    values = [1.0, 1.00390625, 1.01171875, -3.1415927, 0.0, NAN, math.inf, 1e-40]
    array = from_json(spec("BF16", -1), values)
    assert array.dtype == DTYPES["BF16"]
    nearest = np.array(values, np.float32).astype(ml_dtypes.bfloat16)
    np.testing.assert_array_equal(widened(array), nearest.astype(np.float32))
    assert widened(array.reshape(2, 4)).shape == (2, 4)
    whole = np.ones(1)
    assert widened(whole) is whole


def test_typed_text_becomes_text() -> None:
    assert from_array(spec("BYTES", -1), np.array(["é"])).tolist() == ["é"]
    assert from_array(spec("BYTES", -1), np.array([b"a", "é".encode()])).tolist() == ["a", "é"]
    with pytest.raises(TensorError, match="BYTES"):
        from_array(spec("BYTES", -1), np.array([1]))


def test_missing_and_unknown_inputs_are_named() -> None:
    signature = Signature((spec("FP32", -1), TensorSpec("y", "INT64", ())), ())
    with pytest.raises(TensorError, match=r"input 'y': expected INT64 \[\], got nothing"):
        check_names(signature, {"x": 1})
    with pytest.raises(TensorError, match=r"input 'z': expected one of .* \(x, y\)"):
        check_names(signature, {"x": 1, "y": 1, "z": 1})


def test_a_wrong_shape_says_expected_and_got() -> None:
    array = np.zeros((2, 3), np.float32)
    assert check_shape(spec("FP32", -1, 3), array) is array
    with pytest.raises(TensorError, match=r"expected FP32 \[-1,4\], got FP32 \[2,3\] here"):
        check_shape(spec("FP32", -1, 4), array, " here")


def test_arrays_are_described_in_v2_words() -> None:
    assert describe(np.zeros((2, 0), ">i4")) == "INT32 [2,0]"
    assert describe(np.array(["a"], object)) == "BYTES [1]"
    assert describe(np.zeros(1, complex)) == "complex128 [1]"


def test_what_cannot_be_carried_is_refused_by_output() -> None:
    check_finite("y", np.array([1.0]), "")
    check_finite("y", np.array([1]), "")
    with pytest.raises(NotEncodableError, match=r"output 'y' .* ask elsewhere"):
        check_finite("y", np.array([NAN]), "ask elsewhere")
