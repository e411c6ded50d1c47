"""A loaded version as one worker: uvicorn around the ASGI application, and gRPC on the same port.

Takes the connections that the parent hands it until it is told to stop, then finishes what it has.
It must not load, listen or read the environment: `worker` is the composition root.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import uvicorn
from modelport.manifest import Batching

from functions.runtime.asgi import Application, Deadline, safe_id
from functions.runtime.batching import Batcher
from functions.runtime.data_plane import DataPlane, identity
from functions.runtime.gathering import GatheringPlane
from functions.runtime.greeting import Greeting
from functions.runtime.metrics import Metrics

logger = logging.getLogger(__name__)

#: Longer than the idle time of load balancers, so that they close connections and not we.
KEEP_ALIVE_S = 75
#: Connections taken before the loop looks after those it has.
RECEIVED_AT_ONCE = 16


@dataclass(frozen=True)
class Limits:
    """What one worker takes on: bytes of a body, seconds to drain and for one request."""

    max_body: int
    drain_s: int
    timeout_s: float | None = None


class Service:
    """One worker's server; `run` once."""

    def __init__(
        self, plane: DataPlane, limits: Limits, metrics: Metrics, batching: Batching | None = None
    ) -> None:
        """Gathers requests where there is ``batching``; nothing is accepted before `run`."""
        subject = plane.subject
        self._overdue = False
        deadline = None
        if limits.timeout_s is not None:
            deadline = Deadline(limits.timeout_s, subject.model, subject.version, self._give_up)
        self._application = Application(
            identity(subject),
            limits.max_body,
            metrics=metrics,
            deadline=deadline,
        )
        gathering = None
        if batching is not None:
            pool = self._application.pool
            batcher = Batcher(plane.model, batching, pool, observe=metrics.batch)
            gathering = GatheringPlane(plane, batcher, pool).handle
        self._application.ready(plane.handle, gathering, plane.stream)
        self._server = _Server(
            self._application,
            limits.max_body,
            uvicorn.Config(
                self._application,
                lifespan="off",
                ws="none",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=limits.drain_s,
            ),
        )

    def run(self, parent: socket.socket, hello: Callable[[], None]) -> bool:
        """Serve until a signal, the parent's end or a missed deadline; whether that was it.

        ``hello`` is called once connections may come.
        """
        self._server.parent, self._server.hello = parent, hello
        self._server.run()
        self._application.close()
        return self._overdue

    def stop(self) -> None:
        """Take no more connections and end when those there are have their answers."""
        self._server.should_exit = True

    def _give_up(self) -> None:
        self._overdue = True
        self._server.refuse()
        self.stop()


class _Server(uvicorn.Server):
    """uvicorn's server on connections that the parent accepted and hands out."""

    parent: socket.socket
    hello: Callable[[], None]

    def __init__(self, application: Application, max_body: int, config: uvicorn.Config) -> None:
        """gRPC calls go to ``application`` as HTTP requests do."""
        super().__init__(config)
        self._application, self._max_body = application, max_body

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self.servers = []
        self._connecting: set[asyncio.Task[None]] = set()
        self.parent.setblocking(False)
        asyncio.get_running_loop().add_reader(self.parent, self._receive)
        self.started = True
        with suppress(OSError):  # without a parent the reader finds out next
            self.hello()

    def refuse(self) -> None:
        """Have the parent give connections to others; those it gave already are still served."""
        with suppress(OSError):  # the parent is gone
            self.parent.shutdown(socket.SHUT_RD)

    def _receive(self) -> None:
        for _ in range(RECEIVED_AT_ONCE):
            try:
                said, descriptors, _, _ = socket.recv_fds(self.parent, 1, 1)
            except BlockingIOError:
                return
            except OSError:
                said, descriptors = b"", []
            if not said:  # the parent is gone
                asyncio.get_running_loop().remove_reader(self.parent)
                self.should_exit = True
                return
            for descriptor in descriptors:
                self._connect(socket.socket(fileno=descriptor))

    def _connect(self, connection: socket.socket) -> None:
        task = asyncio.get_running_loop().create_task(self._attach(connection))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _attach(self, connection: socket.socket) -> None:
        with suppress(OSError):  # the caller has left again
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            loop = asyncio.get_running_loop()
            await loop.connect_accepted_socket(self._greeting, connection)

    def _greeting(self) -> asyncio.Protocol:
        return Greeting(self._http, self._grpc, self.server_state.connections)

    def _grpc(self) -> asyncio.Protocol:
        # Imported with the first caller: most servers never have one.
        from functions.runtime.grpc.connection import GrpcConnection

        return GrpcConnection(
            self._application.answer, safe_id, self._max_body, self.server_state.connections
        )

    def _http(self) -> asyncio.Protocol:
        protocol: asyncio.Protocol = self.config.http_protocol_class(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )  # type: ignore[call-arg]
        return protocol

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.refuse()
        asyncio.get_running_loop().remove_reader(self.parent)
        await super().shutdown(sockets)
