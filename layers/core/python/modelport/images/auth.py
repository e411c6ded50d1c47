"""Who we are to a container registry: logins, the challenge of a 401, and tokens for scopes.

A login comes from a callable, asked again when the registry no longer takes the old one: logins of
ECR last twelve hours, tokens of most registries five minutes. Secrets stay in here: they show in no
repr, and `Authorizer.scrub` takes them out of what a registry says. Knows no AWS.
"""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import RLock
from typing import Any
from urllib.parse import urlencode

from modelport.images.errors import ImageRegistryError
from modelport.images.reference import Reference

CLIENT_ID = "modelport"
#: How long a token lasts when its registry does not say (the distribution specification's word).
_TOKEN_LASTS_S = 60
#: A token this close to its end is not begun with: an upload takes a while.
_MARGIN_S = 15


@dataclass(frozen=True, slots=True)
class Login:
    """A user name and password, or an identity token to be changed into access tokens."""

    username: str
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)

    @property
    def basic(self) -> str:
        """The value of an Authorization header."""
        pair = f"{self.username}:{self.password}".encode()
        return f"Basic {base64.b64encode(pair).decode()}"


#: The login for a registry (its host and port), if there is one; asked again when it was refused.
Credentials = Callable[[str], Login | None]


def anonymous(registry: str) -> Login | None:
    """`Credentials` of somebody without any."""
    return None


def first_of(*sources: Credentials) -> Credentials:
    """The `Credentials` of the first source that has a login."""
    return lambda registry: next(filter(None, (source(registry) for source in sources)), None)


@dataclass(frozen=True, slots=True)
class Challenge:
    """One way to authenticate that a registry offers; the scheme in lower case."""

    scheme: str
    parameters: Mapping[str, str]


_WORD = re.compile(
    r"[\s,]*([A-Za-z0-9!#$%&'*+.^_`|~-]+)(?:\s*=\s*(?:\"((?:[^\"\\]|\\.)*)\"|([^\s,\"]+)))?"
)


def challenges(headers: Iterable[str]) -> list[Challenge]:
    """Read WWW-Authenticate headers; what cannot be read ends the reading."""
    found: list[Challenge] = []
    for header in headers:
        at = 0
        parameters: dict[str, str] = {}
        while word := _WORD.match(header, at):
            name, quoted, plain = word.groups()
            if quoted is None and plain is None:
                parameters = {}
                found.append(Challenge(name.lower(), parameters))
            else:
                value = re.sub(r"\\(.)", r"\1", quoted) if plain is None else plain
                parameters[name.lower()] = value
            at = word.end()
    return found


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """What to send to a registry's token service."""

    method: str
    url: str
    headers: Mapping[str, str] = field(repr=False)
    form: bytes | None = field(default=None, repr=False)


#: Sends a `TokenRequest`; gives status and body.
AskToken = Callable[[TokenRequest], tuple[int, bytes]]


class Authorizer:
    """The Authorization headers of one repository's requests, learned from its challenges."""

    def __init__(
        self,
        reference: Reference,
        credentials: Credentials,
        ask: AskToken,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reference = reference
        self._credentials = credentials
        self._ask = ask
        self._clock = clock
        self._lock = RLock()
        self._challenge: Challenge | None = None
        self._login: Login | None = None
        self._tokens: dict[frozenset[str], tuple[str, float]] = {}
        self._secrets: set[str] = set()

    @property
    def has_login(self) -> bool:
        """Whether requests are made in anybody's name."""
        return self._login is not None

    def has_unasked_login(self) -> bool:
        """Whether there is a login that the registry never wanted to see."""
        with self._lock:
            return self._login is None and self._logged_in() is not None

    def header(self, scopes: frozenset[str]) -> str | None:
        """What to send along; None until the registry has asked for anything."""
        with self._lock:
            if self._challenge is None:
                return None
            if self._challenge.scheme == "basic":
                return self._login.basic if self._login else None
            token, until = self._tokens.get(scopes, ("", 0.0))
            if self._clock() >= until:
                token = self._new_token(self._challenge, scopes)
            return f"Bearer {token}"

    def learn(self, headers: Sequence[str], scopes: frozenset[str], used: str | None) -> bool:
        """Take in a 401 to a request sent with ``used``; whether it is worth sending again."""
        offered = challenges(headers)
        with self._lock:
            if used is not None and used != self.header(scopes):
                return True  # Meanwhile somebody else has renewed it.
            self._login = self._logged_in()
            for challenge in offered:
                if challenge.scheme == "bearer" and "realm" in challenge.parameters:
                    self._challenge = challenge
                    self._tokens.pop(scopes, None)
                    return True
            for challenge in offered:
                if challenge.scheme == "basic" and self._login is not None:
                    self._challenge = challenge
                    return used != self._login.basic
            return False

    def scrub(self, text: str) -> str:
        """The text without any secret of ours that a registry may have echoed."""
        for secret in sorted(self._secrets, key=len, reverse=True):
            text = text.replace(secret, "…")
        return text

    def _logged_in(self) -> Login | None:
        login = self._credentials(self._reference.registry)
        if login is not None:
            self._keep(login.password, login.identity_token, login.basic.removeprefix("Basic "))
        return login

    def _keep(self, *secrets: str) -> None:
        self._secrets.update(secret for secret in secrets if len(secret) > 3)

    def _new_token(self, challenge: Challenge, scopes: frozenset[str]) -> str:
        request = token_request(challenge, scopes, self._login)
        status, body = self._ask(request)
        if status != 200:
            raise self._refused(status, body)
        token, lasts = _token(body)
        if not token:
            raise ImageRegistryError(self._reference.registry, "its token service gives no token")
        self._keep(token)
        self._tokens[scopes] = (token, self._clock() + max(lasts - _MARGIN_S, 1))
        return token

    def _refused(self, status: int, body: bytes) -> ImageRegistryError:
        if status not in (400, 401, 403):
            problem = f"its token service answers {status}"
        elif self.has_login:
            problem = f"its token service does not take our login ({status})"
        else:
            problem = f"its token service gives nothing without a login ({status})"
        return ImageRegistryError(self._reference.registry, problem, login_hint(self._reference))


def token_request(
    challenge: Challenge, scopes: frozenset[str], login: Login | None
) -> TokenRequest:
    """How to ask for a token: with a GET as everybody, or in exchange for an identity token."""
    asked = {*scopes, *challenge.parameters.get("scope", "").split()}
    realm = challenge.parameters["realm"]
    service = challenge.parameters.get("service", "")
    fields = [("service", service)] if service else []
    if login is not None and login.identity_token:
        form = [
            *fields,
            ("grant_type", "refresh_token"),
            ("client_id", CLIENT_ID),
            ("refresh_token", login.identity_token),
            ("scope", " ".join(sorted(asked))),
        ]
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return TokenRequest("POST", realm, headers, urlencode(form).encode())
    fields += [("scope", scope) for scope in sorted(asked)]
    url = f"{realm}{'&' if '?' in realm else '?'}{urlencode(fields)}"
    return TokenRequest("GET", url, {"Authorization": login.basic} if login else {})


def _token(body: bytes) -> tuple[str, float]:
    """Token and seconds it lasts; an empty token when the body holds none."""
    try:
        document: Any = json.loads(body)
        token = document.get("token") or document.get("access_token") or ""
        lasts = document.get("expires_in") or _TOKEN_LASTS_S
        return (token, float(lasts)) if isinstance(token, str) else ("", 0.0)
    except (ValueError, TypeError, AttributeError):
        return "", 0.0


def login_hint(reference: Reference) -> str:
    """What to do when a registry wants to know who we are."""
    if region := reference.ecr_region:
        return (
            "check AWS_PROFILE and that its role may call ecr:GetAuthorizationToken; by hand:"
            f" aws ecr get-login-password --region {region}"
            f" | docker login --username AWS --password-stdin {reference.registry}"
        )
    return f"log in: docker login {reference.registry} (podman login, skopeo login do as well)"
