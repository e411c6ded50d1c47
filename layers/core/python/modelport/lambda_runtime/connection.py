"""HTTP/1.1 on one connection that stays open: as much of it as the Runtime API speaks.

No time limits: between two events Lambda may freeze the process for hours. Who is called is the
machine's own, so answers are believed. It must not know what is asked or answered.
"""

from __future__ import annotations

import socket
from typing import Any, NamedTuple

#: Bytes asked for at first: the head of an answer, and most bodies with it.
_FIRST = 64 * 1024
#: What is sent together with its head; more is not worth the copy.
_TOGETHER = 64 * 1024
_MAX_HEAD = 4 * 1024 * 1024  # a client context travels in a header


class Answer(NamedTuple):
    """Status, headers with lower-case names, body."""

    status: int
    headers: dict[str, str]
    body: bytes | bytearray


class _UnansweredError(ConnectionError):
    """The other side hung up before the first byte of its answer."""


class Connection:
    """A connection to ``address``, opened when it is first needed. One call at a time."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        # As bytes: text would be looked at by IDNA first, whose tables take 1 ms to import.
        self._place: Any = ((host or address).encode(), int(port) if host else 80)
        self._socket: socket.socket | None = None

    def call(self, head: bytes, body: bytes = b"") -> Answer:
        """Send one request and read its answer; raises ConnectionError.

        An open connection may have been closed meanwhile: then, and only then, it is sent again.
        """
        if self._socket is not None:
            try:
                return self._exchange(self._socket, head, body)
            except (_UnansweredError, ConnectionResetError, BrokenPipeError):
                self.close()
        self._socket = opened = socket.create_connection(self._place)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self._exchange(opened, head, body)

    def close(self) -> None:
        """Close it, if it is open; the next call opens another."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _exchange(self, opened: socket.socket, head: bytes, body: bytes) -> Answer:
        if len(body) <= _TOGETHER:
            opened.sendall(head + body)
        else:
            opened.sendall(head)
            opened.sendall(body)
        answer, stays = _Reader(opened).answer()
        if not stays:
            self.close()
        return answer


class _Reader:
    """Reads one answer; ``ahead`` is what has come and was not looked at."""

    def __init__(self, opened: socket.socket) -> None:
        self._socket = opened
        self._ahead = b""

    def answer(self) -> tuple[Answer, bool]:
        """The answer, and whether the connection stays open."""
        self._ahead = self._socket.recv(_FIRST)
        if not self._ahead:
            raise _UnansweredError("no answer")
        line, *lines = self._until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        headers = {}
        for field in lines:
            name, _, value = field.partition(":")
            headers[name.lower()] = value.strip()
        status = int(line[9:12])
        stays = line.startswith("HTTP/1.1") and headers.get("connection", "").lower() != "close"
        if "content-length" in headers:
            return Answer(status, headers, self._exactly(int(headers["content-length"]))), stays
        if "chunked" in headers.get("transfer-encoding", "").lower():
            return Answer(status, headers, self._chunks()), stays
        return Answer(status, headers, self._everything()), False

    def _until(self, end: bytes) -> bytes:
        while (at := self._ahead.find(end)) < 0:
            if len(self._ahead) > _MAX_HEAD:
                raise ConnectionError("the answer has no end of its head")
            self._ahead += self._more()
        found, self._ahead = self._ahead[:at], self._ahead[at + len(end) :]
        return found

    def _more(self) -> bytes:
        more = self._socket.recv(_FIRST)
        if not more:
            raise ConnectionError("the answer breaks off")
        return more

    def _exactly(self, size: int) -> bytes | bytearray:
        """The next ``size`` bytes, received where they stay."""
        ahead = self._ahead
        if len(ahead) >= size:
            self._ahead = ahead[size:]
            return ahead[:size]
        self._ahead = b""
        whole = bytearray(size)
        at = len(ahead)
        with memoryview(whole) as view:
            view[:at] = ahead
            while at < size:
                got = self._socket.recv_into(view[at:], 0, socket.MSG_WAITALL)
                if not got:
                    raise ConnectionError("the answer breaks off")
                at += got
        return whole

    def _chunks(self) -> bytes | bytearray:
        """A body in chunks: Go, which the Runtime API is made in, sends a large one as one."""
        pieces = []
        while size := int(self._until(b"\r\n").partition(b";")[0], 16):
            piece = self._exactly(size + 2)
            pieces.append(piece[:-2] if isinstance(piece, bytes) else _shortened(piece))
        while self._until(b"\r\n"):
            pass  # a trailer
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _everything(self) -> bytes:
        pieces = [self._ahead]
        while piece := self._socket.recv(_FIRST):
            pieces.append(piece)
        return b"".join(pieces)


def _shortened(piece: bytearray) -> bytearray:
    """Without the line end, in place."""
    del piece[-2:]
    return piece
