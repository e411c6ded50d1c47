"""Amazon ECR as its documentation and threads tell it, without a network: faults and logins."""

from __future__ import annotations

import hashlib
from io import BytesIO

import httpx
import pytest
from modelport.images.auth import Login
from modelport.images.distribution import Repository
from modelport.images.errors import ImageNotFoundError, ImageRegistryError
from modelport.images.reference import Reference

ECR = Reference("123456789012.dkr.ecr.eu-central-1.amazonaws.com", "modelport-dev")
BODY = b"weights" * 1000
DIGEST = "sha256:" + hashlib.sha256(BODY).hexdigest()
CHALLENGE = {
    "WWW-Authenticate": f'Basic realm="https://{ECR.registry}/",service="ecr.amazonaws.com"'
}


class Ecr:
    """Answers as ECR does; keeps no half of a blob and counts its logins."""

    def __init__(self, *, cuts: int = 0, logins: tuple[str, ...] = ("one",)) -> None:
        self.cuts = cuts
        self.logins = list(logins)
        self.given: list[str] = []
        self.asked: list[str] = []
        self.blobs: dict[str, bytes] = {}
        self.uploads = 0
        self.missing = False

    def login(self, registry: str) -> Login:
        assert registry == ECR.registry
        self.given.append(self.logins[min(len(self.given), len(self.logins) - 1)])
        return Login("AWS", self.given[-1])

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(f"{request.method} {request.url.path}")
        if request.headers.get("Authorization") != Login("AWS", self.logins[-1]).basic:
            return httpx.Response(401, headers=CHALLENGE)
        path = request.url.path
        if self.missing and request.method == "POST":
            return httpx.Response(404, json={"errors": [{"code": "NAME_UNKNOWN"}]})
        if request.method == "HEAD":
            return httpx.Response(200 if path.rpartition("/")[2] in self.blobs else 404)
        if request.method == "POST":
            self.uploads += 1
            location = f"https://{ECR.registry}/v2/modelport-dev/blobs/uploads/{self.uploads}"
            # Mounting is opt-in per account: without it this is all a mount gets.
            return httpx.Response(202, headers={"Location": location, "Range": "0-0"})
        assert request.method == "PUT", "ECR answers every other PATCH wrongly, and no status"
        if self.cuts:
            self.cuts -= 1
            raise httpx.WriteError("cut")
        self.blobs[str(request.url.params["digest"])] = request.read()
        return httpx.Response(201)


def sent(ecr: Ecr, mount_from: tuple[str, ...] = ()) -> int:
    with httpx.Client(transport=httpx.MockTransport(ecr)) as client:
        repository = Repository(ECR, ecr.login, client=client, sleep=lambda _: None)
        return repository.put_blob(DIGEST, len(BODY), lambda: BytesIO(BODY), mount_from=mount_from)


def test_a_blob_is_one_post_and_one_put() -> None:
    ecr = Ecr()
    assert sent(ecr) == len(BODY)
    assert ecr.blobs == {DIGEST: BODY}
    assert [line.partition(" ")[0] for line in ecr.asked] == ["HEAD", "HEAD", "POST", "PUT", "HEAD"]


def test_a_cut_upload_is_begun_anew_without_asking_how_far_it_got() -> None:
    ecr = Ecr(cuts=2)
    sent(ecr)
    assert ecr.blobs == {DIGEST: BODY}
    assert ecr.uploads == 3
    assert not any(line.startswith(("GET", "PATCH")) for line in ecr.asked)


def test_a_mount_that_the_account_has_not_switched_on_is_an_upload() -> None:
    ecr = Ecr()
    sent(ecr, ("modelport-bases",))
    assert ecr.blobs == {DIGEST: BODY}
    assert ecr.uploads == 1


def test_a_login_that_ran_out_is_asked_for_again() -> None:
    ecr = Ecr(logins=("ran out", "fresh"))
    sent(ecr)
    assert ecr.given == ["ran out", "fresh"]


def test_a_login_that_is_not_taken_says_what_to_do() -> None:
    ecr = Ecr(logins=("any",))
    with (
        httpx.Client(transport=httpx.MockTransport(ecr)) as client,
        pytest.raises(ImageRegistryError, match="refuses our login") as caught,
    ):
        Repository(ECR, lambda _: Login("AWS", "other"), client=client).has_blob(DIGEST)
    assert "aws ecr get-login-password --region eu-central-1" in caught.value.hint


def test_a_repository_that_was_never_made_says_how_to_make_it() -> None:
    ecr = Ecr()
    ecr.missing = True
    with pytest.raises(ImageNotFoundError) as caught:
        sent(ecr)
    assert "aws ecr create-repository --repository-name modelport-dev" in caught.value.hint
