"""An API on a loopback socket that answers each request as the next line of a script says.

For what a client must survive: errors, silence, cuts and lies. Notes what it was asked.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from tests.support.loopback import Exchange, serving


@dataclass(frozen=True)
class Asked:
    """One request as it arrived; header names in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    client: tuple[str, int]


#: Does something with one request: answers it, or not.
Line = Callable[[Exchange], None]


@dataclass
class FaultyApi:
    """The script and the requests so far; the last line of the script answers all that follow."""

    script: list[Line]
    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    #: Set when the test is over: silence ends then.
    over: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def serving(self) -> Iterator[FaultyApi]:
        api = self

        class Handler(Exchange):
            def do_GET(self) -> None:
                self._next(b"")

            def do_POST(self) -> None:
                self._next(self.body())

            def _next(self, body: bytes) -> None:
                headers = {name.lower(): value for name, value in self.headers.items()}
                host, port = self.client_address[:2]
                asked = Asked(self.command, self.path, headers, body, (str(host), port))
                api.asked.append(asked)
                (api.script.pop(0) if len(api.script) > 1 else api.script[0])(self)

        with serving(Handler) as self.url:
            try:
                yield self
            finally:
                self.over.set()

    def silent(self, exchange: Exchange) -> None:
        """Say nothing until the test is over."""
        exchange.close_connection = True
        self.over.wait(30)

    def dripping(self, exchange: Exchange) -> None:
        """Promise an answer and send a byte of it now and then."""
        exchange.close_connection = True
        exchange.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
        while not self.over.wait(0.05):
            try:
                exchange.wfile.write(b"x")
            except OSError:
                return


def answering(status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Line:
    """Answer so."""
    return lambda exchange: exchange.answer((status, headers or {}, body))


def refusing(status: int, message: str, headers: Mapping[str, str] | None = None) -> Line:
    """Answer with an error as the API words it."""
    said = {"x-modelport-error": "some-code", "x-modelport-request-id": "r-1", **(headers or {})}
    return answering(status, json.dumps({"error": message}).encode(), said)


def hanging_up(exchange: Exchange) -> None:
    """Close the connection without an answer."""
    exchange.close_connection = True


def cut(exchange: Exchange) -> None:
    """Promise more than is sent."""
    exchange.close_connection = True
    exchange.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nonly this")


SERVED = {
    "x-modelport-model": "demo",
    "x-modelport-version": "3",
    "x-modelport-digest": "sha256:ab",
    "x-modelport-route": "stable;rev=7",
    "x-modelport-request-id": "r-7",
}


def inferring(values: np.ndarray, **changes: object) -> Line:
    """Answer with one FP32 output called y; ``changes`` to its entry make it a lie."""
    entry = {
        "name": "y",
        "datatype": "FP32",
        "shape": list(values.shape),
        "parameters": {"binary_data_size": values.nbytes},
        **changes,
    }
    head = json.dumps({"model_name": "demo", "model_version": "3", "outputs": [entry]}).encode()
    body = head + values.astype("<f4").tobytes()
    return answering(200, body, {**SERVED, "inference-header-content-length": str(len(head))})


METADATA = answering(
    200,
    json.dumps(
        {
            "name": "demo",
            "versions": ["3"],
            "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}],
            "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 2]}],
        }
    ).encode(),
)
