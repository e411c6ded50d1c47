"""Golden requests as publish and the registrar send them: every form is answered and agrees."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelport.envelope import Request
from modelport.goldens import Golden, GoldenRequest, Tensor
from modelport.goldens.agreement import agree, bf16_bits, bf16_value
from modelport.goldens.forms import FORMS, Asked, Uncarried, each, grouped, told, uncarried
from modelport.goldens.v2 import pack, unpack
from modelport.raw_tensors import pack as packed_by_numpy
from modelport.raw_tensors import unpack as unpacked
from modelport.signature import Signature, TensorSpec
from onnx import TensorProto

from tests.support import runtime_bundles as bundles
from tests.support.runtime_planes import SAGEMAKER, V1, V2, Plane, open_plane

PATHS = {"v1": V1, "v2": V2, "sagemaker": SAGEMAKER}


def problems(plane: Plane, golden: Golden, *, script: bool = False) -> dict[str, str | None]:
    """What is wrong with the answer, by form; a form that cannot ask has its reason in ``<>``."""
    found: dict[str, str | None] = {}
    for one in each(golden, Asked(plane.plane.subject.signature, script)):
        if isinstance(one, Uncarried):
            found[one.form] = f"<{one.reason}>"
            continue
        answer = plane.plane.handle(Request("POST", PATHS[one.protocol], one.headers, one.body))
        assert answer.status == 200, (one.form, answer.body)
        found[one.form] = one.check(answer.headers, answer.body)
    return found


def asked(found: dict[str, str | None]) -> dict[str, str | None]:
    """What was asked, without the forms that could not carry it."""
    return {form: said for form, said in found.items() if not (said or "").startswith("<")}


FLOATS = Golden(
    "floats",
    inputs=(Tensor("x", "FP32", (1, 2), (0.1, 2.0)),),
    outputs=(Tensor("y", "FP32", (1, 2), (0.2, 4.0)),),
)
WHOLE = Golden(
    "whole",
    inputs=(Tensor("n", "INT64", (1, 3), (2**61, 0, -1)),),
    outputs=(Tensor("twice", "INT64", (1, 3), (2**62, 0, -2)),),
)
SCALAR = Golden(
    "scalar",
    inputs=(Tensor("x", "FP32", (1, 2), (1.0, 2.0)), Tensor("factor", "FP32", (), (3.0,))),
    outputs=(Tensor("y", "FP32", (1, 2), (3.0, 6.0)),),
)
COLONS = Golden(
    "colons",
    inputs=(Tensor("a:0", "FP32", (1, 2), (1.0, 2.0)), Tensor("b:0", "FP32", (1, 2), (3.0, 4.0))),
    outputs=(
        Tensor("sum:0", "FP32", (1, 2), (4.0, 6.0)),
        Tensor("diff:0", "FP32", (1, 2), (-2.0, -2.0)),
    ),
)
TEXT = Golden(
    "text",
    inputs=(Tensor("text", "BYTES", (2,), ("é", "")),),
    outputs=(
        Tensor("same", "BYTES", (2,), ("é", "")),
        Tensor("raw_bytes", "BYTES", (2,), ("é", "")),
    ),
)


HALF = Golden(
    "half",
    inputs=(Tensor("h", "FP16", (3,), (0.1, 2.0, -3.0)),),
    outputs=(Tensor("g", "FP16", (3,), (0.1, 2.0, -3.0)),),
)
BRAIN = Golden(
    "brain",
    inputs=(Tensor("x", "FP32", (1, 2), (0.1, 2.0)),),
    outputs=(Tensor("y", "BF16", (1, 2), (0.1, 2.0)),),
)
EVERYTHING_IN_ORDER = [form.name for form in FORMS]
EVERYTHING = set(EVERYTHING_IN_ORDER)
ROWS = {"v1 rows", "sagemaker tfs", "sagemaker lines", "sagemaker csv", "mlflow instances"}
ROWS |= {"mlflow split"}
ONE_INPUT = {"sagemaker csv", "sagemaker npy"}
TO_BRAIN = bundles.model(
    [bundles.node("Cast", ["x"], ["y"], to=TensorProto.BFLOAT16)],
    [("x", TensorProto.FLOAT, ["N", 2])],
    [("y", TensorProto.BFLOAT16, ["N", 2])],
)


@pytest.mark.parametrize(
    ("body", "golden", "left"),
    [
        (bundles.DOUBLE, FLOATS, set()),
        (bundles.COUNT, WHOLE, set()),
        (bundles.SCALE, SCALAR, ONE_INPUT | ROWS),
        (bundles.SUM, COLONS, ONE_INPUT),
        (bundles.TEXT, TEXT, {"sagemaker npy"}),
        (bundles.HALF, HALF, {"v2 json"}),
        (TO_BRAIN, BRAIN, EVERYTHING - {"v2 binary", "sagemaker binary"}),
    ],
    ids=lambda value: value.name if isinstance(value, Golden) else "",
)
def test_tensor_goldens_agree_in_every_form_that_carries_them(
    tmp_path: Path, body: bytes, golden: Golden, left: set[str]
) -> None:
    found = problems(open_plane(tmp_path, body), golden)
    assert found.keys() == EVERYTHING
    assert {form for form, said in found.items() if said is not None} == left, found


def test_a_golden_that_is_wrong_is_noticed_in_every_form(tmp_path: Path) -> None:
    wrong = Golden("wrong", FLOATS.inputs, (Tensor("y", "FP32", (1, 2), (0.2, 4.1)),))
    found = problems(open_plane(tmp_path, bundles.DOUBLE), wrong)
    assert all("4.099" in str(problem) or "4.1" in str(problem) for problem in found.values())


def test_infinities_agree_where_they_can_be_carried(tmp_path: Path) -> None:
    golden = Golden(
        "log",
        inputs=(Tensor("x", "FP32", (2,), (0.0, -1.0)),),
        outputs=(Tensor("log", "FP32", (2,), (float("-inf"), float("nan"))),),
    )
    found = problems(open_plane(tmp_path, bundles.LOG), golden)
    assert found["v2 json"] == "<NaN and infinities have no strict JSON form>"
    assert not any(asked(found).values())
    assert asked(found).keys() >= {"v1 columns", "v1 rows", "v2 binary", "sagemaker npy"}


def test_a_raw_golden_reaches_the_script(tmp_path: Path) -> None:
    script = "def input_fn(data, t): return 0\n"
    script += "def predict_fn(data, model): return {'label': 'png', 'score': 0.5}\n"
    golden = Golden(
        "raw", content_type="image/png", body=b"\x89", answer={"label": "png", "score": 0.50001}
    )
    plane = open_plane(tmp_path, bundles.DOUBLE, script=script)
    found = problems(plane, golden, script=True)
    assert asked(found) == {"raw": None}
    assert {said for form, said in found.items() if form != "raw"} == {
        "<raw bytes go to inference.py, which only /invocations reaches>"
    }


def test_a_script_keeps_invocations_to_itself(tmp_path: Path) -> None:
    script = "def predict_fn(data, model): return {'label': 'png'}\n"
    found = problems(open_plane(tmp_path, bundles.DOUBLE, script=script), FLOATS, script=True)
    assert asked(found) == dict.fromkeys(["v1 columns", "v1 rows", "v2 json", "v2 binary"])
    said = "<inference.py answers /invocations in its own words; a raw golden asks it>"
    assert {found[form.name] for form in FORMS if form.protocol == "sagemaker"} == {said}


# --- what forms cannot carry ----------------------------------------------------------------------

X, Y = TensorSpec("x", "FP32", (-1, -1)), TensorSpec("y", "FP32", (-1, -1))


def reasons(golden: Golden, *outputs: TensorSpec) -> dict[str, str]:
    signature = Signature((X,), outputs or (Y,))
    return {one.form: one.reason for one in uncarried([golden], Asked(signature))}


def pair(shape: tuple[int, ...], data: tuple[float, ...]) -> Golden:
    return Golden("g", (Tensor("x", "FP32", shape, data),), (Tensor("y", "FP32", shape, data),))


def test_lists_cannot_say_every_shape() -> None:
    said = reasons(pair((0, 3), ()))
    assert said["v1 columns"] == "lists cannot say the shape [0,3] of input 'x'"
    assert "v2 json" not in said
    assert "v1 columns" not in reasons(pair((3, 0), ()))


def test_rows_must_be_as_many_in_every_output() -> None:
    different = Golden("g", pair((2, 1), (1, 2)).inputs, (Tensor("y", "FP32", (1, 1), (3,)),))
    assert "different numbers of rows: 'x' 2, 'y' 1" in reasons(different)["v1 rows"]
    other = TensorSpec("z", "FP32", ())
    silent = reasons(pair((2, 1), (1, 2)), Y, other)["v1 rows"]
    assert silent == "it does not say how many rows output 'z' has"


def test_a_body_no_home_takes_is_told_with_its_size() -> None:
    said = reasons(pair((1200, 1000), (0.123456789,) * 1_200_000))
    assert "a version on Lambda takes 6,000,000" in said["v2 json"]
    assert "a version on Lambda takes 4,500,000" in said["v2 binary"]


def test_brain_floats_go_in_binary_only() -> None:
    half = Golden("g", (Tensor("x", "BF16", (1,), (1.5,)),), (Tensor("y", "BF16", (1,), (3.0,)),))
    said = reasons(half)
    assert said.keys() == EVERYTHING - {"v2 binary", "sagemaker binary"}
    assert said["v1 columns"] == said["v2 json"] == "BF16 has no JSON form"


def test_what_is_not_carried_is_told_in_few_rows() -> None:
    rows = grouped(
        Uncarried(golden, form, reason)
        for golden, form, reason in (
            ("a", "v1 rows", "no rows"),
            ("a", "v2 json", "no JSON form"),
            ("b", "v1 rows", "no rows"),
            ("b", "v1 columns", "no rows"),
            ("c", "v1 rows", "no rows"),
        )
    )
    assert rows == [
        (("a", "c"), ("v1 rows",), "no rows"),
        (("a",), ("v2 json",), "no JSON form"),
        (("b",), ("v1 rows", "v1 columns"), "no rows"),
    ]


def test_a_protocol_without_any_form_goes_by_its_name() -> None:
    assert told(EVERYTHING_IN_ORDER) == "v1, v2, sagemaker, mlflow"
    assert told(["v1 rows", "v2 json", "v2 binary"]) == "v1 rows, v2"
    assert told(["raw"]) == "raw"


# --- values ---------------------------------------------------------------------------------------

ARRAYS: dict[str, st.SearchStrategy[Any]] = {
    "BOOL": st.booleans(),
    "INT8": st.integers(-128, 127),
    "UINT64": st.integers(0, 2**64 - 1),
    "FP32": st.floats(width=32),
    "FP16": st.floats(width=16),
    "FP64": st.floats(),
    "BYTES": st.text(st.characters(exclude_categories=["Cs"])),
    "BF16": st.integers(0, 0xFFFF).map(bf16_value).filter(lambda value: value == value),
}


@given(st.sampled_from(sorted(ARRAYS)), st.data())
def test_what_is_packed_is_what_numpy_packs(datatype: str, data: st.DataObject) -> None:
    values = data.draw(st.lists(ARRAYS[datatype], max_size=6))
    tensor = Tensor("x", datatype, (len(values),), tuple(values))
    packed = pack(tensor)
    array = unpacked(datatype, [len(values)], packed)
    assert bytes(packed_by_numpy(array)) == packed
    back = list(unpack(datatype, packed))
    assert repr(back) == repr([float(v) if "F" in datatype else v for v in values])


@given(st.floats(width=32, allow_nan=False))
def test_brain_floats_are_the_nearest(value: float) -> None:
    bits = bf16_bits(value)
    near = bf16_value(bits)
    if not math.isfinite(near):
        assert abs(value) >= 3.3895313892515355e38
        return
    for other in (bits - 1, bits + 1):
        candidate = bf16_value(other & 0xFFFF)
        if math.isfinite(candidate) and (candidate < 0) == (value < 0):
            assert abs(near - value) <= abs(candidate - value)


@pytest.mark.parametrize("body", [b"\x05\0\0\0abc", b"\x05\0", b"\x01\0\0\0\xff"])
def test_text_that_is_cut_off_is_no_answer(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"text|utf-8"):
        unpack("BYTES", body)


@pytest.mark.parametrize(
    ("want", "got", "problem"),
    [
        ([1.0, 2.0], [1.0, 2.00001], None),
        ([1.0, 2.0], [1.0], "a: expected 2 values, got 1"),
        ([[1.0], [2.0]], [[1.0], [2.1]], "a[1][0]: expected 2.0, got 2.1"),
        ([math.nan, math.inf], [math.nan, math.inf], None),
        ([math.nan], [0.0], "a[0]: expected nan, got 0.0"),
        ([math.inf], [-math.inf], "a[0]: expected inf, got -inf"),
        ([True], [1], "a[0]: expected True, got 1"),
        (["x"], [None], "a[0]: expected 'x', got None"),
        ({"k": 1}, {"l": 1}, "a: expected keys ['k'], got ['l']"),
        ({"k": 1}, [1], "a: expected {'k': 1}, got [1]"),
    ],
)
def test_agreement(want: Any, got: Any, problem: str | None) -> None:
    assert agree(Golden("g"), "a", want, got) == problem


ANSWERS: list[bytes] = [
    b"", b"{", b"[]", b'"x"', b"{}", b'{"outputs": 3}', b'{"predictions": 3}', b'{"outputs": [3]}',
    b'{"outputs": [{"name": "y", "parameters": []}]}', b'{"outputs": {"y": {"a": 1}}}',
    b'{"outputs": [{"name": "y", "parameters": {"binary_data_size": 99}}]}',
    b'{"outputs": [{"name": "y", "datatype": "FP32", "shape": [1, 2], "data": null}]}',
    b"\x93NUMPY\x01\x00\x10", b"\x93NUMPY\x01\x00\x03\x00{(}", b'{"predictions": [{"y": 1}]}',
]  # fmt: skip


@pytest.mark.parametrize("answer", ANSWERS)
def test_whatever_comes_back_is_judged_in_words(answer: bytes) -> None:
    signature = Signature((X,), (Y,))
    for one in each(FLOATS, Asked(signature)):
        assert isinstance(one, GoldenRequest)
        for headers in ({}, {"inference-header-content-length": str(len(answer))}):
            assert one.check(headers, answer), one.form
        triton = "application/vnd.sagemaker-triton.binary+json;json-header-size=2"
        assert one.check({"content-type": triton}, answer), one.form
