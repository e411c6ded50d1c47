"""Goldens that do not fit the model stop a bundle; those that do travel in the manifest."""

import json
from pathlib import Path
from typing import Any

import onnx
import pytest
from modelport.bundle import load_bundle
from modelport.errors import InvalidBundleError
from modelport.goldens import Golden, Tensor
from onnx import helper


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model with two inputs (one with fixed and free dimensions) and a golden folder."""
    graph = helper.make_graph(
        [helper.make_node("Cast", ["a"], ["y"], to=1)],
        "g",
        [
            helper.make_tensor_value_info("a", onnx.TensorProto.INT64, ["n", 3]),
            helper.make_tensor_value_info("s", onnx.TensorProto.STRING, []),
        ],
        [helper.make_tensor_value_info("y", 1, ["n", 3])],
    )
    model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)])
    onnx.save(model, tmp_path / "model.onnx")
    (tmp_path / "golden").mkdir()
    return tmp_path


def tensor(name: str, datatype: str, shape: list[int], data: list[Any]) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape, "data": data}


A = tensor("a", "INT64", [1, 3], [1, 2, 3])
S = tensor("s", "BYTES", [], ["w"])
Y = tensor("y", "FP32", [1, 3], [1.0, 2.0, 3.0])


def write(folder: Path, name: str, golden: dict[str, Any]) -> None:
    (folder / "golden" / f"{name}.json").write_text(json.dumps(golden))


def test_goldens_are_part_of_the_content_and_not_of_the_files(folder: Path) -> None:
    without = load_bundle(folder).content.digest
    write(folder, "one", {"inputs": [A, S], "outputs": [Y], "atol": 0.5})
    (folder / "golden" / "f.bin").write_bytes(b"\0\1")
    write(folder, "raw", {"content_type": "x/y", "body": "f.bin", "answer": {"label": "f"}})
    content = load_bundle(folder).content
    assert [file.path for file in content.files] == ["model.onnx"]
    assert content.digest != without
    one, raw = content.goldens
    assert one == Golden(
        "one",
        (Tensor("a", "INT64", (1, 3), (1, 2, 3)), Tensor("s", "BYTES", (), ("w",))),
        (Tensor("y", "FP32", (1, 3), (1.0, 2.0, 3.0)),),
        atol=0.5,
    )
    assert (raw.content_type, raw.body, raw.answer) == ("x/y", b"\0\1", {"label": "f"})


def test_numbers_that_json_has_no_form_for_may_be_bare_or_quoted(folder: Path) -> None:
    data = [float("nan"), "Infinity", "-Infinity"]
    write(
        folder, "one", {"inputs": [A | {"data": [1.0, 2, 3]}, S], "outputs": [Y | {"data": data}]}
    )
    (golden,) = load_bundle(folder).content.goldens
    assert repr(golden.outputs[0].data) == "(nan, inf, -inf)"
    assert repr(golden.inputs[0].data) == "(1, 2, 3)"


def test_a_file_called_golden_is_a_file(folder: Path) -> None:
    (folder / "golden").rmdir()
    (folder / "golden").write_text("hour")
    assert [file.path for file in load_bundle(folder).content.files] == ["golden", "model.onnx"]


@pytest.mark.parametrize(
    ("inputs", "outputs", "problem"),
    [
        ([A], [Y], "input s is missing"),
        ([A, S, A], [Y], "gives an input twice"),
        ([A, S], [Y, Y], "gives an output twice"),
        ([A, S, tensor("b", "INT8", [1], [0])], [Y], "no input 'b'; its inputs are: a, s"),
        ([A | {"datatype": "INT32"}, S], [Y], "input 'a': expected INT64 [-1,3], got INT32 [1,3]"),
        ([A | {"shape": [3, 1]}, S], [Y], "input 'a': expected INT64 [-1,3], got INT64 [3,1]"),
        ([A | {"shape": [3]}, S], [Y], "expected INT64 [-1,3], got INT64 [3]"),
        ([A, S | {"shape": [1]}], [Y], "input 's': expected BYTES [], got BYTES [1]"),
        ([A, S], [Y | {"name": "z"}], "the model has no output 'z'; its outputs are: y"),
        ([A, S], [Y | {"datatype": "FP64"}], "output 'y': expected FP32 [-1,3], got FP64 [1,3]"),
        ([A, S], [Y | {"data": [1.0]}], "has 1 values for shape [1, 3]"),
        ([A, S], [Y | {"datatype": "FLOAT"}], "unknown datatype 'FLOAT'"),
        ([A, S], [], "needs 'inputs' and 'outputs'"),
        ([A | {"data": [1, 2, True]}, S], [Y], "'a': value 2 is True, which is no INT64"),
        ([A | {"data": [1, 2, 2**63]}, S], [Y], "is 9223372036854775808, which is no INT64"),
        ([A | {"data": [1, 2.5, 3]}, S], [Y], "'a': value 1 is 2.5, which is no INT64"),
        ([A, S | {"data": [1]}], [Y], "'s': value 0 is 1, which is no BYTES"),
        ([A, S | {"data": ["\ud800"]}], [Y], "which is no BYTES"),
        ([A, S], [Y | {"data": [1, 1e39, 2]}], "'y': value 1 is 1e+39, which is no FP32"),
        ([A, S], [Y | {"data": [1, "nan", 2]}], "'y': value 1 is 'nan', which is no FP32"),
        ([A, S], [Y | {"data": [1, None, 2]}], "'y': value 1 is None, which is no FP32"),
    ],
)  # fmt: skip
def test_goldens_that_do_not_fit(
    folder: Path, inputs: list[Any], outputs: list[Any], problem: str
) -> None:
    write(folder, "case", {"inputs": inputs, "outputs": outputs})
    with pytest.raises(InvalidBundleError) as caught:
        load_bundle(folder)
    assert str(caught.value).startswith(str(folder / "golden" / "case.json"))
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"body": "../model.onnx", "content_type": "a/b", "answer": 1}', "3"]
)
def test_golden_files_that_are_none(folder: Path, text: str) -> None:
    (folder / "golden" / "case.json").write_text(text)
    with pytest.raises(InvalidBundleError, match=r"case\.json: not a golden request"):
        load_bundle(folder)
