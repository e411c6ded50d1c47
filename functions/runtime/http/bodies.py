"""The body of a request, put together from what arrives: by its length, or from its chunks.

Bounded: what is over the limit is read and dropped for a while, so that the caller, who is still
sending, reads why; then it is refused. It must not touch a socket.
"""

from __future__ import annotations

import re
from typing import Protocol

#: How many times its limit a body may be while it is still read and dropped.
DRAIN_FACTOR = 4
#: Pieces kept apart before they are joined: small ones would cost more than what they hold.
_MOST_PIECES = 1024
#: Bytes of the line before a chunk, and of all lines after the last one.
MOST_LINE, MOST_TRAILERS = 256, 8192
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\x00-\x08\x0a-\x1f\x7f]*)?")


class TooLargeError(Exception):
    """The body is over its limit; ``size`` is what was announced, or came so far."""

    def __init__(self, size: int) -> None:
        """In bytes."""
        super().__init__(size)
        self.size = size


class ChunkError(Exception):
    """What should be a chunk is none; the words are for the caller."""


class Body(Protocol):
    """One body that arrives."""

    received: int

    def feed(self, data: bytes) -> bytes | None:
        """Take what belongs to it: the bytes after its end, or None while it has not ended."""

    def whole(self) -> bytes:
        """All of it, once it has ended; raises `TooLargeError`."""


class _Pieces:
    """What came of a body, up to its limit."""

    def __init__(self, most: int) -> None:
        """``most`` bytes are kept."""
        self.received = 0
        self._most = most
        self._pieces: list[bytes] = []

    def add(self, piece: bytes) -> None:
        """Keep it, drop it once all is over the limit, refuse far beyond."""
        self.received += len(piece)
        if self.received <= self._most:
            self._pieces.append(piece)
            if len(self._pieces) > _MOST_PIECES + self.received // 4096:
                self._pieces = [b"".join(self._pieces)]
        elif self.received > self._most * DRAIN_FACTOR:
            raise TooLargeError(self.received)
        else:
            self._pieces.clear()

    def whole(self) -> bytes:
        if self.received > self._most:
            raise TooLargeError(self.received)
        return self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)


class Counted(_Pieces):
    """A body of a length that was announced."""

    def __init__(self, length: int, most: int) -> None:
        """Raises `TooLargeError` for one that is not worth dropping."""
        super().__init__(most)
        if length > most * DRAIN_FACTOR:
            raise TooLargeError(length)
        self._left = length

    def feed(self, data: bytes) -> bytes | None:
        """See `Body`."""
        if len(data) < self._left:
            self._left -= len(data)
            self.add(data)
            return None
        left, self._left = self._left, 0
        self.add(data if len(data) == left else data[:left])
        return data[left:]


class Chunked(_Pieces):
    """A body in chunks, each with its size before it; what follows the last is dropped."""

    def __init__(self, most: int) -> None:
        """``most`` bytes without what is around the chunks."""
        super().__init__(most)
        self._line = b""
        self._left = 0
        self._trailers: int | None = None
        self._in_chunk = False

    def feed(self, data: bytes) -> bytes | None:
        """See `Body`; raises `ChunkError`."""
        at = 0
        while at < len(data):
            if self._left:
                piece = data[at : at + self._left]
                self.add(piece)
                self._left -= len(piece)
                at += len(piece)
                continue
            end = data.find(b"\n", at) + 1
            line = self._line + data[at : end or len(data)]
            if len(line) > MOST_LINE and self._trailers is None:
                raise ChunkError("the line before a chunk is too long")
            self._line, at = (b"", end) if end else (line, len(data))
            if end and self._says(line):
                return data[at:]
            if self._trailers is not None and self._trailers + len(self._line) > MOST_TRAILERS:
                raise ChunkError("what follows the last chunk is too long")
        return None

    def _says(self, line: bytes) -> bool:
        """Take one line; whether it is the last of the body."""
        if line[-2:] != b"\r\n":
            raise ChunkError("a line of the chunked body ends without a carriage return")
        line = line[:-2]
        if self._trailers is not None:
            self._trailers += len(line) + 2
            return not line
        if self._in_chunk:  # the line's end after a chunk
            self._in_chunk = False
            if line:
                raise ChunkError("a chunk is longer than the size before it")
            return False
        said = _SIZE.fullmatch(line)
        if said is None:
            raise ChunkError("the line before a chunk is not its size")
        self._left = int(said[1], 16)
        if self._left:
            self._in_chunk = True
        else:
            self._trailers = 0
        return False
