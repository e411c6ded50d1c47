"""Large JSON bodies mean exactly what they mean to the plain reader, however they were read."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from modelport.errors import ModelportError, TensorError
from modelport.signature import Signature, TensorSpec

from functions.runtime import json_numbers
from functions.runtime.codecs.codec import is_list, read_json
from functions.runtime.codecs.v1 import parse_document
from functions.runtime.json_numbers import LEAST, Numbers, fitted, has_numbers, is_worth, read
from functions.runtime.tensors import DTYPES, from_json
from tests.conftest import ROOT

RELAXED = settings(max_examples=120, suppress_health_check=list(HealthCheck), deadline=None)
NUMERIC = ("FP32", "FP64", "FP16", "INT64", "UINT64", "INT32", "UINT8", "BOOL", "BYTES")


@pytest.fixture(autouse=True, scope="module")
def one_came_before() -> None:
    """None of these is the first body of its process, which would be read plainly."""
    is_worth(b"")


def outcome(datatype: str, data: Any) -> tuple[Any, ...]:
    """What becomes of data as a tensor, bit by bit, or the refusal."""
    try:
        array = from_json(TensorSpec("x", datatype, (-1,)), data, b64=True)
    except TensorError as error:
        return ("refused", error.message)
    values = array.tolist() if array.dtype.hasobject else array.tobytes()
    return (array.dtype, array.shape, values)


def agree(body: bytes) -> Any:
    """Both readers see the same document, and every tensor of it is the same."""
    fast = read(body)
    if fast is None:
        return None
    slow = orjson.loads(body)  # what the fast reader takes, the exact one takes
    if isinstance(fast, dict):
        assert list(fast) == list(slow)
        for key, value in fast.items():
            for datatype in NUMERIC:
                assert outcome(datatype, value) == outcome(datatype, slow[key])
    return fast


numbers = (
    st.integers(-(2**64), 2**65)
    | st.integers(-5, 300)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([-0.0, 2**63, 2**63 - 1, -(2**63), 2**53 + 1, 1e39, 65504, 65520, 2**24 + 1])
)
odd: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | st.text(max_size=3) | st.just([]) | st.just([1]) | st.just({})
)


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """A few values over and over in some shape, perhaps with something odd among them."""
    shape = draw(st.sampled_from([(LEAST,), (40, 40), (1, 4, 16, 20), (3, 600), (600, 2)]))
    some = draw(st.lists(numbers, min_size=1, max_size=6))
    flat: list[Any] = [some[i % len(some)] for i in range(math.prod(shape))]
    if draw(st.booleans()):
        flat[draw(st.integers(0, len(flat) - 1))] = draw(odd | numbers)
    nested: Any = flat
    for size in shape[:0:-1]:
        nested = [nested[i : i + size] for i in range(0, len(nested), size)]
    if draw(st.booleans()):
        victim = nested
        while isinstance(victim[0], list) and victim[0] and draw(st.booleans()):
            victim = victim[0]
        draw(st.sampled_from([victim.pop, victim.reverse, lambda: victim.append([[1], 2])]))()
    return json.dumps({"x": nested, "y": draw(odd), draw(st.text(max_size=2)): [1, 2]}).encode()


@given(body=bodies())
@RELAXED
def test_values_shapes_and_refusals_are_those_of_the_plain_reader(body: bytes) -> None:
    agree(body)


@given(
    body=bodies(),
    cuts=st.lists(
        st.tuples(
            st.floats(0, 1),
            st.sampled_from([b"", *(bytes([c]) for c in b'[]{},:"\\-.eE0 \n\xff\0N')]),
        ),
        min_size=1,
        max_size=4,
    ),
)
@RELAXED
def test_damaged_bodies_are_read_or_refused_alike(
    body: bytes, cuts: list[tuple[float, bytes]]
) -> None:
    for place, piece in cuts:
        at = int(place * len(body))
        body = body[:at] + piece + body[at + 1 :]
    agree(body)


IMAGE = np.random.default_rng(1).random((1, 3, 64, 64), np.float32)


def dumps(data: Any) -> bytes:
    return orjson.dumps(data, option=orjson.OPT_SERIALIZE_NUMPY)


def test_an_image_never_becomes_python_objects() -> None:
    document = read_json(dumps({"instances": IMAGE, "note": "n", "shape": IMAGE.shape}))
    found = document["instances"]
    assert type(found) is Numbers
    assert found.shape == IMAGE.shape
    assert len(found) == 1
    assert is_list(found)
    assert is_list(document["shape"])
    assert not is_list("text")
    assert document["shape"] == [1, 3, 64, 64]
    array = fitted(found, DTYPES["FP32"])
    assert array is not None
    np.testing.assert_array_equal(array, IMAGE)
    assert found.tolist() == orjson.loads(dumps(IMAGE))


def test_rows_that_are_objects_are_stacked() -> None:
    signature = Signature(
        (TensorSpec("a", "FP32", (-1, 3, 64, 64)), TensorSpec("b", "INT64", (-1, 2000))), ()
    )
    counts = np.arange(2000) + 2**53
    body = dumps({"instances": [{"a": IMAGE[0], "b": counts}, {"a": -IMAGE[0], "b": -counts}]})
    assert type(read_json(body)["instances"][0]["a"]) is Numbers
    tensors = parse_document(read_json(body), signature).tensors
    np.testing.assert_array_equal(tensors["a"], np.concatenate([IMAGE, -IMAGE]))
    assert tensors["b"].tolist() == [counts.tolist(), (-counts).tolist()]


@pytest.mark.parametrize(
    "rows",
    [
        [[1.0] * LEAST, [1.0] * (LEAST + 1)],
        [[1.0] * LEAST, [1.0]],
        [[1.0], [1.0] * LEAST],
        [1.0, [1.0] * LEAST],
        ["a", [1.0] * LEAST],
        [[1.0] * LEAST, None],
        [[1.0] * LEAST, [None] + [1.0] * LEAST],
        [[[1.0] * LEAST], [1.0] * LEAST],
    ],
)
def test_rows_that_do_not_stack_are_refused_in_the_same_words(rows: list[Any]) -> None:
    body = dumps([{"x": row} for row in rows])
    fast = read(body)
    assert fast is not None
    for datatype in NUMERIC:
        got = outcome(datatype, [row["x"] for row in fast])
        assert got == outcome(datatype, rows)
        assert got[0] == "refused"


@pytest.mark.parametrize(
    "body",
    [
        b"\xef\xbb\xbf" + dumps({"x": IMAGE}),
        dumps({"x": IMAGE})[:-1],
        b'{"x": 1, "x": ' + dumps(IMAGE) + b"}",
        b'{"x\\u0000": 1, "x": ' + dumps(IMAGE) + b"}",
        dumps({"x": IMAGE, "y": "["}),
        dumps({"x": [[1.0, 2.0]] * LEAST + [[[], [1.0, 2.0]]]}),
        dumps({"x": [[1]] * LEAST}),
        dumps({str(i): [1.5] * LEAST for i in range(65)}),
        dumps([{"a": i} for i in range(LEAST)]),
        dumps([[{"a": 1}, [1.5] * LEAST]]),
        dumps([{"a": [1, {"b": 2}]}, [1.5] * LEAST]),
        b"[" * 70 + dumps([1.5] * LEAST) + b"]" * 70,
        b'{"x": [1e400, ' + b"1.5, " * LEAST + b"1]}",
        b'{"x": [18446744073709551616, ' + b"1.5, " * LEAST + b"1]}",
    ],
)
def test_whatever_is_odd_is_left_to_the_plain_reader(body: bytes) -> None:
    assert read(body) is None


def test_the_last_of_two_keys_counts_and_bare_tokens_are_let_in() -> None:
    long = b"1.5, " * 5000 + b"NaN"
    document = read_json(b'{"x": 1, "y": [' + long + b'], "x": 2}')
    assert document["x"] == 2
    assert math.isnan(document["y"][-1])
    with pytest.raises(ModelportError, match="at offset: 6"):
        read_json(b'{"x": ?' + b" " * 20000)


def test_only_lists_with_numbers_have_any() -> None:
    for data in ([], ["a"], [[1], [2]], 5, None, [1.5]):
        assert not has_numbers(data)
    numbers = read(dumps({"x": np.ones((2, 1024))}))["x"]
    for data in (numbers, [numbers], [[1.0], numbers]):
        assert has_numbers(data)


def test_many_threads_read_at_once() -> None:
    arrays = [np.full((50, 60), i, np.float32) for i in range(16)]
    with ThreadPoolExecutor(8) as pool:
        read_all = list(pool.map(lambda a: fitted(read(dumps({"x": a}))["x"], a.dtype), arrays * 5))
    for want, got in zip(arrays * 5, read_all, strict=True):
        assert got is not None
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("bodies", [(9_999, 9_999), (999_999,)])
def test_small_bodies_and_the_first_do_not_load_the_parser(bodies: tuple[int, ...]) -> None:
    program = (
        "import sys; from functions.runtime.codecs.codec import read_json\n"
        f"for more in {(0, *bodies)}:\n"
        "    print('simdjson' in sys.modules)\n"
        "    read_json(b'{\"x\": [1, 2' + b', 3' * more + b']}')\n"
        "print('simdjson' in sys.modules)"
    )
    path = f"{ROOT}:{ROOT / 'layers' / 'core' / 'python'}"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": path}, check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout.split() == ["False"] * (1 + len(bodies)) + ["True"]


@given(st.integers(0, 300), st.sampled_from([0, 7, 600, 5000]), st.integers(-1, 1))
def test_brackets_few_or_many_are_counted_right(lists: int, apart: int, off: int) -> None:
    body = (b"[" + b"1" * apart) * lists + b"]"
    count = max(lists + off, 0)
    assert json_numbers._has_brackets(body, count) is (count == lists)
