"""Weights laid out for a fast start: the same model, its values elsewhere."""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import magika
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from modelport.errors import InvalidBundleError
from modelport.manifest import digest_of
from modelport.onnx_file import read_onnx
from modelport.registry.checksums import PartChecksums
from modelport.weights_layout import PAGE, WORTH_IT, Layout, lay_out
from onnx import TensorProto, helper, numpy_helper
from onnx.external_data_helper import load_external_data_for_model

from tests.conftest import ROOT
from tests.support.weighty_models import (
    FLOAT,
    MOVES,
    PAYS,
    RANDOM,
    adding,
    answer,
    made,
    outside,
    saved,
    weights,
)


def laid_out(path: Path, work: Path) -> Layout:
    layout = lay_out(path, work, "model.onnx")
    assert layout is not None
    assert read_onnx(layout.model).signature == read_onnx(path).signature
    assert read_onnx(layout.model).external_data == (layout.data.name,)
    assert layout.digest == digest_of(layout.data.read_bytes())
    checksums = PartChecksums()
    checksums.update(layout.data.read_bytes())
    assert layout.checksums == checksums
    return layout


def comparable(path: Path) -> tuple[bytes, dict[str, tuple[int, tuple[int, ...], bytes]]]:
    """The model without its values, and its values, however they are encoded."""
    model = onnx.load(path, load_external_data=False)
    load_external_data_for_model(model, str(path.parent))
    values = {}
    for number, tensor in enumerate(tensors_of(model.graph)):
        array = numpy_helper.to_array(tensor)
        body = repr(array.tolist()).encode() if array.dtype == object else array.tobytes()
        values[f"{number}:{tensor.name}"] = (tensor.data_type, tuple(tensor.dims), body)
        for spent in ("raw_data", "float_data", "double_data", "int32_data", "int64_data"):
            tensor.ClearField(spent)
        tensor.ClearField("data_location")
        tensor.ClearField("external_data")
    return model.SerializeToString(deterministic=True), values


def tensors_of(graph: onnx.GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield sparse.values
        yield sparse.indices
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            for inner in [attribute.g] if attribute.HasField("g") else list(attribute.graphs):
                yield from tensors_of(inner)


def references(path: Path) -> dict[str, dict[str, str]]:
    model = onnx.load(path, load_external_data=False)
    return {
        tensor.name: {entry.key: entry.value for entry in tensor.external_data}
        for tensor in tensors_of(model.graph)
        if tensor.data_location == TensorProto.EXTERNAL
    }


# --- what moves -----------------------------------------------------------------------------------


def test_large_initializers_move_out_aligned_and_small_ones_stay(tmp_path: Path) -> None:
    path = saved(adding(weights("a", PAYS + 1), weights("s", 10), weights("b", MOVES)), tmp_path)
    layout = laid_out(path, tmp_path / "work")
    assert layout.data.name == "model.onnx.data"
    assert references(layout.model) == {
        "a": {"location": "model.onnx.data", "offset": "0", "length": str(4 * PAYS + 4)},
        "b": {
            "location": "model.onnx.data",
            "offset": str(4 * PAYS + PAGE),
            "length": str(4 * MOVES),
        },
    }
    assert comparable(layout.model) == comparable(path)
    assert answer(layout.model) == answer(path)
    assert layout.model.stat().st_size < 1000
    assert layout.replaced == ()


def test_very_large_tensors_begin_on_64_kib(tmp_path: Path) -> None:
    path = saved(adding(weights("a", PAYS + 1), weights("b", 2**21)), tmp_path)
    offset = int(references(laid_out(path, tmp_path / "work").model)["b"]["offset"])
    assert offset % 65536 == 0


def test_a_small_model_stays_as_it_is(tmp_path: Path) -> None:
    path = saved(adding(weights("a", PAYS - 1)), tmp_path)
    assert lay_out(path, tmp_path / "work", "model.onnx") is None
    assert not (tmp_path / "work").exists()


def test_many_tensors_too_small_to_move_stay(tmp_path: Path) -> None:
    path = saved(adding(*(weights(f"w{n}", MOVES - 1) for n in range(12))), tmp_path)
    assert lay_out(path, tmp_path / "work", "model.onnx") is None


def test_the_same_model_gives_the_same_bytes_and_what_is_laid_out_stays(tmp_path: Path) -> None:
    path = saved(adding(weights("a", PAYS), weights("b", MOVES)), tmp_path)
    one, two = (laid_out(path, tmp_path / name) for name in ("one", "two"))
    assert one.model.read_bytes() == two.model.read_bytes()
    assert one.data.read_bytes() == two.data.read_bytes()
    assert lay_out(one.model, tmp_path / "three", "model.onnx") is None


def test_typed_floats_move_and_integers_of_varying_length_stay(tmp_path: Path) -> None:
    floats = helper.make_tensor("f", FLOAT, [PAYS], RANDOM.standard_normal(PAYS))
    doubles = helper.make_tensor("d", TensorProto.DOUBLE, [MOVES], RANDOM.standard_normal(MOVES))
    whole = helper.make_tensor("i", TensorProto.INT64, [MOVES], range(MOVES))
    path = saved(adding(floats, doubles, whole), tmp_path)
    layout = laid_out(path, tmp_path / "work")
    assert set(references(layout.model)) == {"f", "d"}
    assert comparable(layout.model) == comparable(path)
    assert answer(layout.model) == answer(path)


def test_text_and_empty_tensors_stay(tmp_path: Path) -> None:
    text = numpy_helper.from_array(np.array(["ä" * 50] * 5000, object), "t")
    empty = numpy_helper.from_array(np.zeros((0, 5), np.float32), "e")
    model = adding(weights("a", PAYS), empty)
    model.graph.initializer.append(text)
    model.graph.node.append(helper.make_node("Shape", ["t"], ["shape"]))
    path = saved(model, tmp_path)
    layout = laid_out(path, tmp_path / "work")
    assert set(references(layout.model)) == {"a"}
    assert comparable(layout.model) == comparable(path)
    assert answer(layout.model) == answer(path)


def test_initializers_of_both_branches_and_of_loops_move(tmp_path: Path) -> None:
    def branch(name: str, tensor: TensorProto) -> onnx.GraphProto:
        out = helper.make_tensor_value_info(name, FLOAT, [])
        node = helper.make_node("ReduceSum", [tensor.name], [name], keepdims=0)
        return helper.make_graph([node], name, [], [out], [tensor])

    nodes = [
        helper.make_node("ReduceSum", ["x"], ["s"], keepdims=0),
        helper.make_node("Cast", ["s"], ["c"], to=TensorProto.BOOL),
        helper.make_node(
            "If", ["c"], ["z"],
            then_branch=branch("t", weights("tw", PAYS)),
            else_branch=branch("e", weights("ew", MOVES)),
        ),
        helper.make_node("Add", ["x", "z"], ["y"]),
    ]  # fmt: skip
    path = saved(made(nodes, []), tmp_path)
    layout = laid_out(path, tmp_path / "work")
    assert set(references(layout.model)) == {"tw", "ew"}
    assert comparable(layout.model) == comparable(path)
    assert answer(layout.model) == answer(path)


def test_initializers_that_are_inputs_too_stay_overridable(tmp_path: Path) -> None:
    model = adding(weights("w", PAYS))
    model.graph.input.append(helper.make_tensor_value_info("w", FLOAT, [PAYS]))
    path = saved(model, tmp_path)
    layout = laid_out(path, tmp_path / "work")
    session = ort.InferenceSession(str(layout.model), providers=["CPUExecutionProvider"])
    feeds = {"x": np.zeros(1, np.float32), "w": np.ones(PAYS, np.float32)}
    assert session.run(None, feeds)[0].tolist() == [PAYS]


def test_sparse_initializers_and_node_constants_stay(tmp_path: Path) -> None:
    values = weights("sp", MOVES)
    indices = numpy_helper.from_array(np.arange(MOVES, dtype=np.int64), "at")
    sparse = helper.make_sparse_tensor(values, indices, [2 * MOVES])
    nodes = [
        helper.make_node("Constant", [], ["k"], value=weights("k", MOVES)),
        helper.make_node("ReduceSum", ["k"], ["ks"], keepdims=0),
        helper.make_node("ReduceSum", ["sp"], ["ss"], keepdims=0),
        helper.make_node("ReduceSum", ["w"], ["ws"], keepdims=0),
        helper.make_node("Sum", ["x", "ks", "ss", "ws"], ["y"]),
    ]
    path = saved(made(nodes, [weights("w", PAYS)], sparse_initializer=[sparse]), tmp_path)
    layout = laid_out(path, tmp_path / "work")
    assert set(references(layout.model)) == {"w"}
    assert comparable(layout.model) == comparable(path)
    assert answer(layout.model) == answer(path)


def test_functions_travel_with_the_model(tmp_path: Path) -> None:
    opsets = [helper.make_opsetid("", 17)]
    twice = helper.make_function(
        "my.ops", "Twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])], opsets
    )
    nodes = [
        helper.make_node("ReduceSum", ["w"], ["s"], keepdims=0),
        helper.make_node("Add", ["x", "s"], ["t"]),
        helper.make_node("Twice", ["t"], ["y"], domain="my.ops"),
    ]
    model = made(nodes, [weights("w", PAYS)])
    model.opset_import.append(helper.make_opsetid("my.ops", 1))
    model.functions.append(twice)
    path = saved(model, tmp_path)
    layout = laid_out(path, tmp_path / "work")
    assert comparable(layout.model) == comparable(path)
    assert answer(layout.model) == answer(path)


# --- models with data files already ---------------------------------------------------------------


def test_badly_laid_data_files_become_one_and_small_tensors_come_inside(tmp_path: Path) -> None:
    model = adding(
        outside(weights("a", PAYS), tmp_path, "one.bin", 4),
        outside(weights("b", MOVES), tmp_path, "two.bin", 8 + 2**32),
        outside(weights("s", 10), tmp_path, "two.bin", 0),
        weights("c", MOVES),
    )
    path = saved(model, tmp_path)
    layout = laid_out(path, tmp_path / "work")
    assert layout.replaced == ("one.bin", "two.bin")
    found = references(layout.model)
    assert set(found) == {"a", "b", "c"}
    assert all(int(entries["offset"]) % PAGE == 0 for entries in found.values())
    assert comparable(layout.model) == comparable(path)
    assert answer(layout.model) == answer(path)


def test_a_well_laid_data_file_stays(tmp_path: Path) -> None:
    path = saved(adding(outside(weights("a", PAYS), tmp_path, "w.bin", PAGE)), tmp_path)
    assert lay_out(path, tmp_path / "work", "model.onnx") is None


def test_values_shared_by_two_tensors_stay_shared(tmp_path: Path) -> None:
    shared = weights("a", PAYS)
    again = TensorProto()
    again.CopyFrom(shared)
    again.name = "b"
    first, second = (outside(tensor, tmp_path, "w.bin", 4) for tensor in (shared, again))
    layout = laid_out(saved(adding(first, second), tmp_path), tmp_path / "work")
    found = references(layout.model)
    assert found["a"] == found["b"]
    assert layout.data.stat().st_size == 4 * PAYS


def test_the_data_file_takes_no_name_that_is_taken(tmp_path: Path) -> None:
    path = saved(adding(weights("a", PAYS)), tmp_path)
    taken = ("model.onnx.data/notes.txt", "model.onnx.data2")
    layout = lay_out(path, tmp_path / "work", "model.onnx", taken=taken)
    assert layout is not None
    assert layout.data.name == "model.onnx.data3"
    assert answer(layout.model) == answer(path)


# --- real and generated models --------------------------------------------------------------------


def test_a_real_model_answers_bit_for_bit_the_same(tmp_path: Path) -> None:
    path = next(Path(magika.__file__).parent.glob("models/standard_v3_3/model.onnx"))
    layout = laid_out(path, tmp_path)
    assert comparable(layout.model) == comparable(path)
    tokens = np.random.default_rng(3).integers(0, 257, (4, 2048)).astype(np.int32)
    one, two = (
        ort.InferenceSession(str(model), providers=["CPUExecutionProvider"])
        .run(None, {"bytes": tokens})[0]
        .tobytes()
        for model in (path, layout.model)
    )
    assert one == two


_TYPES = (np.float32, np.float64, np.float16, np.int8, np.uint8, np.int32, np.int64, np.bool_)


@st.composite
def tensors(draw: st.DrawFn, name: str) -> TensorProto:
    dtype = draw(st.sampled_from(_TYPES))
    count = draw(st.sampled_from([0, 1, 7, 1000, MOVES // 2 - 1, MOVES, MOVES + 3]))
    shape = draw(st.sampled_from([(count,), (1, count), (count, 1, 1)]))
    array: np.ndarray[Any, Any] = (np.arange(count) % 3).astype(dtype).reshape(shape)
    if draw(st.booleans()) and dtype is not np.float16:
        return helper.make_tensor(
            name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape, array.ravel()
        )
    tensor = numpy_helper.from_array(array, name)
    if draw(st.booleans()):
        tensor.doc_string = "kept"
    return tensor


@st.composite
def graphs(draw: st.DrawFn) -> tuple[onnx.ModelProto, list[tuple[int, str, int]]]:
    """A model, and which of its tensors lie where in which data file."""
    count = draw(st.integers(1, 5))
    parts = [draw(tensors(f"w{number}")) for number in range(count)]
    places = []
    for number, tensor in enumerate(parts):
        if tensor.raw_data and draw(st.booleans()):
            at = draw(st.sampled_from([0, 16, PAGE, 3 * PAGE]))
            places.append(
                (number, draw(st.sampled_from(["one.bin", "two.bin"])), at + number * 2**21)
            )
    return adding(*parts, weights("big", PAYS)), places


@given(graphs())
@settings(max_examples=25, deadline=None)
def test_generated_models_stay_the_same(made_: tuple[onnx.ModelProto, list[Any]]) -> None:
    model, places = made_
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number, location, offset in places:
            moved = outside(model.graph.initializer[number], folder, location, offset)
            model.graph.initializer[number].CopyFrom(moved)
        path = saved(model, folder)
        layout = laid_out(path, folder / "work")
        assert comparable(layout.model) == comparable(path)
        for level in ("ORT_ENABLE_ALL", "ORT_DISABLE_ALL"):
            assert answer(layout.model, level) == answer(path, level)
        assert lay_out(layout.model, folder / "again", "model.onnx") is None


# --- limits ---------------------------------------------------------------------------------------


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """As on a full disk: writing beyond ``size`` fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    path = saved(adding(weights("a", PAYS)), tmp_path)
    work = tmp_path / "work"
    with files_of_at_most(WORTH_IT // 2), pytest.raises(InvalidBundleError) as caught:
        lay_out(path, work, "model.onnx")
    assert f"its weights, {4 * PAYS:,} bytes, cannot be laid out in {work}" in str(caught.value)
    assert "TMPDIR" in caught.value.hint
    assert "as-is" in caught.value.hint
    assert list(work.iterdir()) == []


def test_memory_stays_flat(tmp_path: Path) -> None:
    """A model of 400 MB, nearly all of it a hole, in a process that may not grow by 60 MB."""
    size = 400 << 20
    small = adding(weights("w", 4)).SerializeToString()
    huge = TensorProto(name="big", data_type=FLOAT, dims=[size // 4]).SerializeToString()
    path = tmp_path / "model.onnx"
    with path.open("wb") as file:
        tensor_head = huge + b"\x4a" + _varint(size)
        graph = onnx.load_from_string(small).graph.SerializeToString()
        rest = onnx.load_from_string(small)
        rest.ClearField("graph")
        file.write(rest.SerializeToString())
        inner = b"\x2a" + _varint(len(tensor_head) + size) + tensor_head
        file.write(b"\x3a" + _varint(len(graph) + len(inner) + size) + graph + inner)
        file.truncate(file.tell() + size)
    program = (
        "import resource, sys; from pathlib import Path\n"
        "from modelport.weights_layout import lay_out\n"
        "grown = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before = grown()\n"
        "layout = lay_out(Path(sys.argv[1]), Path(sys.argv[2]), 'model.onnx')\n"
        "print(layout.data.stat().st_size, grown() - before)\n"
    )
    command = [sys.executable, "-c", program, str(path), str(tmp_path / "work")]
    environment = {"PYTHONPATH": str(ROOT / "layers/core/python")}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    written, grown_kib = map(int, done.stdout.split())
    assert written == size
    assert grown_kib < 60 << 10


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])
