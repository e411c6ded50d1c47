"""The body of a request, put together from what arrives: by its length, or from its chunks.

Bounded: what is over the limit is read and dropped for a while, so that the caller, who is still
sending, reads why; then it is refused. It must not touch a socket.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from io import BytesIO
from typing import Protocol, cast

#: How many times its limit a body may be while it is still read and dropped.
DRAIN_FACTOR = 4
#: Bytes that are still to come from which on room is made for them.
LARGE = 65_536
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

    def feed(self, data: bytes, at: int) -> int:
        """Take what belongs to it of ``data[at:]``: where its end is, or -1 while it has none."""

    def room(self) -> memoryview | None:
        """Where what is to come may be written, instead of `feed`; None if not, or once given."""

    def landed(self, count: int) -> bool:
        """So many bytes more were written to the `room`; whether it is full."""

    def whole(self) -> bytes:
        """All of it, once it has ended; raises `TooLargeError`."""


class Counted:
    """A body of a length that was announced."""

    def __init__(self, length: int, most: int) -> None:
        """Raises `TooLargeError` for one that is not worth dropping; ``most`` bytes are kept."""
        if length > most * DRAIN_FACTOR:
            raise TooLargeError(length)
        self.received = 0
        self._length = length
        self._is_kept = length <= most
        self._is_given = False
        #: All of it, where it came at once.
        self._at_once: bytes | None = None
        #: What came of it, where it did not, with room for the rest.
        self._store: BytesIO | None = None
        self._view = memoryview(b"")

    def feed(self, data: bytes, at: int) -> int:
        """See `Body`."""
        end = at + self._length - self.received
        if self._is_kept:
            if not self.received and end <= len(data):
                self._at_once = data[at:end]
            elif at < len(data) or self._length >= LARGE:
                piece = memoryview(data)[at:end]
                self._left()[: len(piece)] = piece
        self.received += min(end, len(data)) - at
        return end if end <= len(data) else -1

    def room(self) -> memoryview | None:
        """See `Body`."""
        if self._is_given or not self._is_kept or self._length - self.received < LARGE:
            return None
        self._is_given = True
        return self._left()

    def landed(self, count: int) -> bool:
        """See `Body`."""
        self.received += count
        return self.received == self._length

    def whole(self) -> bytes:
        """See `Body`."""
        if not self._is_kept:
            raise TooLargeError(self._length)
        if self._at_once is not None:
            return self._at_once
        assert self._store is not None
        self._view.release()
        # The very object that was written to; a copy only if somebody still holds on to the room.
        return self._store.getvalue()

    def _left(self) -> memoryview:
        """What has not come yet."""
        if self._store is None:
            self._store = BytesIO(_unwritten(self._length))
            self._view = self._store.getbuffer()
        return self._view[self.received :]


@cache
def _maker() -> Callable[[None, int], bytes]:
    import ctypes  # only who gets large bodies needs it

    make = ctypes.pythonapi.PyBytes_FromStringAndSize
    make.argtypes, make.restype = (ctypes.c_void_p, ctypes.c_ssize_t), ctypes.py_object
    return cast(Callable[[None, int], bytes], make)


def _unwritten(length: int) -> bytes:
    """Bytes for somebody to write to before anybody reads them: zeroing costs as much as a copy."""
    return _maker()(None, length)


class Chunked:
    """A body in chunks, each with its size before it; what follows the last is dropped."""

    def __init__(self, most: int) -> None:
        """``most`` bytes are kept, without what is around the chunks."""
        self.received = 0
        self._most = most
        self._pieces: list[bytes] = []
        self._line = b""
        self._left = 0
        self._trailers: int | None = None
        self._in_chunk = False

    def feed(self, data: bytes, at: int) -> int:
        """See `Body`; raises `ChunkError`."""
        while at < len(data):
            if self._left:
                piece = data[at : at + self._left]
                self._add(piece)
                self._left -= len(piece)
                at += len(piece)
                continue
            end = data.find(b"\n", at) + 1
            line = self._line + data[at : end or len(data)]
            if len(line) > MOST_LINE and self._trailers is None:
                raise ChunkError("the line before a chunk is too long")
            self._line, at = (b"", end) if end else (line, len(data))
            if end and self._says(line):
                return at
            if self._trailers is not None and self._trailers + len(self._line) > MOST_TRAILERS:
                raise ChunkError("what follows the last chunk is too long")
        return -1

    def room(self) -> None:
        """See `Body`: how much is to come is not known."""

    def landed(self, count: int) -> bool:
        """See `Body`."""
        raise AssertionError("there was no room")

    def whole(self) -> bytes:
        """See `Body`."""
        if self.received > self._most:
            raise TooLargeError(self.received)
        return self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)

    def _add(self, piece: bytes) -> None:
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
