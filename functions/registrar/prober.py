"""Asks a deployed version its goldens, in every form of every protocol that can carry them.

Everything goes the way a caller's request goes: as an envelope to the function or endpoint. The
prober judges, and raises on the first answer that does not agree; it changes nothing. It knows no
AWS service: what runs the version is behind the `Place` port.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from functools import partial

from modelport.envelope import Request, Response
from modelport.errors import (
    BackendError,
    BackendGoneError,
    GoldenMismatchError,
    ModelFailedError,
    ModelTimeoutError,
    ThrottledError,
)
from modelport.goldens import GoldenRequest
from modelport.goldens.forms import Uncarried, asked_of, each
from modelport.grammar import Call, canonical_path
from modelport.manifest import Manifest

from functions.registrar.place import FAILED, READY, Failure, Place
from functions.registrar.verified import Verified

logger = logging.getLogger(__name__)

DIGEST_HEADER = "x-modelport-digest"
POLL_S = 1.0
EXCERPT = 300
#: A server that is up before its model is loaded says so; asking again is all there is to do.
LOADING = 503


class Prober:
    """Verifies one deployed version against its manifest within a number of seconds."""

    def __init__(
        self,
        place: Place,
        *,
        budget_s: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._place = place
        self._clock = clock
        self._sleep = sleep
        self._budget = budget_s
        self._end = clock() + budget_s

    def verify(self, manifest: Manifest, resource: str, timeout_s: float) -> Verified:
        """Wait until it is there, ask it everything; what agreed, and what could not be asked."""
        self._await_ready(manifest, resource)
        ready = GoldenRequest("v2", "v2", "ready", {}, b"", lambda headers, body: None)
        self._ask(manifest, resource, timeout_s, "readiness", ready)
        agreed: Counter[str] = Counter()
        left: list[Uncarried] = []
        asked = asked_of(manifest.content)
        for golden in manifest.content.goldens:
            for one in each(golden, asked):
                if isinstance(one, Uncarried):
                    left.append(one)
                    continue
                if self._clock() >= self._end:
                    raise self._late(resource, agreed.total())
                response = self._ask(manifest, resource, timeout_s, golden.name, one)
                problem = one.check(response.headers, response.body)
                if problem:
                    raise _mismatch(manifest, golden.name, one, problem)
                agreed[one.form] += 1
        verified = Verified(dict(agreed), tuple(left))
        name = f"{manifest.model}:{manifest.version}"
        logger.info("%s agrees in %d requests", name, verified.requests)
        for line in verified.lines():
            logger.info("%s: %s", name, line)
        return verified

    def _await_ready(self, manifest: Manifest, resource: str) -> None:
        while True:
            found = self._place.state(resource)
            if found is None:
                raise BackendGoneError(manifest.model, manifest.version, self._place.target)
            if found.state == READY:
                return
            if found.state == FAILED:
                raise self._not_ready(resource, found.reason)
            self._pause(partial(self._not_ready, resource, f"still {found.reason}"))

    def _ask(
        self,
        manifest: Manifest,
        resource: str,
        timeout_s: float,
        golden: str,
        asked: GoldenRequest,
    ) -> Response:
        form = asked.form.replace(" ", "-")
        request_id = f"deploy-{manifest.model}-{manifest.version}-{golden}-{form}"
        method = "GET" if asked.verb == "ready" else "POST"
        call = Call(asked.protocol, asked.verb, manifest.model)
        path = canonical_path(call, manifest.version)
        request = Request(method, path, asked.headers, asked.body, request_id)
        response = self._answer(manifest, resource, timeout_s, request)
        if response.status != 200:
            problem = f"expected status 200, got {response.status}: {_excerpt(response)}"
            if response.status >= 500:
                problem += f"; {self._log(resource)}"
            raise _mismatch(manifest, golden, asked, problem)
        digest = response.headers.get(DIGEST_HEADER, "none")
        if digest != manifest.digest:
            problem = f"expected digest {manifest.digest}, got {digest}: another version answers"
            raise _mismatch(manifest, golden, asked, problem)
        return response

    def _answer(
        self, manifest: Manifest, resource: str, timeout_s: float, request: Request
    ) -> Response:
        while True:
            answer = self._place.ask(resource, request)
            if isinstance(answer, Failure):
                raise self._failed(manifest, resource, timeout_s, request.request_id, answer)
            if answer is None:
                self._pause(partial(ThrottledError, f"{self._place.noun} {resource}"))
            elif answer.status == LOADING:
                reason = f"status {LOADING}: {_excerpt(answer)}"
                self._pause(partial(self._not_ready, resource, reason))
            else:
                return answer

    def _failed(
        self, manifest: Manifest, resource: str, timeout_s: float, request_id: str, found: Failure
    ) -> BackendError:
        logger.error("%s failed: %s", resource, found.words[:EXCERPT])
        if found.timed_out:
            return ModelTimeoutError(manifest.model, manifest.version, timeout_s)
        if found.startup:
            return self._not_ready(resource, found.startup[:EXCERPT])
        error = ModelFailedError(manifest.model, manifest.version, request_id)
        error.hint = ", ".join(filter(None, [found.kind, self._log(resource)]))
        return error

    def _pause(self, otherwise: Callable[[], Exception]) -> None:
        if self._clock() + POLL_S >= self._end:
            raise otherwise()
        self._sleep(POLL_S)

    def _not_ready(self, resource: str, reason: str) -> BackendError:
        problem = f"{self._place.noun} {resource} did not become ready: {reason}"
        return BackendError(problem, hint=self._log(resource))

    def _late(self, resource: str, agreed: int) -> BackendError:
        return BackendError(
            f"{self._place.noun} {resource} had {self._budget:.0f} s for its goldens and answered"
            f" {agreed} requests, rightly, with others still to come",
            hint="deploy it with more --memory, which is more CPU, or publish fewer goldens",
        )

    def _log(self, resource: str) -> str:
        return f"its log group is {self._place.log_group(resource)}"


def _mismatch(
    manifest: Manifest, golden: str, asked: GoldenRequest, problem: str
) -> GoldenMismatchError:
    where = f"{asked.form} ({asked.verb}): {problem}"
    return GoldenMismatchError(manifest.model, manifest.version, golden, where)


def _excerpt(response: Response) -> str:
    return response.body[:EXCERPT].decode(errors="replace")
