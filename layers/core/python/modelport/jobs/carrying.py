"""Has a version answer what its backend cannot carry: by references to the payloads bucket.

First as it is, where that may work; only where request or answer turn out too large by reference,
which for an answer means that the model runs a second time. Who knows better says so at once. Knows
no jobs and no callers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from modelport.backends import Backend
from modelport.envelope import Request, Response, Stream
from modelport.errors import (
    AnswerTooLargeError,
    MalformedRequestError,
    ModelFailedError,
    PayloadTooLargeError,
)
from modelport.jobs.payloads import Payloads
from modelport.references import Put, Reference
from modelport.routes import Deployment

#: As long as a version runs at most, and some time to be asked.
URLS_LAST_S = 1_800
#: How a version says that it takes no references: it is older than they are, or told so.
_REFUSED = frozenset({400, 415, 501})


@dataclass(frozen=True, slots=True)
class Stored:
    """An answer that lies under ``key``."""

    status: int
    headers: dict[str, str]
    key: str
    size: int


@dataclass(frozen=True, slots=True)
class Places:
    """Where a call's body goes if it has to lie somewhere, and its answer."""

    body: str
    answer: str


class Carrier:
    """Asks backends; safe to call from many threads."""

    def __init__(self, payloads: Payloads) -> None:
        self._payloads = payloads

    def carry(
        self,
        backend: Backend,
        deployment: Deployment,
        model: str,
        asked: Request,
        places: Places,
        *,
        lies_at: str | None = None,
        at_once: bool = False,
    ) -> Response | Stored:
        """The answer to ``asked``, whose body may lie at the key ``lies_at`` already.

        ``at_once`` goes by reference without trying otherwise. Raises as the backend does.
        """
        if lies_at is not None:
            return self._by_reference(backend, deployment, model, asked, lies_at, places.answer)
        too_large: Response | PayloadTooLargeError | None = None
        if not at_once:
            too_large = _too_large(backend, deployment, model, asked)
            if isinstance(too_large, Response) and not _says_too_large(too_large):
                return too_large
        return self.again(backend, deployment, model, asked, places, too_large)

    def again(
        self,
        backend: Backend,
        deployment: Deployment,
        model: str,
        asked: Request,
        places: Places,
        too_large: Response | PayloadTooLargeError | None,
    ) -> Response | Stored:
        """The answer by reference, after ``too_large`` came of asking as it is.

        A version that takes no references leaves it at ``too_large``.
        """
        kind = asked.headers.get("content-type", "")
        self._payloads.put(places.body, asked.body, kind or "application/octet-stream")
        answer = self._by_reference(backend, deployment, model, asked, places.body, places.answer)
        if too_large is None or isinstance(answer, Stored) or answer.status not in _REFUSED:
            return answer
        if isinstance(too_large, PayloadTooLargeError):
            raise too_large
        return too_large

    def _by_reference(
        self,
        backend: Backend,
        deployment: Deployment,
        model: str,
        asked: Request,
        body: str,
        answer: str,
    ) -> Response | Stored:
        reference = Reference(
            self._payloads.get_url(body, URLS_LAST_S),
            self._payloads.put_url(answer, URLS_LAST_S),
            asked.headers.get("content-type", ""),
        )
        response = backend.invoke(deployment, model, reference.of(replace(asked, body=b"")))
        try:
            put = Put.of(response)
        except MalformedRequestError as error:
            raise ModelFailedError(model, deployment.version, asked.request_id) from error
        if put is None:
            return response
        own = {k: v for k, v in response.headers.items() if k != "content-type"}
        return Stored(put.status, {**own, **put.headers}, answer, put.size)


def _too_large(
    backend: Backend, deployment: Deployment, model: str, asked: Request
) -> Response | PayloadTooLargeError:
    try:
        return backend.invoke(deployment, model, asked)
    except PayloadTooLargeError as error:
        return error


def _says_too_large(response: Response) -> bool:
    """Whether a version says that its transport does not carry its answer."""
    said = response.headers.get("x-modelport-error") == AnswerTooLargeError.code
    return said and response.status == 413 and not isinstance(response, Stream)
