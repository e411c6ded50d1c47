"""Lambda's Runtime API for a function that streams: awslambdaric has no way to.

One event at a time: fetched, answered, sent piece by piece. It must not know what events mean.
"""

from __future__ import annotations

import http.client
import json
import logging
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from modelport.envelope import Response
from modelport.lambda_stream import send

logger = logging.getLogger(__name__)

_RUNTIME = "/2018-06-01/runtime"
_KIND = "Lambda-Runtime-Function-Error-Type"


def serve(api: str, answer: Callable[[Any], Response]) -> NoReturn:
    """Answer events until the process is ended; raises OSError when the Runtime API is gone."""
    while True:
        request_id, event = _next(api)
        try:
            response = answer(json.loads(event))
        except Exception as error:
            logger.exception("request %s failed", request_id)
            report_error(api, f"invocation/{request_id}/error", error)
            continue
        send(api, request_id, response)


def report_error(api: str, where: str, error: BaseException) -> None:
    """Tell Lambda that ``where`` (``init/error`` or an invocation's) went wrong, and how."""
    kind = type(error).__name__
    report = {"errorMessage": str(error), "errorType": kind, "requestId": "", "stackTrace": []}
    _call(api, "POST", where, json.dumps(report).encode(), {_KIND: f"Runtime.{kind}"})


def _next(api: str) -> tuple[str, bytes]:
    headers, event = _call(api, "GET", "invocation/next")
    return headers["Lambda-Runtime-Aws-Request-Id"], event


def _call(
    api: str,
    method: str,
    where: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> tuple[Mapping[str, str], bytes]:
    # No time limit: between two events Lambda may freeze this process for hours.
    connection = http.client.HTTPConnection(api)
    try:
        connection.request(method, f"{_RUNTIME}/{where}", body, dict(headers or {}))
        answer = connection.getresponse()
        return dict(answer.headers), answer.read()
    except http.client.HTTPException as error:
        raise ConnectionError(f"the Runtime API does not answer: {error!r}") from error
    finally:
        connection.close()
