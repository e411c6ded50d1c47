"""The calls of Lambda's Runtime API: the next event, its answer or its error, init and restore.

Every answer that is not the one Lambda promises raises ConnectionError, which ends the process, as
it does under awslambdaric: Lambda starts another. It must not know handlers.
"""

from __future__ import annotations

import sys
from typing import NamedTuple

from modelport.lambda_runtime.connection import Connection

_RUNTIME = "/2018-06-01/runtime"
_ERROR_TYPE = "Lambda-Runtime-Function-Error-Type"
_CAUSE = "Lambda-Runtime-Function-Xray-Error-Cause"
_INVOCATION = "Lambda-Runtime-Invocation-Id"
#: A larger X-Ray cause is left out; the error itself is told.
_MAX_CAUSE = 1024 * 1024


class Invocation(NamedTuple):
    """One event, and what came with it; names of ``headers`` are lower-case."""

    request_id: str
    event: bytes | bytearray
    headers: dict[str, str]


class RuntimeApi:
    """The Runtime API at ``address``, over one connection that is opened when it is needed."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._connection = Connection(address)
        version = ".".join(map(str, sys.version_info[:3]))
        self._always = f"Host: {address}\r\nUser-Agent: modelport/{version}\r\n"
        self._next = self._head("GET", "invocation/next") + b"\r\n"

    def next(self) -> Invocation:
        """The next event, when there is one."""
        status, headers, event = self._connection.call(self._next)
        if status != 200:
            raise ConnectionError(f"Failed to get next invocation: status {status}")
        return Invocation(headers.get("lambda-runtime-aws-request-id", ""), event, headers)

    def respond(self, invocation: Invocation, payload: bytes, content_type: str) -> None:
        """Post an answer."""
        extra = {"Content-Type": content_type, **_echoed(invocation)}
        self._post(f"invocation/{invocation.request_id}/response", payload, extra)

    def fail(self, invocation: Invocation, report: bytes, cause: str) -> None:
        """Post an error instead; ``cause`` as X-Ray wants it, in ASCII."""
        extra = {"Content-Type": "application/json", **_echoed(invocation)}
        if len(cause) < _MAX_CAUSE:
            extra[_CAUSE] = cause
        self._post(f"invocation/{invocation.request_id}/error", report, extra)

    def init_error(self, report: bytes, kind: str) -> None:
        """Say that there is no handler."""
        self._post("init/error", report, {_ERROR_TYPE: kind})

    def restore_next(self) -> None:
        """Wait until a snapshot has been taken and restored; no connection is left open."""
        head = self._head("GET", "restore/next") + b"Connection: close\r\n\r\n"
        status = self._connection.call(head).status
        self._connection.close()
        if status != 200:
            raise ConnectionError(f"Failed to be restored: status {status}")

    def restore_error(self, report: bytes, kind: str) -> None:
        """Say that nothing works after a restore."""
        self._post("restore/error", report, {_ERROR_TYPE: kind})

    def close(self) -> None:
        """Hang up; a call that follows connects again."""
        self._connection.close()

    def _head(self, method: str, where: str) -> bytes:
        return f"{method} {_RUNTIME}/{where} HTTP/1.1\r\n{self._always}".encode("latin-1")

    def _post(self, where: str, body: bytes, extra: dict[str, str]) -> None:
        fields = "".join(f"{name}: {value}\r\n" for name, value in extra.items())
        length = f"Content-Length: {len(body)}\r\n\r\n"
        head = self._head("POST", where) + (fields + length).encode("latin-1")
        status, _, said = self._connection.call(head, body)
        if status != 202:
            words = bytes(said[:1024]).decode("utf-8", "replace")
            raise ConnectionError(f"Failed to post to {where}: status {status}: {words}")


def _echoed(invocation: Invocation) -> dict[str, str]:
    own = invocation.headers.get("lambda-runtime-invocation-id")
    return {_INVOCATION: own} if own else {}
