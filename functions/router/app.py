"""The router as an ASGI app: bytes in, `Exchange`, bytes out, one log line per request.

The tensor path is one raw ASGI endpoint under FastAPI: no models, no validation, no copies. It
must not read the environment or create clients (that is `functions.router.handler`), and nothing
it is sent may make it raise: whatever happens becomes a JSON answer with a request id.

In Lambda most events never come here (`functions.router.straight`), so this is imported when the
first one does.
"""

from __future__ import annotations

from collections.abc import Mapping

import anyio
from fastapi import FastAPI
from modelport.envelope import Request, Response
from modelport.errors import PayloadTooLargeError
from starlette.types import ASGIApp, Receive, Scope, Send

from functions.router.caller import request_id
from functions.router.gateway import PROBLEM
from functions.router.router import Router


def create_app(router: Router, *, threads: bool = True) -> FastAPI:
    """An app over a router.

    ``threads`` answers each request in a thread, so that a slow model does not hold up the others.
    Where there is never more than one request at a time, as in Lambda, turn it off: the hop costs
    more than the router's own work.
    """
    app = FastAPI(title="modelport", docs_url=None, redoc_url=None, openapi_url=None)
    # What no route of the app claims is the data plane's. As the default rather than as a route,
    # because patterns have gaps: "/{path:path}" does not match a path with a line break.
    app.router.default = _Endpoint(router, app.router.default, threads=threads)
    return app


class _Endpoint:
    """The data plane as an ASGI app: it sees every method, the raw path and the raw body."""

    def __init__(self, router: Router, not_http: ASGIApp, *, threads: bool) -> None:
        self._router, self._not_http, self._threads = router, not_http, threads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._not_http(scope, receive, send)
        headers = _headers(scope)
        body = await _read(receive, headers, self._router)
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
        return self._router.exchange.answer(request, event, problem)


def _headers(scope: Scope) -> dict[str, str]:
    return {
        name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]
    }


async def _read(
    receive: Receive, headers: Mapping[str, str], router: Router
) -> bytes | PayloadTooLargeError | None:
    """The body; an error instead once it is over the limit; None when the caller hung up."""
    refused = router.refused_size(headers)
    if refused is not None:
        return refused
    chunks, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        chunk = message.get("body", b"")
        chunks.append(chunk)
        size += len(chunk)
        if (refused := router.too_large(size)) is not None:
            return refused
        if not message.get("more_body", False):
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)


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
