"""Logins that docker, podman and skopeo keep: ``config.json`` and its credential helpers.

Reads; never writes, and never shows what it read. A helper is the program
``docker-credential-NAME``, asked over its standard input.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from modelport.errors import InvalidSettingError
from modelport.images.auth import Login
from modelport.images.errors import ImageRegistryError
from modelport.images.reference import DOCKER_HUB

HELPER_WITHIN_S = 60
_HELPER = re.compile(r"[A-Za-z0-9_.-]+")
#: The user name by which helpers say that the secret is an identity token.
_TOKEN_USER = "<token>"
_DOCKER_HUB_KEYS = ("https://index.docker.io/v1/", "index.docker.io", DOCKER_HUB)


class DockerConfig:
    """`Credentials` out of the first of some files that has a login for the registry."""

    def __init__(self, paths: Iterable[Path], environ: Mapping[str, str]) -> None:
        self._paths = tuple(paths)
        self._environ = environ

    @classmethod
    def usual(cls, environ: Mapping[str, str]) -> DockerConfig:
        """The files where the usual tools keep logins."""
        return cls(_usual_paths(environ), environ)

    def __call__(self, registry: str) -> Login | None:
        """The login for a registry, if there is one; helpers are asked each time."""
        for path in self._paths:
            if path.is_file() and (login := self._login(_read(path), registry)):
                return login
        return None

    def _login(self, config: Mapping[str, Any], registry: str) -> Login | None:
        helpers = _mapping(config, "credHelpers")
        for key in _keys(registry):
            if helper := helpers.get(key):
                return self._from_helper(str(helper), key, registry)
        auths = _mapping(config, "auths")
        for key in _keys(registry):
            if login := _from_entry(auths.get(key)):
                return login
        if store := config.get("credsStore"):
            for key in _keys(registry):
                if login := self._from_helper(str(store), key, registry):
                    return login
        return None

    def _from_helper(self, name: str, key: str, registry: str) -> Login | None:
        program = f"docker-credential-{name}"
        if not _HELPER.fullmatch(name):
            raise ImageRegistryError(registry, f"{name!r} is no credential helper", _HELPER_HINT)
        try:
            # Its own complaints may hold what it keeps: they are read, never passed on.
            done = subprocess.run(
                [program, "get"],
                input=key,
                capture_output=True,
                text=True,
                env=dict(self._environ),
                timeout=HELPER_WITHIN_S,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            problem = f"the credential helper {program} cannot be run: {type(error).__name__}"
            raise ImageRegistryError(registry, problem, _HELPER_HINT) from None
        if done.returncode != 0:
            if "not found" in (done.stdout + done.stderr).lower():
                return None
            problem = f"the credential helper {program} failed (exit code {done.returncode})"
            raise ImageRegistryError(registry, problem, _HELPER_HINT)
        return _from_answer(done.stdout)


_HELPER_HINT = "see credHelpers and credsStore in docker's config.json"


def _usual_paths(environ: Mapping[str, str]) -> Iterator[Path]:
    home = Path(environ["HOME"]) if environ.get("HOME") else None
    if named := environ.get("REGISTRY_AUTH_FILE"):
        yield Path(named)
    if folder := environ.get("DOCKER_CONFIG"):
        yield Path(folder) / "config.json"
    elif home:
        yield home / ".docker" / "config.json"
    if runtime := environ.get("XDG_RUNTIME_DIR"):
        yield Path(runtime) / "containers" / "auth.json"
    if home:
        yield home / ".config" / "containers" / "auth.json"


def _read(path: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InvalidSettingError("docker config", str(path), type(error).__name__) from None
    if not isinstance(found, dict):
        raise InvalidSettingError("docker config", str(path), "it is no JSON object")
    return found


def _mapping(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = config.get(name)
    return found if isinstance(found, dict) else {}


def _keys(registry: str) -> tuple[str, ...]:
    """The names under which a registry may stand in the file."""
    own = (registry, f"https://{registry}", f"https://{registry}/", f"http://{registry}")
    versions = (f"https://{registry}/v1/", f"https://{registry}/v2/")
    return (*_DOCKER_HUB_KEYS, *own) if registry == DOCKER_HUB else (*own, *versions)


def _from_entry(entry: Any) -> Login | None:
    if not isinstance(entry, dict):
        return None
    token = str(entry.get("identitytoken") or "")
    username, password = entry.get("username"), entry.get("password")
    if packed := entry.get("auth"):
        try:
            pair = base64.b64decode(packed, validate=True).decode().rstrip("\0")
        except (binascii.Error, ValueError, TypeError):
            return None
        username, _, password = pair.partition(":")
    if not token and not (username and password):
        return None
    return Login(str(username or ""), str(password or ""), token)


def _from_answer(text: str) -> Login | None:
    try:
        answer = json.loads(text)
        username, secret = str(answer["Username"]), str(answer["Secret"])
    except (ValueError, KeyError, TypeError):
        return None
    if not secret:
        return None
    return Login("", "", secret) if username == _TOKEN_USER else Login(username, secret)
