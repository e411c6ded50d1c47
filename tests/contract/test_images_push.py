"""Pushing an image: what is sent, what is not, and that a push cut anywhere can be repeated.

Against a registry of our own over real sockets.
"""

from __future__ import annotations

import multiprocessing
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from modelport.errors import BackendError, IntegrityError
from modelport.images.auth import Credentials, anonymous
from modelport.images.distribution import Repository
from modelport.images.errors import ImageNotFoundError, ImageRegistryError
from modelport.images.patience import ATTEMPTS
from modelport.images.push import push
from modelport.images.reference import Reference
from modelport.images.uploads import CHUNK

from tests.support.oci_registry import OciRegistry, cutting_proxy, oci_registry, refused
from tests.support.small_images import (
    SmallImage,
    assert_stored,
    image_of,
    layer,
    noise,
    small_image,
)


@pytest.fixture
def registry() -> Iterator[OciRegistry]:
    with oci_registry() as registry:
        yield registry


@pytest.fixture
def waits() -> list[float]:
    return []


Open = Callable[..., Repository]


@pytest.fixture
def repository(registry: OciRegistry, waits: list[float]) -> Iterator[Open]:
    opened: list[Repository] = []

    def repository_of(
        reference: Reference | None = None, credentials: Credentials = anonymous
    ) -> Repository:
        found = Repository(reference or registry.reference(), credentials, sleep=waits.append)
        opened.append(found)
        return found

    yield repository_of
    for found in opened:
        found.__exit__(None, None, None)


# --- what is sent ---------------------------------------------------------------------------------


def test_a_push_stores_every_byte_and_names_what_it_read_back(
    registry: OciRegistry, repository: Open, tmp_path: Path
) -> None:
    image = small_image(tmp_path)
    told: dict[str, tuple[int, int]] = {}
    target = repository()
    done = push(
        image, target, progress=lambda what, done, total: told.update({what: (done, total)})
    )
    assert_stored(registry, image)
    assert str(done) == f"{registry.host}/team/models@{image.digest}"
    assert target.sent == sum(found.size for found in image.layers) + len(image.config)
    assert all(done == total for done, total in told.values())
    assert {what.partition(" ")[0] for what in told} == {"config", "code", "model"}


def test_nothing_is_tagged_unless_asked(
    registry: OciRegistry, repository: Open, tmp_path: Path
) -> None:
    image = small_image(tmp_path)
    push(image, repository())
    assert set(registry.manifests["team/models"]) == {image.digest}
    push(image, repository(), tag="magika-3")
    assert set(registry.manifests["team/models"]) == {image.digest, "magika-3"}


def test_what_is_there_is_not_sent_again(
    registry: OciRegistry, repository: Open, tmp_path: Path
) -> None:
    code = layer(tmp_path, "code", b"code" * 500)
    push(image_of(code, layer(tmp_path, "model", b"one" * 999)), repository())
    second = repository()
    model = layer(tmp_path, "model", b"two" * 999)
    push(image_of(code, model, name="other"), second)
    assert second.sent - model.size < 100  # the config
    third = repository()
    push(image_of(code, model, name="other"), third)
    assert third.sent == 0


def test_a_blob_goes_in_one_put_never_in_chunks(
    registry: OciRegistry, repository: Open, tmp_path: Path
) -> None:
    body = noise(3 * CHUNK + 7)
    push(image_of(layer(tmp_path, "model", body)), repository())
    assert registry.lines("PATCH") == []
    (put,) = (s for s in registry.seen if s.method == "PUT" and s.length == len(body))
    assert "transfer-encoding" not in put.headers


def test_the_same_layer_twice_is_one_blob(
    registry: OciRegistry, repository: Open, tmp_path: Path
) -> None:
    same = layer(tmp_path, "code", b"same")
    image = image_of(same, same)
    push(image, repository())
    assert_stored(registry, image)
    assert len([s for s in registry.lines("PUT") if "/blobs/" in s]) == 2


def test_an_empty_blob_can_be_pushed(
    registry: OciRegistry, repository: Open, tmp_path: Path
) -> None:
    image = image_of(layer(tmp_path, "user", b""))
    push(image, repository())
    assert_stored(registry, image)


def test_memory_stays_flat_for_a_large_layer(
    registry: OciRegistry, repository: Open, tmp_path: Path
) -> None:
    size = 48 << 20
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(size)
    peaks = multiprocessing.get_context("spawn").Queue()
    args = (registry.host, path, peaks)
    process = multiprocessing.get_context("spawn").Process(target=_push_measured, args=args)
    process.start()
    outcome = peaks.get(timeout=120)
    process.join(60)
    assert isinstance(outcome, int), outcome
    assert outcome < 4 << 20


def _push_measured(host: str, path: Path, peaks: object) -> None:
    small = path.with_name("small")
    small.write_bytes(b"small")
    try:
        with Repository(Reference(host, "team/large"), anonymous) as repository:
            _there_and_back(repository, small)  # what is imported on first use does not count
            tracemalloc.start()
            _there_and_back(repository, path)
        outcome: object = tracemalloc.get_traced_memory()[1]
    except Exception as error:
        outcome = repr(error)
    peaks.put(outcome)  # type: ignore[attr-defined]


def _there_and_back(repository: Repository, path: Path) -> None:
    digest, size = "sha256:" + _digest_of_file(path), path.stat().st_size
    assert repository.put_blob(digest, size, lambda: path.open("rb")) == size
    repository.blob(digest, path.with_name("back"), size=size)


def _digest_of_file(path: Path) -> str:
    import hashlib

    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# --- neighbours and bases -------------------------------------------------------------------------


def based(folder: Path, registry: OciRegistry, name: str, *, mountable: bool) -> SmallImage:
    """An image on a base that only ``registry`` has."""
    body = noise(5000, seed=7)
    base = layer(folder, "base", body, on_disk=False)
    registry.put(name, body)
    if mountable:
        registry.put_manifest(name, image_of(base).manifest)
    return image_of(base, layer(folder, "model", b"weights" * 100))


def test_the_base_is_mounted_from_next_door(
    registry: OciRegistry, repository: Open, tmp_path: Path
) -> None:
    image = based(tmp_path, registry, "bases/python", mountable=True)
    base = repository(registry.reference("bases/python"))
    target = repository()
    push(image, target, base=base)
    assert_stored(registry, image)
    assert target.sent == 700 + len(image.config)
    assert not any(s.method == "GET" and "bases/python" in s.path for s in registry.seen)


@pytest.mark.parametrize("switched_off", [True, False])
def test_a_mount_that_is_answered_202_becomes_an_upload(
    registry: OciRegistry, repository: Open, tmp_path: Path, switched_off: bool
) -> None:
    registry.faults.mounts = not switched_off
    image = based(tmp_path, registry, "bases/python", mountable=switched_off)
    push(image, repository(), base=repository(registry.reference("bases/python")))
    assert_stored(registry, image)
    begun = [s for s in registry.lines("POST") if "/v2/team/models/" in s]
    assert len(begun) == 3  # the 202 of the mount was used, not thrown away


def test_a_mount_that_is_refused_becomes_an_upload(
    registry: OciRegistry, repository: Open, tmp_path: Path
) -> None:
    registry.faults.told = [refused("mount=", 403, "DENIED")]
    image = based(tmp_path, registry, "bases/python", mountable=True)
    push(image, repository(), base=repository(registry.reference("bases/python")))
    assert_stored(registry, image)


def test_our_own_layers_are_mounted_where_the_caller_says(
    registry: OciRegistry, repository: Open, tmp_path: Path
) -> None:
    image = small_image(tmp_path)
    push(image, repository(registry.reference("team/other")))
    target = repository()
    push(image, target, mount_from=("team/models", "team/none", "team/other"))
    assert_stored(registry, image)
    assert target.sent == len(image.config)


def test_a_base_in_another_registry_is_copied_through_a_file(
    registry: OciRegistry, repository: Open, tmp_path: Path
) -> None:
    with oci_registry() as elsewhere:
        image = based(tmp_path, elsewhere, "bases/python", mountable=True)
        base = repository(elsewhere.reference("bases/python"))
        cache = tmp_path / "cache"
        push(image, repository(), base=base, cache=cache)
        assert_stored(registry, image)
        assert not any("mount=" in line for line in registry.lines("POST"))
        # A second target gets it from the file.
        push(image, repository(registry.reference("team/second")), base=base, cache=cache)
        assert len(elsewhere.lines("GET")) == 1


def test_a_base_that_is_nowhere_is_said_before_an_upload_begins(
    registry: OciRegistry, repository: Open, tmp_path: Path
) -> None:
    lost = layer(tmp_path, "base", b"lost", on_disk=False)
    with pytest.raises(ImageNotFoundError, match=lost.digest):
        push(image_of(lost), repository())
    base = repository(registry.reference("bases/none"))
    with pytest.raises(ImageNotFoundError):
        push(image_of(lost), repository(), base=base)
    assert "team/models" not in registry.manifests


# --- cut and repeated -----------------------------------------------------------------------------


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 12_000), st.booleans())
def test_a_push_cut_at_any_byte_is_finished_by_pushing_again(
    tmp_path: Path, limit: int, resumes: bool
) -> None:
    image = small_image(tmp_path)
    with oci_registry() as registry:
        registry.faults.resumes = resumes
        with cutting_proxy(registry.host, limit) as proxy:
            with Repository(proxy.reference(), anonymous, sleep=lambda _: None) as repository:
                try:
                    push(image, repository)
                except ImageRegistryError:
                    cut = True
                else:
                    cut = False
            assert cut == (proxy.passed == limit)
            proxy.limit, proxy.recovers = None, True
            with Repository(proxy.reference(), anonymous) as repository:
                push(image, repository)
        assert_stored(registry, image)


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 14_000), st.booleans())
def test_a_connection_cut_once_at_any_byte_is_no_failure(
    tmp_path: Path, limit: int, resumes: bool
) -> None:
    image = small_image(tmp_path)
    with oci_registry() as registry:
        registry.faults.resumes = resumes
        with (
            cutting_proxy(registry.host, limit, recovers=True) as proxy,
            Repository(proxy.reference(), anonymous, sleep=lambda _: None) as repository,
        ):
            push(image, repository)
        assert_stored(registry, image)


def test_an_upload_goes_on_where_the_registry_stands(
    registry: OciRegistry, repository: Open, waits: list[float], tmp_path: Path
) -> None:
    body = noise(10 * CHUNK)
    registry.faults.cut_uploads = [3 * CHUNK, CHUNK]
    image = image_of(layer(tmp_path, "model", body))
    digest = image.layers[0].digest
    repository().put_blob(digest, len(body), lambda: (tmp_path / digest[7:]).open("rb"))
    assert registry.blobs["team/models"][digest] == body
    sizes = [s.length for s in registry.seen if s.method == "PUT"]
    assert sizes[0] == len(body) > sizes[1] > sizes[2] > 0
    assert len([line for line in registry.lines("POST") if "uploads" in line]) == 1
    assert len(waits) == 2


def test_as_long_as_it_gets_further_an_upload_is_not_given_up(
    registry: OciRegistry, repository: Open, tmp_path: Path
) -> None:
    body = noise(40 * 1024)
    registry.faults.cut_uploads = [1024] * (3 * ATTEMPTS)
    found = layer(tmp_path, "model", body)
    repository().put_blob(found.digest, len(body), lambda: (tmp_path / found.digest[7:]).open("rb"))
    assert registry.blobs["team/models"][found.digest] == body


def test_a_registry_that_knows_no_state_gets_a_fresh_upload(
    registry: OciRegistry, repository: Open, tmp_path: Path
) -> None:
    registry.faults.resumes = False
    registry.faults.cut_uploads = [2000]
    image = small_image(tmp_path)
    push(image, repository())
    assert_stored(registry, image)


def test_a_registry_that_forgot_its_half_gets_all_of_it_again(
    registry: OciRegistry, repository: Open, tmp_path: Path
) -> None:
    registry.faults.cut_uploads = [2000]
    registry.faults.forgets_parts = True
    image = image_of(layer(tmp_path, "model", noise(8000)))
    push(image, repository())
    assert_stored(registry, image)


def test_a_lost_answer_to_a_stored_blob_costs_no_second_upload(
    registry: OciRegistry, repository: Open, tmp_path: Path
) -> None:
    registry.faults.lost_answers = 1
    image = image_of(layer(tmp_path, "model", noise(8000)))
    target = repository()
    push(image, target)
    assert_stored(registry, image)
    assert target.sent == 8000 + len(image.config)


def test_two_processes_push_the_same_image_at_once(registry: OciRegistry, tmp_path: Path) -> None:
    image = small_image(tmp_path, model=noise(2_000_000))
    context = multiprocessing.get_context("spawn")
    ready, outcomes = context.Barrier(2), context.Queue()
    args = (registry.host, image, ready, outcomes)
    processes = [context.Process(target=_push_at_once, args=args) for _ in range(2)]
    for process in processes:
        process.start()
    found = {outcomes.get(timeout=120) for _ in processes}
    for process in processes:
        process.join(60)
    assert found == {f"{registry.host}/team/models@{image.digest}"}
    assert_stored(registry, image)


def _push_at_once(host: str, image: SmallImage, ready: object, outcomes: object) -> None:
    with Repository(Reference(host, "team/models"), anonymous) as repository:
        ready.wait(60)  # type: ignore[attr-defined]
        try:
            outcome = str(push(image, repository))
        except Exception as error:
            outcome = repr(error)
        outcomes.put(outcome)  # type: ignore[attr-defined]


def test_a_failure_ends_the_uploads_beside_it(
    registry: OciRegistry, repository: Open, tmp_path: Path
) -> None:
    large = layer(tmp_path, "model", noise(64 * CHUNK))
    small = layer(tmp_path, "code", b"small")
    failed = threading.Event()
    registry.faults.always = [refused(f"HEAD /v2/team/models/blobs/{small.digest}", 400, "NO")]
    reached = 0

    def progress(what: str, done: int, total: int) -> None:
        nonlocal reached
        if what.startswith("model"):
            reached = done
            failed.wait(0.02)

    with pytest.raises(ImageRegistryError):
        push(image_of(large, small), repository(), progress=progress)
    assert reached < large.size


# --- local trouble --------------------------------------------------------------------------------


def test_a_layer_that_vanished_is_said_before_an_upload_begins(
    registry: OciRegistry, repository: Open, tmp_path: Path
) -> None:
    image = image_of(layer(tmp_path, "model", b"gone"))
    (tmp_path / image.layers[0].digest[7:]).unlink()
    with pytest.raises(BackendError, match="cannot be read") as caught:
        push(image, repository())
    assert caught.value.hint == "build the image again"
    assert [line for line in registry.lines("PUT") if image.layers[0].digest in line] == []


@pytest.mark.parametrize("body", [b"short", b"x" * 700, b"y" * 900])
def test_a_layer_that_changed_is_never_stored(
    registry: OciRegistry, repository: Open, tmp_path: Path, body: bytes
) -> None:
    image = image_of(layer(tmp_path, "model", b"z" * 700))
    digest = image.layers[0].digest
    (tmp_path / digest[7:]).write_bytes(body)
    with pytest.raises(IntegrityError):
        push(image, repository())
    assert digest not in registry.blobs.get("team/models", {})
    assert "team/models" not in registry.manifests
