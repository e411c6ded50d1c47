"""The first bytes of a connection decide what speaks on it: HTTP/2 with gRPC, or HTTP/1.1.

One port serves both, so a container needs no second one to be opened, probed and secured. It must
not know either protocol beyond how HTTP/2 begins.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, MutableSet
from typing import Any, cast

#: HTTP/2's preface begins so, and no method of HTTP/1.1 does.
HTTP2 = b"PRI * HTTP/2.0"
#: Seconds for which a connection may say nothing: as long as one may be idle between requests.
SILENCE_S = 75


class Greeting(asyncio.Protocol):
    """A connection that has said nothing yet."""

    def __init__(
        self,
        http: Callable[[], asyncio.Protocol],
        grpc: Callable[[], asyncio.Protocol],
        connections: MutableSet[Any],
    ) -> None:
        """``connections`` holds this one until it has spoken, for whoever ends the server."""
        self._http, self._grpc = http, grpc
        self._connections = connections
        self._said = b""
        self._seconds = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._connections.add(self)

    def data_received(self, data: bytes) -> None:
        self._said += data
        head = self._said[: len(HTTP2)]
        if not HTTP2.startswith(head):
            self._hand_over(self._http())
        elif head == HTTP2:
            self._hand_over(self._grpc())

    def connection_lost(self, error: Exception | None) -> None:
        self._connections.discard(self)

    def tick(self) -> None:
        """A second has passed."""
        self._seconds += 1
        if self._seconds >= SILENCE_S:
            self._transport.close()

    def shutdown(self) -> None:
        """End a connection on which nothing was asked."""
        self._transport.close()

    cancel = shutdown

    def _hand_over(self, protocol: asyncio.Protocol) -> None:
        self._connections.discard(self)
        self._transport.set_protocol(protocol)
        protocol.connection_made(self._transport)
        protocol.data_received(self._said)
