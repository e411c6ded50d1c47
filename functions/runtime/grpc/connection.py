"""One HTTP/2 connection that carries gRPC: frames in, whole calls to the data plane, frames out.

The framing is h2's; what is ours is gRPC's use of it (length-prefixed messages, trailers, timeouts)
and the limits: one bounded message per call, a bounded number of calls at once, answers written
only as fast as the caller reads. It must not know what a message says: `transcoding` does.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Mapping, MutableSet
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import quote

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    DataReceived,
    Event,
    RemoteSettingsChanged,
    RequestReceived,
    StreamEnded,
    StreamReset,
    WindowUpdated,
)
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes
from modelport.envelope import Request, Response
from modelport.errors import MalformedRequestError, PayloadTooLargeError

from functions.runtime.grpc import transcoding
from functions.runtime.grpc.transcoding import (
    DEADLINE_EXCEEDED,
    INTERNAL,
    INVALID_ARGUMENT,
    RESOURCE_EXHAUSTED,
    UNIMPLEMENTED,
    GrpcError,
)

logger = logging.getLogger(__name__)

#: What a client that knows this server speaks HTTP/2 sends first.
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
Answer = Callable[[Request], Awaitable[Response]]

#: Calls at once on one connection; a client waits with the next.
MOST_CALLS = 128
#: Large windows and frames, because tensors are large: fewer turns per tensor.
WINDOW = 16 * 1024 * 1024
FRAME = 1024 * 1024
#: A flag, compressed or not, and the length of the message in four bytes.
PREFIX = 5
_TIMEOUT = re.compile(r"(\d{1,8})([HMSmun])")
_UNITS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_CONTENT_TYPE = "application/grpc"
#: How a message may be compressed; answers never are, because tensors hardly shrink.
CODINGS = ("gzip", "deflate")
#: Of the connection or of gRPC itself, not of the request.
_OWN = ("grpc-", ":", "te", "content-type", "content-length", "accept-encoding")


@dataclass(slots=True)
class _Call:
    """One stream: what was received so far, and the task that answers once it is whole."""

    headers: dict[str, str]
    body: bytearray = field(default_factory=bytearray)
    task: asyncio.Task[None] | None = None
    #: Set when more may be written.
    room: asyncio.Event = field(default_factory=asyncio.Event)


class GrpcConnection(asyncio.Protocol):
    """Answers the calls of one connection; see the module's docstring."""

    def __init__(
        self,
        answer: Answer,
        request_id: Callable[[Mapping[str, str]], str],
        max_message: int,
        connections: MutableSet[Any],
    ) -> None:
        """``connections`` holds this one as long as it lives, for whoever ends the server."""
        self._answer = answer
        self._request_id = request_id
        self._max_message = max_message
        self._connections = connections
        self._calls: dict[int, _Call] = {}
        self._writable = asyncio.Event()
        self._writable.set()
        self._draining = False
        self._http2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))

    # --- what asyncio calls -----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._connections.add(self)
        self._http2.initiate_connection()
        self._http2.update_settings(
            {
                SettingCodes.MAX_CONCURRENT_STREAMS: MOST_CALLS,
                SettingCodes.INITIAL_WINDOW_SIZE: WINDOW,
                SettingCodes.MAX_FRAME_SIZE: FRAME,
            }
        )
        self._http2.increment_flow_control_window(WINDOW)
        self._flush()

    def data_received(self, data: bytes) -> None:
        try:
            for event in self._http2.receive_data(data):
                self._on(event)
        except ProtocolError as error:
            logger.info("a gRPC connection broke the protocol: %s", error)
            self._flush()  # h2 has put the reason into a last frame
            self._transport.close()
            return
        self._flush()

    def connection_lost(self, error: Exception | None) -> None:
        self._connections.discard(self)
        self._writable.set()
        for call in self._calls.values():
            if call.task:
                call.task.cancel()
        self._calls.clear()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def shutdown(self) -> None:
        """Take no more calls and close when those there are have their answers."""
        self._draining = True
        self._close_if_done()

    def cancel(self) -> None:
        """Give up the calls there are: `connection_lost` ends them."""
        self._transport.abort()

    def tick(self) -> None:
        """A second has passed; an idle channel stays open, which is what callers keep it for."""

    # --- what comes in ----------------------------------------------------------------------------

    def _on(self, event: Event) -> None:
        if isinstance(event, RequestReceived):
            self._begin(event)
        elif isinstance(event, DataReceived):
            self._collect(event)
        elif isinstance(event, StreamEnded):
            call = self._calls.get(event.stream_id or 0)
            if call and call.task is None:
                self._start(event.stream_id or 0, call)
        elif isinstance(event, StreamReset):
            self._forget(event.stream_id or 0)
        elif isinstance(event, WindowUpdated | RemoteSettingsChanged):
            for call in self._calls.values():
                call.room.set()

    def _begin(self, event: RequestReceived) -> None:
        stream = event.stream_id or 0
        if self._draining:  # the client may try elsewhere: nothing has been done
            self._http2.reset_stream(stream, ErrorCodes.REFUSED_STREAM)
            return
        headers = {str(name): str(value) for name, value in event.headers or ()}
        self._calls[stream] = _Call(headers)
        if not headers.get("content-type", "").startswith(_CONTENT_TYPE):
            self._http2.send_headers(stream, [(":status", "415")], end_stream=True)
            self._drop(stream)
        elif headers[":method"] != "POST":
            self._http2.send_headers(stream, [(":status", "405")], end_stream=True)
            self._drop(stream)

    def _collect(self, event: DataReceived) -> None:
        stream, data = event.stream_id or 0, event.data or b""
        self._http2.acknowledge_received_data(event.flow_controlled_length or 0, stream)
        call = self._calls.get(stream)
        if call is None or call.task is not None:
            return
        call.body += data
        if len(call.body) > self._max_message + PREFIX:
            words = f"a message of more than {self._max_message} bytes; send fewer rows per call"
            self._refuse(stream, GrpcError(RESOURCE_EXHAUSTED, words))
            self._drop(stream)

    def _start(self, stream: int, call: _Call) -> None:
        call.task = asyncio.get_running_loop().create_task(self._respond(stream, call))

    # --- one call ---------------------------------------------------------------------------------

    async def _respond(self, stream: int, call: _Call) -> None:
        try:
            reply, identity = await asyncio.wait_for(self._replied(call), _timeout(call.headers))
            await self._send(stream, call, reply, identity)
        except GrpcError as error:
            self._refuse(stream, error)
        except TimeoutError:
            self._refuse(stream, GrpcError(DEADLINE_EXCEEDED, "no answer within the grpc-timeout"))
        except ProtocolError:
            logger.debug("a gRPC caller left before its answer")
        except Exception:
            logger.exception("a gRPC call failed")
            self._refuse(stream, GrpcError(INTERNAL, "internal error; the server's log has more"))
        finally:
            self._calls.pop(stream, None)
            self._flush()
            self._close_if_done()

    async def _replied(self, call: _Call) -> tuple[bytes, Mapping[str, str]]:
        method = transcoding.method_of(call.headers[":path"])
        body = self._message(call)
        headers = {name: value for name, value in call.headers.items() if not name.startswith(_OWN)}
        request = transcoding.asked(method, body, headers, self._request_id(headers))
        response = await self._answer(request)
        identity = {
            name: value
            for name, value in response.headers.items()
            if name.startswith("x-modelport-") and value.isascii()
        }
        return transcoding.answered(method, response), identity

    def _message(self, call: _Call) -> bytes:
        """The one message that was sent."""
        body = memoryview(call.body)
        length = int.from_bytes(body[1:PREFIX], "big")
        if len(body) != PREFIX + length:
            words = f"expected one message with its length before it, got {len(body)} bytes"
            raise GrpcError(INVALID_ARGUMENT, words)
        message = bytes(body[PREFIX:])
        return (
            self._inflated(message, call.headers.get("grpc-encoding", "")) if body[0] else message
        )

    def _inflated(self, message: bytes, coding: str) -> bytes:
        if coding not in CODINGS:
            words = f"a message in grpc-encoding {coding!r}; allowed: {', '.join(CODINGS)}"
            raise GrpcError(UNIMPLEMENTED, words)
        from functions.runtime.compression import inflated  # few callers compress

        try:
            return inflated(message, coding, self._max_message)
        except PayloadTooLargeError as error:
            raise GrpcError(RESOURCE_EXHAUSTED, error.message) from None
        except MalformedRequestError as error:
            raise GrpcError(INVALID_ARGUMENT, error.message) from None

    # --- what goes out ----------------------------------------------------------------------------

    async def _send(
        self, stream: int, call: _Call, reply: bytes, identity: Mapping[str, str]
    ) -> None:
        headers = [(":status", "200"), ("content-type", _CONTENT_TYPE)]
        headers += [("grpc-accept-encoding", ",".join(("identity", *CODINGS))), *identity.items()]
        self._http2.send_headers(stream, headers)
        rest = memoryview(b"\0" + len(reply).to_bytes(4, "big") + reply)
        while rest:
            await self._writable.wait()
            window = self._http2.local_flow_control_window(stream)
            size = min(window, self._http2.max_outbound_frame_size, len(rest))
            if size <= 0:
                call.room.clear()
                self._flush()
                await call.room.wait()
                continue
            self._http2.send_data(stream, bytes(rest[:size]))
            rest = rest[size:]
            self._flush()
        self._http2.send_headers(stream, [("grpc-status", "0")], end_stream=True)

    def _refuse(self, stream: int, error: GrpcError) -> None:
        """End a call with a status and words, if its caller is still there."""
        headers = [
            (":status", "200"),
            ("content-type", _CONTENT_TYPE),
            ("grpc-status", str(error.status)),
            ("grpc-message", quote(error.words, safe=" !#$&'()*+,/:;=?@[]\"<>^`{|}")),
        ]
        try:
            self._http2.send_headers(stream, headers, end_stream=True)
        except ProtocolError:
            logger.debug("a gRPC caller left before its refusal")

    def _drop(self, stream: int) -> None:
        """Ask the caller to send no more of a call that has its answer."""
        self._calls.pop(stream, None)
        try:
            self._http2.reset_stream(stream, ErrorCodes.NO_ERROR)
        except ProtocolError:
            logger.debug("the call had ended by itself")

    def _forget(self, stream: int) -> None:
        call = self._calls.pop(stream, None)
        if call and call.task:
            call.task.cancel()

    def _flush(self) -> None:
        data = self._http2.data_to_send()
        if data and not self._transport.is_closing():
            self._transport.write(data)

    def _close_if_done(self) -> None:
        if self._draining and not self._calls and not self._transport.is_closing():
            self._http2.close_connection()
            self._flush()
            self._transport.close()


def _timeout(headers: Mapping[str, str]) -> float | None:
    """Seconds that the caller waits, as gRPC writes them; None for ever."""
    found = _TIMEOUT.fullmatch(headers.get("grpc-timeout", ""))
    return int(found[1]) * _UNITS[found[2]] if found else None
