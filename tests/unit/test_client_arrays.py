"""What users hand in as tensors: dtypes kept, plain values cast only where nothing changes."""

from __future__ import annotations

from typing import Any

import modelport.client as mp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from modelport.client.arrays import declared, typed, widened
from modelport.raw_tensors import BF16, DTYPES, Array
from modelport.signature import TensorSpec

NUMBERS = [name for name in DTYPES if name not in ("BYTES", "BF16", "BOOL")]


def test_what_is_exported_is_listed_in_order() -> None:
    assert mp.__all__ == sorted(mp.__all__)
    public = {name for name in vars(mp) if not name.startswith("_")}
    modules = {name for name in public if type(vars(mp)[name]).__name__ == "module"}
    assert public - modules - {"annotations"} == set(mp.__all__)


@given(st.data())
def test_numbers_of_a_dtype_survive_as_lists(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(NUMBERS))
    array = data.draw(
        hnp.arrays(
            DTYPES[name],
            hnp.array_shapes(min_dims=0, max_dims=3, max_side=3),
            elements={"allow_nan": False} if name.startswith("FP") else None,
        )
    )
    found = declared(TensorSpec("x", name, ()), array.tolist())
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


@given(hnp.arrays(np.float32, hnp.array_shapes(max_dims=2, max_side=4)))
def test_brain_floats_are_the_nearest_there_are(values: Array) -> None:
    back = widened(mp.bfloat16(values))
    assert back.shape == values.shape
    np.testing.assert_array_equal(np.isnan(back), np.isnan(values))
    finite = np.isfinite(back) & np.isfinite(values)
    # Eight bits of fraction: half of the last one at most; below the least normal, its step.
    error = np.abs(back[finite].astype(np.float64) - values[finite])
    assert (error <= np.maximum(np.abs(values[finite].astype(np.float64)) * 2**-8, 2.0**-133)).all()
    np.testing.assert_array_equal(
        widened(mp.bfloat16(back))[~np.isnan(back)], back[~np.isnan(back)]
    )


def test_a_tie_goes_to_the_even_brain_float() -> None:
    assert mp.bfloat16([1 + 2**-8, 1 + 3 * 2**-8])["bf16"].tolist() == [0x3F80, 0x3F82]


@pytest.mark.parametrize(
    ("datatype", "value", "said"),
    [
        ("INT8", [128], "out of its range"),
        ("INT8", [1.5], "not whole"),
        ("INT64", [float("nan")], "not whole"),
        ("INT64", [1e17], "lost digits"),
        ("UINT8", [-1], "out of its range"),
        ("FP16", [1e6], "out of its range"),
        ("FP32", [[1], [2, 3]], "ragged"),
        ("FP32", [True], "not numbers"),
        ("FP32", [None], "not numbers"),
        ("INT64", [2**80], "out of its range"),
        ("BOOL", [1], "not booleans"),
        ("BYTES", [1], "not text"),
        ("BYTES", [["a"], ["b", "c"]], "ragged"),
        ("FP8", [1], "does not know"),
    ],
)
def test_what_would_change_on_the_way_is_refused(datatype: str, value: Any, said: str) -> None:
    with pytest.raises(mp.InvalidValueError, match=said):
        declared(TensorSpec("x", datatype, (-1,)), value)


@pytest.mark.parametrize(
    ("datatype", "value", "shape"),
    [
        ("FP32", [], (0,)),
        ("FP32", 1, ()),
        ("FP32", [float("inf")], (1,)),
        ("BYTES", "a", ()),
        ("BYTES", [["a", b"b"]], (1, 2)),
        ("INT64", [1.0], (1,)),
        ("UINT64", [0, 2**64 - 1], (2,)),
        ("BF16", [[1.0]], (1, 1)),
        ("BOOL", [], (0,)),
    ],
)
def test_the_nesting_is_the_shape(datatype: str, value: Any, shape: tuple[int, ...]) -> None:
    array = declared(TensorSpec("x", datatype, shape), value)
    assert (array.shape, array.dtype) == (shape, DTYPES[datatype])


def test_arrays_of_others_are_arrays() -> None:
    class Foreign:
        def __array__(self, dtype: object = None, copy: object = None) -> Array:
            return np.arange(3, dtype=np.int16)

    found = typed("x", Foreign())
    assert found is not None
    assert found.dtype == np.int16
    assert typed("x", [1, 2]) is None
    assert typed("x", np.float32(1)) == np.float32(1)


def test_outputs_are_the_callers_own() -> None:
    raw = np.frombuffer(b"\0" * 9, np.uint8)[1:].view("<f4")
    assert widened(raw).flags.writeable
    assert widened(raw).flags.aligned
    assert widened(np.zeros((2, 2), BF16)).dtype == np.float32
