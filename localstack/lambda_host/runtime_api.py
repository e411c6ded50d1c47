"""The Lambda Runtime API as one execution environment sees it.

Every environment has its own port, so a request needs nothing else to say whose it is. The
module hands over one event at a time and takes one answer for it; it must not start or stop
processes, and it never looks into a payload.
"""

import asyncio
import time
from dataclasses import dataclass, field

from lambda_host.faults import PAYLOAD_LIMIT, Outcome, answer_too_large
from lambda_host.wire import Answer, Request

PREFIX = "/2018-06-01/runtime/"
ACCEPTED = {"status": "OK"}


@dataclass
class Invocation:
    """One event on its way through an environment."""

    event: bytes
    request_id: str
    function_arn: str
    timeout_s: float
    trace_id: str = ""
    taken: bool = False
    outcome: "asyncio.Future[Outcome]" = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    def finish(self, outcome: Outcome) -> bool:
        """Settle the invocation; the first outcome wins."""
        if self.outcome.done():
            return False
        self.outcome.set_result(outcome)
        return True


class RuntimeApi:
    """Answers the Runtime API for one process."""

    def __init__(self) -> None:
        self.ready = asyncio.Event()
        self.init_error: Outcome | None = None
        self._pending: asyncio.Queue[Invocation] = asyncio.Queue()
        self._current: Invocation | None = None

    def offer(self, invocation: Invocation) -> None:
        """Give the process its next event as soon as it asks."""
        self._pending.put_nowait(invocation)

    async def handle(self, request: Request) -> Answer:
        """Route one Runtime API call."""
        path = request.path.removeprefix(PREFIX)
        match request.method, path.split("/"):
            case "GET", ["invocation", "next"]:
                return await self._next()
            case "POST", ["invocation", request_id, "response"]:
                return self._response(request_id, request)
            case "POST", ["invocation", request_id, "error"]:
                return self._error(request_id, request)
            case "POST", ["init", "error"]:
                self.init_error = _failure(request)
                self.ready.set()
                return Answer.of_json(202, ACCEPTED)
        return Answer.of_json(404, _problem("UnknownPath", f"{request.method} {request.path}"))

    async def _next(self) -> Answer:
        self.ready.set()
        invocation = await self._pending.get()
        invocation.taken = True
        self._current = invocation
        deadline_ms = int((time.time() + invocation.timeout_s) * 1000)
        headers = {
            "Lambda-Runtime-Aws-Request-Id": invocation.request_id,
            "Lambda-Runtime-Deadline-Ms": str(deadline_ms),
            "Lambda-Runtime-Invoked-Function-Arn": invocation.function_arn,
        }
        if invocation.trace_id:
            headers["Lambda-Runtime-Trace-Id"] = invocation.trace_id
        return Answer(200, invocation.event, headers)

    def _response(self, request_id: str, request: Request) -> Answer:
        if len(request.body) > PAYLOAD_LIMIT:
            self._settle(request_id, answer_too_large())
            message = f"Exceeded maximum allowed payload size ({PAYLOAD_LIMIT} bytes)."
            return Answer.of_json(413, _problem("RequestEntityTooLarge", message))
        if not self._settle(request_id, Outcome(request.body)):
            return _unknown(request_id)
        return Answer.of_json(202, ACCEPTED)

    def _error(self, request_id: str, request: Request) -> Answer:
        if not self._settle(request_id, _failure(request)):
            return _unknown(request_id)
        return Answer.of_json(202, ACCEPTED)

    def _settle(self, request_id: str, outcome: Outcome) -> bool:
        current = self._current
        if current is None or current.request_id != request_id:
            return False
        self._current = None
        return current.finish(outcome)


def _failure(request: Request) -> Outcome:
    kind = request.headers.get("lambda-runtime-function-error-type", "Unhandled")
    return Outcome(request.body, kind or "Unhandled")


def _unknown(request_id: str) -> Answer:
    return Answer.of_json(400, _problem("InvalidRequestID", f"no invocation {request_id}"))


def _problem(kind: str, message: str) -> dict[str, str]:
    return {"errorType": kind, "errorMessage": message}
