"""Reading from a registry: verified, resumed, through redirects, and nothing left half-written."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from modelport.errors import BackendError, IntegrityError
from modelport.images.auth import Login, anonymous
from modelport.images.distribution import OCI_INDEX, Repository
from modelport.images.errors import ImageNotFoundError, ImageRegistryError
from modelport.images.patience import ATTEMPTS

from tests.support.oci_registry import Door, OciRegistry, Told, oci_registry, sha256
from tests.support.small_images import image_of, noise

BODY = noise(700_000)
NAME = "team/models"


@pytest.fixture
def registry() -> Iterator[OciRegistry]:
    with oci_registry() as registry:
        registry.put(NAME, BODY)
        yield registry


@pytest.fixture
def repository(registry: OciRegistry) -> Iterator[Repository]:
    with Repository(registry.reference(), anonymous, sleep=lambda _: None) as repository:
        yield repository


Fault = Callable[[OciRegistry], None]

# --- blobs ----------------------------------------------------------------------------------------


def test_a_blob_is_written_whole(repository: Repository, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    to = tmp_path / "new" / "folder" / "blob"
    repository.blob(sha256(BODY), to, lambda *report: told.append(report))
    assert to.read_bytes() == BODY
    assert list(to.parent.iterdir()) == [to]
    assert told[-1] == (sha256(BODY), len(BODY), len(BODY))


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.integers(1, len(BODY) - 1), max_size=ATTEMPTS + 3), st.booleans())
def test_a_download_cut_anywhere_goes_on(
    registry: OciRegistry, repository: Repository, tmp_path: Path, cuts: list[int], ranges: bool
) -> None:
    if not ranges:
        cuts = cuts[: ATTEMPTS - 1]  # from the start each time is no progress without end
    registry.faults.cut_downloads, registry.faults.ranges = list(cuts), ranges
    repository.blob(sha256(BODY), tmp_path / "blob")
    assert (tmp_path / "blob").read_bytes() == BODY
    registry.faults.cut_downloads = []


def test_only_what_is_missing_is_asked_for(
    registry: OciRegistry, repository: Repository, tmp_path: Path
) -> None:
    registry.faults.cut_downloads = [300_000]
    repository.blob(sha256(BODY), tmp_path / "blob")
    ranges = [s.headers.get("range") for s in registry.seen]
    assert ranges == [None, "bytes=300000-"]


def corrupted(registry: OciRegistry) -> None:
    registry.faults.corrupts = True


def replaced(registry: OciRegistry) -> None:
    registry.blobs[NAME][sha256(BODY)] = BODY[:-1]


def endless(registry: OciRegistry) -> None:
    registry.blobs[NAME][sha256(BODY)] = BODY + b"more"


@pytest.mark.parametrize("fault", [corrupted, replaced, endless])
@pytest.mark.parametrize("size", [None, len(BODY)])
def test_wrong_bytes_never_get_a_name(
    registry: OciRegistry, repository: Repository, tmp_path: Path, fault: Fault, size: int | None
) -> None:
    fault(registry)
    with pytest.raises(IntegrityError):
        repository.blob(sha256(BODY), tmp_path / "blob", size=size)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_blob_is_named(repository: Repository, tmp_path: Path) -> None:
    with pytest.raises(ImageNotFoundError, match="team/models"):
        repository.blob(sha256(b"none"), tmp_path / "blob")
    assert not repository.has_blob(sha256(b"none"))
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_refuses_is_said(repository: Repository, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(BackendError, match="cannot write"):
        repository.blob(sha256(BODY), tmp_path / "file" / "blob")


def test_a_redirect_to_another_host_takes_no_login_along(
    registry: OciRegistry, tmp_path: Path
) -> None:
    registry.door = Door("basic", {"ada": "secret"})
    with (
        oci_registry() as storage,
        Repository(registry.reference(), lambda _: Login("ada", "secret")) as repository,
    ):
        storage.put("any", BODY)
        registry.faults.blobs_at = f"http://{storage.host}"
        assert repository.has_blob(sha256(BODY))
        repository.blob(sha256(BODY), tmp_path / "blob")
        assert (tmp_path / "blob").read_bytes() == BODY
        assert any("authorization" in s.headers for s in registry.seen)
        assert storage.seen
        assert not any("authorization" in s.headers for s in storage.seen)


def test_a_redirect_away_from_tls_is_not_followed(
    registry: OciRegistry, repository: Repository, tmp_path: Path
) -> None:
    registry.faults.blobs_at = "http://storage.example.com"
    with pytest.raises(ImageRegistryError, match="not encrypted") as caught:
        repository.blob(sha256(BODY), tmp_path / "blob")
    assert "Signature" not in str(caught.value)


# --- manifests ------------------------------------------------------------------------------------


def stored(registry: OciRegistry, name: str) -> str:
    return registry.put_manifest(NAME, image_of(name=name).manifest, tag=name)


def index_of(registry: OciRegistry, **platforms: str) -> str:
    entries = [
        {"digest": digest, "platform": {"os": "linux", "architecture": architecture}}
        for architecture, digest in platforms.items()
    ]
    nothing = {"os": "unknown", "architecture": "unknown"}
    attested = {"digest": sha256(b"attestation"), "platform": nothing}
    body = json.dumps({"schemaVersion": 2, "manifests": [attested, *entries]}).encode()
    return registry.put_manifest(NAME, body, OCI_INDEX, tag="all")


def test_a_tag_and_a_digest_lead_to_the_same_bytes(
    registry: OciRegistry, repository: Repository
) -> None:
    digest = stored(registry, "one")
    assert repository.manifest("one") == repository.manifest(digest)
    assert repository.manifest("one")[1:] == (image_of(name="one").manifest, digest)
    assert repository.manifest_for("one", "linux/arm64")[1] == digest


def test_an_index_is_resolved_by_platform(registry: OciRegistry, repository: Repository) -> None:
    one, two = stored(registry, "one"), stored(registry, "two")
    index = index_of(registry, amd64=one, arm64=two)
    assert repository.manifest_for("all", "linux/amd64")[1] == one
    assert repository.manifest_for(index, "linux/arm64")[1] == two
    with pytest.raises(ImageNotFoundError, match="for linux/s390x") as caught:
        repository.manifest_for("all", "linux/s390x")
    assert caught.value.hint == "it is made for: linux/amd64, linux/arm64"


def test_a_manifest_that_is_not_there_is_named(repository: Repository) -> None:
    with pytest.raises(ImageNotFoundError, match="team/models:none"):
        repository.manifest("none")


def test_a_manifest_of_other_bytes_is_refused(
    registry: OciRegistry, repository: Repository
) -> None:
    digest = stored(registry, "one")
    registry.manifests[NAME][digest] = registry.manifests[NAME]["one"]
    registry.faults.corrupts = True
    for which in (digest, "one"):
        with pytest.raises(IntegrityError):
            repository.manifest(which)


@pytest.mark.parametrize("body", [b"<html>hello</html>", b"[]", b"\xff\xfe", b""])
def test_an_answer_that_is_no_manifest_is_said(
    registry: OciRegistry, repository: Repository, body: bytes
) -> None:
    registry.faults.always = [Told("/manifests/", 200, body)]
    with pytest.raises(ImageRegistryError, match="no manifest"):
        repository.manifest("one")


def test_an_answer_without_end_is_not_read_to_the_end(
    registry: OciRegistry, repository: Repository
) -> None:
    registry.faults.always = [Told("/manifests/", 200, bytes(9 << 20))]
    with pytest.raises(ImageRegistryError, match="more than"):
        repository.manifest("one")


def test_a_client_that_was_passed_in_stays_open(registry: OciRegistry) -> None:
    stored(registry, "one")
    with httpx.Client() as client:
        with Repository(registry.reference(), anonymous, client=client) as repository:
            repository.manifest("one")
        assert not client.is_closed
