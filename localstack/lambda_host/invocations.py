"""Invocations: finds the function's configuration, keeps one pool each, answers over HTTP.

An invocation is a POST with the event as body and the function named in `X-Amzn-Lambda-*` headers.
The answer is 200 with the function's own answer, or 502 with a fault and `X-Amz-Function-Error`.
Who sends `X-Amz-Log-Type: Tail` gets what is new in the function's log behind it,
`X-Amz-Log-Length` bytes. How functions are run is the executors' business.
"""

import asyncio
import json
import logging
import uuid
from collections import Counter
from collections.abc import Awaitable, Iterable, Mapping
from pathlib import Path
from typing import Protocol
from zipfile import BadZipFile

from lambda_host import faults
from lambda_host.bundles import PullError
from lambda_host.directory import Directory, UnknownFunctionError
from lambda_host.environment import Environment
from lambda_host.faults import PAYLOAD_LIMIT, Outcome, ThrottledError
from lambda_host.function import Function
from lambda_host.journal import Journal
from lambda_host.pool import Limits, Pool
from lambda_host.running import Program
from lambda_host.wire import Answer, Request

log = logging.getLogger("lambda_host")
HEADER = "x-amzn-lambda-"
INTERIM_S = 0.4
"""A function's timeout is at least a second; its caller must not give up while we prepare."""


class Executor(Protocol):
    """One way to run functions."""

    async def program(self, function: Function) -> Program:
        """What runs the function, with everything it needs here; raises `PullError`."""


class Host:
    """Invokes functions."""

    def __init__(
        self,
        directory: Directory,
        executors: Mapping[str, Executor],
        *,
        logs: Path,
        limits: Limits,
    ) -> None:
        """`executors` by the kind of package a function has."""
        self._directory = directory
        self._executors = executors
        self._logs = logs
        self._limits = limits
        self._pools: dict[tuple[str, str], Pool] = {}
        self._retiring: dict[Pool, asyncio.Task[None]] = {}
        self._in_flight: Counter[str] = Counter()

    async def handle(self, request: Request) -> Answer:
        """Answer one HTTP request: an invocation, or a look at what runs."""
        if request.method == "GET":
            return Answer.of_json(200, self.status())
        name = request.headers.get(f"{HEADER}function-name")
        if request.method != "POST" or not name:
            problem = f"an invocation is a POST with {HEADER}function-name"
            return _refusal(400, "InvalidRequestContentException", problem)
        if len(request.body) > PAYLOAD_LIMIT:
            problem = faults.event_too_large(len(request.body))
            return _refusal(413, "RequestTooLargeException", problem)
        version = request.headers.get(f"{HEADER}function-version", "$LATEST")
        try:
            function = await self._directory.find(name, version)
            outcome = await self.invoke(function, request)
        except UnknownFunctionError:
            return _refusal(404, "ResourceNotFoundException", f"Function not found: {name}")
        except ThrottledError:
            return Answer.of_json(429, faults.throttled(name))
        answer = _answer(outcome)
        if request.headers.get("x-amz-log-type") == "Tail":
            return self._with_log(answer, function)
        return answer

    async def invoke(self, function: Function, request: Request) -> Outcome:
        """Have a function run the event in the request's body; raises `ThrottledError`."""
        trace_id = request.headers.get("x-amzn-trace-id", "")
        request_id = request.headers.get(f"{HEADER}request-id") or str(uuid.uuid4())
        if function.reserved is not None and self._in_flight[function.name] >= function.reserved:
            raise ThrottledError
        self._in_flight[function.name] += 1
        try:
            pool = self._pool(function)
            if not pool.environments:
                await self._fetch(function, request)
            return await pool.invoke(request.body, request_id, trace_id)
        except (PullError, OSError, BadZipFile) as problem:
            return faults.fault("Runtime.ImagePullError", f"{function.name}: {problem}")
        finally:
            self._in_flight[function.name] -= 1

    def news(self, function: Function) -> bytes:
        """The lines in the log of a function that nobody was told yet."""
        return self._pool(function).news()

    def _with_log(self, answer: Answer, function: Function) -> Answer:
        log = self.news(function)
        headers = {**answer.headers, "X-Amz-Log-Length": str(len(log))}
        return Answer(answer.status, answer.body + log, headers)

    async def _fetch(self, function: Function, request: Request) -> None:
        """Have here what the function needs: Lambda has it long before, so no timer runs for it."""
        fetching = asyncio.ensure_future(self._executors[function.package].program(function))
        while not (await asyncio.wait([fetching], timeout=INTERIM_S))[0]:
            request.hold_on()
        request.hold_on()
        fetching.result()

    def _pool(self, function: Function) -> Pool:
        """The pool of exactly this configuration; an older one is left to run out."""
        key = (function.name, function.version)
        pool = self._pools.get(key)
        if pool is None or pool.function != function:
            if pool is not None:
                log.info("%s has a new configuration", function.name)
                self._retiring[pool] = asyncio.create_task(_all([pool.close()]))
            journal = Journal(self._logs / f"{function.name}.log")
            executor = self._executors[function.package]

            async def spawn() -> Environment:
                return Environment(function, await executor.program(function), journal)

            pool = self._pools[key] = Pool(function, spawn, journal, self._limits)
        return pool

    def status(self) -> dict[str, object]:
        """What runs now: process ids per function."""
        running: dict[str, list[int]] = {}
        for pool in (*self._pools.values(), *self._retiring):
            pids = running.setdefault(f"{pool.function.name}:{pool.function.version}", [])
            pids += [each.pid for each in pool.environments]
        return dict(running)

    async def expire(self) -> None:
        """Stop what has been idle too long, for as long as the host runs."""
        while True:
            await asyncio.sleep(1)
            await _all(pool.expire() for pool in self._pools.values())
            self._retiring = {
                pool: closing
                for pool, closing in self._retiring.items()
                if not (closing.done() and pool.drained)
            }

    async def close(self) -> None:
        """Stop every environment, those of configurations that were replaced too."""
        await _all(pool.close(now=True) for pool in (*self._pools.values(), *self._retiring))
        await _all(self._retiring.values())


async def _all(work: Iterable[Awaitable[None]]) -> None:
    """Do all of it; what fails is logged and holds up nothing else."""
    for result in await asyncio.gather(*work, return_exceptions=True):
        if isinstance(result, Exception):
            log.error("an environment could not be ended", exc_info=result)


def _answer(outcome: Outcome) -> Answer:
    if not outcome.failed:
        return Answer(200, outcome.payload)
    return Answer(502, outcome.payload, {"X-Amz-Function-Error": "Unhandled"})


def _refusal(status: int, kind: str, message: str) -> Answer:
    document = {"Type": "User", "message": message}
    return Answer(status, json.dumps(document).encode(), {"x-amzn-ErrorType": kind})
