"""A large body on its way in: the kernel writes it right where it will be read, nobody copies it.

It stands in for a connection as long as there is room for that body. It must not know what the
bytes say.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Landing(asyncio.BufferedProtocol):
    """Reads from a transport into room, until that is full."""

    def __init__(
        self,
        transport: asyncio.Transport,
        owner: asyncio.BaseProtocol,
        room: memoryview,
        landed: Callable[[int], None],
    ) -> None:
        """``owner`` has the transport back when ``landed`` hears of the last bytes of ``room``,
        which is not empty."""
        self._transport, self._owner = transport, owner
        self._room, self._landed = room, landed
        transport.pause_reading()
        self._hand_over(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._room

    def buffer_updated(self, nbytes: int) -> None:
        self._room = self._room[nbytes:]
        if self._room:
            self._landed(nbytes)
        else:  # the transport lets go of what it has written to only after this
            self._transport.pause_reading()
            asyncio.get_running_loop().call_soon(self._end, nbytes)

    def connection_lost(self, exc: Exception | None) -> None:
        self._owner.connection_lost(exc)

    def pause_writing(self) -> None:
        self._owner.pause_writing()

    def resume_writing(self) -> None:
        self._owner.resume_writing()

    def _end(self, nbytes: int) -> None:
        self._room.release()
        self._hand_over(self._owner)
        self._landed(nbytes)

    def _hand_over(self, protocol: asyncio.BaseProtocol) -> None:
        """Whoever reads decides how; so this is done while nobody does."""
        if not self._transport.is_closing():
            self._transport.set_protocol(protocol)
            self._transport.resume_reading()
