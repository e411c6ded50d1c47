"""Tensors from the command line: what goes in binary by itself, and how outputs are shown."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.cli_world import Terminal
from tests.support.faulty_api import METADATA, FaultyApi, answering, inferring, refusing

X = np.array([[1, 2]], np.float32)
Y = np.arange(20, dtype=np.float32).reshape(1, 20)
Serve = Callable[..., FaultyApi]


@pytest.fixture
def serve(terminal: Terminal) -> Iterator[Serve]:
    with ExitStack() as stack:

        def start(*script: Any) -> FaultyApi:
            api = stack.enter_context(FaultyApi(list(script)).serving())
            terminal.environ["MODELPORT_ENDPOINT"] = api.url
            return api

        yield start


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    (tmp_path / "deployments.toml").write_text('[environment]\nname = "dev"\nauth = "none"\n')
    np.savez(tmp_path / "in.npz", x=X)
    np.save(tmp_path / "in.npy", X)
    return Terminal(tmp_path)


def npy(array: np.ndarray[Any, Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "methods"),
    [
        ("in.npz", ["POST"]),
        ("in.npy", ["GET", "POST"]),
        ('{"x": [[1, 2]]}', ["GET", "POST"]),
        ("-", ["GET", "POST"]),
    ],
)
def test_tensors_go_in_binary(
    terminal: Terminal, serve: Serve, data: str, methods: list[str]
) -> None:
    api = serve(*([METADATA] if "GET" in methods else []), inferring(X))
    terminal.stdin = npy(X)
    terminal.ok("invoke", "demo:3", "-d", data, "--key", "me", "--only", "y")
    assert [asked.method for asked in api.asked] == methods
    asked = api.asked[-1]
    assert asked.path == "/v2/models/demo/versions/3/infer"
    assert asked.body.endswith(X.tobytes())
    assert b'"outputs":[{"name":"y"}]' in asked.body
    assert asked.headers["x-modelport-key"] == "me"


def test_a_table_shows_how_outputs_begin(terminal: Terminal, serve: Serve) -> None:
    serve(inferring(Y))
    result = terminal.ok("invoke", "demo", "-d", "in.npz")
    assert result.out.splitlines()[-1].split() == [
        *("y", "FP32", "[1,20]", "0", "1", "2", "3", "4", "5", "6", "7", "…", "12", "more")
    ]
    assert "demo:3 · stable;rev=7 · 200 in " in result.err


def test_json_has_all_of_it(terminal: Terminal, serve: Serve) -> None:
    serve(inferring(np.array([np.nan, -np.inf, 1], np.float32)))
    document = terminal.ok("invoke", "demo", "-d", "in.npz", "--json").json
    assert document["outputs"] == {
        "y": {"datatype": "FP32", "shape": [3], "data": ["NaN", "-Infinity", 1.0]}
    }
    assert (document["version"], document["attempts"]) == ("3", 1)


@pytest.mark.parametrize("name", ["out.npz", "out.npy", "out.json"])
def test_outputs_are_written_to_a_file(terminal: Terminal, serve: Serve, name: str) -> None:
    serve(inferring(Y))
    result = terminal.ok("invoke", "demo", "-d", "in.npz", "--output", name)
    assert name in result.out
    path = terminal.folder / name
    if name == "out.json":
        assert json.loads(path.read_text())["outputs"]["y"]["data"] == Y.tolist()
    else:
        found = np.load(path, allow_pickle=False)
        np.testing.assert_array_equal(found["y"] if name == "out.npz" else found, Y)


def test_text_outputs_are_written_without_pickles(terminal: Terminal, serve: Serve) -> None:
    serve(
        answering(
            200,
            b'{"outputs":[{"name":"t","shape":[2],"datatype":"BYTES","data":["a","\xc3\xa9"]}]}',
        )
    )
    terminal.ok("invoke", "demo", "-d", "in.npz", "-o", "out.npz")
    assert np.load(terminal.folder / "out.npz", allow_pickle=False)["t"].tolist() == ["a", "é"]


def test_a_body_that_came_back_is_written_as_it_is(terminal: Terminal, serve: Serve) -> None:
    api = serve(answering(200, b"\x00\xff", {"content-type": "image/png"}))
    (terminal.folder / "scan.pdf").write_bytes(b"%PDF")
    terminal.ok("invoke", "demo", "-d", "scan.pdf", "-o", "out.png")
    assert (terminal.folder / "out.png").read_bytes() == b"\x00\xff"
    assert api.asked[0].path == "/endpoints/demo/invocations"


def test_numpys_files_can_go_as_they_are_too(terminal: Terminal, serve: Serve) -> None:
    api = serve(answering(200, b"{}"))
    terminal.ok("invoke", "demo", "-d", "in.npy", "--protocol", "raw")
    (asked,) = api.asked
    assert (asked.path, asked.body) == ("/endpoints/demo/invocations", npy(X))
    assert asked.headers["content-type"] == "application/x-npy"


@pytest.mark.parametrize(
    "body", ['{"text": "hello"}', '{"dataframe_split": {}}', '{"inputs": 1, "params": {}}']
)
def test_json_that_names_no_inputs_goes_as_it_is(
    terminal: Terminal, serve: Serve, body: str
) -> None:
    script = [METADATA] if "text" in body else []
    api = serve(*script, answering(200, b"{}"))
    terminal.ok("invoke", "demo", "-d", body)
    assert api.asked[-1].path == "/endpoints/demo/invocations"
    assert api.asked[-1].body == body.encode()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("-d", "in.npz", "-o", "out.png"), "out.npz"),
        (("-d", "in.npz", "--protocol", "v1"), "no form for numpy"),
        (("-d", "bad.npz"), "no npz file"),
        (("-d", "objects.npy"), "not objects"),
        (("-d", "[1]", "-o", "out.npz"), "comes back as it is"),
        (("-d", "[1]", "--only", "y"), "--only"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_sent(
    terminal: Terminal, serve: Serve, arguments: tuple[str, ...], said: str
) -> None:
    api = serve(inferring(X))
    (terminal.folder / "bad.npz").write_bytes(b"no")
    np.save(terminal.folder / "objects.npy", np.array([{}]))
    result = terminal("invoke", "demo", *arguments)
    assert result.code == 2
    assert said in result.err
    assert api.asked == []


def test_an_output_that_does_not_fit_its_file_is_told(terminal: Terminal, serve: Serve) -> None:
    serve(inferring(X))
    result = terminal("invoke", "demo", "-d", "in.npz", "-o", "nowhere/out.npz")
    assert (result.code, "cannot write to" in result.err) == (2, True)


def test_a_call_has_a_deadline(terminal: Terminal) -> None:
    api = FaultyApi([])
    api.script = [api.silent]
    with api.serving():
        terminal.environ["MODELPORT_ENDPOINT"] = api.url
        result = terminal("invoke", "demo", "-d", "in.npz", "--timeout", "0.3", "--json")
    assert (result.code, result.json["error"]["code"]) == (5, "deadline")


def test_what_passes_is_tried_again_and_said(terminal: Terminal, serve: Serve) -> None:
    serve(refusing(503, "warming up"), inferring(X))
    assert "2 attempts" in terminal.ok("invoke", "demo", "-d", "in.npz", "--gzip").err
