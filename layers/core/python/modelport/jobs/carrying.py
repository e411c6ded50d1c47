"""Has a version answer what its backend cannot carry: by references to the payloads bucket.

First as it is, where that may work; only where request or answer turn out too large by reference,
which for an answer means that the model runs a second time. Knows no jobs and no callers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from modelport.backends import Backend
from modelport.backends.backend import says_too_large
from modelport.envelope import Request, Response
from modelport.errors import MalformedRequestError, ModelFailedError, PayloadTooLargeError
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
    """Where a call's body lies, or goes if it has to, and its answer."""

    body: str
    answer: str
    lies: bool = False


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
    ) -> Response | Stored:
        """The answer to ``asked``, as it is if that can be; raises as the backend does."""
        too_large: Response | PayloadTooLargeError
        try:
            too_large = backend.invoke(deployment, model, asked)
        except PayloadTooLargeError as error:
            too_large = error
        else:
            if not says_too_large(too_large):
                return too_large
        return self.past(backend, deployment, model, asked, places, too_large)

    def past(
        self,
        backend: Backend,
        deployment: Deployment,
        model: str,
        asked: Request,
        places: Places,
        too_large: Response | PayloadTooLargeError | None = None,
    ) -> Response | Stored:
        """The answer by reference; ``too_large`` is what came of asking as it is, if that was done.

        A version that takes no references leaves it at that.
        """
        if not places.lies:
            self._payloads.put(places.body, asked.body, {})
        answer = self._asked(backend, deployment, model, asked, places)
        if too_large is None or isinstance(answer, Stored) or answer.status not in _REFUSED:
            return answer
        if isinstance(too_large, PayloadTooLargeError):
            raise too_large
        return too_large

    def _asked(
        self,
        backend: Backend,
        deployment: Deployment,
        model: str,
        asked: Request,
        places: Places,
    ) -> Response | Stored:
        reference = Reference(
            self._payloads.get_url(places.body, URLS_LAST_S),
            self._payloads.put_url(places.answer, URLS_LAST_S),
            asked.headers.get("content-type", ""),
        )
        response = backend.invoke(deployment, model, reference.of(replace(asked, body=b"")))
        try:
            put = Put.of(response)
        except MalformedRequestError as error:
            raise ModelFailedError(model, deployment.version, asked.request_id) from error
        if put is None:
            return response
        own = {name: text for name, text in response.headers.items() if name != "content-type"}
        return Stored(put.status, {**own, **put.headers}, places.answer, put.size)
