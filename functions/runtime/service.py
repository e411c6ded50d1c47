"""A loaded version as one worker: HTTP/1.1 and gRPC on the connections that the parent hands it.

Follow a request from here: `greeting` sees which protocol it is, ``http.connection`` or
``grpc.connection`` cuts it out, `application` decides where it runs, `data_plane` answers it.
Takes connections until it is told to stop, then finishes what it has. It must not load, listen or
read the environment: `worker` is the composition root.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

from modelport.manifest import Batching
from modelport.records import record

from functions.runtime.application import THREADS, Application, Deadline
from functions.runtime.batching import Batcher
from functions.runtime.data_plane import DataPlane, identity
from functions.runtime.gathering import GatheringPlane
from functions.runtime.greeting import Greeting
from functions.runtime.http.answers import Clock
from functions.runtime.http.connection import HttpConnection
from functions.runtime.metrics import Metrics
from functions.runtime.straight import StraightPlane

logger = logging.getLogger(__name__)

#: Connections taken before the loop looks after those it has.
RECEIVED_AT_ONCE = 16
TICK_S = 1.0


class Connection(Protocol):
    """One open connection, whatever is spoken on it."""

    def tick(self) -> None:
        """A second has passed: close what waited for too long."""

    def shutdown(self) -> None:
        """Take no more requests; close when those there are have their answers."""

    def cancel(self) -> None:
        """Close now."""


@record(frozen=True)
class Limits:
    """What one worker takes on: bytes of a body, seconds to drain and for one request."""

    max_body: int
    drain_s: int
    timeout_s: float | None = None
    #: Requests that are answered beside each other, in threads.
    threads: int = THREADS


class Service:
    """One worker's server; `run` once."""

    def __init__(
        self,
        plane: DataPlane,
        limits: Limits,
        metrics: Metrics,
        batching: Batching | None = None,
        *,
        flush: Callable[[], None] = lambda: None,
        hung: Callable[[], None] = lambda: None,
    ) -> None:
        """Gathers requests where there is ``batching``; nothing is accepted before `run`.

        ``flush`` writes the log lines of requests, which may wait for it. ``hung`` ends the
        process, from another thread, when the loop hangs in a request.
        """
        subject = plane.subject
        self._limits, self._flush = limits, flush
        self._overdue = False
        deadline = None
        if limits.timeout_s is not None:
            names = (subject.model, subject.version)
            deadline = Deadline(limits.timeout_s, *names, self._give_up, hung)
        self._application = Application(
            identity(subject),
            limits.max_body,
            metrics=metrics,
            deadline=deadline,
            flush=flush,
            threads=limits.threads,
        )
        gathering = None
        if batching is not None:
            pool = self._application.pool
            batcher = Batcher(plane.model, batching, pool, observe=metrics.batch)
            gathering = GatheringPlane(plane, batcher, pool).handle
        handle = StraightPlane(plane).handle
        self._application.ready(handle, gathering, plane.stream, plane.runs_script)
        self._clock = Clock()
        self._connections: set[Connection] = set()
        self._connecting: set[asyncio.Task[Any]] = set()
        self._stopped = False
        self._stopping: asyncio.Event | None = None

    def run(self, parent: socket.socket, hello: Callable[[], None]) -> bool:
        """Serve until a signal, the parent's end or a missed deadline; whether that was it.

        ``hello`` is called once connections may come.
        """
        self._parent = parent
        with asyncio.Runner(loop_factory=_new_loop) as runner:
            runner.run(self._serve(hello))
        self._application.close()
        self._flush()
        return self._overdue

    def stop(self) -> None:
        """Take no more connections and end when those there are have their answers."""
        self._stopped = True
        if self._stopping:
            self._stopping.set()

    def _give_up(self) -> None:
        self._overdue = True
        self._refuse()
        self.stop()

    async def _serve(self, hello: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self.stop)
        self._parent.setblocking(False)
        self._loop.add_reader(self._parent, self._receive)
        self._loop.call_later(TICK_S, self._tick)
        if self._stopped:  # a signal came before its handler stood
            self._stopping.set()
        with suppress(OSError):  # without a parent the reader finds out next
            hello()
        await self._stopping.wait()
        self._refuse()
        self._loop.remove_reader(self._parent)
        await self._drain()

    def _tick(self) -> None:
        self._clock.tick()
        self._flush()  # what threads said after their answers
        for connection in tuple(self._connections):
            connection.tick()
        self._loop.call_later(TICK_S, self._tick)

    async def _drain(self) -> None:
        """Let every connection finish, and cut those that do not in time."""
        if self._connecting:
            await asyncio.wait(self._connecting)
        for connection in tuple(self._connections):
            connection.shutdown()
        until = self._loop.time() + self._limits.drain_s
        while self._connections and self._loop.time() < until:
            await asyncio.sleep(0.01)
        for connection in tuple(self._connections):
            connection.cancel()

    # --- connections ------------------------------------------------------------------------------

    def _refuse(self) -> None:
        """Have the parent give connections to others; those it gave already are still served."""
        with suppress(OSError):  # the parent is gone
            self._parent.shutdown(socket.SHUT_RD)

    def _receive(self) -> None:
        for _ in range(RECEIVED_AT_ONCE):
            try:
                said, descriptors, _, _ = socket.recv_fds(self._parent, 1, 1)
            except BlockingIOError:
                return
            except OSError:
                said, descriptors = b"", []
            if not said:  # the parent is gone
                self._loop.remove_reader(self._parent)
                self.stop()
                return
            for descriptor in descriptors:
                self._connect(socket.socket(fileno=descriptor))

    def _connect(self, connection: socket.socket) -> None:
        task = self._loop.create_task(self._attach(connection))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _attach(self, connection: socket.socket) -> None:
        with suppress(OSError):  # the caller has left again
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await self._loop.connect_accepted_socket(self._greeting, connection)

    def _greeting(self) -> asyncio.Protocol:
        return Greeting(self._http, self._grpc, self._connections)

    def _http(self) -> asyncio.Protocol:
        return HttpConnection(self._application, self._clock, self._connections)

    def _grpc(self) -> asyncio.Protocol:
        # Imported with the first caller: most servers never have one.
        from functions.runtime.grpc.connection import GrpcConnection

        application = self._application
        return GrpcConnection(
            application.answer, application.ids.of, self._limits.max_body, self._connections
        )


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:  # no wheel for this platform: slower, and just as right
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
