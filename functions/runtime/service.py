"""A loaded version behind the inherited listener: uvicorn around the ASGI application.

Accepts until it is told to stop, then finishes what it has. It must not load, configure or read the
environment: `worker` is the composition root.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from dataclasses import dataclass

import uvicorn
from modelport.manifest import Batching

from functions.runtime.asgi import Application, Deadline
from functions.runtime.batching import Batcher
from functions.runtime.data_plane import DataPlane, identity
from functions.runtime.gathering import GatheringPlane
from functions.runtime.metrics import Metrics

logger = logging.getLogger(__name__)

#: Longer than the idle time of load balancers, so that they close connections and not we.
KEEP_ALIVE_S = 75


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
        self._application.ready(plane.handle, gathering)
        self._server = _Server(
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
            )
        )

    def run(self, listener: socket.socket, parent: socket.socket, hello: bytes) -> bool:
        """Serve until a signal, the parent's end or a missed deadline; whether that was it.

        ``hello`` is what the parent is told once connections are accepted.
        """
        self._server.accepting = lambda: self._announce(parent, hello)
        self._server.run(sockets=[listener])
        self._application.close()
        return self._overdue

    def _announce(self, parent: socket.socket, hello: bytes) -> None:
        # Nothing is ever sent the other way, so the parent's end can only mean that it is gone.
        asyncio.get_running_loop().add_reader(parent, self._stop)
        try:
            parent.send(hello)
        except OSError:
            self._stop()

    def _give_up(self) -> None:
        self._overdue = True
        self._stop()

    def _stop(self) -> None:
        self._server.should_exit = True


class _Server(uvicorn.Server):
    """uvicorn's server, with a word when it accepts."""

    accepting: Callable[[], None]

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.accepting()
