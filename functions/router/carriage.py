"""How request and answer travel between router and version: in one event, or past it.

Nearly all go in one event, and pay for nothing else. What the caller sends another way, and what
turns out too large, is `functions.router.jobs`' business, which is made then. It must not look into
a body.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from modelport.backends import Backend
from modelport.backends.backend import says_too_large
from modelport.envelope import Request, Response
from modelport.errors import NotSupportedError, PayloadTooLargeError
from modelport.grammar import Call
from modelport.routes import Deployment

from functions.router.crossing import by_reference
from functions.router.gateway import TEXTS

if TYPE_CHECKING:
    from functions.router.jobs import Jobs


#: What a first run took that leaves a second too little of the time that gateways allow.
AGAIN_WITHIN_S = 12.0
#: What an answer's body may take of Lambda's 6 MB, in bytes; the rest is for its headers.
ROOM = 6 * 1024 * 1024 - 64 * 1024
#: So many bytes fit even if every one of them had to be spelled as six.
_SURELY = ROOM // 6


@dataclass(frozen=True, slots=True)
class Sent:
    """What the caller sent, as it was read, with the gateway's event around it.

    ``whole`` is whether it wants no stream.
    """

    call: Call
    request: Request
    event: Mapping[str, Any] | None
    whole: bool


@dataclass(slots=True)
class Elsewhere(Response):
    """Says where the version's answer lies, or will; all of its headers are for the caller."""


def carried(answer: Response) -> bool:
    """Whether an event takes ``answer`` back to the gateway: text as JSON has it, else base64."""
    body, kind = answer.body, answer.headers.get("content-type", "")
    if len(body) <= _SURELY:
        return True
    if any(text in kind for text in TEXTS):
        try:
            return len(json.dumps(body.decode())) <= ROOM
        except UnicodeDecodeError:
            pass
    return -(-len(body) // 3) * 4 <= ROOM


class Carriage:
    """Asks backends; without ``jobs`` there is only the one way."""

    def __init__(self, jobs: Callable[[], Jobs] | None, clock: Callable[[], float]) -> None:
        self._jobs, self._clock = jobs, clock

    def ask(
        self, backend: Backend, deployment: Deployment, model: str, asked: Request, sent: Sent
    ) -> Response:
        """What ``deployment`` answers to ``asked``, the version's form of what was ``sent``.

        An answer that turns out too large is asked for once more, so the model runs twice; a caller
        who knows can spare it that (``x-modelport-answer: by-reference``). Where the first run left
        no time for a second, that one is a job's. Raises as the backend.
        """
        if by_reference(sent.request.headers):
            if self._jobs is None or not sent.whole:
                raise NotSupportedError(
                    "a body or answer by reference", "this call or environment has only its own"
                )
            return self._past(self._jobs, backend, deployment, model, asked, sent, None)
        if self._jobs is None or not sent.whole:
            return backend.invoke(deployment, model, asked)
        answer = self._tried(self._jobs, backend, deployment, model, asked, sent)
        if isinstance(answer, Elsewhere) or carried(answer):
            return answer
        return self._jobs().put_away(answer)

    def _tried(
        self,
        jobs: Callable[[], Jobs],
        backend: Backend,
        deployment: Deployment,
        model: str,
        asked: Request,
        sent: Sent,
    ) -> Response:
        too_large: Response | PayloadTooLargeError
        started = self._clock()
        try:
            too_large = backend.invoke(deployment, model, asked)
        except PayloadTooLargeError as error:
            too_large = error
        else:
            if not says_too_large(too_large):
                return too_large
        if self._clock() - started > AGAIN_WITHIN_S:
            return jobs().take(sent.call, deployment, asked, sent.request, sent.event)
        return self._past(jobs, backend, deployment, model, asked, sent, too_large)

    @staticmethod
    def _past(
        jobs: Callable[[], Jobs],
        backend: Backend,
        deployment: Deployment,
        model: str,
        asked: Request,
        sent: Sent,
        too_large: Response | PayloadTooLargeError | None,
    ) -> Response:
        return jobs().carry(backend, deployment, model, asked, sent.request, sent.event, too_large)
