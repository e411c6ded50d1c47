"""The short way of plain predictions says exactly what the data plane says, or nothing."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelport.envelope import Request, Response

from functions.runtime.codecs.plain import LENGTH_HEADER, OCTETS, PlainV1
from functions.runtime.data_plane import DataPlane
from functions.runtime.loading import load
from functions.runtime.straight import StraightPlane
from tests.support.runtime_bundles import DOUBLE, LOG, SUM, write_bundle

V1, V2 = "/v1/models/demo:predict", "/v2/models/demo/infer"
PATHS = (
    V1,
    V2,
    "/v1/models/demo/versions/3:predict",
    "/v2/models/demo/versions/3/infer",
    "/V1/models/demo:predict",
    f"{V1}?dialect=kserve",
    "/v1/models/demo:classify",
    "/v1/models/other:predict",
)
#: What differs between two answers to one request.
TIMED = ("duration_ms", "model_ms")


class World:
    """A version that has answered once, with its short way and what it logged."""

    def __init__(self, folder: Path, onnx: bytes) -> None:
        self.lines: list[dict[str, Any]] = []
        folder.mkdir()
        self.plane = load(write_bundle(folder, onnx), log=self._log)
        self.short = StraightPlane(self.plane)

    def _log(self, line: Mapping[str, Any], level: int) -> None:
        self.lines.append({name: line[name] for name in line if name not in TIMED})

    def both(self, request: Request) -> tuple[Response, Response]:
        """What the two ways answer, after they were seen to log the same."""
        self.lines.clear()
        short, long = self.short.handle(request), self.plane.handle(request)
        assert len(self.lines) == 2
        assert self.lines[0] == self.lines[1]
        return short, long

    def took_it(self, request: Request) -> bool:
        """Whether the short way answers by itself: then the data plane is never asked."""
        asked: list[Request] = []
        plane = self.plane

        class Asked(DataPlane):
            def __init__(self) -> None:
                self.__dict__.update(plane.__dict__)

            def handle(self, request: Request) -> Response:
                asked.append(request)
                return plane.handle(request)

        assert StraightPlane(Asked()).handle(request).status == 200
        return not asked


@pytest.fixture(scope="module")
def double(tmp_path_factory: pytest.TempPathFactory) -> World:
    world = World(tmp_path_factory.mktemp("straight") / "double", DOUBLE)
    world.plane.handle(asked({"instances": [[1, 2]]}))
    return world


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> World:
    world = World(tmp_path_factory.mktemp("straight") / "log", LOG)
    world.plane.handle(asked({"instances": [1]}))
    return world


def asked(document: Any, path: str = V1, **headers: str) -> Request:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    told = {name.replace("_", "-"): value for name, value in headers.items()}
    return Request("POST", path, {"content-type": "application/json", **told}, body, "id")


def tensor(data: Any, shape: Any, **changed: Any) -> dict[str, Any]:
    entry = {"name": "x", "shape": shape, "datatype": "FP32", "data": data, **changed}
    return {"inputs": [entry]}


def raw(
    numbers: bytes, shape: Any, path: str = V2, length: str | None = None, **changed: Any
) -> Request:
    """A request with raw numbers; ``changed`` replaces parts of its JSON."""
    size = {"binary_data_size": len(numbers)}
    entry = {"name": "x", "shape": shape, "datatype": "FP32", "parameters": size}
    document = {"inputs": [entry], "parameters": {"binary_data_output": True}}
    for name, value in changed.items():
        (document if name == "parameters" else entry)[name] = value
    head = json.dumps(document).encode()
    headers = {"content-type": OCTETS, LENGTH_HEADER: str(len(head)) if length is None else length}
    return Request("POST", path, headers, head + numbers, "id")


def assert_same(world: World, request: Request) -> None:
    short, long = world.both(request)
    assert (short.status, short.body) == (long.status, long.body)
    for answer in (short, long):
        answer.headers.pop("server-timing", None)
    assert [*short.headers.items()] == [*long.headers.items()]


@pytest.mark.parametrize(
    "request_",
    [
        asked({"instances": [[1.5, -2]]}),
        asked({"instances": [[1, 2], [3, 4]]}),
        asked({"instances": [[1, 2]]}, "/v1/models/demo/versions/3:predict"),
        asked(tensor([1, 2], [1, 2]), V2),
        asked(tensor([[1, 2], [3, 4]], [2, 2]), V2),
        asked(tensor([1, 2, 3, 4], [2, 2]), "/v2/models/demo/versions/3/infer"),
        raw(bytes(8), [1, 2]),
        raw(b"abcd" * 6, [3, 2], "/v2/models/demo/versions/3/infer"),
        raw(b"\0\0\xc0\x7f" * 2, [1, 2]),  # NaN goes through as it is
        raw(b"abcd" * 100_000, [50_000, 2]),
    ],
)
def test_what_is_plain_takes_the_short_way(double: World, request_: Request) -> None:
    assert double.took_it(request_)
    assert_same(double, request_)


NUMBERS = st.one_of(
    st.integers(-(2**70), 2**70),
    st.floats(width=32),
    st.floats(),
    st.booleans(),
    st.none(),
    st.text(max_size=3),
)
ROWS = st.recursive(NUMBERS, lambda inner: st.lists(inner, max_size=3), max_leaves=8)
PLAIN_ROWS = st.lists(st.lists(st.floats(width=32), min_size=2, max_size=2), max_size=4)
TENSORS = st.builds(
    tensor,
    ROWS | PLAIN_ROWS | st.lists(st.integers(-9, 9), min_size=2, max_size=4),
    st.lists(st.integers(-1, 4), max_size=3) | NUMBERS,
)
KEYS = st.dictionaries(
    st.sampled_from(["id", "parameters", "outputs", "instances", "inputs", "signature_name"]),
    ROWS,
    max_size=2,
)
DOCUMENTS = st.one_of(
    st.builds(lambda rows, more: {"instances": rows, **more}, ROWS | PLAIN_ROWS, KEYS),
    st.builds(lambda rows: {"instances": rows}, ROWS | PLAIN_ROWS),
    TENSORS,
    st.builds(lambda sent, more: {**sent, **more}, TENSORS, KEYS),
    st.builds(
        lambda name, kind: tensor([1, 2], [1, 2], name=name, datatype=kind),
        NUMBERS,
        st.sampled_from(["FP32", "FP64", "INT64", "BYTES", 7]),
    ),
    ROWS,
)
HEADERS = st.sampled_from(
    [
        {},
        {"accept-encoding": "gzip"},
        {"content-encoding": "gzip"},
        {"inference-header-content-length": "10"},
        {"content-type": "application/octet-stream"},
        {"content-type": "sagemaker-triton"},
        {"accept": "text/csv"},
    ]
)


@given(DOCUMENTS, st.sampled_from(PATHS), HEADERS)
def test_both_ways_say_the_same_whatever_is_asked(
    double: World, document: Any, path: str, headers: dict[str, str]
) -> None:
    request = asked(document, path)
    assert_same(double, Request("POST", path, {**request.headers, **headers}, request.body, "id"))


RAW = st.builds(
    lambda numbers, shape, path, length, changed: raw(numbers, shape, path, length, **changed),
    st.binary(max_size=33) | st.sampled_from([bytes(8), b"abcdefgh", bytes(16)]),
    st.sampled_from([[1, 2], [2, 2]]) | st.lists(st.integers(-1, 4), max_size=3) | NUMBERS,
    st.sampled_from(PATHS),
    st.none() | st.sampled_from(["", "0", "7", "-1", "1_0", "160", "999", "x"]),
    st.dictionaries(
        st.sampled_from(["name", "datatype", "data", "parameters"]),
        st.sampled_from(
            [
                "x",
                "FP64",
                [1, 2],
                {},
                {"binary_data_output": True},
                {"binary_data_output": 1},
                {"binary_data_output": True, "more": 1},
            ]
        ),
        max_size=1,
    ),
)


@given(st.lists(RAW, min_size=1, max_size=3))
def test_both_ways_say_the_same_of_raw_numbers(double: World, requests: list[Request]) -> None:
    for request in requests:
        assert_same(double, request)


@given(st.binary(max_size=24), st.integers(-40, 40))
def test_a_body_is_cut_where_its_own_header_says(double: World, data: bytes, more: int) -> None:
    whole = raw(bytes(8), [1, 2])
    assert_same(double, whole)
    size = int(whole.headers[LENGTH_HEADER])
    headers = {**whole.headers, LENGTH_HEADER: str(size + more)}
    for body in (whole.body, whole.body[:size] + data, whole.body[: size + more] + data):
        for told in (whole.headers, headers):
            assert_same(double, Request("POST", V2, told, body, "id"))


@given(
    st.sampled_from([b'{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32",', b'{"instances":']),
    st.lists(
        st.sampled_from(
            [b'"data":', b"[1,2]", b"[[1,2]]", b"}]}", b"}", b" ", b",", b'"data":0,', b"[0]", b"7"]
        ),
        max_size=6,
    ).map(b"".join),
    st.sampled_from([V1, V2]),
)
def test_what_stands_around_the_numbers_hides_nothing(
    double: World, begins: bytes, rest: bytes, path: str
) -> None:
    assert_same(double, asked(tensor([1, 2], [1, 2]), V2))
    assert_same(double, asked(begins + rest, path))


@given(st.binary(max_size=40))
def test_both_ways_say_the_same_of_any_bytes(double: World, body: bytes) -> None:
    assert_same(double, asked(body))
    assert_same(double, asked(body, V2))


@given(st.lists(st.floats(-4, 4, width=32), min_size=1, max_size=4))
def test_values_that_json_lacks_are_said_the_same_way(log: World, values: list[float]) -> None:
    for request in (asked({"instances": values}), asked(tensor(values, [len(values)]), V2)):
        assert_same(log, request)
    finite = all(value > 0 and math.isfinite(math.log(value)) for value in values)
    if finite:
        assert log.took_it(asked({"instances": values}))


def test_large_texts_questions_and_other_methods_take_the_long_way(double: World) -> None:
    many = {"instances": [[1.25, 2.5]] * (PlainV1.most // 8)}
    padded = raw(bytes(8), [1, 2], parameters={"binary_data_output": True, "-": "-" * PlainV1.most})
    for long in (asked(many), padded):
        assert not double.took_it(long)
        assert_same(double, long)
    for method in ("GET", "PUT", "HEAD"):
        assert_same(double, Request(method, V1, {}, b"", "id"))


def test_the_first_prediction_of_a_process_says_that_it_was_cold(tmp_path: Path) -> None:
    world = World(tmp_path / "cold", DOUBLE)
    request = asked({"instances": [[1, 2]]})
    assert world.short.handle(request).headers["server-timing"].endswith(", cold")
    assert "cold" not in world.short.handle(request).headers["server-timing"]
    assert [line["cold_start"] for line in world.lines] == [True, False]


def test_a_version_with_other_tensors_has_no_short_way(tmp_path: Path) -> None:
    world = World(tmp_path / "sum", SUM)
    rows = {"instances": [{"a:0": [1, 2], "b:0": [3, 4]}]}
    assert orjson.loads(world.short.handle(asked(rows)).body)["predictions"]
    assert not world.took_it(asked(rows))
