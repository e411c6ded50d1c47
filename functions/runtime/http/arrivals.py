"""What arrives on one connection, cut into requests; no socket, no clock.

Callers mostly repeat one head byte by byte, so the last one is kept, and an equal one is compared
and not read again. Bytes after the end of a request stay here until they are asked for.
"""

from __future__ import annotations

from functions.runtime.http import heads
from functions.runtime.http.bodies import Body, Chunked, Counted, TooLargeError
from functions.runtime.http.heads import Head, HeadError

#: Seconds until the next request: longer than the idle time of load balancers, so that they close
#: connections and not we.
KEEP_ALIVE_S = 75
#: Seconds for a whole head, and for a body beside those that its bytes have at the slowest pace.
HEAD_S, BODY_S = 30, 60
#: Bytes of a body per second.
SLOWEST = 1024
#: What is looked at of a head that is not whole yet.
_BEGINNING = 1024


class Arrivals:
    """The requests of one connection, one after the other."""

    def __init__(self, most: int) -> None:
        """``most`` bytes of a body are kept."""
        #: Of the request that `next` gave, or whose body is on its way.
        self.head: Head | None = None
        self._most = most
        self._ahead = b""
        self._body: Body | None = None
        #: Bytes of a request that repeats `head` and may come in one piece; 0 for none.
        self._whole = 0

    @property
    def ahead(self) -> int:
        """Bytes that nobody has asked for yet."""
        return len(self._ahead)

    @property
    def limit_s(self) -> int:
        """Seconds that may pass before what is waited for now is there."""
        if self._body is not None:
            return BODY_S + self._body.received // SLOWEST
        return HEAD_S if self._ahead else KEEP_ALIVE_S

    @property
    def idle(self) -> bool:
        """Whether nothing of a request is here."""
        return not self._ahead and self._body is None

    def repeated(self, data: bytes) -> bytes | None:
        """The body, where ``data`` is exactly one more request with the head of the last."""
        head = self.head
        if len(data) != self._whole or head is None or self._ahead or self._body is not None:
            return None
        return data[len(head.raw) :] if data.startswith(head.raw) else None

    def feed(self, data: bytes) -> None:
        """Take what arrived."""
        self._ahead = self._ahead + data if self._ahead else data

    def next(self) -> bytes | None:
        """The body of the next request, whose head is then `head`; None while it is not whole.

        Raises `HeadError`, `TooLargeError` and `ChunkError`; nothing can be read after that.
        """
        at = 0
        if self._body is None:
            at = self._find_head()
            if not at:
                return None
            assert self.head is not None
            if self.head.length == 0:
                self._ahead = self._ahead[at:]
                return b""
            self._body = self._expected(self.head)
        data, self._ahead = self._ahead, b""
        end = self._body.feed(data, at)
        if end < 0:
            return None
        whole = self._body.whole()
        self._body, self._ahead = None, data[end:]
        return whole

    def room(self) -> memoryview | None:
        """Where what is to come of a large body may be written; None if not, or once given."""
        return self._body.room() if self._body is not None else None

    def landed(self, count: int) -> bool:
        """So many bytes more were written to the `room`; whether it is full."""
        return self._body is not None and self._body.landed(count)

    def asks_to_continue(self) -> bool:
        """Whether the caller waits for a word before it sends the body."""
        head, body = self.head, self._body
        return head is not None and head.expects and body is not None and not body.received

    def _expected(self, head: Head) -> Body:
        if head.length is None:
            return Chunked(self._most)
        if head.expects and head.length > self._most:  # nothing has been sent in vain yet
            raise TooLargeError(head.length)
        return Counted(head.length, self._most)

    def _find_head(self) -> int:
        """Read the head that what is there begins with: where it ends, or 0 if it does not."""
        while self._ahead.startswith(b"\r\n"):  # some clients end a body with a line too many
            self._ahead = self._ahead[2:]
        end = self._ahead.find(b"\r\n\r\n", 0, heads.MOST_BYTES) + 4
        if end < 4:
            if len(self._ahead) >= heads.MOST_BYTES:
                raise HeadError(431, f"the head is larger than {heads.MOST_BYTES} bytes")
            if heads.begins_wrong(self._ahead[:_BEGINNING]):
                raise HeadError(400, "not an HTTP request")
            return 0
        raw = self._ahead[:end]
        if self.head is None or self.head.raw != raw:
            self._whole = 0
            self.head = head = heads.read(raw)
            if head.length is not None and head.length <= self._most:
                self._whole = len(raw) + head.length
        return end
