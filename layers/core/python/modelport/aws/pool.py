"""Connections to one server that are kept, for any number of threads.

Sends one request and reads its whole answer within one time limit; decides nothing about trying
again. Knows no AWS.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from select import POLLIN, poll

from modelport.aws.answers import Answer, MalformedAnswerError, NoAnswerError, read_answer
from modelport.aws.endpoints import Endpoint
from modelport.aws.errors import HungUpError, SilentError, UnreachableError, UnreadableError

#: Connections kept while nobody uses them, as many as botocore keeps.
KEPT = 10
#: A body up to here leaves in one packet train with its head; larger ones are not copied for that.
_JOINED = 64 << 10
_PIECE = 1 << 18
_FIRST_PIECE = 1 << 16


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds: for each step of a connection, with TLS; from then to the end of the answer."""

    connect_s: float
    answer_s: float


class Pool:
    """Asks one server; ``environ`` says which certificates are trusted."""

    def __init__(self, endpoint: Endpoint, timeouts: Timeouts, environ: Mapping[str, str]) -> None:
        self._idle: list[socket.socket] = []
        self._endpoint, self._timeouts = endpoint, timeouts
        self._wrap: Callable[[socket.socket], socket.socket] | None = None
        if endpoint.secure:
            from modelport.aws.tls import wrapper  # ssl takes longer to load than all of this

            self._wrap = wrapper(endpoint.host, environ)

    def ask(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes = b""
    ) -> Answer:
        """The answer to a request; its headers include host. Raises `CallError`.

        Header values must be without line breaks; `UnreadableError` says so where they are not.
        """
        head = self._head(method, target, headers, body)
        kept = self._taken()
        connection = kept or self._connected()
        try:
            answer, lasting = self._exchanged(connection, head, body, kept=kept is not None)
        except BaseException as error:
            connection.close()
            if isinstance(error, HungUpError):
                # What died with it, for instance while this process was frozen, is not tried.
                self.close()
            raise
        if lasting and len(self._idle) < KEPT:
            self._idle.append(connection)
        else:
            connection.close()
        return answer

    def close(self) -> None:
        """Close what is idle; the pool can be used on."""
        while (connection := self._popped()) is not None:
            connection.close()

    def __del__(self) -> None:
        self.close()

    def _head(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> bytes:
        lines = [f"{method} {target} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if body or method == "POST":
            lines.append(f"content-length: {len(body)}")
        text = "\r\n".join(lines)
        if text.count("\n") != len(lines) - 1 or text.count("\r") != len(lines) - 1:
            raise UnreadableError(self._endpoint.url, "a header of the request has a line break")
        try:
            return f"{text}\r\n\r\n".encode("latin-1")
        except UnicodeEncodeError:
            reason = "a header of the request is not Latin-1"
            raise UnreadableError(self._endpoint.url, reason) from None

    def _popped(self) -> socket.socket | None:
        try:
            return self._idle.pop()
        except IndexError:  # asked and popped in one step: another thread may be faster
            return None

    def _taken(self) -> socket.socket | None:
        """A kept connection that its server has neither closed nor written to unasked."""
        while (connection := self._popped()) is not None:
            if not _readable(connection):
                return connection
            connection.close()
        return None

    def _connected(self) -> socket.socket:
        endpoint = self._endpoint
        plain: socket.socket | None = None
        try:
            address = (endpoint.host, endpoint.port)
            plain = socket.create_connection(address, self._timeouts.connect_s)
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            return self._wrap(plain) if self._wrap else plain
        except (OSError, ValueError) as error:  # ValueError: a host name that is none
            if plain is not None:
                plain.close()
            raise UnreachableError(endpoint.url, _reason(error)) from error

    def _exchanged(
        self, connection: socket.socket, head: bytes, body: bytes, *, kept: bool
    ) -> tuple[Answer, bool]:
        until = time.monotonic() + self._timeouts.answer_s
        size = _FIRST_PIECE

        def receive() -> bytes:
            nonlocal size
            left = until - time.monotonic()
            if left <= 0:
                raise TimeoutError
            connection.settimeout(left)
            piece = connection.recv(size)
            size = _PIECE
            return piece

        url = self._endpoint.url
        try:
            self._send(connection, head, body)
            return read_answer(receive)
        except TimeoutError as error:
            raise SilentError(url, self._timeouts.answer_s) from error
        except NoAnswerError as error:
            raise HungUpError(url, kept=kept) from error
        except OSError as error:
            # Reset, or TLS without its goodbye: no answer ends so, even one that has no length.
            if size == _FIRST_PIECE:  # nothing has come yet
                raise HungUpError(url, kept=kept) from error
            raise UnreadableError(url, "it was cut off") from error
        except MalformedAnswerError as error:
            raise UnreadableError(url, str(error)) from error

    def _send(self, connection: socket.socket, head: bytes, body: bytes) -> None:
        connection.settimeout(self._timeouts.answer_s)
        try:
            if len(body) <= _JOINED:
                connection.sendall(head + body)
            else:
                connection.sendall(head)
                connection.sendall(body)
        except TimeoutError:
            raise
        except OSError:
            # Closed by a server that has read enough: it may have said why.
            return


def _readable(connection: socket.socket) -> bool:
    poller = poll()
    poller.register(connection, POLLIN)
    return bool(poller.poll(0))


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or type(error).__name__
