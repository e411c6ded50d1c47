"""The short way of an event: read, answered and written without ASGI.

Predictions, and the questions that are answered from memory, are nearly all that comes, and an HTTP
framework costs them more than everything else that the router does. Documentation, jobs, the
repository and what no protocol has go through the app (`functions.router.app`), as does every event
that is odd in any way, so that the adapter alone says what those mean. Both ways give
the same answer to the last byte. It must not know what a call means beyond `goes_straight`.
"""

from __future__ import annotations

import base64
from typing import Any
from urllib.parse import unquote

from modelport import grammar
from modelport.envelope import Request, Response
from modelport.errors import ModelportError
from modelport.grammar import Call

from functions.router.caller import request_id
from functions.router.gateway import TEXTS, Event, body_of, headers_of, path_of, query_of
from functions.router.router import Router


def goes_straight(call: Call) -> bool:
    """Whether a call needs no app: the one rule of which way an event takes.

    >>> goes_straight(Call("v1", "predict", "magika")), goes_straight(Call("docs", "page"))
    (True, False)
    """
    return call.protocol not in ("docs", "jobs") and not call.verb.startswith("repository-")


def straight(router: Router, event: Event) -> dict[str, Any] | None:
    """The answer to an event of an HTTP or REST API; None where the app is to give it."""
    try:
        read = _read(event)
        if read is None or not goes_straight(grammar.parse(read[0].method, read[0].path)):
            return None
    except (ModelportError, ValueError, LookupError, TypeError, AttributeError):
        return None  # odd, or nobody's path: nothing has been answered or logged yet
    request, is_v2 = read
    problem = router.refused_size(request.headers) or router.too_large(len(request.body))
    if problem is not None:
        request = Request(request.method, request.path, request.headers, b"", request.request_id)
    response = router.exchange.answer(request, event, problem)
    body = b"" if request.method == "HEAD" else response.body
    headers = {**response.headers, "content-length": str(len(response.body))}
    return _http(response.status, headers, body) if is_v2 else _rest(response, headers, body)


def _read(event: Event) -> tuple[Request, bool] | None:
    """The request in an event, and whether an HTTP API sent it; None for what is odd."""
    context = event["requestContext"]
    if "elb" in context:
        return None
    is_v2 = event.get("version") == "2.0"
    if is_v2:
        method, query = context["http"]["method"], event.get("rawQueryString", "")
    elif "version" in event or "http" in context or "resource" not in event:
        return None
    else:
        method, query = event["httpMethod"], query_of(event)
    headers = headers_of(event)
    if is_v2 and event.get("cookies"):
        headers["cookie"] = "; ".join(event["cookies"])
    path, sent_id = path_of(event, context), request_id(event)
    if "%" in path:
        path = unquote(path)
    told = "".join((method, path, query, sent_id, *headers, *headers.values()))
    if not told.isascii() or not query.isprintable() or " " in query:
        return None
    target = f"{path or '/'}?{query}" if query else path or "/"
    return Request(method, target, headers, body_of(event), sent_id), is_v2


def _http(status: int, headers: dict[str, str], body: bytes) -> dict[str, Any]:
    headers.setdefault("content-type", "application/json")
    text, is_base64 = _written(headers, body)
    return {"statusCode": status, "body": text, "headers": headers, "isBase64Encoded": is_base64}


def _rest(response: Response, headers: dict[str, str], body: bytes) -> dict[str, Any]:
    text, is_base64 = _written(headers, body)
    return {
        "statusCode": response.status,
        "headers": headers,
        "multiValueHeaders": {},
        "body": text,
        "isBase64Encoded": is_base64,
    }


def _written(headers: dict[str, str], body: bytes) -> tuple[str, bool]:
    """A body as JSON carries it, and whether that is base64."""
    kind = headers.get("content-type", "")
    if kind == "application/json" or any(text in kind for text in TEXTS):
        try:
            return body.decode(), False
        except UnicodeDecodeError:
            pass
    return base64.b64encode(body).decode("ascii"), bool(body)
