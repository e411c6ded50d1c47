"""The floor under a server: one hand-written HTTP protocol on uvloop for one model, and no checks.

`python server.py PORT MODEL [NUMBERS]` answers three paths, each with the least work that gives a
right answer to a well-formed request of the benchmark: `/v1` and `/v2` JSON, `/raw` bytes in and
bytes out behind V2's header. Few numbers are read with orjson, many in C++ (the library NUMBERS)
or, without a compiler, with simdjson. It reads no header but V2's, logs nothing, and would be wrong
as a product.
"""

from __future__ import annotations

import asyncio
import ctypes
import math
import sys
from collections.abc import Callable, Mapping
from typing import Any

import httptools
import numpy as np
import onnxruntime
import orjson
import uvloop

Answer = tuple[bytes, bytes]
_JSON = b"content-type: application/json\r\n"
#: From here on another parser than orjson is worth it.
MANY = 1000
_NUMPY = orjson.OPT_SERIALIZE_NUMPY


class Model:
    """One onnxruntime session without its Python wrapper: an array in, an array out."""

    def __init__(self, path: str) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
        (taken,), (given,) = session.get_inputs(), session.get_outputs()
        self.name, self.shape = taken.name, [1, *taken.shape[1:]]
        self._run, self._outputs = session._sess.run, [given.name]

    def __call__(self, array: Any) -> Any:
        return self._run(self._outputs, {self.name: array}, None)[0]


def with_orjson(body: bytes) -> Any:
    """The array of a V1 body."""
    return np.array(orjson.loads(body)["instances"], np.float32)


def in_cpp(library: str, shape: list[int]) -> Callable[[bytes], Any]:
    """As `with_orjson` for arrays of ``shape``, by the library made of ``numbers.cpp``."""
    read_floats = ctypes.CDLL(library).read_floats
    read_floats.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_size_t]
    read_floats.restype = ctypes.c_long
    size = math.prod(shape)

    def read(body: bytes) -> Any:
        array = np.empty(shape, np.float32)
        if read_floats(body, len(body), array.ctypes.data, size) != size:
            raise ValueError("the body has not as many numbers as the model takes")
        return array

    return read


def with_simdjson(shape: list[int]) -> Callable[[bytes], Any]:
    """As `in_cpp`, where there is no compiler."""
    import simdjson

    def read(body: bytes) -> Any:
        document: Any = simdjson.Parser().parse(body)
        numbers = document["instances"].as_buffer(of_type="d")
        return np.frombuffer(numbers).astype(np.float32).reshape(shape)

    return read


def answers(model: Model, library: str | None) -> dict[bytes, Callable[[bytes, int], Answer]]:
    """What each path does with a body and the size of the JSON that binary tensors lie behind."""
    read: Callable[[bytes], Any] = with_orjson
    if math.prod(model.shape) >= MANY:
        read = in_cpp(library, model.shape) if library else with_simdjson(model.shape)

    def v1(body: bytes, json: int) -> Answer:
        return _JSON, orjson.dumps({"predictions": model(read(body))}, option=_NUMPY)

    def v2(body: bytes, json: int) -> Answer:
        (tensor,) = orjson.loads(body)["inputs"]
        output = model(np.array(tensor["data"], np.float32).reshape(tensor["shape"]))
        told = {"name": "y", "datatype": "FP32", "shape": output.shape, "data": output.ravel()}
        return _JSON, orjson.dumps({"outputs": [told]}, option=_NUMPY)

    def raw(body: bytes, json: int) -> Answer:
        data = np.frombuffer(body, np.float32, offset=json).reshape(model.shape)
        return b"content-type: application/octet-stream\r\n", model(data).tobytes()

    return {b"/v1": v1, b"/v2": v2, b"/raw": raw}


class Protocol(asyncio.Protocol):
    """One connection, its requests cut out by httptools, as uvicorn has it do."""

    def __init__(self, paths: Mapping[bytes, Callable[[bytes, int], Answer]]) -> None:
        self._paths = paths
        self._parts: list[bytes] = []
        self._json = 0
        self.on_body = self._parts.append
        self._parse = httptools.HttpRequestParser(self).feed_data

    def connection_made(self, transport: Any) -> None:
        self._write = transport.write

    def data_received(self, data: bytes) -> None:
        self._parse(data)

    def on_url(self, url: bytes) -> None:
        self._path = url

    def on_header(self, name: bytes, value: bytes) -> None:
        if name == b"Inference-Header-Content-Length":
            self._json = int(value)

    def on_message_complete(self) -> None:
        head, answer = self._paths[self._path](b"".join(self._parts), self._json)
        self._parts.clear()
        length = b"content-length: %d\r\n\r\n" % len(answer)
        self._write(b"".join((b"HTTP/1.1 200 OK\r\n", head, length, answer)))


async def serve(port: int, paths: Mapping[bytes, Callable[[bytes, int], Answer]]) -> None:
    """Until the process is ended."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Protocol(paths), "127.0.0.1", port, backlog=2048)
    await server.serve_forever()


def main(port: str, model: str, library: str | None = None) -> None:
    """Serve."""
    uvloop.run(serve(int(port), answers(Model(model), library)))


if __name__ == "__main__":
    main(*sys.argv[1:])
