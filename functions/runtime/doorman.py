"""Accepts every connection: hands it to a worker, or answers "not yet" while there is none.

Runs in the supervising parent, which never loads a model, so no model can hold it up: connections
are accepted at once under any load, and SageMaker's ``/ping`` gets its 503 within milliseconds even
while a script keeps the interpreter to itself. Workers in turn get one connection each, because
processes that accept from one listener take whole bursts from each other. For its own answers it
knows just enough HTTP/1.1: one request per connection, its body read and dropped.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable
from http import HTTPStatus

from modelport.envelope import Request, Response

from functions.runtime.front import (
    RequestIds,
    as_asked,
    asks_for_metrics,
    scrape,
    still_loading,
)
from functions.runtime.metrics import Metrics

logger = logging.getLogger(__name__)

#: Gives a connection to a worker; False when none takes it.
HandOver = Callable[[socket.socket], bool]

LOADING = "the model is still loading"
ACCEPTED_AT_ONCE = 64
#: What accepting fails with while descriptors or memory are used up, and how long it is left then.
_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
REST_S = 0.1
#: A head larger than this is no request of ours.
HEAD_BYTES = 65_536
#: Longest wait for the rest of a head, and for a caller to read its answer.
PATIENCE_S = 10.0
#: How long the last callers may take over their answers.
LAST_ANSWERS_S = 1.0
CHUNK = 65_536


class Doorman:
    """Stands at the listener from `open` to `close`."""

    def __init__(
        self,
        listener: socket.socket,
        headers: dict[str, str],
        metrics: Metrics | None = None,
    ) -> None:
        """``headers`` say which version this is."""
        self._listener = listener
        self._headers = headers
        self._metrics = metrics
        self._tasks: set[asyncio.Task[None]] = set()
        self._hand_over: HandOver = lambda connection: False
        self._resting: asyncio.TimerHandle | None = None
        self._ids = RequestIds()
        self.reason = LOADING

    def open(self, hand_over: HandOver) -> None:
        """Start accepting; whoever ``hand_over`` finds no worker for is answered here."""
        self._hand_over = hand_over
        self._listener.setblocking(False)
        self._watch()

    async def close(self) -> None:
        """Close the listener and answer whoever came before."""
        asyncio.get_running_loop().remove_reader(self._listener)
        if self._resting is not None:
            self._resting.cancel()
        self._accept(last=True)
        self._listener.close()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=LAST_ANSWERS_S)

    def _watch(self) -> None:
        asyncio.get_running_loop().add_reader(self._listener, self._accept)

    def _rest(self) -> None:
        """Callers wait in the kernel's queue meanwhile; looking after them would only burn CPU."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._listener)
        self._resting = loop.call_later(REST_S, self._watch)

    def _accept(self, *, last: bool = False) -> None:
        for _ in range(ACCEPTED_AT_ONCE):
            try:
                connection, _ = self._listener.accept()
            except OSError as error:  # mostly: nobody left
                if error.errno in _EXHAUSTED and not last:
                    self._rest()
                return
            if self._hand_over(connection):
                connection.close()  # the worker has its own hold of it
                continue
            task = asyncio.get_running_loop().create_task(self._serve(connection))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _serve(self, connection: socket.socket) -> None:
        try:
            reader, writer = await asyncio.open_connection(sock=connection, limit=HEAD_BYTES)
        except OSError:
            connection.close()
            return
        try:
            async with asyncio.timeout(PATIENCE_S):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(self._answer(head))
                await writer.drain()
                writer.write_eof()
                # Closed with bytes unread, the connection would be reset under the answer.
                while await reader.read(CHUNK):
                    pass
        except (OSError, TimeoutError, EOFError, asyncio.LimitOverrunError):
            logger.debug("a caller left, or sent no request, while no worker was ready")
        finally:
            writer.close()

    def _answer(self, head: bytes) -> bytes:
        request = _request(head, self._ids)
        if request is None:
            return _bytes(Response(400, {"content-type": "text/plain"}, b"not an HTTP request\n"))
        if self._metrics and asks_for_metrics(request):
            return _bytes(scrape(self._metrics), request.method)
        response = still_loading(request, self.reason)
        response.headers.update(self._headers)
        return _bytes(as_asked(request, response), request.method)


def _request(head: bytes, ids: RequestIds) -> Request | None:
    first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    parts = first.split(" ")
    if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
        return None
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    return Request(parts[0], parts[1].partition("?")[0], headers, b"", ids.of(headers))


def _bytes(response: Response, method: str = "GET") -> bytes:
    headers = {
        **response.headers,
        "content-length": str(len(response.body)),
        "connection": "close",
    }
    lines = [f"HTTP/1.1 {response.status} {HTTPStatus(response.status).phrase}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    head = "\r\n".join([*lines, "", ""]).encode("latin-1")
    return head if method == "HEAD" else head + response.body
