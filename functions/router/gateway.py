"""API Gateway's events, made plain before anything else sees them, so that nothing stumbles there.

An HTTP API puts its stage in front of the path (unless that is ``$default``), a custom domain puts
its mapping there; a REST API's proxy resource says which part is ours. A body becomes bytes,
headers become text by lower-case names; what cannot be read is said in the event, not raised.
Pure functions over dicts; no AWS, no ASGI.
"""

from __future__ import annotations

import binascii
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, urlencode

from modelport.errors import MalformedRequestError
from modelport.grammar import allowed_methods

Event = dict[str, Any]

#: Under this key a plain event says why it cannot be answered otherwise than with that error.
PROBLEM = "modelport.problem"
#: The adapter makes numbers of these and fails where they are none; nothing here needs them.
_UNUSED_HEADERS = frozenset({"host", "x-forwarded-port"})
#: What leaves as text, wherever its content type has one of these; the adapter's list.
TEXTS = (
    "text/",
    "application/json",
    "application/javascript",
    "application/xml",
    "application/vnd.api+json",
    "application/vnd.oai.openapi",
)


def plain(event: Event) -> Event:
    """A copy of ``event``: path from the router's own root, body in bytes, headers as text."""
    read = without_base_path(event)
    read["headers"] = headers_of(event)
    read["multiValueHeaders"] = None
    read["isBase64Encoded"] = False
    try:
        read["body"] = body_of(event)
    except ValueError:
        read["body"] = b""
        read[PROBLEM] = MalformedRequestError(
            "the body in the gateway's event cannot be read: send text, or base64 and say so"
        )
    return read


def unreadable() -> Event:
    """What stands for an event that is none of a gateway: it is answered with an error."""
    problem = MalformedRequestError("the event is none of an API Gateway's: call the API instead")
    http = {"method": "GET", "path": "/", "sourceIp": ""}
    return {"version": "2.0", "requestContext": {"http": http}, "headers": {}, PROBLEM: problem}


def headers_of(event: Event) -> dict[str, str]:
    """The headers by lower-case name; what came several times is joined by commas.

    Cookies by semicolons: HTTP/2 sends them apart. (RFC 9113, section 8.2.3.)
    """
    headers = {
        name.lower(): value
        for name, value in (event.get("headers") or {}).items()
        if isinstance(value, str)
    }
    for name, values in (event.get("multiValueHeaders") or {}).items():
        if isinstance(values, list) and (len(values) > 1 or name.lower() not in headers):
            between = "; " if name.lower() == "cookie" else ", "
            headers[name.lower()] = between.join(map(str, values))
    for name in _UNUSED_HEADERS & headers.keys():
        del headers[name]
    return headers


def query_of(event: Event) -> str:
    """The query of a REST API's event, encoded; "" for none."""
    values = event.get("multiValueQueryStringParameters") or event.get("queryStringParameters")
    return urlencode(values, doseq=True, errors="replace") if values else ""


def body_of(event: Event) -> bytes:
    """The body; raises ValueError (of which `binascii.Error` is one)."""
    body = event.get("body") or ""
    if event.get("isBase64Encoded"):
        return binascii.a2b_base64(body, strict_mode=True)
    return body if isinstance(body, bytes) else str(body).encode()


def without_base_path(event: Event) -> Event:
    """A copy of ``event`` whose path starts at the router's own root.

    >>> event = {"version": "2.0", "rawPath": "/prod/v2", "requestContext": {"stage": "prod",
    ...     "http": {"path": "/prod/v2"}}}
    >>> without_base_path(event)["rawPath"]
    '/v2'
    """
    context = event.get("requestContext") or {}
    path, http = path_of(event, context), context.get("http")
    if isinstance(http, Mapping):
        context = {**context, "http": {**http, "path": path}}
        return {**event, "rawPath": path, "requestContext": context}
    return {**event, "path": path}


def path_of(event: Event, context: Mapping[str, Any]) -> str:
    """The path of ``event`` from the router's own root; ``context`` is its request context."""
    http = context.get("http")
    if isinstance(http, Mapping):
        return _rest(event, str(event.get("rawPath") or http.get("path") or "/"), context)
    return _rest(event, str(event.get("path") or "/"), context)


def _rest(event: Event, path: str, context: Mapping[str, Any]) -> str:
    proxy = (event.get("pathParameters") or {}).get("proxy")
    resource = event.get("resource")
    if isinstance(resource, str) and resource.startswith("/v2"):
        return _last(path, resource.replace("{proxy+}", str(proxy).strip("/")).count("/"))
    if isinstance(proxy, str) and proxy:
        return _after_prefix(path, f"/{proxy.lstrip('/')}")
    stage = context.get("stage")
    if "http" not in context or stage in (None, "", "$default"):
        return path
    prefix = f"/{stage}"
    if not f"{path}/".startswith(f"{prefix}/") or allowed_methods(path):
        # A path that is one of ours as it stands has no stage in front, even if a stage is called
        # v1 or v2: a custom domain leaves the stage out.
        return path
    return path.removeprefix(prefix) or "/"


def _last(path: str, segments: int) -> str:
    """The end of ``path`` that the template of a resource holds, still encoded where path is."""
    return "/" + "/".join(path.rstrip("/").split("/")[-segments:])


def _after_prefix(path: str, proxy: str) -> str:
    """The end of ``path`` that the greedy path parameter holds, still encoded where path is."""
    for start in (index for index, char in enumerate(path) if char == "/"):
        if path[start:] == proxy or unquote(path[start:]) == unquote(proxy):
            return path[start:]
    return proxy
