"""The ways an invocation can fail, worded as AWS Lambda words them, and its payload limit.

A fault is what the caller of `Invoke` gets instead of the function's answer: an object with
`errorType` and `errorMessage`. This module must not do I/O.
"""

import json
from dataclasses import dataclass
from typing import Any

PAYLOAD_LIMIT = 6_291_556
"""Bytes a synchronous event or answer may have: 6 MB and the 100 bytes Lambda grants."""


class ThrottledError(Exception):
    """As many events of a function run as its configuration allows."""


@dataclass(frozen=True)
class Outcome:
    """The end of one invocation: the function's own bytes, or a fault's."""

    payload: bytes
    error_type: str = ""

    @property
    def failed(self) -> bool:
        """Whether Lambda would set `X-Amz-Function-Error`."""
        return bool(self.error_type)


def fault(error_type: str, message: str) -> Outcome:
    """An outcome that says what went wrong, type first so that a cut message keeps it."""
    document = {"errorType": error_type, "errorMessage": message}
    return Outcome(json.dumps(document).encode(), error_type)


def timed_out(seconds: float) -> Outcome:
    """The handler ran into the function's time limit."""
    return fault("Sandbox.Timedout", f"Task timed out after {seconds:.2f} seconds")


def exited(request_id: str, returncode: int) -> Outcome:
    """The process ended in the middle of an invocation or before it was ready."""
    how = f"signal: {-returncode}" if returncode < 0 else f"exit status {returncode}"
    return fault(
        "Runtime.ExitError", f"RequestId: {request_id} Error: Runtime exited with error: {how}"
    )


def out_of_memory(request_id: str) -> Outcome:
    """The process grew past the function's memory and was killed."""
    return fault(
        "Runtime.OutOfMemory",
        f"RequestId: {request_id} Error: Runtime exited with error: signal: killed",
    )


def answer_too_large() -> Outcome:
    """The function answered with more than Lambda carries."""
    return fault(
        "Function.ResponseSizeTooLarge",
        f"Response payload size exceeded maximum allowed payload size ({PAYLOAD_LIMIT} bytes).",
    )


def throttled(function: str) -> dict[str, Any]:
    """Why an event was refused of whose function as many run as may."""
    return {
        "Type": "User",
        "__type": "TooManyRequestsException",
        "message": f"Rate Exceeded: function {function} at ReservedConcurrentExecutions",
        "Reason": "ReservedFunctionConcurrentInvocationLimitExceeded",
        "retryAfterSeconds": "1",
    }


def event_too_large(size: int) -> str:
    """Why an event was refused before any function saw it."""
    return (
        f"{size} byte payload is too large for the RequestResponse invocation type "
        f"(limit {PAYLOAD_LIMIT} bytes)"
    )
