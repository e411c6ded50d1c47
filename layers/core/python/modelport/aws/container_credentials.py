"""Credentials from the address that a container's environment names, as ECS and SnapStart do.

Knows when they expire, not when to ask again. What the address answers is never repeated.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from ipaddress import ip_address
from pathlib import Path

from modelport.aws.credentials import Credentials
from modelport.aws.endpoints import Endpoint, parsed
from modelport.aws.errors import CallError, CredentialsError
from modelport.aws.pool import Pool, Timeouts

_ECS = "169.254.170.2"
#: Where plain http may carry credentials: to these and to this machine.
_TRUSTED = (_ECS, "169.254.170.23", "fd00:ec2::23", "localhost")
_TIMEOUTS = Timeouts(2, 2)
_TRIES, _PAUSE_S = 3, 1.0


def fetched(environ: Mapping[str, str], sleep: Callable[[float], None] = time.sleep) -> Credentials:
    """Ask, up to three times; raises `CredentialsError`."""
    (endpoint, target), token = _address(environ), _token(environ)
    headers = {"accept": "application/json", "host": endpoint.authority}
    if token:
        headers["authorization"] = token
    pool = Pool(endpoint, _TIMEOUTS, environ)
    for left in reversed(range(_TRIES)):
        try:
            answer = pool.ask("GET", target, headers)
            if answer.status == 200:
                return _read(answer.body)
            said = f"answered {answer.status}"
        except CredentialsError:
            raise
        except CallError as error:
            said = str(error)
        finally:
            pool.close()  # one kept over the pause may be found dead, at the price of a try
        if left:
            sleep(_PAUSE_S)
    raise CredentialsError(f"the container's credentials are away: {said}")


def _address(environ: Mapping[str, str]) -> tuple[Endpoint, str]:
    """The server to ask, and what it is asked for."""
    relative = environ.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
    if relative is not None:
        url = f"http://{_ECS}{relative}"
    else:
        url = environ["AWS_CONTAINER_CREDENTIALS_FULL_URI"]
    server, _, rest = url.partition("://")[2].partition("/")
    endpoint = parsed(f"{url.partition('://')[0]}://{server}", "")
    if endpoint is None or not rest.isascii() or not rest.isprintable() or " " in rest:
        raise CredentialsError("the address of the container's credentials is no URL")
    if endpoint.secure or endpoint.host in _TRUSTED or _is_loopback(endpoint.host):
        return endpoint, f"/{rest}"
    raise CredentialsError(f"credentials are not asked of {endpoint.host} over plain http")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _token(environ: Mapping[str, str]) -> str:
    path = environ.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")
    if path is None:
        token = environ.get("AWS_CONTAINER_AUTHORIZATION_TOKEN", "")
    else:
        try:
            token = Path(path).read_text()
        except (OSError, ValueError) as error:
            raise CredentialsError("the token file of the container cannot be read") from error
    if "\r" in token or "\n" in token or not token.isascii():
        raise CredentialsError("the token of the container's credentials is no header")
    return token


def _read(body: bytes) -> Credentials:
    try:
        said = json.loads(body)
        keys = said["AccessKeyId"], said["SecretAccessKey"], said["Token"]
        expires = datetime.fromisoformat(said["Expiration"]).timestamp()
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        # Without its cause: that may quote what was answered.
        raise CredentialsError("the container's credentials cannot be read") from None
    if not all(isinstance(key, str) and key for key in keys):
        raise CredentialsError("the container's credentials cannot be read")
    return Credentials(*keys, expires)
