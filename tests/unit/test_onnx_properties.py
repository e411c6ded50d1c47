"""Generated models agree with `onnx.load`; damaged ones end in one kind of error."""

import tempfile
from pathlib import Path

import onnx
from hypothesis import given, settings
from hypothesis import strategies as st
from modelport.errors import InvalidOnnxError
from modelport.onnx_file import OnnxInfo, read_onnx
from modelport.signature import Signature, TensorSpec
from onnx import TensorProto, helper

NAMES: dict[int, str] = {
    TensorProto.FLOAT: "FP32", TensorProto.UINT8: "UINT8", TensorProto.INT8: "INT8",
    TensorProto.UINT16: "UINT16", TensorProto.INT16: "INT16", TensorProto.INT32: "INT32",
    TensorProto.INT64: "INT64", TensorProto.STRING: "BYTES", TensorProto.BOOL: "BOOL",
    TensorProto.FLOAT16: "FP16", TensorProto.DOUBLE: "FP64", TensorProto.UINT32: "UINT32",
    TensorProto.UINT64: "UINT64", TensorProto.BFLOAT16: "BF16",
}  # fmt: skip

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
dims = st.one_of(st.none(), st.integers(0, 2**62), texts)
values = st.tuples(st.sampled_from(list(NAMES)), st.lists(dims, max_size=6))


@st.composite
def models(draw: st.DrawFn) -> onnx.ModelProto:
    names = draw(st.lists(texts, min_size=1, max_size=8, unique=True))
    infos = [helper.make_tensor_value_info(name, *draw(values)) for name in names]
    cut = draw(st.integers(0, len(infos) - 1))
    inputs, outputs = infos[:cut], infos[cut:]
    sizes = draw(st.dictionaries(texts | st.sampled_from(names), st.integers(0, 40), max_size=4))
    weights = [helper.make_tensor(name, 1, [n], [0.5] * n) for name, n in sizes.items()]
    branch = helper.make_graph([], "branch", [], outputs[:1], weights[:1])
    node = helper.make_node("If", ["c"], ["d"], then_branch=branch, ratios=[0.5, 2.0], name="n")
    graph = helper.make_graph([node], draw(texts), inputs, outputs, weights, doc_string="doc")
    domains = st.sampled_from(["", "ai.onnx.ml", "my.ops"])
    versions = draw(st.dictionaries(domains, st.integers(1, 5), min_size=1))
    imports = [helper.make_opsetid(domain, version) for domain, version in versions.items()]
    model = helper.make_model(graph, opset_imports=imports)
    model.ir_version = draw(st.integers(1, 13))
    helper.set_model_props(model, {"author": draw(texts)})
    return model


def expected(model: onnx.ModelProto) -> OnnxInfo:
    """The same facts by way of the onnx package."""

    def spec(info: onnx.ValueInfoProto) -> TensorSpec:
        kind = info.type.tensor_type
        shape = tuple(d.dim_value if d.HasField("dim_value") else -1 for d in kind.shape.dim)
        return TensorSpec(info.name, NAMES[int(kind.elem_type)], shape)

    weights = {tensor.name for tensor in model.graph.initializer}
    signature = Signature(
        tuple(spec(info) for info in model.graph.input if info.name not in weights),
        tuple(spec(info) for info in model.graph.output),
    )
    opsets = {entry.domain or "ai.onnx": entry.version for entry in model.opset_import}
    return OnnxInfo(signature, model.ir_version, opsets, ())


def read(body: bytes) -> OnnxInfo | InvalidOnnxError:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(body)
        try:
            return read_onnx(path)
        except InvalidOnnxError as error:
            return error


@given(models())
@settings(max_examples=100, deadline=None)
def test_generated_models_agree_with_onnx(model: onnx.ModelProto) -> None:
    body = model.SerializeToString()
    assert read(body) == expected(onnx.load_from_string(body))


@given(models(), st.data())
@settings(max_examples=100, deadline=None)
def test_any_truncation_is_an_error_or_still_the_model(
    model: onnx.ModelProto, data: st.DataObject
) -> None:
    body = model.SerializeToString()
    got = read(body[: data.draw(st.integers(0, len(body) - 1))])
    # Only what follows the graph and the opsets (metadata) can go unnoticed.
    assert isinstance(got, InvalidOnnxError) or got.signature == expected(model).signature


@given(models(), st.data())
@settings(max_examples=200, deadline=None)
def test_any_damage_is_an_error_or_a_signature(model: onnx.ModelProto, data: st.DataObject) -> None:
    body = bytearray(model.SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    assert isinstance(read(bytes(body)), (InvalidOnnxError, OnnxInfo))


@given(st.binary(max_size=400))
@settings(max_examples=200, deadline=None)
def test_any_bytes_behind_a_model_header(tail: bytes) -> None:
    for body in (tail, b"\x08\x0a" + tail, b"\x08\x0a\x42\x02\x10\x14\x3a\x7f" + tail):
        assert isinstance(read(body), (InvalidOnnxError, OnnxInfo))
