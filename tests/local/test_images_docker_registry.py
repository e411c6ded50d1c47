"""Pushing to and reading from the registry that everybody runs: Debian's ``docker-registry``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from modelport.errors import IntegrityError
from modelport.images.auth import Login, anonymous
from modelport.images.distribution import Repository
from modelport.images.errors import ImageNotFoundError, ImageRegistryError
from modelport.images.push import push
from modelport.images.reference import Reference
from modelport.images.uploads import CHUNK

from tests.support.docker_registry import PROGRAM, docker_registry
from tests.support.oci_registry import cutting_proxy
from tests.support.small_images import SmallImage, image_of, layer, noise, small_image

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="docker-registry is not installed")


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with docker_registry(tmp_path_factory.mktemp("registry")) as host:
        yield host


def open_(reference: Reference) -> Repository:
    return Repository(reference, anonymous, sleep=lambda _: None)


def assert_readable(reference: Reference, image: SmallImage, folder: Path) -> None:
    with open_(reference) as repository:
        assert repository.manifest(image.digest)[1] == image.manifest
        for found in image.layers:
            repository.blob(found.digest, folder / "back", size=found.size)
            assert (folder / "back").stat().st_size == found.size


def test_an_image_goes_there_and_comes_back(host: str, tmp_path: Path) -> None:
    image = small_image(tmp_path, model=noise(3_000_000))
    with open_(Reference(host, "whole")) as repository:
        told = push(image, repository, tag="v1")
        assert repository.manifest("v1")[2] == image.digest
        sent = repository.sent
        assert push(image, repository) == told
        assert repository.sent == sent
    assert str(told) == f"{host}/whole@{image.digest}"
    assert_readable(told, image, tmp_path)


def test_layers_are_mounted_from_next_door(host: str, tmp_path: Path) -> None:
    base = layer(tmp_path, "base", noise(100_000, seed=1))
    with open_(Reference(host, "bases")) as bases:
        push(image_of(base), bases)
        image = image_of(base, layer(tmp_path, "model", b"model" * 100), name="mounted")
        with open_(Reference(host, "mounted")) as target:
            told = push(image, target, base=bases)
            assert target.sent == 500 + len(image.config)
    assert_readable(told, image, tmp_path)


def test_a_cut_upload_is_begun_again(host: str, tmp_path: Path) -> None:
    """This registry forgets an upload whose connection broke, whatever it says of resuming."""
    body = noise(40 * CHUNK, seed=2)
    found = layer(tmp_path, "model", body)
    with (
        cutting_proxy(host, len(body) // 2, recovers=True) as proxy,
        open_(proxy.reference("resumed")) as repository,
    ):
        repository.put_blob(found.digest, len(body), lambda: (found.path or tmp_path).open("rb"))
        assert len(body) < repository.sent <= 2 * len(body)
        repository.blob(found.digest, tmp_path / "back", size=len(body))
        assert (tmp_path / "back").read_bytes() == body


@pytest.mark.parametrize("part", range(8))
def test_a_push_cut_anywhere_is_finished_by_pushing_again(
    host: str, tmp_path: Path, part: int
) -> None:
    image = small_image(tmp_path, model=noise(50_000, seed=10 + part))
    reference = Reference(host, f"cut-{part}")
    with cutting_proxy(host, part * 7_000) as proxy, open_(proxy.reference(reference.name)) as away:
        try:
            push(image, away)
        except ImageRegistryError:
            cut = True
        else:
            cut = False
    assert cut == (proxy.passed == part * 7_000)
    with open_(reference) as repository:
        push(image, repository)
    assert_readable(reference, image, tmp_path)


def test_what_is_not_there_is_said(host: str, tmp_path: Path) -> None:
    with open_(Reference(host, "empty")) as repository:
        assert not repository.has_blob("sha256:" + "0" * 64)
        with pytest.raises(ImageNotFoundError, match="empty:none"):
            repository.manifest("none")
        with pytest.raises(ImageNotFoundError):
            repository.blob("sha256:" + "0" * 64, tmp_path / "blob")


def test_other_bytes_than_announced_are_refused(host: str, tmp_path: Path) -> None:
    found = layer(tmp_path, "model", b"a" * 1000)
    (tmp_path / found.digest[7:]).write_bytes(b"b" * 1000)
    with open_(Reference(host, "wrong")) as repository, pytest.raises(IntegrityError):
        push(image_of(found), repository)


def test_a_password_is_asked_for_and_taken(tmp_path: Path) -> None:
    htpasswd = tmp_path / "htpasswd"
    # bcrypt of "secret", which docker-registry wants
    htpasswd.write_text("ada:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n")
    auth = {"htpasswd": {"realm": "a realm, quoted", "path": str(htpasswd)}}
    image = small_image(tmp_path)
    with docker_registry(tmp_path, auth=auth) as host:
        reference = Reference(host, "private")
        with open_(reference) as nobody, pytest.raises(ImageRegistryError, match="without a login"):
            push(image, nobody)
        with (
            Repository(reference, lambda _: Login("ada", "wrong")) as stranger,
            pytest.raises(ImageRegistryError, match="refuses our login"),
        ):
            push(image, stranger)
        with Repository(reference, lambda _: Login("ada", "secret")) as ada:
            push(image, ada)
            assert ada.manifest(image.digest)[1] == image.manifest
