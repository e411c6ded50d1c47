"""Tells somebody of a job's end: one POST over TLS, no redirect, little patience.

Which hosts may be told was decided when the job was taken. What is said is no secret and signed by
nobody: who hears it asks the API for the answer. It must not know jobs' documents.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from modelport.errors import BackendError

TIMEOUT_S = 10.0


class WebhookFailedError(BackendError):
    """Nobody took the news of a job's end."""

    code = "webhook-failed"

    def __init__(self, host: str, problem: str) -> None:
        super().__init__(f"the webhook at {host} did not take it: {problem}")


Connect = Callable[[str, int], http.client.HTTPConnection]


def connected(host: str, port: int) -> http.client.HTTPConnection:
    """A connection over TLS that is made with the first request."""
    return http.client.HTTPSConnection(host, port, timeout=TIMEOUT_S)


def post(url: str, news: Mapping[str, Any], connect: Connect = connected) -> None:
    """Send ``news`` as JSON; raises `WebhookFailedError` unless it is taken with a 2xx."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    target = f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"
    connection = connect(host, parts.port or 443)
    try:
        headers = {"Content-Type": "application/json", "User-Agent": "modelport"}
        connection.request("POST", target, json.dumps(news).encode(), headers)
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        raise WebhookFailedError(host, type(error).__name__) from error
    finally:
        connection.close()
    if not 200 <= status < 300:
        raise WebhookFailedError(host, f"status {status}")
