"""The exchange between router and model version when SageMaker stands in between.

InvokeEndpoint carries the body, its content type, ``Accept`` and one text of at most 1,024 ASCII
characters (custom attributes), to ``POST /invocations`` and nowhere else, and strips every other
header. So method, path and the remaining headers travel in that text; the body is not touched.
Whatever the model answers comes back as 200, because of any other status SageMaker keeps only an
excerpt; the real status and headers travel in the same text. Where the text is too short, headers
stay behind in a fixed order (`PRIORITY`); a path or a header that the body cannot be read without
never does. This module only packs and unpacks; it must not trust what it unpacks.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from modelport.envelope import Request, Response
from modelport.errors import MalformedRequestError, PayloadTooLargeError

HEADER = "x-amzn-sagemaker-custom-attributes"
#: Names a variant of an endpoint; to a caller of the router, a version or an alias.
VARIANT_HEADER = "x-amzn-sagemaker-target-variant"
LIMIT = 1024
#: What InvokeEndpoint takes and gives: one body of at most so many bytes, within so many seconds.
BODY_LIMIT = 6_291_456
TIME_LIMIT_S = 60.0
#: Begins the text; anything else is a caller's own attribute and left alone.
MARK = "modelport/1 "
#: SageMaker refuses a request without a body, so this stands for none.
NO_BODY = b" "
#: The body cannot be read without these, or would be read otherwise: never left behind.
ESSENTIAL = frozenset({"content-encoding", "inference-header-content-length", HEADER})
#: What the runtime and the registrar read, most needed first; a ``*`` ends a family's prefix.
#: Everything else is carried only where room is left.
PRIORITY = (
    "content-encoding",
    "inference-header-content-length",
    HEADER,
    "x-modelport-digest",
    "retry-after",
    "allow",
    "x-amzn-sagemaker-*",
    "x-modelport-*",
)

#: SageMaker carries these by itself.
_CARRIED = ("content-type", "accept")
#: Each connection has its own.
_OF_THE_CONNECTION = frozenset({"content-length", "host", "connection", "transfer-encoding"})
#: How the text says that there was none: SageMaker may put a value of its own there.
_ABSENT = {"content-type": "t", "accept": "a", "body": "b"}
_METHOD = re.compile(r"[A-Z]{1,16}")
_PATH = re.compile(r"/[\x21-\x7e]*")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")
#: Control characters, and halves of characters, which JSON can spell and nobody can encode.
_UNFIT = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")


def attributes_of(request: Request) -> str:
    """The custom attributes that carry ``request``; raises `PayloadTooLargeError` over 1,024.

    >>> attributes_of(Request("POST", "/v2/models/m/infer", {"accept": "*/*"}, b"{}", "r-1"))
    'modelport/1 {"m":"POST","p":"/v2/models/m/infer","i":"r-1","x":"t","h":{}}'
    """
    absent = "".join(_ABSENT[name] for name in _CARRIED if name not in request.headers)
    if not request.body:
        absent += _ABSENT["body"]
    head = {"m": request.method, "p": request.path, "i": request.request_id, "x": absent}
    text, left = _fitted(head, request.headers)
    if len(text) > LIMIT or left & ESSENTIAL:
        size = len(_text(head, {name: request.headers[name] for name in left & ESSENTIAL}))
        hint = "send a shorter query, request id or custom attributes"
        raise PayloadTooLargeError(size, LIMIT, "path and headers, for SageMaker,", hint)
    return text


def body_of(request: Request) -> bytes:
    """The body that InvokeEndpoint takes for ``request``."""
    return request.body or NO_BODY


def unwrap(received: Request) -> Request | None:
    """The request that the router sent, or None when this one came straight from a caller.

    Raises `MalformedRequestError` for attributes that begin as ours and are not.
    """
    carried = _carried(received.headers)
    if carried is None:
        return None
    method, path, request_id, absent = (_string(carried, key) for key in "mpix")
    if not _METHOD.fullmatch(method) or not _PATH.fullmatch(path):
        raise _malformed()
    headers = {
        name: received.headers[name]
        for name in _CARRIED
        if name in received.headers and _ABSENT[name] not in absent
    }
    headers |= _headers(carried)
    body = b"" if _ABSENT["body"] in absent else received.body
    return Request(method, path, headers, body, request_id)


def wrap(response: Response) -> Response:
    """The answer as it travels back through SageMaker: 200, the rest in the attributes."""
    kind = response.headers.get("content-type")
    head = {"s": response.status, "x": "" if kind else _ABSENT["content-type"]}
    text, _ = _fitted(head, response.headers)
    headers = {"content-type": kind or "application/octet-stream", HEADER: text}
    return Response(200, headers, response.body)


def unwrapped(received: Response) -> Response | None:
    """The answer a version gave, or None when something else than our runtime answered.

    Raises `MalformedRequestError` for attributes that begin as ours and are not.
    """
    carried = _carried(received.headers)
    if carried is None:
        return None
    status, absent = carried.get("s"), _string(carried, "x")
    if type(status) is not int or not 200 <= status <= 599:
        raise _malformed()
    headers = _headers(carried)
    if not absent and "content-type" in received.headers:
        headers["content-type"] = received.headers["content-type"]
    return replace(received, status=status, headers=headers)


def _fitted(head: dict[str, Any], headers: Mapping[str, str]) -> tuple[str, frozenset[str]]:
    """The text with as many headers as fit, most needed first, and those that had to stay."""
    carried: dict[str, str] = {}
    left = set()
    text = _text(head, carried)
    for name in sorted(headers.keys() - {*_CARRIED, *_OF_THE_CONNECTION}, key=_rank):
        longer = _text(head, {**carried, name: headers[name]})
        if len(longer) > LIMIT:
            left.add(name)
            continue
        carried[name], text = headers[name], longer
    return text, frozenset(left)


def _rank(name: str) -> tuple[int, str]:
    for at, wanted in enumerate(PRIORITY):
        if name == wanted or (wanted.endswith("*") and name.startswith(wanted[:-1])):
            return at, name
    return len(PRIORITY), name


def _text(head: dict[str, Any], headers: Mapping[str, str]) -> str:
    return MARK + json.dumps({**head, "h": headers}, separators=(",", ":"), ensure_ascii=True)


def _carried(headers: Mapping[str, str]) -> dict[str, Any] | None:
    text = headers.get(HEADER, "")
    if not text.startswith(MARK):
        return None
    if len(text) > LIMIT:
        raise _malformed()
    try:
        carried = json.loads(text[len(MARK) :])
    except (ValueError, RecursionError):
        raise _malformed() from None
    if not isinstance(carried, dict):
        raise _malformed()
    return carried


def _string(carried: dict[str, Any], key: str) -> str:
    value = carried.get(key)
    if not isinstance(value, str):
        raise _malformed()
    return value


def _headers(carried: dict[str, Any]) -> dict[str, str]:
    """The headers of the text, without those that SageMaker or the connection speaks for."""
    headers = carried.get("h")
    if not isinstance(headers, dict):
        raise _malformed()
    for name, value in headers.items():
        if not _NAME.fullmatch(name) or not isinstance(value, str) or _UNFIT.search(value):
            raise _malformed()
    spoken_for = {*_CARRIED, *_OF_THE_CONNECTION}
    return {name: value for name, value in headers.items() if name not in spoken_for}


def _malformed() -> MalformedRequestError:
    return MalformedRequestError(
        f"{HEADER} begins as the router's and is not: send attributes of your own,"
        f" which do not begin with {MARK.strip()!r}"
    )
