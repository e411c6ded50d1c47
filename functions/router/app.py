"""The router as an ASGI app: bytes in, `Dispatcher`, bytes out, one log line per request.

The tensor path is one raw ASGI endpoint under FastAPI: no models, no validation, no copies. It
must not read the environment or create clients (that is `functions.router.handler`), and nothing
it is sent may make it raise: whatever happens becomes a JSON answer with a request id.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import anyio
from fastapi import FastAPI
from modelport.backends import Backend
from modelport.envelope import Request, Response
from modelport.errors import PayloadTooLargeError
from modelport.settings import RouterSettings
from starlette.types import ASGIApp, Receive, Scope, Send

from functions.router.caller import request_id
from functions.router.dispatch import Dispatcher, Source
from functions.router.exchange import Exchange
from functions.router.gateway import PROBLEM
from functions.router.routes_cache import Clock, Log

if TYPE_CHECKING:
    from functions.router.jobs import Jobs
    from functions.router.shadowing import Shadows

_FEWER_ROWS = "send fewer rows per request"
_UPLOAD = f"{_FEWER_ROWS}, or upload the body: POST /uploads"

logger = logging.getLogger(__name__)


def log_json(record: Mapping[str, Any]) -> None:
    """Hand one record to `logging` as one line of JSON."""
    logger.info("%s", json.dumps(record, default=str))


def create_app(
    registry: Source,
    backends: Mapping[str, Backend],
    *,
    settings: RouterSettings,
    clock: Clock = time.monotonic,
    log: Log = log_json,
    threads: bool = True,
    shadows: Shadows | None = None,
    jobs: Callable[[], Jobs] | None = None,
) -> FastAPI:
    """The router over a registry and one backend per deployment target.

    ``threads`` answers each request in a thread, so that a slow model does not hold up the others.
    Where there is never more than one request at a time, as in Lambda, turn it off: the hop costs
    more than the router's own work. Without ``shadows`` no answers are copied, without ``jobs`` no
    calls are answered later.
    """
    app = FastAPI(title="modelport", docs_url=None, redoc_url=None, openapi_url=None)
    dispatcher = Dispatcher(
        registry,
        backends,
        routes_ttl_s=settings.routes_ttl_s,
        clock=clock,
        log=log,
        auth=settings.auth,
        shadows=shadows,
        jobs=jobs,
    )
    # What no route of the app claims is the data plane's. As the default rather than as a route,
    # because patterns have gaps: "/{path:path}" does not match a path with a line break.
    app.router.default = _Endpoint(
        Exchange(dispatcher, clock, log, settings.environment),
        settings.max_body_bytes,
        app.router.default,
        _UPLOAD if jobs else _FEWER_ROWS,
        threads=threads,
    )
    return app


class _Endpoint:
    """The data plane as an ASGI app: it sees every method, the raw path and the raw body."""

    def __init__(
        self,
        exchange: Exchange,
        max_body: int,
        not_http: ASGIApp,
        way_out: str,
        *,
        threads: bool,
    ) -> None:
        self._exchange, self._max_body, self._way_out = exchange, max_body, way_out
        self._threads, self._not_http = threads, not_http

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._not_http(scope, receive, send)
        headers = _headers(scope)
        body = await _read(receive, headers, self._max_body, self._way_out)
        if body is None:
            return
        if self._threads:
            response = await anyio.to_thread.run_sync(self._answer, scope, headers, body)
        else:
            response = self._answer(scope, headers, body)
        await _send(send, response, head=scope["method"] == "HEAD")

    def _answer(
        self, scope: Scope, headers: dict[str, str], body: bytes | PayloadTooLargeError
    ) -> Response:
        event = scope.get("aws.event")
        sent = body if isinstance(body, bytes) else b""
        request = Request(scope["method"], _raw_path(scope), headers, sent, request_id(event))
        problem = (event or {}).get(PROBLEM) if isinstance(body, bytes) else body
        return self._exchange.answer(request, event, problem)


def _headers(scope: Scope) -> dict[str, str]:
    return {
        name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]
    }


async def _read(
    receive: Receive, headers: Mapping[str, str], limit: int, way_out: str
) -> bytes | PayloadTooLargeError | None:
    """The body; an error instead once it is over the limit; None when the caller hung up."""
    declared = headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and int(declared) > limit:
        return _too_large(int(declared), limit, way_out)
    chunks, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        chunk = message.get("body", b"")
        chunks.append(chunk)
        size += len(chunk)
        if size > limit:
            return _too_large(size, limit, way_out)
        if not message.get("more_body", False):
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _too_large(size: int, limit: int, way_out: str) -> PayloadTooLargeError:
    return PayloadTooLargeError(size, limit, "the request body", way_out)


async def _send(send: Send, response: Response, *, head: bool) -> None:
    headers = {**response.headers, "content-length": str(len(response.body))}
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": response.status, "headers": raw})
    await send({"type": "http.response.body", "body": b"" if head else response.body})


def _raw_path(scope: Scope) -> str:
    """Path and query as sent, still percent-encoded; gateways leave only the decoded path."""
    raw: bytes | None = scope.get("raw_path")
    path: str = scope["path"] if raw is None else raw.partition(b"?")[0].decode("latin-1")
    query: bytes = scope.get("query_string", b"")
    return f"{path}?{_visible(query)}" if query else path


def _visible(query: bytes) -> str:
    """The query in the characters a request line has, which is all that later homes take."""
    if query.isascii() and query.decode("ascii").isprintable() and b" " not in query:
        return query.decode("ascii")
    from urllib.parse import quote  # no client of a known protocol sends such a query

    return quote(query, safe="!#$%&'()*+,/:;=?@[]~")
