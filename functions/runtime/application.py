"""How a worker answers: at once on the event loop, in a thread, in a batch, or piece by piece.

Takes whole requests from HTTP and gRPC, and hands each to the data plane in the cheapest way that
keeps nobody else waiting: what has shown that it is quick runs right here (`inline`), the rest in
a few threads, so that ``/ping`` answers while a slower model computes. A request that the router
sent through SageMaker is taken out of its envelope first, and its answer goes back in one, whatever
it says. It must not know a connection, or load, configure or listen: `worker` is the composition
root.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from time import monotonic, thread_time_ns

from modelport.envelope import REFERENCE, Handler, Request, Response
from modelport.errors import ModelportError, ModelTimeoutError, PayloadTooLargeError
from modelport.records import record
from modelport.sagemaker_envelope import HEADER as ATTRIBUTES
from modelport.sagemaker_envelope import wrap

from functions.runtime.failures import failure
from functions.runtime.front import (
    RequestIds,
    as_asked,
    asks_for_metrics,
    enveloped,
    scrape,
    still_loading,
)
from functions.runtime.inline import ALONE_NS, LIMIT_NS, Quickness
from functions.runtime.metrics import Metrics
from functions.runtime.streaming import Generating, Outlet, Pace, generates
from functions.runtime.turn import Turn
from functions.runtime.watchdog import Watchdog

logger = logging.getLogger(__name__)

#: JSON parsing holds the interpreter's lock and onnxruntime releases it: more threads only queue.
THREADS = 4
#: By how much a timer of the loop, which counts in milliseconds, may be early.
_TIMER_S = 0.005
_LIMIT_HINT = "send fewer rows per request, or raise SAGEMAKER_MAX_PAYLOAD_IN_MB"


@record(frozen=True)
class Deadline:
    """How long a caller waits, and who hears that none got an answer for so long.

    ``missed`` is called on the loop, which goes on; ``hung`` from another thread when the loop
    itself is what hangs.
    """

    seconds: float
    model: str
    version: int
    missed: Callable[[], None]
    hung: Callable[[], None] = lambda: None


class Application:
    """Answers requests on one event loop; with 503 until `ready` is called."""

    def __init__(
        self,
        headers: dict[str, str],
        max_body: int,
        *,
        metrics: Metrics | None = None,
        deadline: Deadline | None = None,
        flush: Callable[[], None] = lambda: None,
        threads: int = THREADS,
    ) -> None:
        """``headers`` say which version this is, also while it loads.

        As many requests as there are ``threads`` are answered beside each other. ``flush`` writes
        the log lines of requests, at the end of each `Turn`.
        """
        self.max_body = max_body
        self.ids = RequestIds()
        self._headers = headers
        self._metrics = metrics
        self._deadline = deadline
        self._flush = flush
        self.turn = Turn(flush)
        self._handle: Handler | None = None
        self._gather: Callable[[Request], Awaitable[Response]] | None = None
        self._runs_script: Callable[[Request], bool] = lambda request: False
        self._generating: Generating | None = None
        self._quickness = Quickness(LIMIT_NS if threads > 1 else ALONE_NS)
        self._finished_at = -math.inf
        self._watchdog = Watchdog(deadline.seconds, self._hung) if deadline else None
        #: What runs on the loop, and how its caller can be told of it while the loop hangs.
        self._running: tuple[Request, Callable[[Response], None]] | None = None
        self.pool = ThreadPoolExecutor(threads, thread_name_prefix="model")

    def ready(
        self,
        handle: Handler,
        gather: Callable[[Request], Awaitable[Response]] | None = None,
        stream: Handler | None = None,
        runs_script: Callable[[Request], bool] | None = None,
    ) -> None:
        """Start answering with this data plane.

        Predictions go to ``gather`` and requests for text to ``stream``, where there are such.
        What ``runs_script`` says yes to never runs on the loop.
        """
        self._handle, self._gather = handle, gather
        if runs_script:
            self._runs_script = runs_script
        if stream:
            limit = self._deadline.seconds if self._deadline else None
            self._generating = Generating(stream, Pace(limit, self._overdue, self._progress))
        if self._watchdog:
            self._watchdog.start()

    def close(self) -> None:
        """Let go of the worker threads without waiting for a model that hangs."""
        self.pool.shutdown(wait=False, cancel_futures=True)
        if self._generating:
            self._generating.close()
        if self._watchdog:
            self._watchdog.stop()

    # --- at once ----------------------------------------------------------------------------------

    def may_be_quick(self, request: Request) -> bool:
        """Whether a request with this head can be answered `at_once`, whatever its body says.

        Not what runs a user's code, and not what may be larger than it looks.
        """
        if request.method != "POST":
            return True
        headers = request.headers
        return not (
            self._gather
            or ATTRIBUTES in headers
            or "content-encoding" in headers
            or headers.get("content-type") == REFERENCE
            or generates(request)
            or self._runs_script(request)
        )

    def at_once(self, request: Request, tell: Callable[[Response], None]) -> Response | None:
        """The answer to what `may_be_quick`, or None where it has to be waited for.

        ``tell`` reaches the caller from another thread, should the loop hang in it after all.
        """
        handle = self._handle
        started = monotonic()
        self.turn.goes_on(started)
        if request.method != "POST" or handle is None:
            return self._aside(request)
        size = len(request.body)
        if self.turn.is_long or not self._quickness.is_known(size):
            return None
        if self._watchdog:
            self._running, self._watchdog.since = (request, tell), started
        response = handle(request)
        self._finished_at = ended = monotonic()
        if self._watchdog:
            self._watchdog.since = 0.0
        took = int((ended - started) * 1e9)
        self._quickness.ran_on_loop(size, took)
        self.turn.is_long = took > LIMIT_NS
        return response

    def _aside(self, request: Request) -> Response:
        """The answer to what asks for no prediction, or where there is nothing to ask."""
        if self._metrics and asks_for_metrics(request):
            self._flush()  # what has been answered is counted
            return scrape(self._metrics)
        return self._handle(request) if self._handle else self._own(still_loading(request))

    def _hung(self) -> None:
        """The watchdog's: the loop does nothing more, so this worker is lost."""
        running, deadline = self._running, self._deadline
        assert running is not None
        assert deadline is not None
        request, tell = running
        self.turn.hung()
        tell(self._late(request, "; it held up everything else, this worker ends"))
        deadline.hung()

    # --- in time ----------------------------------------------------------------------------------

    async def exchange(self, request: Request, outlet: Outlet) -> Response | None:
        """The answer to a request over HTTP, or None when ``outlet`` has had it in pieces."""
        try:
            inner = enveloped(request)
        except ModelportError as error:
            return self._refused(failure(error, request.request_id, request))
        if self._generating and generates(inner or request):
            self._enter(request)
            try:
                await self._generating.serve(inner or request, outlet, wrap if inner else _as_it_is)
            finally:
                self._leave(request)
                self.turn.goes_on(monotonic())
            return None
        return wrap(await self.answer(inner)) if inner else await self.answer(request)

    async def answer(self, request: Request) -> Response:
        """Answer a whole request, however it came."""
        if self._handle is None or request.method != "POST":
            return self._aside(request)
        if self.may_be_quick(request) and (now := self.at_once(request, _nobody)):
            return now
        self._enter(request)
        try:
            answer = self._predict(self._handle, request)
            if self._deadline:
                return await self._timed(answer, request, self._deadline)
            return await answer
        finally:
            self._leave(request)
            self.turn.goes_on(monotonic())

    def too_large(self, request: Request, size: int) -> Response:
        """The refusal of a body of so many bytes."""
        error = PayloadTooLargeError(size, self.max_body, "the request body", _LIMIT_HINT)
        logger.warning("refused request %s: %s", request.request_id, error.message)
        return as_asked(request, self._refused(failure(error, request.request_id, request)))

    def misunderstood(self, status: int, words: str) -> Response:
        """The refusal of what is no HTTP request."""
        response = Response(status, {"content-type": "text/plain"}, words.encode() + b"\n")
        return self._refused(response)

    async def _timed(
        self, answer: Awaitable[Response], request: Request, deadline: Deadline
    ) -> Response:
        waiting = asyncio.ensure_future(answer)
        waiting.add_done_callback(self._finished)
        try:
            return await asyncio.wait_for(waiting, deadline.seconds)
        except TimeoutError:
            return self._overdue(request)

    def _finished(self, answer: Future[Response] | asyncio.Future[Response]) -> None:
        if not answer.cancelled():
            self._progress()

    def _progress(self) -> None:
        self._finished_at = monotonic()

    def _predict(self, handle: Handler, request: Request) -> Awaitable[Response]:
        if self._gather:
            return self._gather(request)
        work = self._trial if self.may_be_quick(request) else handle
        running = self.pool.submit(work, request)
        running.add_done_callback(self._finished)  # also when nobody waits for it any more
        return asyncio.wrap_future(running)

    def _trial(self, request: Request) -> Response:
        """In a thread: answer, and note how long that would have held up the loop."""
        assert self._handle is not None
        started = thread_time_ns()
        response = self._handle(request)
        self._quickness.ran_in_thread(len(request.body), thread_time_ns() - started)
        return response

    def _overdue(self, request: Request) -> Response:
        """What waits is dropped. What runs cannot be stopped, so a worker all stuck is replaced."""
        deadline = self._deadline
        assert deadline is not None
        stuck = monotonic() - self._finished_at >= deadline.seconds - _TIMER_S
        end = "; nothing else got done either, this worker ends" if stuck else ""
        response = self._late(request, end)
        if stuck:
            deadline.missed()
        return response

    def _late(self, request: Request, end: str) -> Response:
        deadline = self._deadline
        assert deadline is not None
        error = ModelTimeoutError(deadline.model, deadline.version, deadline.seconds)
        logger.error("request %s: %s%s", request.request_id, error.message, end)
        return self._refused(failure(error, request.request_id, request))

    def _refused(self, response: Response) -> Response:
        if self._metrics:
            self._metrics.refused(response.status)
        return self._own(response)

    def _own(self, response: Response) -> Response:
        response.headers.update(self._headers)
        return response

    # What runs on the loop is not counted as in flight: nobody who asks the loop could see it.

    def _enter(self, request: Request) -> None:
        if self._metrics and request.method == "POST":
            self._metrics.entered()

    def _leave(self, request: Request) -> None:
        if self._metrics and request.method == "POST":
            self._metrics.left()


def _nobody(response: Response) -> None:
    """Whose connection ends with the worker: a gRPC caller, who cannot be told past its frames."""


def _as_it_is(response: Response) -> Response:
    return response
