"""API Gateway events, built in one place: what HTTP APIs (payload 2.0) and REST APIs send.

Built the way the gateways build them: an HTTP API decodes the path, joins repeated headers and puts
the stage in front; a REST API leaves the path as it was sent, next to its proxy parameter. Bodies
that are not text arrive as base64.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, unquote

Event = dict[str, Any]

API_ID = "a1b2c3d4e5"
TEXT_TYPES = ("text/", "application/json", "application/xml", "application/javascript")


def http_v2(
    method: str,
    path: str,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    *,
    stage: str = "$default",
    proxy: bool = False,
    domain: str = f"{API_ID}.execute-api.eu-central-1.amazonaws.com",
    base_path: str = "",
    authorizer: Mapping[str, Any] | None = None,
    source_ip: str = "192.0.2.10",
    request_id: str = "JKJaXmPLvHcESHA=",
) -> Event:
    """An HTTP API's event; ``base_path`` is a custom domain's mapping."""
    lower = {"host": domain} | {name.lower(): value for name, value in (headers or {}).items()}
    ours = domain.startswith(f"{API_ID}.")
    front = f"/{stage}" if ours and stage != "$default" else base_path
    path, _, query = path.partition("?")
    decoded = unquote(path)
    context: Event = {
        "accountId": "123456789012",
        "apiId": API_ID,
        "domainName": domain,
        "domainPrefix": domain.partition(".")[0],
        "http": {
            "method": method,
            "path": front + decoded,
            "protocol": "HTTP/1.1",
            "sourceIp": source_ip,
            "userAgent": "tests",
        },
        "requestId": request_id,
        "routeKey": "ANY /{proxy+}" if proxy else "$default",
        "stage": stage,
        "timeEpoch": 1_780_000_000_000,
    }
    if authorizer is not None:
        context["authorizer"] = dict(authorizer)
    event: Event = {
        "version": "2.0",
        "routeKey": context["routeKey"],
        "rawPath": front + decoded,
        "rawQueryString": query,
        "headers": lower,
        "requestContext": context,
        **_body(body, lower.get("content-type", "")),
    }
    if proxy:
        event["pathParameters"] = {"proxy": decoded.lstrip("/")}
    return event


def rest_v1(
    method: str,
    path: str,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    *,
    stage: str = "prod",
    base_path: str = "",
    identity: Mapping[str, Any] | None = None,
    authorizer: Mapping[str, Any] | None = None,
    source_ip: str = "192.0.2.10",
    request_id: str = "c6af9ac6-7b61-11e6-9a41-93e8deadbeef",
) -> Event:
    """A REST API's event for its ``/{proxy+}`` resource."""
    sent = dict(headers or {})
    content_type = next((v for k, v in sent.items() if k.lower() == "content-type"), "")
    path, _, query = path.partition("?")
    values = parse_qs(query, keep_blank_values=True)
    context: Event = {
        "accountId": "123456789012",
        "apiId": API_ID,
        "domainName": f"{API_ID}.execute-api.eu-central-1.amazonaws.com",
        "httpMethod": method,
        "identity": {"sourceIp": source_ip, "userArn": None, "apiKeyId": None}
        | dict(identity or {}),
        "path": f"/{stage}{path}",
        "requestId": request_id,
        "resourcePath": "/{proxy+}",
        "stage": stage,
    }
    if authorizer is not None:
        context["authorizer"] = dict(authorizer)
    return {
        "resource": "/{proxy+}",
        "path": base_path + path,
        "httpMethod": method,
        "headers": sent,
        "multiValueHeaders": {name: [value] for name, value in sent.items()},
        "queryStringParameters": {name: given[-1] for name, given in values.items()} or None,
        "multiValueQueryStringParameters": values or None,
        "pathParameters": {"proxy": path.lstrip("/")},
        "stageVariables": None,
        "requestContext": context,
        **{"body": None, **_body(body, content_type)},
    }


def answer_body(answer: Mapping[str, Any]) -> bytes:
    """The body of a Lambda proxy answer, as the gateway would send it on."""
    body: str = answer.get("body") or ""
    return base64.b64decode(body) if answer.get("isBase64Encoded") else body.encode()


def _body(body: bytes, content_type: str) -> Event:
    if not body:
        return {"isBase64Encoded": False}
    if content_type.startswith(TEXT_TYPES):
        return {"body": body.decode(errors="replace"), "isBase64Encoded": False}
    return {"body": base64.b64encode(body).decode(), "isBase64Encoded": True}
