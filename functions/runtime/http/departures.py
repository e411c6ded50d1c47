"""Bytes on their way out of one connection: written at once, or held to the end of the loop's turn.

Nothing overtakes what is held. It must not know what the bytes say, or when a connection ends.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress

from functions.runtime.turn import Turn

#: Bytes that are held at most: more of them are worth a packet of their own.
MOST_HELD = 65_536


class Departures:
    """What leaves one connection, in its order; see `turn.Holder`."""

    def __init__(self, transport: asyncio.Transport, turn: Turn) -> None:
        self._transport = transport
        self._turn = turn
        self._held = b""

    def hold(self, data: bytes) -> None:
        """Send it at the end of the turn, which must go on."""
        if not self._held:
            self._held = data
            self._turn.hold(self)
        elif len(self._held) < MOST_HELD:
            self._held += data
        else:
            self.write(data)

    def write(self, data: bytes) -> None:
        """Send it now, behind what is held."""
        held, self._held = self._held, b""
        self._transport.write(held + data if held else data)

    def leave(self) -> None:
        """Send what is held now, unless the caller has left."""
        if self._held and not self._transport.is_closing():
            self.write(b"")

    def end(self) -> None:
        """Nothing more will be sent, but what was is; the caller may send on."""
        self.leave()
        if self._transport.can_write_eof():
            self._transport.write_eof()

    def close(self) -> None:
        """Close once all has gone out."""
        self.leave()
        self._transport.close()

    def leave_past_loop(self) -> None:
        """Another thread's: send what is held while the loop hangs."""
        held, self._held = self._held, b""
        self.write_past_loop(held)

    def write_past_loop(self, data: bytes) -> None:
        """Another thread's: send it if nothing else is on its way."""
        if self._transport.get_write_buffer_size() == 0:
            with suppress(OSError):
                os.write(self._transport.get_extra_info("socket").fileno(), data)
