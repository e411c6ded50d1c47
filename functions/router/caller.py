"""Who is calling: the key that keeps a caller on one side of a split, and the request's id.

Reads API Gateway's two event shapes (HTTP API v2, REST API v1). The key never leaves this process:
it is hashed for the split and neither logged nor passed on.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

KEY_HEADER = "x-modelport-key"


def sticky_key(headers: Mapping[str, str], event: Mapping[str, Any] | None) -> str:
    """What decides a caller's side of a split.

    The caller's own key, else who the gateway says it is (IAM user, token subject, API key), else
    its address, else a new random key for every request.
    """
    key = headers.get(KEY_HEADER) or _identity(event) or uuid.uuid4().hex
    return key.encode("utf-8", "replace").decode()


def request_id(event: Mapping[str, Any] | None) -> str:
    """The gateway's id of this request, so that its logs and ours can be joined; else a new one."""
    known = _at(event, "requestContext", "requestId")
    return known if isinstance(known, str) and known else uuid.uuid4().hex


#: Below ``requestContext``, the surest first.
_IDENTITIES = (
    ("authorizer", "iam", "userArn"),
    ("authorizer", "jwt", "claims", "sub"),
    ("identity", "userArn"),
    ("authorizer", "claims", "sub"),
    ("authorizer", "principalId"),
    ("identity", "apiKeyId"),
    ("http", "sourceIp"),
    ("identity", "sourceIp"),
)


def _identity(event: Mapping[str, Any] | None) -> str:
    context = event.get("requestContext") if event else None
    for path in _IDENTITIES:
        value = _at(context, *path)
        if isinstance(value, str) and value:
            return value
    return ""


def _at(value: Any, *path: str) -> Any:
    for key in path:
        if not isinstance(value, dict):  # events are JSON
            return None
        value = value.get(key)
    return value
