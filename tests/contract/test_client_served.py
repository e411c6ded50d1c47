"""The Python client with the real model server: every datatype there and back, sync and async."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import modelport.client as mp
import numpy as np
import pytest
from modelport.errors import ModelportError
from onnx import TensorProto

from tests.support import runtime_bundles as bundles
from tests.support.cli_world import Terminal
from tests.support.runtime_world import HttpRuntime

DTYPES = {
    "bool": TensorProto.BOOL,
    "uint8": TensorProto.UINT8,
    "uint16": TensorProto.UINT16,
    "uint32": TensorProto.UINT32,
    "uint64": TensorProto.UINT64,
    "int8": TensorProto.INT8,
    "int16": TensorProto.INT16,
    "int32": TensorProto.INT32,
    "int64": TensorProto.INT64,
    "float16": TensorProto.FLOAT16,
    "float32": TensorProto.FLOAT,
    "float64": TensorProto.DOUBLE,
}
#: Gives back one input of every datatype as it is.
EVERY = bundles.model(
    [bundles.node("Identity", [name], [f"{name}_out"]) for name in (*DTYPES, "text", "scalar")],
    [
        *((name, kind, ["N"]) for name, kind in DTYPES.items()),
        ("text", TensorProto.STRING, ["T", "U"]),
        ("scalar", TensorProto.FLOAT, []),
    ],
    [
        *((f"{name}_out", kind, ["N"]) for name, kind in DTYPES.items()),
        ("text_out", TensorProto.STRING, ["T", "U"]),
        ("scalar_out", TensorProto.FLOAT, []),
    ],
)
BRAIN = bundles.model(
    [bundles.node("Identity", ["b"], ["c"])],
    [("b", TensorProto.BFLOAT16, ["N"])],
    [("c", TensorProto.BFLOAT16, ["N"])],
)
SCRIPT = """
def input_fn(data, content_type):
    return data

def predict_fn(data, model):
    return data[::-1]

def output_fn(prediction, accept):
    return prediction, "text/plain"
"""


@contextmanager
def serving(folder: Path, model: bytes, script: str | None = None) -> Iterator[str]:
    runtime = HttpRuntime(bundles.write_bundle(folder, model, script=script)).ready()
    try:
        yield f"http://127.0.0.1:{runtime.port}"
    finally:
        runtime.close()


@pytest.fixture(scope="module")
def every(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("every"), EVERY) as url:
        yield url


@pytest.fixture(scope="module")
def double(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("double"), bundles.DOUBLE, SCRIPT) as url:
        yield url


def inputs(count: int) -> dict[str, Any]:
    found: dict[str, Any] = {name: np.arange(count).astype(name) for name in DTYPES}
    found["text"] = np.array([["é", ""], ["\U0001f600", "a\0b"]], object)[:, : min(count, 2)]
    found["scalar"] = np.float32(1.5)
    return found


@pytest.mark.parametrize("count", [0, 1, 5])
def test_every_datatype_comes_back_as_it_went(every: str, count: int) -> None:
    given = inputs(count)
    with mp.Client(every) as client:
        outputs = client.model("demo:3").predict(given)
    for name in DTYPES:
        assert outputs[f"{name}_out"].dtype == np.dtype(name)
        np.testing.assert_array_equal(outputs[f"{name}_out"], given[name])
    assert outputs["text_out"].tolist() == given["text"].tolist()
    assert (outputs["scalar_out"].shape, float(outputs["scalar_out"])) == ((), 1.5)


def test_brain_floats_come_back_as_float32(tmp_path: Path) -> None:
    values = np.linspace(-3, 3, 7, dtype=np.float32)
    with serving(tmp_path, BRAIN) as url, mp.Client(url) as client:
        model = client.model("demo")
        outputs = model.predict({"b": mp.bfloat16(values)})
        assert model.predict([0.5, 1.0])["c"].tolist() == [0.5, 1.0]
        assert model.predict({"b": mp.bfloat16([])})["c"].shape == (0,)
    assert (outputs["c"].dtype, outputs.datatypes["c"]) == (np.float32, "BF16")
    np.testing.assert_allclose(outputs["c"], values, rtol=2**-8)


def test_lists_take_the_declared_datatypes(every: str) -> None:
    plain = {name: value.tolist() for name, value in inputs(2).items()}

    async def ask() -> mp.Outputs:
        async with mp.AsyncClient(every) as client:
            return await client.model("demo").predict(plain, outputs=["int8_out", "bool_out"])

    outputs = asyncio.run(ask())
    assert list(outputs) == ["int8_out", "bool_out"]
    assert outputs["int8_out"].dtype == np.int8
    assert outputs["bool_out"].tolist() == [False, True]


def test_an_answer_says_who_gave_it(double: str) -> None:
    with mp.Client(double) as client:
        outputs = client.model("demo").predict([[1, 2]], request_id="mine")
    assert outputs["y"].tolist() == [[2, 4]]
    assert (outputs.answered_by.model, outputs.answered_by.version) == ("demo", "3")
    assert outputs.answered_by.digest.startswith("sha256:")
    assert outputs.request_id == "mine"


def test_large_tensors_go_compressed_too(double: str) -> None:
    x = np.arange(300_000, dtype=np.float32).reshape(-1, 2)
    for compression in (None, "gzip"):
        with mp.Client(double, compression=compression) as client:
            np.testing.assert_array_equal(client.model("demo").predict({"x": x})["y"], 2 * x)


def test_a_script_gets_the_body_as_it_is(double: str) -> None:
    with mp.Client(double) as client:
        reply = client.model("demo").invoke(b"abc", "text/plain")
    assert (reply.body, reply.content_type.partition(";")[0]) == (b"cba", "text/plain")


def test_many_threads_may_share_a_client(double: str) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with mp.Client(double) as client, ThreadPoolExecutor(16) as pool:
        model = client.model("demo")

        def ask(number: int) -> bool:
            y = model.predict({"x": np.full((1, 2), number, np.float32)})["y"]
            return bool((y == 2 * number).all())

        assert all(pool.map(ask, range(200)))


@pytest.mark.parametrize(
    ("given", "kind", "said"),
    [
        ({"x": np.zeros((1, 3), np.float32)}, mp.CallRefusedError, "expected FP32"),
        ({"x": np.zeros((1, 2))}, mp.CallRefusedError, "got FP64"),
        ({"z": np.zeros((1, 2), np.float32)}, mp.CallRefusedError, "z"),
        ({"x": [["a", "b"]]}, mp.InvalidValueError, "not numbers"),
    ],
)
def test_what_does_not_fit_the_model_is_said(
    double: str, given: Any, kind: type[ModelportError], said: str
) -> None:
    with mp.Client(double) as client, pytest.raises(kind, match=said):
        client.model("demo").predict(given)


def test_an_array_of_another_dtype_comes_with_the_way_out(double: str) -> None:
    with mp.Client(double) as client, pytest.raises(mp.CallRefusedError) as caught:
        client.model("demo").predict({"x": np.zeros((1, 2))})
    assert "x: FP64" in caught.value.hint
    assert caught.value.version == "3"


def test_another_model_is_not_there(double: str) -> None:
    with mp.Client(double) as client:
        with pytest.raises(mp.NothingThereError):
            client.model("other").predict({"x": np.zeros((1, 2), np.float32)})
        assert not client.model("other").ready()
        assert client.model("demo").ready()


def test_the_command_asks_the_same_way(double: str, tmp_path: Path) -> None:
    (tmp_path / "deployments.toml").write_text('[environment]\nname = "dev"\nauth = "none"\n')
    terminal = Terminal(tmp_path)
    terminal.environ["MODELPORT_ENDPOINT"] = double
    document = terminal.ok("invoke", "demo", "-d", '{"x": [[1, 2]]}', "--json").json
    assert document["outputs"]["y"] == {"datatype": "FP32", "shape": [1, 2], "data": [[2.0, 4.0]]}
