"""Invocations that MiniStack hands to the Lambda host, over connections that stay open.

Every function goes there: model functions by MiniStack's documented proxy variable, zip functions
because MiniStack's own executor waits at least 5 ms after each answer for more lines of the log.
Time limits and their wording are the host's. It keeps no function and no process.
"""

import json
from collections import deque
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import Any
from urllib.parse import urlsplit

#: Lambda's longest timeout and a minute; the host ends an invocation long before.
LONGEST_S = 960
LOG_LENGTH = "X-Amz-Log-Length"
#: An API Gateway's own answer where Lambda does not take the event that a request becomes.
_TOO_LARGE = {
    "statusCode": 413,
    "headers": {"content-type": "application/json"},
    "body": '{"message":"Request Entity Too Large"}',
}


class LambdaHost:
    """A Lambda host as MiniStack's executors see it; may be asked from any thread."""

    def __init__(self) -> None:
        #: By address; a thread takes one, or makes one, and puts it back when it is done.
        self._idle: dict[str, deque[HTTPConnection]] = {}

    def execute(self, func: Any, event: Any, url: str, request_id: str) -> dict[str, Any]:
        """MiniStack's result of an event that the host at the URL has run."""
        config = func.get("config") or func
        headers = {
            "Content-Type": "application/json",
            "X-Amzn-Lambda-Function-Name": config.get("FunctionName", ""),
            "X-Amzn-Lambda-Function-Version": config.get("Version", "$LATEST"),
            "X-Amzn-Lambda-Request-Id": request_id,
            "X-Amz-Log-Type": "Tail",
        }
        try:
            answer, body = self._post(url, json.dumps(event).encode(), headers)
        except (OSError, HTTPException) as problem:
            return _failed(f"the Lambda host at {url}: {problem!r}", "Runtime.HandlerError")
        if answer.status == 413 and isinstance(event, dict) and "requestContext" in event:
            return {"body": _TOO_LARGE}
        return result(answer, body)

    def close(self) -> None:
        """Close the connections that wait."""
        for connections in self._idle.values():
            while connections:
                connections.pop().close()

    def _post(self, url: str, body: bytes, headers: dict[str, str]) -> tuple[HTTPResponse, bytes]:
        where = urlsplit(url)
        idle = self._idle.setdefault(where.netloc, deque())
        try:
            connection = idle.pop()
        except IndexError:
            connection = HTTPConnection(where.netloc, timeout=LONGEST_S)
        try:
            connection.request("POST", where.path, body, headers)
            answer = connection.getresponse()
            read = answer.read()
        except BaseException:
            connection.close()
            raise
        idle.append(connection)
        return answer, read


def result(answer: HTTPResponse, body: bytes) -> dict[str, Any]:
    """What the host answered as MiniStack's executors say it; the log follows the answer."""
    log = b""
    if length := int(answer.headers.get(LOG_LENGTH) or 0):
        body, log = body[:-length], body[-length:]
    # "rie": the lines have START, END and REPORT among them already.
    logged = {"log": log.decode("utf-8", "replace"), "log_source": "rie"} if log else {}
    if answer.status == 429:
        return {"body": json.loads(body), "error": True, "throttle": True}
    if answer.headers.get("X-Amz-Function-Error"):
        return {"body": json.loads(body), "error": True, **logged}
    if answer.status != 200:
        said = json.loads(body).get("message", "")
        return _failed(said, answer.headers.get("x-amzn-ErrorType", "Runtime.HandlerError"))
    try:
        return {"body": json.loads(body) if body else None, **logged}
    except ValueError:
        return {"body": body.decode("utf-8", "replace"), "raw_payload": True, **logged}


def _failed(message: str, kind: str) -> dict[str, Any]:
    return {"body": {"errorMessage": message, "errorType": kind}, "error": True}
