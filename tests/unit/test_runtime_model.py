"""Inputs that do not go together are the caller's mistake, told before or by onnxruntime."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from modelport.envelope import Request
from modelport.manifest import Manifest
from modelport.signature import Signature, TensorSpec

from functions.runtime.loading import MANIFEST, load
from functions.runtime.model import OnnxModel
from tests.support import runtime_bundles as bundles
from tests.support.runtime_planes import SAGEMAKER, V1, V2, Plane, open_plane, v2_tensor

#: The sum of each row: as many as there are rows, be they ever so empty.
SUMS = bundles.model(
    [
        bundles.node("Constant", [], ["axis"], value_ints=[1]),
        bundles.node("ReduceSum", ["x", "axis"], ["sums"], keepdims=0),
    ],
    [("x", bundles.FLOAT, ["N", "M"])],
    [("sums", bundles.FLOAT, ["N"])],
)
#: One name in two places of one input, and again in another.
SQUARE = bundles.model(
    [bundles.node("MatMul", ["a", "b"], ["c"])],
    [("a", bundles.FLOAT, ["N", "N"]), ("b", bundles.FLOAT, ["N", "M"])],
    [("c", bundles.FLOAT, ["N", "M"])],
)


def ones(*shape: int) -> list[object]:
    values: list[object] = np.ones(shape).tolist()
    return values


@pytest.mark.parametrize("rows", [(2, 3), (3, 2), (0, 2)])
def test_inputs_of_one_free_dimension_have_to_agree_on_it(
    tmp_path: Path, rows: tuple[int, int]
) -> None:
    plane = open_plane(tmp_path, bundles.SUM)
    document = {
        "inputs": [
            v2_tensor(name, ones(count * 2), [count, 2])
            for name, count in zip(("a:0", "b:0"), rows, strict=True)
        ]
    }
    assert plane.refusal(V2, document) == (
        "input 'b:0': expected FP32 [-1,2] with as many in dimension 0 as input 'a:0' has"
        f" in dimension 0 ({rows[0]}), got FP32 [{rows[1]},2]"
    )


def test_what_the_model_can_spread_over_the_others_is_its_own_affair(tmp_path: Path) -> None:
    plane = open_plane(tmp_path, bundles.SUM)
    answer = plane.answer(V1, {"inputs": {"a:0": ones(1, 2), "b:0": ones(3, 2)}})
    assert answer["outputs"]["sum:0"] == [[2.0, 2.0]] * 3


def test_every_protocol_says_so_and_goes_on(tmp_path: Path) -> None:
    plane = open_plane(tmp_path, bundles.SUM)
    columns = {"a:0": ones(2, 2), "b:0": ones(3, 2)}
    for path in (V1, SAGEMAKER):
        assert "as many in dimension 0 as input 'a:0'" in plane.refusal(path, {"inputs": columns})
    right = plane.answer(V1, {"inputs": columns | {"b:0": ones(2, 2)}})
    assert right["outputs"]["sum:0"] == [[2.0, 2.0], [2.0, 2.0]]


@pytest.mark.parametrize(
    ("a", "b", "wrong"),
    [
        ((2, 3), (2, 1), "input 'a': expected FP32 [-1,-1] with as many in dimension 1 as input"),
        ((2, 2), (3, 1), "input 'b': expected FP32 [-1,-1] with as many in dimension 0 as input"),
    ],
)
def test_a_name_may_stand_anywhere(
    tmp_path: Path, a: tuple[int, int], b: tuple[int, int], wrong: str
) -> None:
    plane = open_plane(tmp_path, SQUARE)
    assert wrong in plane.refusal(V1, {"inputs": {"a": ones(*a), "b": ones(*b)}})
    assert plane.answer(V1, {"inputs": {"a": ones(2, 2), "b": ones(2, 1)}})["outputs"] == [
        [2.0],
        [2.0],
    ]


def test_dimensions_of_other_names_are_the_models_own_affair(tmp_path: Path) -> None:
    plane = open_plane(tmp_path, bundles.MATCH)
    assert plane.answer(V1, {"inputs": {"a": [1, 2], "b": [3]}}) == {"outputs": [4.0, 5.0]}


@pytest.mark.parametrize("shape", [[2**30, 0], [2**40, 0], [0, 2**40], [0, 2**62]])
def test_an_array_of_nothing_does_not_become_gigabytes(tmp_path: Path, shape: list[int]) -> None:
    plane = open_plane(tmp_path, SUMS)
    message = plane.refusal(V2, {"inputs": [v2_tensor("x", [], shape)]})
    assert message.startswith("input 'x': expected ")
    assert message.endswith(f"FP32 [{shape[0]},{shape[1]}]")
    small = plane.answer(V2, {"inputs": [v2_tensor("x", [], [2, 0])]})
    assert small["outputs"][0]["data"] == [0.0, 0.0]


def lax(folder: Path, shape: tuple[int, ...]) -> Plane:
    """A version whose manifest declares less than its model."""
    settings = bundles.write_bundle(folder, bundles.DOUBLE)
    manifest = Manifest.from_bytes((folder / MANIFEST).read_bytes())
    inputs = (TensorSpec("x", "FP32", shape),)
    signature = Signature(inputs, manifest.content.signature.outputs)
    content = replace(manifest.content, signature=signature)
    said = Manifest(manifest.model, manifest.version, content, manifest.created)
    (folder / MANIFEST).write_bytes(said.to_bytes())
    return Plane(load(replace(settings, digest=said.digest)))


@pytest.mark.parametrize(("shape", "sent"), [((-1, -1), [1, 3]), ((-1, -1, -1), [1, 2, 2])])
def test_what_onnxruntime_itself_refuses_is_a_bad_request(
    tmp_path: Path, shape: tuple[int, ...], sent: list[int]
) -> None:
    plane = lax(tmp_path, shape)
    body = {"inputs": [v2_tensor("x", ones(int(np.prod(sent))), sent)]}
    listed = ",".join(map(str, sent))
    assert plane.refusal(V2, body) == (
        f"input 'x': expected what the model takes, got x FP32 [{listed}]"
    )


def test_what_a_node_raises_stays_the_models_failure(tmp_path: Path) -> None:
    plane = open_plane(tmp_path, bundles.MATCH)
    sent = Request("POST", V1, {}, json.dumps({"inputs": {"a": [1, 2, 3], "b": [1, 2]}}).encode())
    assert plane.plane.handle(sent).status == 500


class Elsewhere:
    """A session that keeps its innermost run where nobody knows."""

    def __init__(self, session: Any) -> None:
        self._kept = session
        self.get_inputs = session.get_inputs
        self.asked = 0

    def run(self, names: Any, feeds: Any, options: Any = None) -> Any:
        self.asked += 1
        return self._kept.run(names, feeds, options)


def test_the_short_way_into_onnxruntime_is_there_and_not_needed(tmp_path: Path) -> None:
    model = open_plane(tmp_path, bundles.DOUBLE).plane.model
    assert isinstance(model, OnnxModel)
    session = model._session
    known = model.run_plain == session._sess.run
    assert known, "onnxruntime has moved it: runs take a quarter longer"
    public = Elsewhere(session)
    other = OnnxModel(public, model.signature, model.directory)
    rows = {"x": np.ones((1, 2), np.float32)}
    assert np.array_equal(other.run(rows)["y"], model.run(rows)["y"])
    assert public.asked == 1


def test_a_script_that_leaves_out_an_input_is_told_which(tmp_path: Path) -> None:
    model = open_plane(tmp_path, bundles.SUM).plane.model
    with pytest.raises(ValueError, match="'b:0'"):
        model.run({"a:0": np.ones((1, 2), np.float32)})
