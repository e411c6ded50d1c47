"""Asks a deployed version its goldens, in every protocol that can carry them.

Everything goes the way a caller's request goes: as an envelope to the model function. The prober
judges, and raises on the first answer that does not agree; it changes nothing. Functions are
reached through the `Functions` port: `LambdaFunctions` here, anything else in tests.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from modelport.envelope import Request, Response
from modelport.errors import (
    BackendError,
    BackendGoneError,
    GoldenMismatchError,
    MalformedRequestError,
    ModelFailedError,
    ModelTimeoutError,
    ThrottledError,
)
from modelport.grammar import Call, canonical_path
from modelport.manifest import Manifest

logger = logging.getLogger(__name__)

DIGEST_HEADER = "x-modelport-digest"
READY = "ready"
POLL_S = 1.0
EXCERPT = 300


@dataclass(frozen=True, slots=True)
class FunctionState:
    """Where a function stands: ``ready``, ``pending`` or ``failed``, and why."""

    state: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Invocation:
    """What an invocation returned; ``error`` is Lambda's word for an unhandled failure."""

    payload: bytes
    error: str = ""


class Functions(Protocol):
    """The functions of this environment."""

    def state(self, resource: str) -> FunctionState | None:
        """Where the function stands; None when there is none."""
        ...

    def invoke(self, resource: str, payload: bytes) -> Invocation | None:
        """Call it; None when it cannot take a call right now."""
        ...


class LambdaFunctions:
    """`Functions` over a boto3 Lambda client."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def state(self, resource: str) -> FunctionState | None:
        try:
            found = self._client.get_function_configuration(FunctionName=resource)
        except self._client.exceptions.ResourceNotFoundException:
            return None
        for key in ("State", "LastUpdateStatus"):
            value = found.get(key) or "Active"
            if value == "Failed":
                return FunctionState("failed", found.get(f"{key}Reason", value))
            # Lambda puts functions nobody called for weeks to sleep; a call wakes them.
            if value not in ("Active", "Inactive", "Successful"):
                return FunctionState("pending", f"{key} {value}")
        return FunctionState(READY)

    def invoke(self, resource: str, payload: bytes) -> Invocation | None:
        try:
            answer = self._client.invoke(FunctionName=resource, Payload=payload)
        except (
            self._client.exceptions.TooManyRequestsException,
            self._client.exceptions.ResourceConflictException,
            self._client.exceptions.ResourceNotReadyException,  # Just waking up.
        ):
            return None
        return Invocation(answer["Payload"].read(), answer.get("FunctionError", ""))


class Prober:
    """Verifies one function against one manifest within a number of seconds."""

    def __init__(
        self,
        functions: Functions,
        *,
        budget_s: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._functions = functions
        self._clock = clock
        self._sleep = sleep
        self._end = clock() + budget_s

    def verify(self, manifest: Manifest, resource: str, timeout_s: float) -> int:
        """Wait for the function, ask it everything; the number of requests that agreed."""
        self._await_function(manifest, resource)
        asked = 1
        ready = Call("v2", "ready", manifest.model)
        self._ask(manifest, resource, timeout_s, "readiness", ready, {}, b"")
        for golden in manifest.content.goldens:
            for request in golden.requests():
                call = Call(request.protocol, request.verb, manifest.model)
                response = self._ask(
                    manifest, resource, timeout_s, golden.name, call, request.headers, request.body
                )
                problem = golden.check(request.protocol, response.body)
                if problem:
                    raise _mismatch(manifest, golden.name, call, problem)
                asked += 1
        logger.info("%s:%s agrees in %d requests", manifest.model, manifest.version, asked)
        return asked

    def _await_function(self, manifest: Manifest, resource: str) -> None:
        while True:
            found = self._functions.state(resource)
            if found is None:
                raise BackendGoneError(manifest.model, manifest.version, "lambda")
            if found.state == READY:
                return
            if found.state == "failed":
                raise _not_ready(resource, found.reason)
            self._pause(_not_ready(resource, f"still {found.reason}"))

    def _ask(
        self,
        manifest: Manifest,
        resource: str,
        timeout_s: float,
        golden: str,
        call: Call,
        headers: dict[str, str],
        body: bytes,
    ) -> Response:
        request_id = f"deploy-{manifest.model}-{manifest.version}-{golden}-{call.protocol}"
        method = "GET" if call.verb == READY else "POST"
        path = canonical_path(call, manifest.version)
        event = Request(method, path, headers, body, request_id).to_event()
        response = self._invoke(manifest, resource, timeout_s, event, request_id)
        if response.status != 200:
            excerpt = response.body[:EXCERPT].decode(errors="replace")
            problem = f"expected status 200, got {response.status}: {excerpt}"
            raise _mismatch(manifest, golden, call, problem)
        digest = response.headers.get(DIGEST_HEADER, "none")
        if digest != manifest.digest:
            problem = f"expected digest {manifest.digest}, got {digest}: another version answers"
            raise _mismatch(manifest, golden, call, problem)
        return response

    def _invoke(
        self, manifest: Manifest, resource: str, timeout_s: float, event: bytes, request_id: str
    ) -> Response:
        while True:
            answer = self._functions.invoke(resource, event)
            if answer is not None:
                break
            self._pause(ThrottledError(f"function {resource}"))
        if answer.error:
            if b"timed out" in answer.payload.lower():
                raise ModelTimeoutError(manifest.model, manifest.version, timeout_s)
            excerpt = answer.payload[:EXCERPT].decode(errors="replace")
            logger.error("%s failed: %s", resource, excerpt)
            raise ModelFailedError(manifest.model, manifest.version, request_id)
        try:
            return Response.from_event(answer.payload)
        except MalformedRequestError:
            raise ModelFailedError(manifest.model, manifest.version, request_id) from None

    def _pause(self, otherwise: Exception) -> None:
        if self._clock() + POLL_S >= self._end:
            raise otherwise
        self._sleep(POLL_S)


def _mismatch(manifest: Manifest, golden: str, call: Call, problem: str) -> GoldenMismatchError:
    where = f"{call.protocol} {call.verb}: {problem}"
    return GoldenMismatchError(manifest.model, manifest.version, golden, where)


def _not_ready(resource: str, reason: str) -> BackendError:
    return BackendError(f"function {resource} did not become ready: {reason}")
