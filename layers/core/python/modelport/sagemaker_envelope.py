"""The exchange between router and model version when SageMaker stands in between.

InvokeEndpoint carries the body, its content type, ``Accept`` and one text of at most 1,024 ASCII
characters (custom attributes), to ``POST /invocations`` and nowhere else, and strips every other
header. So method, path and the remaining headers travel in that text; the body is not touched.
Whatever the model answers comes back as 200, because of any other status SageMaker keeps only an
excerpt; the real status and headers travel in the same text. Limits: CONTRACTS of InvokeEndpoint in
the SageMaker runtime API reference. This module only packs and unpacks.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from modelport.envelope import Request, Response
from modelport.errors import MalformedRequestError, PayloadTooLargeError

HEADER = "x-amzn-sagemaker-custom-attributes"
LIMIT = 1024
#: Begins the text; anything else is a caller's own attribute and left alone.
MARK = "modelport/1 "
#: SageMaker carries these by itself.
_CARRIED = frozenset({"content-type", "accept", "content-length", "host", "connection"})


def attributes_of(request: Request) -> str:
    """The custom attributes that carry ``request``; raises `PayloadTooLargeError` over 1,024."""
    headers = {name: value for name, value in request.headers.items() if name not in _CARRIED}
    text = MARK + _json(
        {"m": request.method, "p": request.path, "i": request.request_id, "h": headers}
    )
    if len(text) > LIMIT:
        way_out = "send fewer or shorter headers"
        raise PayloadTooLargeError(len(text), LIMIT, "path and headers, for SageMaker,", way_out)
    return text


def unwrap(received: Request) -> Request | None:
    """The request that the router sent, or None when this one came straight from a caller."""
    carried = _carried(received.headers)
    if carried is None:
        return None
    try:
        headers = {
            **{name: received.headers[name] for name in _CARRIED & received.headers.keys()},
            **carried["h"],
        }
        return Request(carried["m"], carried["p"], headers, received.body, carried["i"])
    except (KeyError, TypeError):
        raise MalformedRequestError(f"{HEADER} is not a modelport envelope") from None


def wrap(response: Response) -> Response:
    """The answer as it travels back through SageMaker: 200, the rest in the attributes."""
    kept = response.headers.get("content-type", "application/octet-stream")
    headers = {name: value for name, value in response.headers.items() if name not in _CARRIED}
    text = MARK + _json({"s": response.status, "h": headers})
    if len(text) > LIMIT:
        text = MARK + _json({"s": response.status, "h": {}})
    return Response(200, {"content-type": kept, HEADER: text}, response.body)


def unwrapped(received: Response) -> Response | None:
    """The answer a version gave, or None when something else than our runtime answered."""
    carried = _carried(received.headers)
    if carried is None:
        return None
    try:
        headers = {"content-type": received.headers["content-type"], **carried["h"]}
        return replace(received, status=int(carried["s"]), headers=headers)
    except (KeyError, TypeError, ValueError):
        raise MalformedRequestError(f"{HEADER} is not a modelport envelope") from None


def _carried(headers: dict[str, str]) -> dict[str, Any] | None:
    text = headers.get(HEADER, "")
    if not text.startswith(MARK):
        return None
    try:
        carried: dict[str, Any] = json.loads(text[len(MARK) :])
    except ValueError:
        raise MalformedRequestError(f"{HEADER} is not a modelport envelope") from None
    return carried


def _json(data: dict[str, Any]) -> str:
    return json.dumps(data, separators=(",", ":"), ensure_ascii=True)
