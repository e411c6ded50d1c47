"""Who we are to a registry: challenges read, tokens renewed, logins found, nothing given away."""

from __future__ import annotations

import base64
import json
import stat
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelport.errors import InvalidSettingError
from modelport.images.auth import (
    Authorizer,
    Challenge,
    Login,
    TokenRequest,
    anonymous,
    challenges,
    first_of,
    token_request,
)
from modelport.images.docker_config import DockerConfig
from modelport.images.errors import ImageRegistryError
from modelport.images.reference import Reference

SECRET = "correct-horse-battery"
LOGIN = Login("ada", SECRET)
MODELS = Reference("r.example.com", "team/models")
PULL = frozenset({"repository:team/models:pull"})
BEARER = 'Bearer realm="https://auth.example.com/token",service="r"'


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (['Basic realm="a, b"'], [("basic", {"realm": "a, b"})]),
        ([BEARER], [("bearer", {"realm": "https://auth.example.com/token", "service": "r"})]),
        (["Basic realm=x, Bearer realm=y,scope=z"], [("basic", {"realm": "x"}), ("bearer", {})]),
        ([r'Bearer realm="a \"quoted\" b"'], [("bearer", {"realm": 'a "quoted" b'})]),
        (["Negotiate", "Basic"], [("negotiate", {}), ("basic", {})]),
        (['Bearer realm="never closed'], [("bearer", {})]),
        ([""], []),
    ],
)
def test_challenges_are_read(
    headers: Sequence[str], expected: Sequence[tuple[str, dict[str, str]]]
) -> None:
    found = challenges(headers)
    assert [c.scheme for c in found][: len(expected)] == [scheme for scheme, _ in expected]
    for challenge, (_, parameters) in zip(found, expected, strict=False):
        assert parameters.items() <= challenge.parameters.items()


@given(st.lists(st.text(max_size=80), max_size=3))
def test_no_header_breaks_the_reading(headers: list[str]) -> None:
    assert all(c.scheme == c.scheme.lower() for c in challenges(headers))


class Service:
    """A token service that numbers its tokens."""

    def __init__(self, status: int = 200, lasts: int = 60) -> None:
        self.asked: list[TokenRequest] = []
        self.status, self.lasts = status, lasts

    def __call__(self, request: TokenRequest) -> tuple[int, bytes]:
        self.asked.append(request)
        body = {"token": f"token-{len(self.asked)}", "expires_in": self.lasts}
        return self.status, json.dumps(body).encode()


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_nothing_is_sent_before_the_registry_asks() -> None:
    assert Authorizer(MODELS, lambda _: LOGIN, Service()).header(PULL) is None


def test_a_token_is_asked_for_once_per_scope_and_again_when_it_ends() -> None:
    service, clock = Service(), Clock()
    authorizer = Authorizer(MODELS, lambda _: LOGIN, service, clock)
    assert authorizer.learn([BEARER], PULL, None)
    assert authorizer.header(PULL) == authorizer.header(PULL) == "Bearer token-1"
    assert authorizer.header(PULL | {"repository:other:pull"}) == "Bearer token-2"
    clock.now += 59
    assert authorizer.header(PULL) == "Bearer token-3"
    assert all(request.headers["Authorization"] == LOGIN.basic for request in service.asked)
    assert "scope=repository%3Ateam%2Fmodels%3Apull" in service.asked[0].url


def test_a_refused_token_is_renewed_with_a_login_asked_for_anew() -> None:
    logins = iter([Login("AWS", "first-secret"), Login("AWS", "second-secret")])
    authorizer = Authorizer(MODELS, lambda _: next(logins), Service())
    assert authorizer.learn([BEARER], PULL, None)
    assert authorizer.learn([BEARER], PULL, authorizer.header(PULL))
    assert authorizer.header(PULL) == "Bearer token-2"


def test_a_token_that_a_neighbour_renewed_is_not_renewed_again() -> None:
    service = Service()
    authorizer = Authorizer(MODELS, lambda _: LOGIN, service)
    authorizer.learn([BEARER], PULL, None)
    old = authorizer.header(PULL)
    assert authorizer.learn([BEARER], PULL, old)
    assert authorizer.header(PULL) == "Bearer token-2"
    assert authorizer.learn([BEARER], PULL, old)
    assert len(service.asked) == 2


def test_a_basic_login_is_tried_once_and_again_only_when_it_changed() -> None:
    logins = iter([LOGIN, LOGIN, Login("ada", "another-secret")])
    authorizer = Authorizer(MODELS, lambda _: next(logins), Service())
    assert authorizer.learn(['Basic realm="r"'], PULL, None)
    used = authorizer.header(PULL)
    assert used == LOGIN.basic
    assert not authorizer.learn(['Basic realm="r"'], PULL, used)
    assert authorizer.learn(['Basic realm="r"'], PULL, used)


def test_without_a_login_basic_leads_nowhere() -> None:
    assert not Authorizer(MODELS, anonymous, Service()).learn(["Basic"], PULL, None)


@pytest.mark.parametrize("login", [LOGIN, None])
def test_a_token_service_that_refuses_says_what_to_do(login: Login | None) -> None:
    authorizer = Authorizer(MODELS, lambda _: login, Service(401))
    authorizer.learn([BEARER], PULL, None)
    with pytest.raises(ImageRegistryError) as caught:
        authorizer.header(PULL)
    assert "docker login r.example.com" in caught.value.hint
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("body", [b"", b"[]", b'{"token": 3}', b"{}", b'{"token": ""}'])
def test_an_answer_without_a_token_is_said(body: bytes) -> None:
    authorizer = Authorizer(MODELS, anonymous, lambda _: (200, body))
    authorizer.learn([BEARER], PULL, None)
    with pytest.raises(ImageRegistryError, match="no token"):
        authorizer.header(PULL)


def test_an_identity_token_is_exchanged_not_shown() -> None:
    challenge = Challenge("bearer", {"realm": "https://a/t?x=1", "service": "s"})
    request = token_request(challenge, PULL, Login("", identity_token=SECRET))
    assert request.method == "POST"
    assert SECRET.encode() in (request.form or b"")
    assert SECRET not in repr(request)
    assert "?x=1&" in token_request(challenge, PULL, None).url


def test_no_secret_shows_in_a_repr_or_in_what_a_registry_echoes() -> None:
    assert SECRET not in repr(Login("ada", SECRET, SECRET))
    authorizer = Authorizer(MODELS, lambda _: LOGIN, Service())
    authorizer.learn([BEARER], PULL, None)
    token = authorizer.header(PULL)
    echoed = f"bad header {LOGIN.basic} or {token} or {SECRET}"
    assert authorizer.scrub(echoed) == "bad header Basic … or Bearer … or …"


# --- docker's config ------------------------------------------------------------------------------


def packed(pair: str) -> str:
    return base64.b64encode(pair.encode()).decode()


def config(folder: Path, document: object) -> DockerConfig:
    path = folder / "config.json"
    path.write_text(json.dumps(document))
    return DockerConfig([folder / "missing.json", path], {"PATH": str(folder)})


def helper(folder: Path, name: str, script: str) -> None:
    path = folder / f"docker-credential-{name}"
    path.write_text(f"#!/bin/sh\nread -r server\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.mark.parametrize(
    "key", ["r.io:5000", "https://r.io:5000", "https://r.io:5000/", "https://r.io:5000/v2/"]
)
def test_a_login_is_found_however_its_registry_was_written(tmp_path: Path, key: str) -> None:
    found = config(tmp_path, {"auths": {key: {"auth": packed("ada:a:b")}}})
    assert found("r.io:5000") == Login("ada", "a:b")
    assert found("other.io") is None


def test_docker_hub_keeps_its_old_name(tmp_path: Path) -> None:
    entry = {"username": "ada", "password": "x"}
    found = config(tmp_path, {"auths": {"https://index.docker.io/v1/": entry}})
    assert found("docker.io") == Login("ada", "x")


@pytest.mark.parametrize("entry", [{}, {"auth": "!"}, {"auth": 3}, None, {"auth": packed("ada")}])
def test_an_entry_without_a_login_is_none(tmp_path: Path, entry: object) -> None:
    assert config(tmp_path, {"auths": {"r.io": entry}})("r.io") is None


def test_an_identity_token_is_a_login(tmp_path: Path) -> None:
    found = config(tmp_path, {"auths": {"r.io": {"identitytoken": "t"}}})("r.io")
    assert found is not None
    assert found.identity_token == "t"


def test_helpers_are_asked_for_their_registries(tmp_path: Path) -> None:
    helper(tmp_path, "one", 'echo "{\\"Username\\": \\"ada\\", \\"Secret\\": \\"for $server\\"}"')
    helper(tmp_path, "two", 'echo "{\\"Username\\": \\"<token>\\", \\"Secret\\": \\"t\\"}"')
    found = config(tmp_path, {"credHelpers": {"r.io": "one"}, "credsStore": "two"})
    assert found("r.io") == Login("ada", "for r.io")
    assert found("other.io") == Login("", "", "t")


def test_a_helper_that_knows_nothing_is_no_login(tmp_path: Path) -> None:
    helper(tmp_path, "none", "echo credentials not found in native keychain; exit 1")
    assert config(tmp_path, {"credsStore": "none"})("r.io") is None


@pytest.mark.parametrize("name", ["gone", "broken", "../evil"])
def test_a_helper_that_fails_is_named_and_what_it_says_is_kept_back(
    tmp_path: Path, name: str
) -> None:
    helper(tmp_path, "broken", f"echo {SECRET} >&2; exit 3")
    with pytest.raises(ImageRegistryError, match="credential helper") as caught:
        config(tmp_path, {"credHelpers": {"r.io": name}})("r.io")
    assert SECRET not in str(caught.value)
    assert "credHelpers" in caught.value.hint


@pytest.mark.parametrize("text", ["{", "[]", "\xff"])
def test_a_config_that_is_none_is_said(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InvalidSettingError, match=r"config\.json"):
        DockerConfig([path], {})("r.io")


@pytest.mark.parametrize(
    "said",
    [
        "no JSON",
        "[]",
        '{\\"Username\\": \\"ada\\"}',
        '{\\"Username\\": \\"a\\", \\"Secret\\": \\"\\"}',
    ],
)
def test_a_helper_that_says_no_login_gives_none(tmp_path: Path, said: str) -> None:
    helper(tmp_path, "odd", f'echo "{said}"')
    assert config(tmp_path, {"credsStore": "odd"})("r.io") is None


def test_logins_of_podman_are_found_too(tmp_path: Path) -> None:
    environ = {"REGISTRY_AUTH_FILE": "named.json", "XDG_RUNTIME_DIR": "run"}
    places = {"named.json": "named", "run/containers/auth.json": "runtime"}
    for place, user in places.items():
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        entry = {"auth": packed(f"{user}:x")}
        (tmp_path / place).write_text(json.dumps({"auths": {f"{user}.io": entry}}))
    absolute = {name: str(tmp_path / value) for name, value in environ.items()}
    found = DockerConfig.usual(absolute)
    assert found("named.io") == Login("named", "x")
    assert found("runtime.io") == Login("runtime", "x")


def test_logins_are_looked_for_where_tools_keep_them(tmp_path: Path) -> None:
    for place in ("home/.docker", "named"):
        (tmp_path / place).mkdir(parents=True)
        entry = {"auth": packed(f"{Path(place).name}:x")}
        (tmp_path / place / "config.json").write_text(json.dumps({"auths": {"r.io": entry}}))
    home = {"HOME": str(tmp_path / "home")}
    assert DockerConfig.usual(home)("r.io") == Login(".docker", "x")
    named = {**home, "DOCKER_CONFIG": str(tmp_path / "named")}
    assert DockerConfig.usual(named)("r.io") == Login("named", "x")
    assert DockerConfig.usual({})("r.io") is None


def test_the_first_source_with_a_login_wins() -> None:
    both = first_of(anonymous, lambda _: LOGIN, lambda _: Login("never", "asked"))
    assert both("r.io") == LOGIN
    assert first_of(anonymous)("r.io") is None
