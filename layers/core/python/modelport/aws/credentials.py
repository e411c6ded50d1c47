"""Who signs: the environment's keys, a container's, or whatever else botocore finds.

The environment is passed in and is asked again whenever keys are fetched, because a restored
snapshot has another one. What was fetched is renewed before it expires by the one thread that
notices; while it is valid the others go on with it, and so do all when the renewal fails.
"""

from __future__ import annotations

import os.path
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from modelport.aws.errors import CallError, CredentialsError

#: Renewed this long before they expire, as botocore begins to.
RENEW_BEFORE_S = 15 * 60.0
#: After a renewal that failed, or brought none that last longer, the next one is tried so much
#: later, while those known are valid.
_PAUSE_S = 10.0
#: Callers that waited for a renewal that failed this recently do not each try their own.
_SHARED_S = 1.0


@dataclass(frozen=True, slots=True)
class Credentials:
    """Keys, and when they expire in seconds since the epoch; only the key's name is ever shown."""

    access_key: str
    secret_key: str = field(repr=False)
    token: str = field(default="", repr=False)
    expires: float | None = field(default=None, repr=False)


class Source(Protocol):
    """Where credentials come from."""

    def __call__(self) -> Credentials:
        """Valid ones; raises `CredentialsError`."""
        ...


def source_of(environ: Mapping[str, str]) -> Source:
    """The source that botocore would choose for this environment."""
    key, secret = environ.get("AWS_ACCESS_KEY_ID"), environ.get("AWS_SECRET_ACCESS_KEY")
    if key and secret and not environ.get("AWS_CREDENTIAL_EXPIRATION"):
        static = Credentials(key, secret, environ.get("AWS_SESSION_TOKEN", ""))
        return lambda: static
    if not key and _names_a_container(environ):
        from modelport.aws.container_credentials import fetched

        return Renewed(lambda: fetched(environ))
    return BotocoreSource()


def _names_a_container(environ: Mapping[str, str]) -> bool:
    # Botocore asks for a role's web identity and for shared files before it asks a container.
    if "AWS_WEB_IDENTITY_TOKEN_FILE" in environ or "AWS_SHARED_CREDENTIALS_FILE" in environ:
        return False
    if os.path.exists(f"{environ.get('HOME', '')}/.aws/credentials"):
        return False
    kinds = ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI")
    return any(kind in environ for kind in kinds)


class Renewed:
    """Credentials that are fetched again before they expire."""

    def __init__(
        self, fetch: Callable[[], Credentials], now: Callable[[], float] = time.time
    ) -> None:
        self._fetch, self._now = fetch, now
        self._known: Credentials | None = None
        self._lock = threading.Lock()
        self._tried_at = float("-inf")
        self._failed: tuple[float, CallError] | None = None

    def __call__(self) -> Credentials:
        """The known ones while they last, else fresh ones."""
        known, now = self._known, self._now()
        if known is not None and _left_s(known, now) > RENEW_BEFORE_S:
            return known
        if known is not None and _left_s(known, now) > 0:
            return self._renewed_in_passing(known, now)
        with self._lock:
            return self._needed()

    def _renewed_in_passing(self, known: Credentials, now: float) -> Credentials:
        if now - self._tried_at < _PAUSE_S:
            return known
        if not self._lock.acquire(blocking=False):
            return known
        try:
            # Another thread may have renewed them since they were looked at.
            return self._fetched() if self._known is known else self._needed()
        except CallError:
            return known
        finally:
            self._lock.release()

    def _needed(self) -> Credentials:
        known, now = self._known, self._now()
        if known is not None and _left_s(known, now) > 0:
            return known
        if self._failed is not None and now - self._failed[0] < _SHARED_S:
            raise CredentialsError(str(self._failed[1]))
        return self._fetched()

    def _fetched(self) -> Credentials:
        self._tried_at = self._now()
        try:
            fresh = self._fetch()
        except CallError as error:
            self._failed = (self._now(), error)
            raise
        self._failed, self._known = None, fresh
        return fresh


def _left_s(credentials: Credentials, now: float) -> float:
    return float("inf") if credentials.expires is None else credentials.expires - now


class BotocoreSource:
    """Botocore's own chain: profiles, web identities, an instance's role."""

    def __init__(self) -> None:
        self._found: Any = None
        self._lock = threading.Lock()

    def __call__(self) -> Credentials:
        """Frozen ones of what botocore found; it renews them itself."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            found = self._found or self._find()
            frozen = found.get_frozen_credentials()
        except (BotoCoreError, ClientError, RuntimeError) as error:
            # STS refuses with the second; botocore says so of expired ones with the third.
            raise CredentialsError(f"the credentials cannot be read: {error}") from error
        return Credentials(frozen.access_key, frozen.secret_key, frozen.token or "")

    def _find(self) -> Any:
        import botocore.session

        with self._lock:
            if self._found is None:
                self._found = botocore.session.Session().get_credentials()
            if self._found is None:
                raise CredentialsError("Unable to locate credentials")
            return self._found
