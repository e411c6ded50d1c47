"""Invocations that MiniStack hands to the Lambda host, over connections that stay open.

Every function goes there: model functions by MiniStack's documented proxy variable, zip functions
because MiniStack's own executor waits at least 5 ms after each answer for more lines of the log.
Time limits and their wording are the host's. It keeps no function and no process.
"""

import json
import socket
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit

#: Lambda's longest timeout and a minute; the host ends an invocation long before.
LONGEST_S = 960
LOG_LENGTH = "x-amz-log-length"
#: An API Gateway's own answer where Lambda does not take the event that a request becomes.
_TOO_LARGE = {
    "statusCode": 413,
    "headers": {"content-type": "application/json"},
    "body": '{"message":"Request Entity Too Large"}',
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What the host answered; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Connection:
    """A connection to the host, which frames its answers by length.

    Not `http.client`: parsing an answer's headers as those of a mail takes as long as all else.
    """

    def __init__(self, host: str, port: int) -> None:
        self._socket = socket.create_connection((host, port), LONGEST_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._answers = self._socket.makefile("rb")

    @classmethod
    def to(cls, address: str) -> Self:
        """A new one."""
        host, _, port = address.rpartition(":")
        return cls(host, int(port))

    def post(self, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Ask, and wait for the answer; raises OSError."""
        lines = [f"POST {path} HTTP/1.1", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self._socket.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        status = 100
        while status == 100:  # the host still prepares
            if not (first := self._answers.readline()):
                raise ConnectionResetError("the host hung up")
            status = int(first.split(b" ", 2)[1])
            found = {}
            while line := self._answers.readline().strip():
                name, _, value = line.decode("latin-1").partition(":")
                found[name.lower()] = value.strip()
        length = int(found["content-length"])
        answered = self._answers.read(length)
        if len(answered) < length:
            raise ConnectionResetError("the answer was cut off")
        return Answer(status, found, answered)

    def close(self) -> None:
        """End it."""
        self._answers.close()
        self._socket.close()


class LambdaHost:
    """A Lambda host as MiniStack's executors see it; may be asked from any thread."""

    def __init__(self) -> None:
        #: By address; a thread takes one, or makes one, and puts it back when it is done.
        self._idle: dict[str, deque[Connection]] = {}

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
            answer = self._post(url, json.dumps(event).encode(), headers)
        except OSError as problem:
            return _failed(f"the Lambda host at {url}: {problem!r}", "Runtime.HandlerError")
        if answer.status == 413 and isinstance(event, dict) and "requestContext" in event:
            return {"body": _TOO_LARGE}
        return result(answer)

    def close(self) -> None:
        """Close the connections that wait."""
        for connections in self._idle.values():
            while connections:
                connections.pop().close()

    def _post(self, url: str, body: bytes, headers: dict[str, str]) -> Answer:
        where = urlsplit(url)
        idle = self._idle.setdefault(where.netloc, deque())
        try:
            connection = idle.pop()
        except IndexError:
            connection = Connection.to(where.netloc)
        try:
            answer = connection.post(where.path, headers, body)
        except BaseException:
            connection.close()
            raise
        idle.append(connection)
        return answer


def result(answer: Answer) -> dict[str, Any]:
    """What the host answered as MiniStack's executors say it; the log follows the answer."""
    body, log = answer.body, b""
    if length := int(answer.headers.get(LOG_LENGTH) or 0):
        body, log = body[:-length], body[-length:]
    # "rie": the lines have START, END and REPORT among them already.
    logged = {"log": log.decode("utf-8", "replace"), "log_source": "rie"} if log else {}
    if answer.status == 429:
        return {"body": json.loads(body), "error": True, "throttle": True}
    if answer.headers.get("x-amz-function-error"):
        return {"body": json.loads(body), "error": True, **logged}
    if answer.status != 200:
        said = json.loads(body).get("message", "")
        return _failed(said, answer.headers.get("x-amzn-errortype", "Runtime.HandlerError"))
    try:
        return {"body": json.loads(body) if body else None, **logged}
    except ValueError:
        return {"body": body.decode("utf-8", "replace"), "raw_payload": True, **logged}


def _failed(message: str, kind: str) -> dict[str, Any]:
    return {"body": {"errorMessage": message, "errorType": kind}, "error": True}
