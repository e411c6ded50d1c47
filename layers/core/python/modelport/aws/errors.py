"""How a call to AWS can end without an answer that can be used.

Nothing here holds what was sent, and no message repeats a credential, a signature or a payload.
Backends and stores turn these into `modelport.errors`, as they do botocore's.

    CallError
    ├── CredentialsError        there are none, or they cannot be refreshed
    ├── UnreachableError        no connection came about; nothing was sent
    ├── SilentError             connected, and no whole answer within the time allowed
    ├── HungUpError             the other side closed the connection without a byte of answer
    ├── UnreadableError         the answer was cut off, is no HTTP, or is too large
    └── RefusedError            the service answered, and the answer is an error
"""

from __future__ import annotations

from collections.abc import Mapping


class CallError(Exception):
    """No usable answer."""


class CredentialsError(CallError):
    """Nothing to sign with."""


class UnreachableError(CallError):
    """No connection to ``url``, for instance because nobody listens or TLS does not trust it."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f'Could not connect to the endpoint URL: "{url}" ({reason})')


class SilentError(CallError):
    """``url`` did not give a whole answer within ``limit_s`` seconds."""

    def __init__(self, url: str, limit_s: float) -> None:
        super().__init__(f'"{url}" gave no whole answer within {limit_s:g} s')


class HungUpError(CallError):
    """The connection to ``url`` ended before its answer began.

    ``kept`` says that it had carried an answer before, or that this is not known: then it may have
    died while nobody used it. Over a new one the request has arrived, and may have been acted on.
    """

    def __init__(self, url: str, *, kept: bool = True) -> None:
        super().__init__(f'"{url}" closed the connection without an answer')
        self.kept = kept


class UnreadableError(CallError):
    """What ``url`` sent cannot be used as an answer."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f'the answer of "{url}" cannot be used: {reason}')


class RefusedError(CallError):
    """An answer that is an error: what the service calls it, and how it words it.

    ``message`` is the service's; it may name resources and is for operators, not for callers.
    ``original_status`` is what the container behind an endpoint answered, where that is told.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        headers: Mapping[str, str],
        original_status: int | None = None,
    ) -> None:
        super().__init__(f"{code or status}: {message or 'no reason given'}")
        self.status, self.code, self.message = status, code, message
        self.headers, self.original_status = headers, original_status
