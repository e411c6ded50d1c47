"""The floor: an event from a socket, one model, an answer, and nothing that a product needs.

No headers are read, no error can be told, nothing is checked or logged.
"""

import base64
import os
import socket
from typing import Any

import numpy as np
import onnxruntime as ort
import orjson
import simdjson

options = ort.SessionOptions()
options.intra_op_num_threads = 1
session = ort.InferenceSession(os.environ["MODEL"], options)._sess
feed, given = session.inputs_meta[0].name, [session.outputs_meta[0].name]
parser = simdjson.Parser()


def predict(event: dict[str, Any], tail: tuple[int, ...]) -> bytes:
    """The body of an answer."""
    if event["base64"]:
        body = base64.b64decode(event["body"])
        start = int(event["headers"]["inference-header-content-length"])
        x = np.frombuffer(body, np.float32, offset=start).reshape(1, *tail)
        raw = session.run(given, {feed: x}, None)[0].tobytes()
        return orjson.dumps({"status": 200, "body": base64.b64encode(raw).decode(), "base64": True})
    document: Any = parser.parse(event["body"].encode())
    numbers = document["instances"].as_buffer(of_type="d")
    x = np.frombuffer(numbers, np.float64).astype(np.float32).reshape(-1, *tail)
    del numbers, document  # a parser cannot be used again before
    text = orjson.dumps(
        {"predictions": session.run(given, {feed: x}, None)[0]}, option=orjson.OPT_SERIALIZE_NUMPY
    )
    return orjson.dumps({"status": 200, "body": text.decode(), "base64": False})


def main() -> None:
    """Answer until killed."""
    host, _, port = os.environ["AWS_LAMBDA_RUNTIME_API"].partition(":")
    api = socket.create_connection((host, int(port)))
    api.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    invocation = b"/2018-06-01/runtime/invocation/"
    tail = tuple(session.inputs_meta[0].shape[1:])
    while True:
        api.sendall(b"GET %bnext HTTP/1.1\r\nHost: a\r\n\r\n" % invocation)
        head, _, come = api.recv(1 << 16).partition(b"\r\n\r\n")
        size = int(head.rpartition(b"Content-Length: ")[2])
        event = bytearray(size)
        view = memoryview(event)
        view[: len(come)] = come
        if len(come) < size:
            api.recv_into(view[len(come) :], 0, socket.MSG_WAITALL)
        answer = predict(orjson.loads(event), tail)
        path = b"%b8476a536-e9f4-11e8-9739-2dfe598c3fcd/response" % invocation
        api.sendall(
            b"POST %b HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b"
            % (path, len(answer), answer)
        )
        api.recv(1 << 16)


if __name__ == "__main__":
    main()
