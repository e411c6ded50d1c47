"""HTTP's side of the data plane: a bare ASGI callable, no framework.

Reads one bounded body, hands an `envelope.Request` to the data plane in a worker thread, so that
``/ping`` answers while a model computes, and writes the response. It must not load, configure or
listen: `server` is the composition root.
"""

from __future__ import annotations

import asyncio
import logging
import re
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from modelport.envelope import Handler, Request, Response
from modelport.errors import ModelportError, PayloadTooLargeError

from functions.runtime.failures import failure, refusal

logger = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

#: JSON parsing holds the interpreter's lock and onnxruntime releases it: more threads only queue.
WORKERS = 4
#: How much of a body that is too large is read and dropped, so that the client reads the answer.
DRAIN_FACTOR = 4
_LIMIT_HINT = "send fewer rows per request, or raise SAGEMAKER_MAX_PAYLOAD_IN_MB"
_ID_HEADERS = ("x-modelport-request-id", "x-amzn-sagemaker-inference-id", "x-request-id")
_SAFE_ID = re.compile(r"[\x21-\x7e]{1,128}")


class Application:
    """The ASGI application; answers 503 until `ready` is called."""

    def __init__(self, headers: dict[str, str], max_body: int) -> None:
        """``headers`` say which version this is, also while it loads."""
        self._headers = headers
        self._max_body = max_body
        self._handle: Handler | None = None
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="model")

    def ready(self, handle: Handler) -> None:
        """Start answering with this data plane."""
        self._handle = handle

    def close(self) -> None:
        """Let go of the worker threads without waiting for a model that hangs."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        request_id = _request_id(headers)
        try:
            body = await self._read(headers, receive)
        except PayloadTooLargeError as error:
            logger.warning("refused request %s: %s", request_id, error.message)
            response = self._own(failure(error, request_id))
            response.headers["connection"] = "close"
        except ConnectionError:
            return
        else:
            request = Request(scope["method"], _path(scope), headers, body, request_id)
            response = await self._respond(request)
        await _write(response, send)

    async def _respond(self, request: Request) -> Response:
        if self._handle is None:
            return self._own(_still_loading(request))
        if request.method != "POST":  # questions about the model are answered at once
            return self._handle(request)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, self._handle, request)

    def _own(self, response: Response) -> Response:
        response.headers.update(self._headers)
        return response

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


def _still_loading(request: Request) -> Response:
    if request.path == "/v2/health/live":
        return Response(200, {"content-type": "application/json"}, b'{"live":true}')
    response = refusal(503, "the model is still loading", "loading", request.request_id)
    response.headers["retry-after"] = "1"
    return response


def _request_id(headers: dict[str, str]) -> str:
    """The caller's id if it is safe to repeat in headers and logs, else a new one."""
    named = next((headers[name] for name in _ID_HEADERS if name in headers), "")
    return named if _SAFE_ID.fullmatch(named) else uuid.uuid4().hex


def _path(scope: Scope) -> str:
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    return raw.partition(b"?")[0].decode("latin-1")


async def _write(response: Response, send: Send) -> None:
    headers = {**response.headers, "content-length": str(len(response.body))}
    await send(
        {
            "type": "http.response.start",
            "status": response.status,
            "headers": [(k.encode("latin-1"), v.encode("latin-1")) for k, v in headers.items()],
        }
    )
    await send({"type": "http.response.body", "body": response.body})
