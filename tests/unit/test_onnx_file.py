"""What `read_onnx` says of good models and how it refuses the others."""

import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import onnx
import onnxruntime
import pytest
from modelport.errors import InvalidOnnxError
from modelport.onnx_file import MAX_IR_VERSION, MAX_OPSETS, OnnxInfo, read_onnx
from modelport.signature import Signature, TensorSpec
from onnx import TensorProto, helper


def value(
    name: str, element: int = 1, shape: Sequence[int | str | None] | None = (1,)
) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, element, shape)


def model(
    inputs: Iterable[onnx.ValueInfoProto] = (),
    outputs: Iterable[onnx.ValueInfoProto] = (),
    *,
    ir: int = 10,
    opsets: dict[str, int] | None = None,
    initializers: Iterable[TensorProto] = (),
    nodes: Iterable[onnx.NodeProto] | None = None,
) -> onnx.ModelProto:
    graph = helper.make_graph(
        list(nodes if nodes is not None else [helper.make_node("Identity", ["x"], ["y"])]),
        "g",
        list(inputs) or [value("x")],
        list(outputs) or [value("y")],
        list(initializers),
    )
    imports = [helper.make_opsetid(d, v) for d, v in (opsets or {"": 20}).items()]
    made = helper.make_model(graph, opset_imports=imports)
    made.ir_version = ir
    return made


def read(folder: Path, made: onnx.ModelProto) -> OnnxInfo:
    path = folder / "model.onnx"
    path.write_bytes(made.SerializeToString())
    return read_onnx(path)


def refused(folder: Path, made: onnx.ModelProto) -> InvalidOnnxError:
    with pytest.raises(InvalidOnnxError) as caught:
        read(folder, made)
    return caught.value


def external(name: str, dims: list[int], **entries: object) -> TensorProto:
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=dims)
    tensor.data_location = TensorProto.EXTERNAL
    for key, text in entries.items():
        tensor.external_data.add(key=key, value=str(text))
    return tensor


def test_fixed_symbolic_and_unnamed_dimensions(tmp_path: Path) -> None:
    inputs = [value("a", TensorProto.INT64, ["batch", 3, None]), value("scalar", 11, [])]
    info = read(tmp_path, model(inputs, [value("y", 1, [-1, 0])]))
    assert info.signature == Signature(
        (TensorSpec("a", "INT64", (-1, 3, -1)), TensorSpec("scalar", "FP64", ())),
        (TensorSpec("y", "FP32", (-1, 0)),),
    )
    assert (info.ir_version, info.opsets, info.external_data) == (10, {"ai.onnx": 20}, ())


@pytest.mark.parametrize(
    ("element", "datatype"),
    [
        ("FLOAT", "FP32"), ("DOUBLE", "FP64"), ("FLOAT16", "FP16"), ("BFLOAT16", "BF16"),
        ("STRING", "BYTES"), ("BOOL", "BOOL"), ("INT8", "INT8"), ("INT16", "INT16"),
        ("INT32", "INT32"), ("INT64", "INT64"), ("UINT8", "UINT8"), ("UINT16", "UINT16"),
        ("UINT32", "UINT32"), ("UINT64", "UINT64"),
    ],
)  # fmt: skip
def test_every_servable_element_type_has_its_v2_name(
    tmp_path: Path, element: str, datatype: str
) -> None:
    info = read(tmp_path, model([value("x", TensorProto.DataType.Value(element))]))
    assert info.signature.inputs == (TensorSpec("x", datatype, (1,)),)


SERVABLE = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 16}


@pytest.mark.parametrize(
    ("name", "number"),
    [item for item in TensorProto.DataType.items() if item[1] not in SERVABLE and item[1] != 0],
)
def test_element_types_no_protocol_can_carry_are_named(
    tmp_path: Path, name: str, number: int
) -> None:
    error = refused(tmp_path, model([value("q", number)]))
    assert f"input 'q' has element type {name}," in str(error)
    assert "cast" in error.hint


def test_weights_listed_as_inputs_are_not_inputs(tmp_path: Path) -> None:
    weight = helper.make_tensor("w", 1, [2], [1.0, 2.0])
    sparse = onnx.SparseTensorProto(values=helper.make_tensor("s", 1, [1], [1.0]))
    made = model([value("w"), value("x"), value("s")], initializers=[weight], ir=3)
    made.graph.sparse_initializer.append(sparse)
    assert [spec.name for spec in read(tmp_path, made).signature.inputs] == ["x"]


def test_odd_names_are_kept(tmp_path: Path) -> None:
    made = model([value("serving_default_x:0"), value("größe")], [value("StatefulCall/y:0")])
    signature = read(tmp_path, made).signature
    assert [s.name for s in signature.inputs] == ["serving_default_x:0", "größe"]
    assert signature.output("StatefulCall/y:0") is not None


# --- refusals: what kind of model -----------------------------------------------------------------


def _sequence() -> onnx.ModelProto:
    tensor = helper.make_tensor_type_proto(1, [1])
    return model([helper.make_value_info("x", helper.make_sequence_type_proto(tensor))])


def _map() -> onnx.ModelProto:
    made = model()
    kind = helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(1, []))
    probabilities = helper.make_value_info("p", helper.make_sequence_type_proto(kind))
    made.graph.output.append(probabilities)
    return made


@pytest.mark.parametrize(
    ("made", "problem", "hint"),
    [
        (_sequence(), "input 'x' is a sequence; only tensors can be served", "zipmap"),
        (_map(), "output 'p' is a sequence", "zipmap"),
        (model([value("x", 1, None)]), "input 'x' has no shape, not even a rank", "infer_shapes"),
        (model([onnx.ValueInfoProto(name="x")]), "input 'x' has no type", "infer_shapes"),
        (model([value("x"), value("x")]), "every input needs a name of its own", ""),
        (model([value("")]), "every input needs a name of its own", ""),
        (model([value("x", 77)]), "element type number 77", "cast"),
        (onnx.ModelProto(ir_version=10), "no graph in it", ""),
        (onnx.ModelProto(ir_version=10, graph=model().graph), "names no opset", ""),
        (model(opsets={"": 0}), "opset 0 of ai.onnx; onnxruntime 1.31 loads 1 to 26", "opset 26"),
    ],
)
def test_models_that_cannot_be_served(
    tmp_path: Path, made: onnx.ModelProto, problem: str, hint: str
) -> None:
    error = refused(tmp_path, made)
    assert problem in str(error)
    assert hint in error.hint
    assert error.code == "invalid-onnx"


def test_no_outputs(tmp_path: Path) -> None:
    made = model()
    del made.graph.output[:]
    assert "the graph has no outputs" in str(refused(tmp_path, made))


def _loads(made: onnx.ModelProto) -> bool:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        onnxruntime.InferenceSession(
            made.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception:  # onnxruntime has a class per status and no common one of its own
        return False
    return True


def test_ir_limit_is_the_installed_onnxruntimes(tmp_path: Path) -> None:
    last, over = model(ir=MAX_IR_VERSION), model(ir=MAX_IR_VERSION + 1)
    assert _loads(last)
    assert not _loads(over)
    assert read(tmp_path, last).ir_version == MAX_IR_VERSION
    error = refused(tmp_path, over)
    assert f"IR version {MAX_IR_VERSION + 1}; onnxruntime 1.31 loads up to 13" in str(error)
    assert "model.ir_version = 13" in error.hint


@pytest.mark.parametrize("domain", list(MAX_OPSETS))
def test_opset_limits_are_the_installed_onnxruntimes(tmp_path: Path, domain: str) -> None:
    def at(version: int) -> onnx.ModelProto:
        return model(opsets={"": 20} | {"" if domain == "ai.onnx" else domain: version})

    limit = MAX_OPSETS[domain]
    assert _loads(at(limit))
    assert not _loads(at(limit + 1))
    assert read(tmp_path, at(limit)).opsets[domain] == limit
    assert f"opset {limit + 1} of {domain};" in str(refused(tmp_path, at(limit + 1)))


def test_custom_domains_are_let_through(tmp_path: Path) -> None:
    assert read(tmp_path, model(opsets={"": 20, "my.ops": 99})).opsets["my.ops"] == 99


# --- refusals: what kind of file ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "problem", "hint"),
    [
        (b"", "not an ONNX file: it is empty", ""),
        (b"import torch\n", "not an ONNX file: ", ""),
        (b"<!DOCTYPE html><html></html>", "not an ONNX file: ", ""),
        (b"PK\x03\x04" + b"\0" * 40, "not an ONNX file but a ZIP archive", "export"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer", "git lfs pull"),
        (b"\x20\x00\x00\x00TFL3" + b"\0" * 9, "a TensorFlow Lite model", "tf2onnx"),
        (b"\x80\x02}q\x00.", "a Python pickle", "export"),
        (b"\0" * 64, "not an ONNX file: no field can start at offset 0", ""),
        (b"\x08", "truncated: the field at offset 1", "get the file again"),
        (b"\x08\x00", "not an ONNX file: it has no IR version", ""),
        (b"\x12\x03abc", "not an ONNX file: it has no IR version", ""),
        (b"\x08\x0a\x3b", "damaged: unknown wire type 3 at offset 2", ""),
        (b"\x08" + b"\xff" * 12, "damaged: no number can be read at offset 1", ""),
        (b"\x08\x0a\x3d\x00", "truncated: the field at offset 2 needs 4 bytes", ""),
    ],
)
def test_files_that_are_no_onnx(tmp_path: Path, body: bytes, problem: str, hint: str) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(body)
    with pytest.raises(InvalidOnnxError) as caught:
        read_onnx(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert problem in str(caught.value)
    assert hint in caught.value.hint


def test_truncated_names_offset_and_length(tmp_path: Path) -> None:
    weight = helper.make_tensor("w", 1, [1000], [0.5] * 1000)
    body = model(initializers=[weight]).SerializeToString()
    path = tmp_path / "model.onnx"
    path.write_bytes(body[:1000])
    with pytest.raises(InvalidOnnxError, match=r"truncated: the field at offset \d+ .* 1000$"):
        read_onnx(path)


def test_damage_inside_a_message_names_its_parent(tmp_path: Path) -> None:
    body = bytearray(model().SerializeToString())
    at = body.index(b"\x22\x08Identity")
    body[at + 1] = 0x70
    path = tmp_path / "model.onnx"
    path.write_bytes(body)
    with pytest.raises(InvalidOnnxError, match="damaged: the field at offset"):
        read_onnx(path)


def test_text_that_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(model([value("xyz")]).SerializeToString().replace(b"xyz", b"x\xff\xfe"))
    with pytest.raises(InvalidOnnxError, match=r"the text at offset \d+ is not UTF-8"):
        read_onnx(path)


def test_an_absurdly_long_name(tmp_path: Path) -> None:
    assert "a name of over" in str(refused(tmp_path, model([value("x" * (2 << 20))])))


def test_missing_file_folder_and_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, problem in (
        (tmp_path / "nothing.onnx", "no such file"),
        (tmp_path, "not a file"),
        (tmp_path / "pipe", "not a file"),
    ):
        with pytest.raises(InvalidOnnxError, match=problem):
            read_onnx(path)


def test_over_two_gibibytes_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(model().SerializeToString())
    os.truncate(path, 2**31)  # sparse: takes no disk
    with pytest.raises(InvalidOnnxError, match="no ONNX file may be over") as caught:
        read_onnx(path)
    assert "save_as_external_data" in caught.value.hint


def test_graphs_nested_without_end(tmp_path: Path) -> None:
    graph, output = model().graph.SerializeToString(), value("y").SerializeToString()
    for _ in range(120):  # by hand: the onnx package refuses to build this
        for tag in (b"\x32", b"\x2a", b"\x0a"):  # attribute.g, node.attribute, graph.node
            graph = tag + _varint(len(graph)) + graph
        graph += b"\x62" + _varint(len(output)) + output
    head = onnx.ModelProto(ir_version=10, opset_import=[helper.make_opsetid("", 20)])
    path = tmp_path / "model.onnx"
    path.write_bytes(head.SerializeToString() + b"\x3a" + _varint(len(graph)) + graph)
    with pytest.raises(InvalidOnnxError, match="graphs nested over 100 deep"):
        read_onnx(path)


# --- external data --------------------------------------------------------------------------------


def test_external_data_is_found_in_graph_subgraph_and_function(tmp_path: Path) -> None:
    for name in ("a.bin", "b.bin", "c.bin", "d.bin", "s.bin"):
        (tmp_path / name).write_bytes(b"\0" * 16)
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "e.bin").write_bytes(b"\0" * 8)
    branch = helper.make_graph([], "b", [], [value("y")], [external("b", [4], location="b.bin")])
    choose = helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch)
    constant = helper.make_node("Constant", [], ["k"], value=external("c", [4], location="c.bin"))
    made = model(
        initializers=[
            external("a", [2], location="a.bin", offset=8, length=8),
            external("again", [2], location="a.bin", offset=0, length=8),
        ],
        nodes=[choose, constant],
    )
    indices = external("i", [2], location="s.bin")
    sparse = onnx.SparseTensorProto(values=external("v", [2], location="s.bin"), indices=indices)
    attribute = made.graph.node[1].attribute.add(name="sparse_value", ref_attr_name="r")
    attribute.sparse_tensor.CopyFrom(sparse)
    inner = helper.make_node("Constant", [], ["f"], value=external("d", [1], location="d.bin"))
    function = helper.make_function("my", "F", [], ["f"], [inner], [helper.make_opsetid("", 20)])
    made.functions.append(function)
    made.graph.sparse_initializer.append(
        onnx.SparseTensorProto(values=external("e", [2], location="deep/e.bin"))
    )
    found = read(tmp_path, made).external_data
    assert sorted(found) == ["a.bin", "b.bin", "c.bin", "d.bin", "deep/e.bin", "s.bin"]


@pytest.mark.parametrize(
    "location",
    [
        "",
        "/etc/passwd",
        "../w.bin",
        "a/../../w.bin",
        "a\\w.bin",
        "C:\\w.bin",
        ".",
        "./w.bin",
        "a//b",
    ],
)
def test_external_data_outside_the_folder_is_refused(tmp_path: Path, location: str) -> None:
    error = refused(tmp_path, model(initializers=[external("w", [1], location=location)]))
    assert "tensor 'w' has its data in" in str(error)
    assert repr(location) in str(error)


def test_external_data_missing(tmp_path: Path) -> None:
    error = refused(tmp_path, model(initializers=[external("w", [1], location="w.bin")]))
    assert "external data file 'w.bin' (tensor 'w') is missing" in str(error)
    assert error.hint


@pytest.mark.parametrize(
    ("entries", "needs"),
    [
        ({"length": 41}, "needs 41 from offset 0"),
        ({"offset": 33, "length": 8}, "needs 8 from offset 33"),
        ({"offset": 4}, "needs 40 from offset 4"),
        ({"offset": 41, "length": 0}, "needs 0 from offset 41"),
    ],
)
def test_external_data_too_short(tmp_path: Path, entries: dict[str, int], needs: str) -> None:
    (tmp_path / "w.bin").write_bytes(b"\0" * 40)
    error = refused(
        tmp_path, model(initializers=[external("w", [10], location="w.bin", **entries)])
    )
    assert "'w.bin' has 40 bytes; tensor 'w' " + needs in str(error)


def test_external_data_shorter_than_its_tensor(tmp_path: Path) -> None:
    """onnxruntime would refuse it; that would be known only once it is deployed."""
    (tmp_path / "w.bin").write_bytes(b"\0" * 40)
    entry = external("w", [10], location="w.bin", length=36)
    error = refused(tmp_path, model(initializers=[entry]))
    assert "tensor 'w' has 36 bytes in 'w.bin', its shape needs 40" in str(error)


def test_dimensions_may_be_packed(tmp_path: Path) -> None:
    """Writers of proto3 pack repeated numbers; onnx itself does not."""
    tensor = external("w", [], location="w.bin").SerializeToString() + b"\x0a\x03\xac\x02\x05"
    graph = model().graph.SerializeToString() + b"\x2a" + _varint(len(tensor)) + tensor
    head = onnx.ModelProto(ir_version=10, opset_import=[helper.make_opsetid("", 20)])
    path = tmp_path / "model.onnx"
    path.write_bytes(head.SerializeToString() + b"\x3a" + _varint(len(graph)) + graph)
    (tmp_path / "w.bin").write_bytes(b"\0" * 5999)
    with pytest.raises(InvalidOnnxError, match="has 5,999 bytes; tensor 'w' needs 6,000"):
        read_onnx(path)


@pytest.mark.parametrize("text", ["-1", "eight", "1e3", "٣", "9" * 30])
def test_external_data_offset_that_is_no_count(tmp_path: Path, text: str) -> None:
    made = model(initializers=[external("w", [1], location="w.bin", offset=text)])
    assert "which is no count of bytes" in str(refused(tmp_path, made))


def test_external_data_behind_a_link_out(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "w.bin").write_bytes(b"\0" * 4)
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "w.bin").symlink_to(tmp_path / "elsewhere" / "w.bin")
    error = refused(tmp_path / "m", model(initializers=[external("w", [1], location="w.bin")]))
    assert "is not a file inside the model's folder" in str(error)
    (tmp_path / "m" / "w.bin").unlink()
    (tmp_path / "m" / "w.bin").mkdir()
    error = refused(tmp_path / "m", model(initializers=[external("w", [1], location="w.bin")]))
    assert "is not a file inside" in str(error)


def test_a_damaged_shape_costs_no_time(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(b"\0")
    dims = [2**62] * 50_000
    error = refused(tmp_path, model(initializers=[external("w", dims, location="w.bin")]))
    assert "'w.bin' has 1 bytes" in str(error)


def test_what_onnx_itself_saves_as_external_data(tmp_path: Path) -> None:
    weight = helper.make_tensor("w", 1, [64, 64], b"\0" * 16384, raw=True)
    made = model(initializers=[weight], nodes=[helper.make_node("Identity", ["w"], ["y"])])
    path = tmp_path / "model.onnx"
    onnx.save(made, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert read_onnx(path).external_data == ("weights.bin",)
    os.truncate(tmp_path / "weights.bin", 16383)
    with pytest.raises(InvalidOnnxError, match="has 16,383 bytes; tensor 'w' needs 16,384"):
        read_onnx(path)


def test_memory_stays_flat_with_large_weights(tmp_path: Path) -> None:
    """A 1 GiB model is read by a process that may have far less than that in memory."""
    graph = model().graph.SerializeToString()
    head = onnx.ModelProto(ir_version=10, opset_import=[helper.make_opsetid("", 20)])
    length = 1 << 30
    tensor = b"\x08" + _varint(length // 4) + b"\x10\x01" + b"\x42\x01w" + b"\x4a" + _varint(length)
    field = b"\x2a" + _varint(len(tensor) + length) + tensor
    start = head.SerializeToString() + b"\x3a" + _varint(len(graph) + len(field) + length)
    path = tmp_path / "model.onnx"
    with path.open("wb") as file:
        file.write(start + graph + field)
        file.truncate(file.tell() + length)
    script = (
        "import re, sys; from pathlib import Path; from modelport.onnx_file import read_onnx;"
        # Not getrusage: its peak starts at the parent's.
        "peak = lambda: int(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1]);"
        "before = peak();"
        "print([s.name for s in read_onnx(Path(sys.argv[1])).signature.inputs]);"
        "grown = peak() - before;"
        "sys.exit(0 if grown < 20_000 else f'grew by {grown} KiB')"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "['x']\n"), done.stderr


def _varint(number: int) -> bytes:
    out = b""
    while number > 0x7F:
        out, number = out + bytes([number & 0x7F | 0x80]), number >> 7
    return out + bytes([number])


def test_reading_leaves_no_file_open(tmp_path: Path) -> None:
    attempts: list[Callable[[], object]] = [
        lambda: read(tmp_path, model()),
        lambda: refused(tmp_path, model(ir=99)),
    ]
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        for attempt in attempts:
            attempt()
    assert len(os.listdir("/proc/self/fd")) == before < soft
