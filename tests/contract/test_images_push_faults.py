"""Registries that refuse, lie, are full or away: what we say then, and what we do not give away."""

from __future__ import annotations

import logging
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from modelport.errors import IntegrityError, ModelportError
from modelport.images.auth import Credentials, Login, anonymous
from modelport.images.client import FIRST_TIMEOUT, client_for
from modelport.images.distribution import Repository
from modelport.images.errors import ImageNotFoundError, ImageRegistryError
from modelport.images.patience import ATTEMPTS, ATTEMPTS_AT_NOBODY, FIRST_WAIT_S, LONGEST_WAIT_S
from modelport.images.push import push
from modelport.images.reference import Reference
from modelport.images.refusals import Answer, refusal

from tests.support.oci_registry import Door, OciRegistry, Told, oci_registry, refused, sha256
from tests.support.small_images import assert_stored, small_image

SECRET = "correct-horse-battery"
LOGIN = Login("ada", SECRET)
Push = Callable[..., Reference]


@pytest.fixture
def registry() -> Iterator[OciRegistry]:
    with oci_registry() as registry:
        yield registry


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def pushed(registry: OciRegistry, waits: list[float], tmp_path: Path) -> Push:
    def run(credentials: Credentials = anonymous, name: str = "team/models") -> Reference:
        target = registry.reference(name)
        with Repository(target, credentials, sleep=waits.append) as repository:
            return push(small_image(tmp_path), repository)

    return run


# --- tried again, and given up --------------------------------------------------------------------


@pytest.mark.parametrize(
    "told",
    [
        refused("POST /v2/", 429, "TOOMANYREQUESTS"),
        refused("PUT /v2/team/models/blobs", 500, "UNKNOWN"),
        refused("PUT /v2/team/models/blobs", 503, "UNAVAILABLE"),
        refused("PUT /v2/team/models/manifests", 502, "BAD_GATEWAY"),
        refused("HEAD /v2/", 504, ""),
        Told("GET /v2/", 503, b"<html>busy</html>"),
    ],
)
def test_what_passes_is_tried_again(
    registry: OciRegistry, pushed: Push, waits: list[float], tmp_path: Path, told: Told
) -> None:
    registry.faults.told = [told, told]
    pushed()
    assert_stored(registry, small_image(tmp_path))
    assert len(waits) == 2
    assert all(wait > 0 for wait in waits)


def test_waits_grow_and_are_never_in_step(
    registry: OciRegistry, pushed: Push, waits: list[float]
) -> None:
    registry.faults.always = [refused("PUT /v2/team/models/manifests", 503, "BUSY")]
    with pytest.raises(ImageRegistryError, match="503"):
        pushed()
    assert len(waits) == ATTEMPTS - 1
    assert waits[-1] > waits[0]
    first = list(waits)
    waits.clear()
    with pytest.raises(ImageRegistryError):
        pushed()
    assert waits != first


@pytest.mark.parametrize(
    ("said", "least", "most"),
    [
        ("7", 7, 8),
        ("100000", LONGEST_WAIT_S, LONGEST_WAIT_S),
        ("Mon, 01 Jan 2001 00:00:00 GMT", 0, 1),
        ("soon", 0.01, 2),
    ],
)
def test_retry_after_is_kept_to(
    registry: OciRegistry, pushed: Push, waits: list[float], said: str, least: float, most: float
) -> None:
    headers = {"Retry-After": said}
    registry.faults.told = [refused("POST /v2/", 429, "TOOMANYREQUESTS", "slow", **headers)]
    pushed()
    assert least <= waits[0] <= most


def test_a_registry_that_is_away_is_said_soon(waits: list[float]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    reference = Reference(f"127.0.0.1:{port}", "a")
    with (
        Repository(reference, anonymous, sleep=waits.append) as repository,
        pytest.raises(ImageRegistryError, match=rf"127\.0\.0\.1:{port}: cannot be reached") as told,
    ):
        repository.has_manifest("latest")
    assert told.value.hint
    assert sum(waits) <= 2


def test_a_registry_that_never_answers_is_said(waits: list[float]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        reference = Reference(f"127.0.0.1:{port}", "a")
        with (
            httpx.Client(timeout=0.1) as client,
            Repository(reference, anonymous, client=client, sleep=waits.append) as repository,
            pytest.raises(ImageRegistryError, match=rf"127\.0\.0\.1:{port}: does not answer"),
        ):
            repository.has_manifest("latest")
    assert len(waits) == ATTEMPTS_AT_NOBODY - 1


def test_silence_is_told_within_half_a_minute() -> None:
    # every try takes its time, and so do the longest waits between them
    waits = sum(FIRST_WAIT_S * 2**tried for tried in range(1, ATTEMPTS_AT_NOBODY))
    longest = max(value for value in FIRST_TIMEOUT.as_dict().values() if value)
    assert ATTEMPTS_AT_NOBODY * longest + waits <= 30


def test_a_registry_that_only_speaks_http_is_not_spoken_to_elsewhere() -> None:
    """A name that is not one of loopback's gets TLS, and no try without."""
    spoken: list[bytes] = []
    with socket.create_server(("127.0.0.2", 0)) as listener:
        host = f"127.0.0.2:{listener.getsockname()[1]}"
        reference = Reference(host, "a")

        def answer() -> None:
            client, _ = listener.accept()
            with client:
                spoken.append(client.recv(4096))
                client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        with (
            Repository(reference, anonymous) as repository,
            pytest.raises(ImageRegistryError, match="TLS") as caught,
        ):
            repository.has_blob(sha256(b"any"))
        thread.join()
    assert "this machine only" in caught.value.hint
    assert not spoken[0].startswith((b"GET", b"HEAD"))


def test_a_certificate_nobody_vouches_for_is_not_trusted(tmp_path: Path) -> None:
    with tls_server(tmp_path) as host:
        reference = Reference(host, "a")
        with (
            Repository(reference, anonymous) as repository,
            pytest.raises(ImageRegistryError, match=r"self.signed certificate") as caught,
        ):
            repository.has_blob(sha256(b"any"))
    assert "SSL_CERT_FILE" in caught.value.hint


def test_a_registry_on_this_machine_cannot_lead_to_such_a_certificate(tmp_path: Path) -> None:
    with (
        tls_server(tmp_path) as elsewhere,
        client_for(Reference("127.0.0.1:5000", "a")) as client,
        pytest.raises(httpx.ConnectError, match=r"self.signed certificate"),
    ):
        client.get(f"https://{elsewhere}/v2/")


@contextmanager
def tls_server(folder: Path) -> Iterator[str]:
    """A server with a certificate of its own, under a name that is none of loopback's."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.2")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1)
    builder = builder.not_valid_before(datetime(2020, 1, 1)).not_valid_after(datetime(2120, 1, 1))
    certificate = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    form = serialization.PrivateFormat.PKCS8
    secret = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    (folder / "server.pem").write_bytes(certificate + secret)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    with socket.create_server(("127.0.0.2", 0)) as listener:

        def answer() -> None:
            client, _ = listener.accept()
            with suppress(OSError), client, context.wrap_socket(client, server_side=True):
                pass

        thread = threading.Thread(target=answer)
        thread.start()
        yield f"127.0.0.2:{listener.getsockname()[1]}"
        thread.join()


# --- refused --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "told",
    [
        refused("PUT /v2/team/models/blobs", 507, "FULL"),
        refused("PUT /v2/team/models/blobs", 500, "UNKNOWN", "write: no space left on device"),
        Told("PUT /v2/team/models/blobs", 503, b"filesystem: ENOSPC"),
        refused("POST /v2/team/models/blobs", 403, "DENIED", "storage quota of project exceeded"),
    ],
)
def test_a_full_registry_is_said_at_once(
    registry: OciRegistry, pushed: Push, waits: list[float], told: Told
) -> None:
    registry.faults.always = [told]
    with pytest.raises(ImageRegistryError, match="is full while sending sha256:") as caught:
        pushed()
    assert "make room" in caught.value.hint
    assert waits == []


def test_a_body_that_is_too_large_for_a_proxy_is_said(registry: OciRegistry, pushed: Push) -> None:
    registry.faults.always = [Told("PUT /v2/team/models/blobs", 413, b"<html>413</html>")]
    with pytest.raises(ImageRegistryError, match="no body this large") as caught:
        pushed()
    assert "client_max_body_size" in caught.value.hint


def test_an_upload_the_registry_lost_is_begun_again(
    registry: OciRegistry, pushed: Push, tmp_path: Path
) -> None:
    registry.faults.told = [refused("PUT /v2/team/models/blobs", 404, "BLOB_UPLOAD_UNKNOWN")]
    pushed()
    assert_stored(registry, small_image(tmp_path))


@pytest.mark.parametrize("body", [b'{"errors": 3}', b'{"errors": [3]}', b"3", b"\xff\x00", b""])
def test_a_refusal_without_words_is_still_one(
    registry: OciRegistry, pushed: Push, body: bytes
) -> None:
    registry.faults.always = [Told("POST /v2/", 418, body)]
    with pytest.raises(ImageRegistryError, match="answers 418 while sending"):
        pushed()


def test_a_missing_repository_is_named(registry: OciRegistry, pushed: Push) -> None:
    registry.faults.always = [refused("POST /v2/", 404, "NAME_UNKNOWN")]
    with pytest.raises(ImageNotFoundError, match="team/models") as caught:
        pushed()
    assert "create the repository team/models" in caught.value.hint


ECR = Reference("123456789012.dkr.ecr.eu-central-1.amazonaws.com", "modelport-dev")


@pytest.mark.parametrize(
    ("status", "code", "has_login", "hint"),
    [
        (404, "NAME_UNKNOWN", True, "create-repository --repository-name modelport-dev --region"),
        (401, "UNAUTHORIZED", False, "aws ecr get-login-password --region eu-central-1"),
        (403, "DENIED", True, "policy of repository modelport-dev"),
    ],
)
def test_what_to_do_in_ecr_is_said(status: int, code: str, has_login: bool, hint: str) -> None:
    body = refused("", status, code).body
    error = refusal(
        ECR, "sending a layer", Answer(status, httpx.Headers(), body), has_login=has_login
    )
    assert hint in error.hint
    assert ECR.registry in str(error)


def test_a_refusal_is_quoted_short_and_in_one_line(registry: OciRegistry, pushed: Push) -> None:
    noisy = "first\r\n\x1b[31msecond " + "x" * 5000
    registry.faults.always = [refused("POST /v2/", 400, "UNSUPPORTED", noisy)]
    with pytest.raises(ImageRegistryError, match="UNSUPPORTED first") as caught:
        pushed()
    assert len(caught.value.message) < 500
    assert caught.value.message.isprintable()


@pytest.mark.parametrize("credentials", [anonymous, lambda _: LOGIN])
@pytest.mark.parametrize("status", [401, 403])
def test_who_is_refused_learns_what_to_do(
    registry: OciRegistry, pushed: Push, credentials: Credentials, status: int
) -> None:
    told = refused("POST /v2/", status, "DENIED", **{"WWW-Authenticate": "Basic realm=x"})
    registry.faults.always = [told]
    with pytest.raises(ImageRegistryError, match=r"refuses (us|our login)") as caught:
        pushed(credentials)
    assert "docker login" in caught.value.hint
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("credentials", "asks", "said"),
    [
        (anonymous, False, "refuses us without a login"),
        (lambda _: LOGIN, False, "refuses us without asking for our login"),
        (lambda _: LOGIN, True, "refuses our login"),
    ],
)
def test_a_refusal_says_whether_our_login_was_seen(
    registry: OciRegistry, pushed: Push, credentials: Credentials, asks: bool, said: str
) -> None:
    if asks:
        registry.door = Door("basic", users={"ada": SECRET})
    registry.faults.always = [refused("PUT /v2/team/models/blobs", 403, "DENIED")]
    registry.faults.always += [refused("POST /v2/team/models/blobs", 403, "DENIED")] * (not asks)
    with pytest.raises(ImageRegistryError, match=said):
        pushed(credentials)


# --- lies -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["claims", "drops_manifests", "drops_blobs", "corrupts"])
def test_a_registry_that_lies_is_found_out(registry: OciRegistry, pushed: Push, fault: str) -> None:
    setattr(registry.faults, fault, sha256(b"other") if fault == "claims" else True)
    with pytest.raises(IntegrityError) as caught:
        pushed()
    assert registry.host in str(caught.value)


def test_a_registry_that_does_not_say_where_to_send_is_no_registry(
    registry: OciRegistry, pushed: Push
) -> None:
    registry.faults.always = [Told("POST /v2/", 202)]
    with pytest.raises(ImageRegistryError, match="without saying where"):
        pushed()


@pytest.mark.parametrize(
    ("location", "problem"),
    [
        ("http://registry.example.com/upload", "not encrypted"),
        ("ftp://127.0.0.1/upload", "not encrypted"),
        ("http://127.0.0.1:port/", "an address that is none"),
    ],
)
def test_an_upload_is_not_sent_where_it_must_not_go(
    registry: OciRegistry, pushed: Push, location: str, problem: str
) -> None:
    registry.faults.always = [Told("POST /v2/", 202, headers={"Location": location})]
    with pytest.raises(ImageRegistryError, match=problem):
        pushed()


def test_redirects_without_end_end(registry: OciRegistry, pushed: Push) -> None:
    registry.faults.always = [Told("POST /v2/", 307, headers={"Location": "/v2/again"})]
    with pytest.raises(ImageRegistryError, match="answers 307"):
        pushed()


# --- logins ---------------------------------------------------------------------------------------


@pytest.fixture
def bearer(registry: OciRegistry) -> OciRegistry:
    registry.door = Door("bearer", {"ada": SECRET})
    return registry


def test_a_basic_login_opens_the_door(registry: OciRegistry, pushed: Push, tmp_path: Path) -> None:
    registry.door = Door("basic", {"ada": SECRET})
    pushed(lambda _: LOGIN)
    assert_stored(registry, small_image(tmp_path))


def test_tokens_are_fetched_for_what_is_done(
    bearer: OciRegistry, pushed: Push, tmp_path: Path
) -> None:
    pushed(lambda _: LOGIN)
    assert_stored(bearer, small_image(tmp_path))
    tokens = [line for line in bearer.lines("GET") if line.startswith("GET /token")]
    assert any("pull%2Cpush" in line for line in tokens)
    assert all("service=reg%2Cistry" in line for line in tokens)
    assert all("pull%2Cpush" in line for line in tokens)


def test_a_token_that_ends_half_way_is_renewed(
    bearer: OciRegistry, pushed: Push, tmp_path: Path
) -> None:
    bearer.door.uses = 5
    pushed(lambda _: LOGIN)
    assert_stored(bearer, small_image(tmp_path))
    assert len([line for line in bearer.lines("GET") if "/token" in line]) > 2


def test_a_login_that_ends_half_way_is_asked_for_again(
    registry: OciRegistry, pushed: Push, tmp_path: Path
) -> None:
    registry.door = Door("basic", {"AWS": "second"})
    logins = iter([Login("AWS", "first"), Login("AWS", "second")])
    pushed(lambda _: next(logins, Login("AWS", "second")))
    assert_stored(registry, small_image(tmp_path))


def test_an_identity_token_is_exchanged(bearer: OciRegistry, pushed: Push, tmp_path: Path) -> None:
    bearer.door.identity_tokens = {SECRET}
    pushed(lambda _: Login("", identity_token=SECRET))
    assert_stored(bearer, small_image(tmp_path))
    assert any(line == "POST /token" for line in bearer.lines("POST"))


def test_a_busy_token_service_is_asked_again(
    bearer: OciRegistry, pushed: Push, waits: list[float], tmp_path: Path
) -> None:
    bearer.faults.told = [Told("GET /token", 503)]
    pushed(lambda _: LOGIN)
    assert_stored(bearer, small_image(tmp_path))
    assert len(waits) == 1


def test_a_token_service_that_is_none_is_said(bearer: OciRegistry, pushed: Push) -> None:
    bearer.faults.always = [Told("GET /token", 404)]
    with pytest.raises(ImageRegistryError, match="token service answers 404"):
        pushed(lambda _: LOGIN)


@pytest.mark.parametrize(
    "credentials", [anonymous, lambda _: Login("ada", "wrong-password"), lambda _: LOGIN]
)
def test_who_may_not_push_is_told(
    bearer: OciRegistry, pushed: Push, credentials: Credentials
) -> None:
    bearer.door.may_push = re.compile("other")
    with pytest.raises(ImageRegistryError) as caught:
        pushed(credentials)
    assert "docker login" in caught.value.hint


@pytest.mark.parametrize("refuses", [True, False])
def test_a_mount_from_where_we_may_not_look_becomes_an_upload(
    bearer: OciRegistry, pushed: Push, tmp_path: Path, refuses: bool
) -> None:
    bearer.door.hidden = re.compile("secret/.*")
    bearer.faults.always = [Told("secret%2Fmodels", 403)] if refuses else []
    with Repository(bearer.reference(), lambda _: LOGIN) as repository:
        push(small_image(tmp_path), repository, mount_from=("secret/models",))
    assert_stored(bearer, small_image(tmp_path))


def test_a_password_is_not_sent_to_a_token_service_without_tls(
    bearer: OciRegistry, pushed: Push
) -> None:
    bearer.door.realm = "http://auth.example.com/token"
    with pytest.raises(ImageRegistryError, match="not encrypted"):
        pushed(lambda _: LOGIN)


def test_no_secret_reaches_a_log_or_an_error(
    bearer: OciRegistry, pushed: Push, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    pushed(lambda _: LOGIN)
    given = {s.headers.get("authorization", "") for s in bearer.seen}
    secrets = {SECRET, *(value.rpartition(" ")[2] for value in given if value)}
    assert len(secrets) > 2
    echo = " and ".join(sorted(secrets))
    bearer.faults.always = [refused("/manifests/", 400, "UNSUPPORTED", echo)]
    with pytest.raises(ModelportError) as caught:
        pushed(lambda _: LOGIN)
    told = f"{caught.value!r} {caught.value} {caught.value.hint}"
    assert SECRET not in caplog.text + told
    for secret in secrets:
        assert secret not in caplog.text
    assert LOGIN.basic.partition(" ")[2] not in told
