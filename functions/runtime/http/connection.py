"""One HTTP/1.1 connection: whole requests to the application, answers out in their order.

A request that is quick is answered as its last bytes come, without a task. One request at a time:
the next is not looked at, and soon not even read from the socket, before the last has its answer
and the caller reads that. It must not know what a request says: `application` does.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, MutableSet
from enum import Enum
from typing import Any, cast

from modelport.envelope import Request, Response

from functions.runtime.application import Application
from functions.runtime.front import given_id
from functions.runtime.http import answers
from functions.runtime.http.arrivals import Arrivals
from functions.runtime.http.bodies import ChunkError, TooLargeError
from functions.runtime.http.departures import Departures
from functions.runtime.http.heads import Head, HeadError
from functions.runtime.http.landing import Landing

logger = logging.getLogger(__name__)

#: Seconds for which a caller may take nothing of its answer.
STALL_S = 60
#: Seconds for a caller that was refused while it sends to read why.
LINGER_S = 2
#: Bytes of later requests that are read ahead while one is answered.
AHEAD = 65_536
#: Requests of one connection answered in a row before others have their turn.
IN_A_ROW = 32
CLOSE, KEEP = "connection: close\r\n", "connection: keep-alive\r\n"


class Phase(Enum):
    """What a connection waits for."""

    REQUEST = "a request"
    ANSWER = "an answer"
    END = "the caller to leave"


class HttpConnection(asyncio.Protocol):
    """See the module's docstring; it is the `streaming.Outlet` of the request it is at."""

    def __init__(
        self, application: Application, clock: answers.Clock, connections: MutableSet[Any]
    ) -> None:
        """``connections`` holds this one as long as it lives, for whoever ends the server."""
        self._application = application
        self._clock = clock
        self._connections = connections
        self._loop = asyncio.get_running_loop()
        self._arrivals = Arrivals(application.max_body)
        self._phase = Phase.REQUEST
        #: For how long it has waited.
        self._seconds = 0
        #: The head that the next two were found out for: the caller's own id, and its way.
        self._known: Head | None = None
        self._id, self._quick = "", False
        self._task: asyncio.Task[None] | None = None
        #: Whether an answer in pieces is under way.
        self._begun = False
        self._last = False
        self._paused = False
        #: Done when more may be written; None while it may.
        self._room: asyncio.Future[None] | None = None
        self._unsent = 0
        #: Done when the caller has left.
        self.gone: asyncio.Future[None] = self._loop.create_future()

    # --- what asyncio calls -----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._departures = Departures(self._transport, self._application.turn)
        self._connections.add(self)

    def data_received(self, data: bytes) -> None:
        if self._phase is Phase.REQUEST and self._room is None:
            body = self._arrivals.repeated(data)
            if body is not None:
                self._asked(body)
                return
        if self._phase is not Phase.END:
            self._arrivals.feed(data)
            self._advance()

    def connection_lost(self, error: Exception | None) -> None:
        self._connections.discard(self)
        self._phase = Phase.END
        self.gone.set_result(None)
        self.resume_writing()

    def pause_writing(self) -> None:
        if self._room is None:
            self._room = self._loop.create_future()
            self._seconds = 0

    def resume_writing(self) -> None:
        room, self._room = self._room, None
        if room is not None and not room.done():
            room.set_result(None)
        if self._phase is Phase.REQUEST and (self._paused or not self._arrivals.idle):
            self._loop.call_soon(self._advance)

    # --- what the server calls --------------------------------------------------------------------

    def tick(self) -> None:
        """A second has passed."""
        self._seconds += 1
        unsent = self._transport.get_write_buffer_size()
        if unsent != self._unsent:  # the caller reads, or there was more to write
            self._unsent, self._seconds = unsent, 0
        if self._phase is Phase.ANSWER:  # who waits for a model has the deadline, if anything
            return
        if unsent:
            if self._seconds >= STALL_S:
                self._transport.abort()
        elif self._phase is Phase.END:
            if self._seconds >= LINGER_S:
                self._transport.abort()
        elif self._seconds >= self._arrivals.limit_s:
            if self._arrivals.idle:
                self._departures.close()
            else:
                self._refuse(self._application.misunderstood(408, "the request took too long"))

    def shutdown(self) -> None:
        """Close when the request that is here, if any, has its answer."""
        self._last = True
        if self._phase is Phase.REQUEST and self._arrivals.idle:
            self._departures.close()

    def cancel(self) -> None:
        """Give up what is being answered."""
        if self._task:
            self._task.cancel()
        self._transport.abort()

    # --- what comes in ----------------------------------------------------------------------------

    def _advance(self) -> None:
        """Answer what is there, as far as it goes."""
        for _ in range(IN_A_ROW):
            if self._phase is not Phase.REQUEST or self._room is not None:
                break
            before = self._arrivals.ahead
            try:
                body = self._arrivals.next()
            except TooLargeError as error:
                self._refuse(self._application.too_large(self._request(b""), error.size))
                return
            except MemoryError:
                self._refuse(self._application.misunderstood(503, "no memory for such a body now"))
                return
            except (HeadError, ChunkError) as error:
                status = error.status if isinstance(error, HeadError) else 400
                self._refuse(self._application.misunderstood(status, str(error)))
                return
            if body is None:
                if before and self._arrivals.asks_to_continue():
                    self._departures.write(answers.CONTINUE)
                break
            self._asked(body)
        else:
            self._loop.call_soon(self._advance)
        self._read_on(self._arrivals.ahead <= AHEAD)
        if (room := self._arrivals.room()) is not None:
            Landing(self._transport, self, room, self._landed)

    def _landed(self, count: int) -> None:
        """So many bytes of a body were read right into its room."""
        if self._phase is not Phase.END and self._arrivals.landed(count):
            self._advance()

    def _read_on(self, wanted: bool) -> None:
        """Read from the socket, or leave it to the kernel to slow the caller down."""
        if wanted is self._paused and not self._transport.is_closing():
            self._paused = not wanted
            (self._transport.resume_reading if wanted else self._transport.pause_reading)()

    # --- one request ------------------------------------------------------------------------------

    def _request(self, body: bytes) -> Request:
        head = self._arrivals.head
        assert head is not None
        is_new = head is not self._known
        if is_new:
            self._known, self._id = head, given_id(head.headers)
        request_id = self._id or self._application.ids.new()
        request = Request(head.method, head.path, head.headers, body, request_id)
        if is_new:
            self._quick = self._application.may_be_quick(request)
        return request

    def _asked(self, body: bytes) -> None:
        """Answer a whole request, at once if that is possible."""
        self._seconds = 0
        request = self._request(body)
        if self._quick:
            try:
                response = self._application.at_once(request, self._tell)
                if response is not None:
                    self._answer(response, self._departures.hold)
                    return
            except Exception:
                self._failed(request)
                return
        self._phase = Phase.ANSWER
        self._task = self._loop.create_task(self._respond(request))

    async def _respond(self, request: Request) -> None:
        try:
            response = await self._application.exchange(request, self)
            if response is not None:
                self.answer(response)
            elif self._begun:  # the caller reads nothing, or has left
                self._transport.abort()
        except Exception:
            self._failed(request)
        finally:
            self._task = None
        if self._phase is Phase.ANSWER:
            self._phase, self._seconds = Phase.REQUEST, 0
            if self._arrivals.ahead or self._paused:
                self._advance()

    def _failed(self, request: Request) -> None:
        """Our own bug: what has begun cannot be taken back, so it is cut."""
        logger.exception("answering request %s failed", request.request_id)
        if self._begun:
            self._transport.abort()
        else:
            self._refuse(self._application.misunderstood(500, "internal error"))

    def _tell(self, response: Response) -> None:
        """The watchdog's thread: answer past the loop, which hangs in this very request."""
        self._departures.write_past_loop(answers.written(response, self._clock.line, ends=CLOSE))

    # --- what goes out ----------------------------------------------------------------------------

    def answer(self, response: Response) -> None:
        """Send an answer whose body is there."""
        self._answer(response, self._departures.write)

    def _answer(self, response: Response, send: Callable[[bytes], None]) -> None:
        head = self._arrivals.head
        assert head is not None
        ends = self._ends(head)
        bare = head.method == "HEAD"
        send(answers.written(response, self._clock.line, ends=ends, bare=bare))
        if ends is CLOSE:
            self._close()

    def begin(self, head: Response) -> None:
        """Send status and headers of an answer in pieces; an old caller gets no more after it."""
        asked = self._arrivals.head
        assert asked is not None
        self._begun, self._chunked = True, asked.minor > 0
        if not self._chunked:
            self._last = True
        ends, date = self._ends(asked), self._clock.line
        self._departures.write(answers.begun(head, date, ends=ends, chunked=self._chunked))

    async def send(self, piece: bytes) -> None:
        """Send a piece, and wait while the caller reads slowly."""
        if self._phase is Phase.END:
            raise ConnectionResetError
        self._departures.write(answers.chunk(piece) if self._chunked else piece)
        if self._room is not None:
            await self._room

    def end(self) -> None:
        """There are no more pieces."""
        self._begun = False
        if self._chunked:
            self._departures.write(answers.LAST_CHUNK)
        if self._last or not (self._arrivals.head and self._arrivals.head.keeps):
            self._close()

    def _ends(self, head: Head) -> str:
        if self._last or not head.keeps:
            return CLOSE
        return "" if head.minor else KEEP

    def _close(self) -> None:
        """Close once what was written has gone out."""
        self._phase, self._seconds = Phase.END, 0
        self._departures.close()

    def _refuse(self, response: Response) -> None:
        """Answer and read no more; whoever is still sending gets a moment to see why."""
        self._phase, self._seconds = Phase.END, 0
        self._departures.write(answers.written(response, self._clock.line, ends=CLOSE))
        self._departures.end()  # closed with bytes unread, it would be reset under the answer
        self._read_on(True)
