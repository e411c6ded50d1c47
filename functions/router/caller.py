"""Who is calling: the key that keeps a caller on one side of a split, and the request's id.

Reads API Gateway's two event shapes (HTTP API v2, REST API v1). The key never leaves this process:
it is hashed for the split and neither logged nor passed on.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any


def sticky_key(
    sources: Sequence[str], headers: Mapping[str, str], event: Mapping[str, Any] | None
) -> str:
    """What decides a caller's side of a split: the first of ``sources`` that says something.

    A source is ``header:NAME``, ``cookie:NAME`` or ``caller``: who the gateway says it is (IAM
    user, token subject, API key), else its address. Where none says anything, every request gets a
    new random key.
    """
    for source in sources:
        kind, _, name = source.partition(":")
        if kind == "header":
            key = headers.get(name)
        elif kind == "cookie":
            key = _cookie(headers.get("cookie", ""), name)
        else:
            key = _identity(event)
        if key:
            return key.encode("utf-8", "replace").decode()
    return uuid.uuid4().hex


def request_id(event: Mapping[str, Any] | None) -> str:
    """The gateway's id of this request, so that its logs and ours can be joined; else a new one."""
    known = _at(event, "requestContext", "requestId")
    return known if isinstance(known, str) and known else uuid.uuid4().hex


#: Below ``requestContext``, the surest first: whom the gateway has checked, then an address.
_AUTHENTICATED = (
    ("authorizer", "iam", "userArn"),
    ("authorizer", "jwt", "claims", "sub"),
    ("identity", "userArn"),
    ("authorizer", "claims", "sub"),
    ("authorizer", "principalId"),
    ("identity", "apiKeyId"),
)
_IDENTITIES = (*_AUTHENTICATED, ("http", "sourceIp"), ("identity", "sourceIp"))


def authenticated(event: Mapping[str, Any] | None) -> str:
    """Who the gateway has found the caller to be; "" where it asks nobody. An address is nobody.

    A role is the same whoever has taken it on: its sessions come and go.
    """
    found = _first(event, _AUTHENTICATED)
    head, role, rest = found.partition(":assumed-role/")
    return f"{head}{role}{rest.partition('/')[0]}" if role else found


def _identity(event: Mapping[str, Any] | None) -> str:
    return _first(event, _IDENTITIES)


def _first(event: Mapping[str, Any] | None, paths: Sequence[tuple[str, ...]]) -> str:
    context = event.get("requestContext") if event else None
    for path in paths:
        value = _at(context, *path)
        if isinstance(value, str) and value:
            return value
    return ""


def _cookie(header: str, name: str) -> str:
    """The value of a cookie, as sent; "" when there is none. (RFC 6265, section 4.2.)"""
    for pair in header.split(";"):
        found, _, value = pair.partition("=")
        if found.strip() == name:
            return value.strip()
    return ""


def _at(value: Any, *path: str) -> Any:
    for key in path:
        if not isinstance(value, dict):  # events are JSON
            return None
        value = value.get(key)
    return value
