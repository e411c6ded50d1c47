"""What AWS streams by, on a loopback socket, over functions and containers that really stream.

Lambda's InvokeWithResponseStream and SageMaker's InvokeEndpointWithResponseStream. Chunks go on as
event-stream messages as soon as they arrive, each with its two checksums, as the services frame
them.
"""

from __future__ import annotations

import http.client
import json
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from modelport.sagemaker_envelope import HEADER

from tests.support.loopback import Exchange, serving
from tests.support.runtime_api import PATIENCE_S, Arriving

#: What runs a function: its payload in, what it answers out.
Run = Callable[[bytes], Arriving]


def message(kind: str, payload: bytes, type: str = "event") -> bytes:
    """One message of an event stream, which may be an exception."""
    named = {":message-type": type, f":{type}-type": kind}
    headers = b"".join(
        bytes([len(name)]) + name.encode() + b"\x07" + len(text).to_bytes(2, "big") + text.encode()
        for name, text in named.items()
    )
    total = 12 + len(headers) + len(payload) + 4
    prelude = total.to_bytes(4, "big") + len(headers).to_bytes(4, "big")
    front = prelude + zlib.crc32(prelude).to_bytes(4, "big") + headers + payload
    return front + zlib.crc32(front).to_bytes(4, "big")


def complete(error: str = "", details: str = "") -> bytes:
    """The last message."""
    end = {"ErrorCode": error, "ErrorDetails": details} if error else {}
    return message("InvokeComplete", json.dumps(end).encode())


class _Streaming(Exchange):
    """An exchange whose answer is an event stream."""

    def begin(self, headers: dict[str, str]) -> None:
        self.send_response(200)
        kind = {"Content-Type": "application/vnd.amazon.eventstream"}
        for name, value in {**kind, "Transfer-Encoding": "chunked", **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def chunk(self, content: bytes) -> None:
        with suppress(ConnectionError):  # a caller may give up
            self.wfile.write(b"%x\r\n%b\r\n" % (len(content), content))


@contextmanager
def streaming_lambda(run: Run) -> Iterator[str]:
    """Serve until the block ends; every function is run by ``run``."""

    class Service(_Streaming):
        def do_POST(self) -> None:
            payload = self.body()
            assert self.path.endswith("/response-streaming-invocations"), self.path
            arriving = run(payload)
            self.begin({})
            while (chunk := arriving.chunk()) is not None:
                self.chunk(message("PayloadChunk", chunk))
            failed = arriving.kind == "error" or arriving.trailers
            self.chunk(complete("Unhandled", "{}") if failed else complete())
            self.chunk(b"")

    with serving(Service) as endpoint:
        yield endpoint


@contextmanager
def streaming_sagemaker(port: int, last: bytes = b"") -> Iterator[str]:
    """Serve until the block ends; every endpoint is the container on ``port``.

    ``last`` is a message to end its streams with.
    """

    class Service(_Streaming):
        def do_POST(self) -> None:
            body = self.body()
            assert self.path.endswith("/invocations-response-stream"), self.path
            carried = {HEADER: self.headers[HEADER], "Content-Type": self.headers["Content-Type"]}
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
            connection.request("POST", "/invocations", body, carried)
            answer = connection.getresponse()
            self.begin(
                {
                    HEADER: answer.headers[HEADER],
                    "X-Amzn-SageMaker-Content-Type": answer.headers["Content-Type"],
                }
            )
            while part := answer.read1():
                self.chunk(message("PayloadPart", part))
            connection.close()
            if last:
                self.chunk(last)
            self.chunk(b"")

    with serving(Service) as endpoint:
        yield endpoint
