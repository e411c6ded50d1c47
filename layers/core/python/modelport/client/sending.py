"""What both transports share: settings, httpx's errors as ours, how much may come back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import httpx

from modelport.client.calls import Compression, Questions
from modelport.client.conversation import LostError, Reply, Send
from modelport.client.errors import InvalidValueError, UnreadableAnswerError
from modelport.client.retries import Budget, Retries, Terms
from modelport.client.signing import Signer

CONNECT_TIMEOUT_S = 10.0
#: What a Lambda function can stream at most; API Gateway ends long before.
MAX_ANSWER_BYTES = 200 * 1024 * 1024
CONNECTIONS = 16


def limits(connections: int) -> httpx.Limits:
    """A pool of so many connections, all of which may be kept."""
    return httpx.Limits(max_connections=connections, max_keepalive_connections=connections)


def questions(
    endpoint: str | None,
    environ: Mapping[str, str],
    auth: Signer | str | None,
    retries: Retries | None,
    compression: Compression,
) -> Questions:
    """What a client can ask, from its arguments and the environment; argument beats environment."""
    url = (endpoint or environ.get("MODELPORT_ENDPOINT") or "").rstrip("/")
    if not url:
        raise InvalidValueError(
            "endpoint", "nothing says where the API is", hint="give it, or set MODELPORT_ENDPOINT"
        )
    try:
        parsed = httpx.URL(url)
        parsed.port  # noqa: B018 - raises for a port that is none
    except (httpx.InvalidURL, ValueError) as error:
        raise InvalidValueError(f"endpoint {url!r}", str(error)) from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise InvalidValueError(f"endpoint {url!r}", "it is no http or https URL")
    if parsed.query or parsed.fragment or parsed.userinfo:
        raise InvalidValueError(f"endpoint of {parsed.host}", "a base URL has no query or login")
    if auth not in (None, "iam") and not isinstance(auth, Signer):
        raise InvalidValueError(f"auth {auth!r}", 'it is "iam", a Signer or None')
    if compression not in (None, "gzip"):
        raise InvalidValueError(f"compression {compression!r}", 'it is "gzip" or None')
    signer = Signer.of_environment(environ) if auth == "iam" else auth
    sign = signer.headers if isinstance(signer, Signer) else None
    return Questions(Terms(url, retries or Retries(), Budget(), sign), compression)


def timeouts(left_s: float) -> httpx.Timeout:
    """httpx's timeouts for an attempt that has so much time left."""
    return httpx.Timeout(left_s, connect=min(left_s, CONNECT_TIMEOUT_S))


@contextmanager
def losses(url: str) -> Iterator[None]:
    """Have httpx's trouble raised as ours."""
    try:
        yield
    except httpx.ConnectTimeout as error:
        raise LostError("the connection could not be made in time") from error
    except httpx.TimeoutException as error:
        raise LostError("time ran out", late=True) from error
    except httpx.InvalidURL as error:  # also of a Location that nobody follows
        raise UnreadableAnswerError(url, f"it has a URL that is none ({error})") from error
    except httpx.DecodingError as error:
        raise UnreadableAnswerError(url, f"its compression is broken ({error})") from error
    except httpx.UnsupportedProtocol as error:
        raise InvalidValueError(f"endpoint {url!r}", str(error)) from error
    except httpx.TransportError as error:
        raise LostError(str(error) or type(error).__name__) from error


def check_size(url: str, size: int, most: int) -> None:
    """Raise `UnreadableAnswerError` for an answer of more bytes than shall be held."""
    if size > most:
        raise UnreadableAnswerError(url, f"it is larger than {most:,} bytes (max_answer_bytes)")


def declared_size(response: httpx.Response) -> int:
    """What the answer says its size is; 0 where it says nothing usable."""
    said = response.headers.get("content-length", "")
    return int(said) if said.isascii() and said.isdigit() and len(said) < 16 else 0


def reply_of(response: httpx.Response, pieces: list[bytes], duration_s: float) -> Reply:
    """An answer, whole."""
    body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
    return Reply(response.status_code, response.headers, body, duration_s)


def request_of(http: httpx.Client | httpx.AsyncClient, send: Send) -> httpx.Request:
    """httpx's form of a request."""
    return http.build_request(
        send.method,
        send.url,
        content=send.body,
        headers=dict(send.headers),
        timeout=timeouts(send.timeout_s),
    )
