"""A server on loopback that does with each connection what a test says, byte for byte."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

#: Does what it wants with a connection; returning closes it.
Script = Callable[["Talk"], None]


@dataclass
class Talk:
    """One connection: requests are read whole, bytes are sent as they are given."""

    socket: socket.socket
    number: int
    over: threading.Event

    def request(self) -> bytes:
        """The next request with its body; nothing when the client has gone."""
        data = b""
        while b"\r\n\r\n" not in data:
            piece = self.socket.recv(65536)
            if not piece:
                return b""
            data += piece
        head, _, body = data.partition(b"\r\n\r\n")
        size = 0
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                size = int(line.partition(b":")[2])
        while len(body) < size:
            body += self.socket.recv(65536)
        return head + b"\r\n\r\n" + body

    def send(self, *pieces: bytes, every_s: float = 0.0) -> None:
        """Send pieces, with pauses in between, unless the test is over."""
        for piece in pieces:
            self.socket.sendall(piece)
            if every_s and self.over.wait(every_s):
                return

    def reset(self) -> None:
        """End the connection rudely."""
        linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.socket.close()


@dataclass
class Scripted:
    """A running server."""

    port: int
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0


def answer(body: bytes = b"ok", *, status: int = 200, head: bytes = b"") -> bytes:
    """A whole answer."""
    return b"HTTP/1.1 %d x\r\n%bcontent-length: %d\r\n\r\n%b" % (status, head, len(body), body)


@contextmanager
def scripted(script: Script, tls: ssl.SSLContext | None = None) -> Iterator[Scripted]:
    """Serve on a free loopback port until the block ends; every connection has a thread."""
    over = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))
    server = Scripted(listener.getsockname()[1])
    open_now: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def talk(connection: socket.socket, number: int) -> None:
        with suppress(OSError):
            if tls is not None:
                connection = tls.wrap_socket(connection, server_side=True)
            with connection:
                connection.settimeout(10)
                script(Talk(connection, number, over))

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                server.connections += 1
                open_now.append(connection)
                thread = threading.Thread(target=talk, args=(connection, server.connections))
                threads.append(thread)
                thread.start()

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield server
    finally:
        over.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        accepting.join()
        for connection in open_now:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join()
        for connection in open_now:
            connection.close()
