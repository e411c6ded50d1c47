"""What is the same at every door of a version: request ids, the router's envelope, "not yet".

Shared by the worker's application and the doorman, which answers while no worker does. Light to
import, because the parent process imports it too: no event loop, no threads, no model.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from itertools import count

from modelport.envelope import Request, Response
from modelport.errors import ModelportError
from modelport.refusals import protocol_of
from modelport.sagemaker_envelope import HEADER as ATTRIBUTES
from modelport.sagemaker_envelope import unwrap, wrap

from functions.runtime.failures import refusal
from functions.runtime.metrics import CONTENT_TYPE, Metrics

METRICS = "/metrics"
_ID_HEADERS = ("x-modelport-request-id", "x-amzn-sagemaker-inference-id", "x-request-id")
_SAFE_ID = re.compile(r"[\x21-\x7e]{1,128}")


class RequestIds:
    """Ids for requests that bring none that is safe to repeat in headers and logs."""

    def __init__(self) -> None:
        """Half of each id is random and this process's own, half counts: one draw for all."""
        self._start = os.urandom(8).hex()
        self._count = count(1)

    def new(self) -> str:
        """32 hexadecimal digits that no other request has."""
        return f"{self._start}{next(self._count):016x}"

    def of(self, headers: Mapping[str, str]) -> str:
        """The caller's id if it is safe to repeat, else a new one."""
        return given_id(headers) or self.new()


def given_id(headers: Mapping[str, str]) -> str:
    """The caller's own id if it is safe to repeat; empty otherwise."""
    for name in _ID_HEADERS:
        if name in headers:
            return headers[name] if _SAFE_ID.fullmatch(headers[name]) else ""
    return ""


def enveloped(request: Request) -> Request | None:
    """The request that the router sent through SageMaker, if this is one.

    Raises `MalformedRequestError` for an envelope that cannot be read.
    """
    if ATTRIBUTES not in request.headers or request.method != "POST":
        return None
    if request.path.partition("?")[0] != "/invocations":
        return None
    inner = unwrap(request)
    if inner is not None and not _SAFE_ID.fullmatch(inner.request_id):
        return replace(inner, request_id=request.request_id)
    return inner


def as_asked(request: Request, response: Response) -> Response:
    """The answer, in SageMaker's envelope if the request came in one."""
    try:
        return response if enveloped(request) is None else wrap(response)
    except ModelportError:
        return response


def still_loading(request: Request, reason: str = "the model is still loading") -> Response:
    """The answer of a version that does not serve yet, or no longer."""
    if request.path.partition("?")[0] == "/v2/health/live":
        return Response(200, {"content-type": "application/json"}, b'{"live":true}')
    response = refusal(503, reason, "loading", request.request_id, protocol_of(request.path))
    response.headers["retry-after"] = "1"
    return response


def asks_for_metrics(request: Request) -> bool:
    """Whether this is a scrape: ``/metrics`` belongs to no protocol and no model."""
    return request.method in ("GET", "HEAD") and request.path.partition("?")[0] == METRICS


def scrape(metrics: Metrics) -> Response:
    """The answer to ``/metrics``."""
    return Response(200, {"content-type": CONTENT_TYPE}, metrics.render())
