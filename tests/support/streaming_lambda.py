"""Lambda's InvokeWithResponseStream on a loopback socket, over functions that really stream.

Chunks go on as event-stream messages as soon as they arrive, each with its two checksums, as the
service frames them.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.support.loopback import Exchange, serving
from tests.support.runtime_api import Arriving

#: What runs a function: its payload in, what it answers out.
Run = Callable[[bytes], Arriving]


def message(kind: str, payload: bytes) -> bytes:
    """One message of an event stream."""
    named = {":message-type": "event", ":event-type": kind}
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


@contextmanager
def streaming_lambda(run: Run) -> Iterator[str]:
    """Serve until the block ends; every function is run by ``run``."""

    class Service(Exchange):
        def do_POST(self) -> None:
            payload = self.body()
            assert self.path.endswith("/response-streaming-invocations"), self.path
            arriving = run(payload)
            self.send_response(200)
            self.send_header("Content-Type", "application/vnd.amazon.eventstream")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            while (chunk := arriving.chunk()) is not None:
                self._chunk(message("PayloadChunk", chunk))
            failed = arriving.kind == "error" or arriving.trailers
            self._chunk(complete("Unhandled", "{}") if failed else complete())
            self._chunk(b"")

        def _chunk(self, content: bytes) -> None:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(content), content))

    with serving(Service) as endpoint:
        yield endpoint
