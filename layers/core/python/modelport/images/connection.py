"""Requests to one registry: authenticated, redirected, and repeated while that may help.

Authorization goes to the registry's own host only, and nothing ever goes over plain HTTP to
another machine. Knows requests and answers, nothing of blobs and manifests.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import httpx

from modelport.images.auth import Authorizer, Credentials, TokenRequest
from modelport.images.client import FIRST_TIMEOUT, client_for
from modelport.images.errors import ImageRegistryError
from modelport.images.patience import ATTEMPTS, ATTEMPTS_AT_NOBODY, Interruption, Patience
from modelport.images.reference import Reference
from modelport.images.refusals import RETRYABLE, Answer, is_full, refusal, retry_after

#: No manifest and no token is larger; registries refuse manifests over 4 MiB.
MAX_BODY = 8 << 20
_MAX_REDIRECTS = 5
_MAX_CHALLENGES = 3
_REDIRECTS = frozenset({301, 302, 303, 307, 308})

Scopes = frozenset[str]


@dataclass(frozen=True, slots=True)
class Body:
    """A request's body that can be sent again: its length, and a fresh stream each time."""

    size: int
    chunks: Callable[[], Iterable[bytes]]

    @classmethod
    def of(cls, body: bytes) -> Body:
        """A body out of memory."""
        return cls(len(body), lambda: [body] if body else [])


class Connection:
    """The API of the registry that a reference names."""

    def __init__(
        self,
        reference: Reference,
        credentials: Credentials,
        client: httpx.Client | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.reference = reference
        self._ours = client is None
        self._is_local = reference.is_loopback
        self._client = client or client_for(reference)
        self._sleep = sleep
        self._origin = httpx.URL(reference.api)
        #: Whether anybody ever answered: what then falls silent is worth waiting for.
        self._answered = False
        self._authorizer = Authorizer(reference, credentials, self._ask_token)

    def close(self) -> None:
        """Close the connections, unless they are of a client that was passed in."""
        if self._ours:
            self._client.close()

    def patience(self) -> Patience:
        """A new count of tries."""
        return Patience(self._sleep)

    def url(self, location: str) -> httpx.URL:
        """The URL of a path or of a Location header; raises when we must not go there."""
        return self._allowed(self._joined(self._origin, location))

    def ask(
        self,
        method: str,
        url: httpx.URL,
        scopes: Scopes,
        doing: str,
        expected: Collection[int],
        *,
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
    ) -> Answer:
        """Send a request until it is answered with one of the expected statuses; else raise."""
        patience = self.patience()
        while True:
            try:
                return self.once(method, url, scopes, doing, expected, headers=headers, body=body)
            except Interruption as interruption:
                patience.wait(interruption)

    def once(
        self,
        method: str,
        url: httpx.URL,
        scopes: Scopes,
        doing: str,
        expected: Collection[int],
        *,
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
    ) -> Answer:
        """The same in one try: raises `Interruption` where another may help."""
        with self.open(method, url, scopes, doing, expected, headers=headers, body=body) as got:
            return Answer(got.status_code, got.headers, self._read(got, doing))

    @contextmanager
    def open(
        self,
        method: str,
        url: httpx.URL,
        scopes: Scopes,
        doing: str,
        expected: Collection[int],
        *,
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
    ) -> Iterator[httpx.Response]:
        """One try whose answer is read by the caller, inside the block."""
        with self._interrupting(doing):
            response = self._authorized(method, url, scopes, headers or {}, body, expected)
            try:
                if response.status_code not in expected:
                    raise self._unexpected(response, doing)
                yield response
            finally:
                response.close()

    def interruption(self, problem: str, wait_s: float | None = None) -> Interruption:
        """An `Interruption` in words about this registry."""
        return Interruption(ImageRegistryError(self.reference.registry, problem), wait_s)

    def _authorized(
        self,
        method: str,
        url: httpx.URL,
        scopes: Scopes,
        headers: Mapping[str, str],
        body: Body | None,
        expected: Collection[int],
    ) -> httpx.Response:
        """Send, with what the registry wants to know of us, to where it sends us."""
        challenged = redirected = 0
        while True:
            ours = self._is_ours(url)
            used = self._authorizer.header(scopes) if ours else None
            response = self._send(method, url, headers, body, used)
            status = response.status_code
            if status == 401 and ours and challenged < _MAX_CHALLENGES:
                challenged += 1
                asked = response.headers.get_list("WWW-Authenticate")
                if not self._authorizer.learn(asked, scopes, used):
                    return response
            elif status in expected or status not in _REDIRECTS or redirected == _MAX_REDIRECTS:
                return response
            else:
                redirected += 1
                url = self._allowed(self._joined(url, response.headers.get("Location", "")))
            response.close()

    def _send(
        self,
        method: str,
        url: httpx.URL,
        headers: Mapping[str, str],
        body: Body | None,
        authorization: str | None,
    ) -> httpx.Response:
        sent = {"Accept-Encoding": "identity", "User-Agent": "modelport", **headers}
        if authorization:
            sent["Authorization"] = authorization
        content = None
        if body is not None:
            sent["Content-Length"] = str(body.size)
            content = body.chunks()
        request = self._client.build_request(method, url, headers=sent, content=content)
        if self._ours and not self._answered:
            request.extensions["timeout"] = FIRST_TIMEOUT.as_dict()
        response = self._client.send(request, auth=None, stream=True, follow_redirects=False)
        self._answered = True
        return response

    def _ask_token(self, request: TokenRequest) -> tuple[int, bytes]:
        url = self._allowed(self._joined(self._origin, request.url))
        body = Body.of(request.form) if request.form is not None else None
        doing = "asking for a token"
        patience = self.patience()
        while True:
            try:
                with self._interrupting(doing):
                    response = self._send(request.method, url, request.headers, body, None)
                    try:
                        if response.status_code in RETRYABLE:
                            raise self._unexpected(response, doing)
                        return response.status_code, self._read(response, doing)
                    finally:
                        response.close()
            except Interruption as interruption:
                patience.wait(interruption)

    def _unexpected(self, response: httpx.Response, doing: str) -> Exception:
        """What to raise for an answer nobody hoped for."""
        answer = Answer(response.status_code, response.headers, self._read(response, doing))
        error = refusal(
            self.reference,
            doing,
            answer,
            has_login=self._authorizer.has_login,
            has_unasked_login=self._authorizer.has_unasked_login,
            scrub=self._authorizer.scrub,
        )
        if (
            isinstance(error, ImageRegistryError)
            and answer.status in RETRYABLE
            and not is_full(answer)
        ):
            return Interruption(error, retry_after(answer.headers))
        return error

    def _read(self, response: httpx.Response, doing: str) -> bytes:
        body = bytearray()
        for chunk in response.iter_bytes():
            body += chunk
            if len(body) > MAX_BODY:
                problem = f"answers with more than {MAX_BODY:,} bytes while {doing}"
                raise ImageRegistryError(self.reference.registry, problem)
        return bytes(body)

    @contextmanager
    def _interrupting(self, doing: str) -> Iterator[None]:
        """Turn a lost connection into an `Interruption`; what no try mends into our error."""
        try:
            yield
        except httpx.TransportError as error:
            if tls := _tls_failure(error):
                problem = f"speaks no TLS that we trust while {doing}: {tls}"
                hint = "plain HTTP is for this machine only; check SSL_CERT_FILE and the host name"
                raise ImageRegistryError(self.reference.registry, problem, hint) from None
            problem = f"{_kind(error)} while {doing}"
            if said := self._authorizer.scrub(str(error)):
                problem += f": {said}"
            hint = "is it running, and is its name right?"
            lost = ImageRegistryError(self.reference.registry, problem, hint)
            attempts = ATTEMPTS if self._answered else ATTEMPTS_AT_NOBODY
            raise Interruption(lost, attempts=attempts) from error

    def _is_ours(self, url: httpx.URL) -> bool:
        return (url.scheme, url.host, url.port) == (
            self._origin.scheme,
            self._origin.host,
            self._origin.port,
        )

    def _joined(self, base: httpx.URL, location: str) -> httpx.URL:
        try:
            return base.join(location)
        except (httpx.InvalidURL, ValueError):
            problem = "sends us to an address that is none"
            raise ImageRegistryError(self.reference.registry, problem) from None

    def _allowed(self, url: httpx.URL) -> httpx.URL:
        local = url.host in ("127.0.0.1", "localhost", "::1")
        if url.scheme == "https" or (url.scheme == "http" and local and self._is_local):
            return url
        problem = f"sends us to {url.scheme}://{url.host}, which is not encrypted"
        raise ImageRegistryError(self.reference.registry, problem, "serve it over https")


def _kind(error: httpx.TransportError) -> str:
    if isinstance(error, httpx.TimeoutException):
        return "does not answer"
    return "cannot be reached" if isinstance(error, httpx.ConnectError) else "broke off"


def _tls_failure(error: httpx.TransportError) -> str:
    """Why TLS cannot work at all, which no other try mends; empty for everything else."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLError):
        cause = cause.__cause__ or cause.__context__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return cause.verify_message
    if cause is None or isinstance(cause, ssl.SSLEOFError):
        return ""
    return (cause.reason or "TLS error").replace("_", " ").lower()
