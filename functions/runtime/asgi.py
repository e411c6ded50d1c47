"""HTTP's side of the data plane: a bare ASGI callable, no framework.

Reads one bounded body, hands an `envelope.Request` to the data plane in a worker thread, so that
``/ping`` answers while a model computes, and writes the response. A request that the router sent
through SageMaker is taken out of its envelope first, and its answer goes back in one, whatever it
says. It must not load, configure or listen: `worker` is the composition root.
"""

from __future__ import annotations

import asyncio
import logging
import math
import re
import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any

from modelport.envelope import Handler, Request, Response
from modelport.errors import ModelportError, ModelTimeoutError, PayloadTooLargeError
from modelport.refusals import protocol_of
from modelport.sagemaker_envelope import unwrap, wrap

from functions.runtime.failures import failure, refusal
from functions.runtime.metrics import CONTENT_TYPE, Metrics
from functions.runtime.streaming import Generating, Pace, Receive, Send, generates, write

logger = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]

#: JSON parsing holds the interpreter's lock and onnxruntime releases it: more threads only queue.
WORKERS = 4
#: How much of a body that is too large is read and dropped, so that the client reads the answer.
DRAIN_FACTOR = 4
METRICS = "/metrics"
_LIMIT_HINT = "send fewer rows per request, or raise SAGEMAKER_MAX_PAYLOAD_IN_MB"
_ID_HEADERS = ("x-modelport-request-id", "x-amzn-sagemaker-inference-id", "x-request-id")
_SAFE_ID = re.compile(r"[\x21-\x7e]{1,128}")


@dataclass(frozen=True)
class Deadline:
    """How long a caller waits; ``missed`` is called when no caller got an answer for so long."""

    seconds: float
    model: str
    version: int
    missed: Callable[[], None]


class Application:
    """The ASGI application; answers 503 until `ready` is called."""

    def __init__(
        self,
        headers: dict[str, str],
        max_body: int,
        *,
        metrics: Metrics | None = None,
        deadline: Deadline | None = None,
    ) -> None:
        """``headers`` say which version this is, also while it loads."""
        self._headers = headers
        self._max_body = max_body
        self._metrics = metrics
        self._deadline = deadline
        self._handle: Handler | None = None
        self._gather: Callable[[Request], Awaitable[Response]] | None = None
        self._generating: Generating | None = None
        self._finished_at = -math.inf
        self.pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="model")

    def ready(
        self,
        handle: Handler,
        gather: Callable[[Request], Awaitable[Response]] | None = None,
        stream: Handler | None = None,
    ) -> None:
        """Start answering with this data plane.

        Predictions go to ``gather`` and requests for text to ``stream``, where there are such.
        """
        self._handle, self._gather = handle, gather
        if stream:
            limit = self._deadline.seconds if self._deadline else None
            self._generating = Generating(stream, Pace(limit, self._overdue, self._progress))

    def close(self) -> None:
        """Let go of the worker threads without waiting for a model that hangs."""
        self.pool.shutdown(wait=False, cancel_futures=True)
        if self._generating:
            self._generating.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        if scope["path"] == METRICS and self._metrics and scope["method"] in ("GET", "HEAD"):
            await write(scrape(self._metrics), send)
            return
        headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        request = Request(scope["method"], _path(scope), headers, b"", safe_id(headers))
        with self._in_flight(request):
            response = await self._exchange(request, receive, send)
            if response is not None:
                await write(response, send)

    async def answer(self, request: Request) -> Response:
        """Answer a whole request, however it came."""
        with self._in_flight(request):
            return await self._respond(request)

    async def _exchange(self, request: Request, receive: Receive, send: Send) -> Response | None:
        """The answer, or None when it has been sent or nobody waits for it."""
        try:
            body = await self._read(request.headers, receive)
        except PayloadTooLargeError as error:
            logger.warning("refused request %s: %s", request.request_id, error.message)
            response = self._refused(failure(error, request.request_id, request))
            response = as_asked(request, response)
            response.headers["connection"] = "close"
            return response
        except ConnectionError:
            return None
        request = replace(request, body=body)
        try:
            inner = enveloped(request)
        except ModelportError as error:
            return self._refused(failure(error, request.request_id, request))
        if self._generating and generates(inner or request):
            dress = wrap if inner else _as_it_is
            await self._generating.serve(inner or request, receive, send, dress)
            return None
        return wrap(await self._respond(inner)) if inner else await self._respond(request)

    async def _respond(self, request: Request) -> Response:
        if self._handle is None:
            return self._own(still_loading(request))
        if request.method != "POST":  # questions about the model are answered at once
            return self._handle(request)
        answer = self._predict(self._handle, request)
        return await (self._timed(answer, request, self._deadline) if self._deadline else answer)

    async def _timed(
        self, answer: Awaitable[Response], request: Request, deadline: Deadline
    ) -> Response:
        waiting = asyncio.ensure_future(answer)
        waiting.add_done_callback(self._finished)
        try:
            return await asyncio.wait_for(waiting, deadline.seconds)
        except TimeoutError:
            return self._overdue(request)

    def _finished(self, answer: asyncio.Future[Response]) -> None:
        if not answer.cancelled():
            self._progress()

    def _progress(self) -> None:
        self._finished_at = monotonic()

    def _predict(self, handle: Handler, request: Request) -> Awaitable[Response]:
        if self._gather:
            return self._gather(request)
        return asyncio.get_running_loop().run_in_executor(self.pool, handle, request)

    def _overdue(self, request: Request) -> Response:
        """What waits is dropped. What runs cannot be stopped, so a worker all stuck is replaced."""
        deadline = self._deadline
        assert deadline is not None
        error = ModelTimeoutError(deadline.model, deadline.version, deadline.seconds)
        stuck = monotonic() - self._finished_at >= deadline.seconds
        end = "; nothing else got done either, this worker ends" if stuck else ""
        logger.error("request %s: %s%s", request.request_id, error.message, end)
        if stuck:
            deadline.missed()
        return self._refused(failure(error, request.request_id, request))

    def _refused(self, response: Response) -> Response:
        if self._metrics:
            self._metrics.refused(response.status)
        return self._own(response)

    def _own(self, response: Response) -> Response:
        response.headers.update(self._headers)
        return response

    @contextmanager
    def _in_flight(self, request: Request) -> Iterator[None]:
        metrics = self._metrics if request.method == "POST" else None
        if metrics:
            metrics.entered()
        try:
            yield
        finally:
            if metrics:
                metrics.left()

    async def _read(self, headers: dict[str, str], receive: Receive) -> bytes:
        declared = headers.get("content-length", "")
        size = int(declared) if declared.isascii() and declared.isdigit() else 0
        if size > self._max_body and (size > self._max_body * DRAIN_FACTOR or "expect" in headers):
            raise self._too_large(size)
        chunks: list[bytes] = []
        received, more = 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ConnectionResetError
            chunk, more = message.get("body", b""), message.get("more_body", False)
            received += len(chunk)
            if received <= self._max_body:
                chunks.append(chunk)
            elif received > self._max_body * DRAIN_FACTOR:
                raise self._too_large(received)
            else:
                chunks.clear()
        if received > self._max_body:
            raise self._too_large(received)
        return b"".join(chunks)

    def _too_large(self, size: int) -> ModelportError:
        return PayloadTooLargeError(size, self._max_body, "the request body", _LIMIT_HINT)


def enveloped(request: Request) -> Request | None:
    """The request that the router sent through SageMaker, if this is one.

    Raises `MalformedRequestError` for an envelope that cannot be read.
    """
    if request.method != "POST" or request.path.partition("?")[0] != "/invocations":
        return None
    inner = unwrap(request)
    if inner is not None and not _SAFE_ID.fullmatch(inner.request_id):
        return replace(inner, request_id=request.request_id)
    return inner


def as_asked(request: Request, response: Response) -> Response:
    """The answer, in SageMaker's envelope if the request came in one."""
    try:
        return response if enveloped(request) is None else wrap(response)
    except ModelportError:
        return response


def still_loading(request: Request, reason: str = "the model is still loading") -> Response:
    """The answer of a version that does not serve yet, or no longer."""
    if request.path.partition("?")[0] == "/v2/health/live":
        return Response(200, {"content-type": "application/json"}, b'{"live":true}')
    response = refusal(503, reason, "loading", request.request_id, protocol_of(request.path))
    response.headers["retry-after"] = "1"
    return response


def scrape(metrics: Metrics) -> Response:
    """The answer to ``/metrics``."""
    return Response(200, {"content-type": CONTENT_TYPE}, metrics.render())


def safe_id(headers: Mapping[str, str]) -> str:
    """The caller's id if it is safe to repeat in headers and logs, else a new one."""
    named = next((headers[name] for name in _ID_HEADERS if name in headers), "")
    return named if _SAFE_ID.fullmatch(named) else uuid.uuid4().hex


def _path(scope: Scope) -> str:
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    path, query = raw.partition(b"?")[0], scope.get("query_string", b"")
    return (path + b"?" + query if query else path).decode("latin-1")


def _as_it_is(response: Response) -> Response:
    return response
