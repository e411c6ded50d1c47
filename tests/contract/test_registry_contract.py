"""What every registry keeps to, whatever it is kept in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from modelport.errors import (
    BlobNotFoundError,
    IntegrityError,
    InvalidBundleError,
    InvalidNameError,
    ModelNotFoundError,
    NotDeployedError,
    VersionNotFoundError,
)
from modelport.manifest import File, Manifest
from modelport.registry import Actor, Registry, keys
from modelport.registry.bucket import BucketRegistry
from modelport.registry.memory import MemoryStore
from modelport.registry.s3 import S3Store
from modelport.registry.store import Store
from modelport.routes import Deployment, Routes, Weighted
from moto import mock_aws

from tests.support.registry_world import (
    ADA,
    BUCKET,
    ForgetfulStore,
    Killed,
    MortalStore,
    make_draft,
    overwrite,
)

NAME = "magika"


@pytest.fixture(params=["memory", "s3"])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    """Each store there is, empty."""
    if request.param == "memory":
        yield MemoryStore()
        return
    with mock_aws():
        client = boto3.client("s3")
        client.create_bucket(Bucket=BUCKET)
        yield S3Store(client, BUCKET, prefix="team/a", part_size=5 << 20, single_put_limit=6 << 20)


@pytest.fixture
def registry(store: Store) -> BucketRegistry:
    return BucketRegistry(store, sleep=lambda _: None)


def publish(registry: Registry, folder: Path, body: bytes, name: str = NAME) -> Manifest:
    return registry.publish(name, make_draft(folder, model=body), who=ADA)


def deploy(registry: Registry, *versions: int) -> None:
    for version in versions:
        deployment = Deployment(version, "lambda", f"f-v{version}", "sha256:" + "0" * 64)
        registry.change(
            NAME,
            lambda routes, d=deployment: routes.with_deployment(d),  # type: ignore[misc]
            action="deploy",
            detail={"version": version},
            who=ADA,
        )


# --- publish and read -----------------------------------------------------------------------------


def test_versions_count_from_one(registry: BucketRegistry, tmp_path: Path) -> None:
    numbers = [publish(registry, tmp_path / str(n), b"%d" % n).version for n in range(3)]
    assert numbers == [1, 2, 3]
    assert list(registry.versions(NAME)) == [3, 2, 1]
    assert registry.routes(NAME).routes.latest == 3  # type: ignore[union-attr]


def test_a_manifest_reads_back_as_published(registry: BucketRegistry, tmp_path: Path) -> None:
    draft = make_draft(tmp_path, model=b"weights", labels=b"a\nb\n")
    manifest = registry.publish(NAME, draft, who=ADA)
    assert manifest.content == draft.content
    assert manifest.digest == draft.content.digest
    assert manifest.lineage == draft.lineage
    assert registry.manifest(NAME, 1) == manifest


def test_the_same_content_is_the_same_version(registry: BucketRegistry, tmp_path: Path) -> None:
    first = publish(registry, tmp_path / "a", b"weights")
    publish(registry, tmp_path / "b", b"others")
    assert publish(registry, tmp_path / "c", b"weights") == first
    assert list(registry.versions(NAME)) == [2, 1]
    assert [c.action for c in registry.log(NAME)] == ["publish", "publish"]


def test_the_same_content_under_another_name_is_another_model(
    registry: BucketRegistry, tmp_path: Path
) -> None:
    publish(registry, tmp_path, b"weights")
    assert publish(registry, tmp_path, b"weights", "other").version == 1
    assert list(registry.models()) == [NAME, "other"]


def test_publish_reports_progress_to_the_last_byte(
    registry: BucketRegistry, tmp_path: Path
) -> None:
    reports: list[tuple[str, int, int]] = []
    draft = make_draft(tmp_path, model=b"weights", labels=b"ab")
    registry.publish(NAME, draft, who=ADA, progress=lambda *report: reports.append(report))
    assert ("model.bin", 7, 7) in reports
    assert reports[-1] == ("labels.bin", 2, 2)


def test_an_empty_file_can_be_published_and_fetched(
    registry: BucketRegistry, tmp_path: Path
) -> None:
    manifest = registry.publish(NAME, make_draft(tmp_path, model=b"x", empty=b""), who=ADA)
    registry.fetch(manifest.content.files[1], tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == b""


def test_what_does_not_exist_is_said_by_name(registry: BucketRegistry, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match=NAME):
        registry.manifest(NAME, 1)
    with pytest.raises(ModelNotFoundError):
        registry.routes(NAME)
    with pytest.raises(ModelNotFoundError):
        registry.versions(NAME)
    with pytest.raises(ModelNotFoundError):
        registry.log(NAME)
    with pytest.raises(ModelNotFoundError):
        registry.verify_log(NAME)
    with pytest.raises(ModelNotFoundError):
        deploy(registry, 1)
    publish(registry, tmp_path, b"weights")
    with pytest.raises(VersionNotFoundError, match="version 2"):
        registry.manifest(NAME, 2)


@pytest.mark.parametrize("name", ["", "UPPER", "a/b", "../x", "a" * 41])
def test_a_name_outside_the_grammar_is_refused(
    registry: BucketRegistry, tmp_path: Path, name: str
) -> None:
    with pytest.raises(InvalidNameError):
        publish(registry, tmp_path, b"weights", name)
    with pytest.raises(InvalidNameError):
        registry.routes(name)
    with pytest.raises(InvalidNameError):
        registry.change(name, lambda routes: routes, action="x", detail={}, who=ADA)
    assert list(registry.models()) == []


# --- local files ----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [100, (6 << 20) + 1])
def test_a_file_that_changed_since_it_was_read_is_not_published(
    registry: BucketRegistry, store: Store, tmp_path: Path, size: int
) -> None:
    draft = make_draft(tmp_path, model=b"w" * size)
    (tmp_path / "model.bin").write_bytes(b"v" * size)
    with pytest.raises(IntegrityError, match=r"model\.bin changed while it was published"):
        registry.publish(NAME, draft, who=ADA)
    assert list(registry.models()) == []
    assert store.read(keys.blob(draft.content.files[0].digest)) is None


@pytest.mark.parametrize("size", [100, (6 << 20) + 1])
def test_a_file_that_is_gone_is_not_published(
    registry: BucketRegistry, tmp_path: Path, size: int
) -> None:
    draft = make_draft(tmp_path, model=b"w" * size)
    (tmp_path / "model.bin").unlink()
    with pytest.raises(InvalidBundleError, match="No such file"):
        registry.publish(NAME, draft, who=ADA)


# --- fetch ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 3 << 20, 13 << 20])
def test_a_fetched_file_is_the_published_one(
    registry: BucketRegistry, tmp_path: Path, size: int
) -> None:
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    file = publish(registry, tmp_path, body).content.files[0]
    reports: list[tuple[str, int, int]] = []
    target = tmp_path / "deep" / "er" / "model.onnx"
    registry.fetch(file, target, lambda *report: reports.append(report))
    assert target.read_bytes() == body
    assert b"".join(registry.read(file)) == body
    assert [path.name for path in target.parent.iterdir()] == ["model.onnx"]
    assert reports == sorted(reports)
    assert not reports or reports[-1] == ("model.bin", size, size)


def test_a_missing_blob_is_said_and_leaves_nothing(
    registry: BucketRegistry, tmp_path: Path
) -> None:
    file = File("model.onnx", "sha256:" + "ab" * 32, 5)
    with pytest.raises(BlobNotFoundError, match="abab"):
        registry.fetch(file, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "damage",
    [lambda b: b[:-1], lambda b: b + b"!", lambda b: b"W" + b[1:]],
    ids=["short", "long", "other"],
)
def test_a_damaged_blob_never_reaches_the_disk(
    registry: BucketRegistry, store: Store, tmp_path: Path, damage: object
) -> None:
    file = publish(registry, tmp_path / "in", b"weights").content.files[0]
    overwrite(store, keys.blob(file.digest), damage)  # type: ignore[arg-type]
    target = tmp_path / "out" / "model.onnx"
    target.parent.mkdir()
    target.write_bytes(b"an older file")
    with pytest.raises(IntegrityError, match=r"blob of model.bin"):
        registry.fetch(file, target)
    assert [path.name for path in target.parent.iterdir()] == ["model.onnx"]
    assert target.read_bytes() == b"an older file"
    with pytest.raises(IntegrityError, match=r"blob of model.bin"):
        list(registry.read(file))


def test_a_digest_that_is_none_is_refused(registry: BucketRegistry, tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="digest"):
        registry.fetch(File("model.onnx", "sha256:../../../etc/passwd", 5), tmp_path / "x")


# --- routes and changes ---------------------------------------------------------------------------


def test_routes_are_read_again_only_when_they_changed(
    registry: BucketRegistry, tmp_path: Path
) -> None:
    publish(registry, tmp_path, b"weights")
    first = registry.routes(NAME)
    assert first is not None
    assert registry.routes(NAME, etag=first.etag) is None
    deploy(registry, 1)
    second = registry.routes(NAME, etag=first.etag)
    assert second is not None
    assert (second.routes.revision, list(second.routes.deployments)) == (2, [1])
    assert second.etag != first.etag


def test_a_change_is_logged_with_who_and_why(registry: BucketRegistry, tmp_path: Path) -> None:
    publish(registry, tmp_path, b"weights")
    deploy(registry, 1)
    routes = registry.change(
        NAME,
        lambda r: r.with_alias("stable", [Weighted(1)]),
        action="route",
        detail={"alias": "stable", "weights": ((1, 100),), "by_version": {10: 1, 9: 2}},
        who=Actor("grace", "ship it · 🚀"),
    )
    newest = next(registry.log(NAME))
    assert routes.change == newest
    assert (newest.who, newest.message, newest.revision) == ("grace", "ship it · 🚀", 3)
    assert newest.detail["weights"] == [[1, 100]]
    assert [c.action for c in registry.log(NAME)] == ["route", "deploy", "publish"]
    assert registry.verify_log(NAME) == 3


def test_an_edit_that_refuses_writes_nothing(registry: BucketRegistry, tmp_path: Path) -> None:
    publish(registry, tmp_path, b"weights")
    before = registry.routes(NAME)
    with pytest.raises(NotDeployedError):
        registry.change(
            NAME,
            lambda r: r.with_alias("stable", [Weighted(1)]),
            action="route",
            detail={},
            who=ADA,
        )
    assert registry.routes(NAME) == before


def test_an_edit_that_changes_nothing_writes_nothing(
    registry: BucketRegistry, tmp_path: Path
) -> None:
    publish(registry, tmp_path, b"weights")
    before = registry.routes(NAME)
    assert registry.change(NAME, lambda r: r, action="x", detail={}, who=ADA) == before.routes  # type: ignore[union-attr]
    assert registry.routes(NAME) == before


def test_what_could_not_be_read_back_is_not_written(
    registry: BucketRegistry, tmp_path: Path
) -> None:
    publish(registry, tmp_path, b"weights")
    before = registry.routes(NAME)

    def to_nowhere(routes: Routes) -> Routes:
        return Routes(routes.model, routes.revision, 1, aliases={"stable": (Weighted(7),)})

    with pytest.raises(IntegrityError):
        registry.change(NAME, to_nowhere, action="route", detail={}, who=ADA)
    assert registry.routes(NAME) == before


def test_the_publish_action_is_reserved(registry: BucketRegistry) -> None:
    with pytest.raises(ValueError, match="publish"):
        registry.change(NAME, lambda r: r, action="publish", detail={}, who=ADA)


# --- documents somebody broke ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "damage",
    [
        lambda b: b[: len(b) // 2],
        lambda b: b"",
        lambda b: b.replace(b'"because"', b'"whatever"'),
        lambda b: b.replace(b'"magika"', b'"others"'),
        lambda b: b.replace(b'"revision": 1', b'"revision": 7', 1),
    ],
    ids=["torn", "empty", "another message", "another model", "another revision"],
)
def test_broken_routes_are_refused(
    registry: BucketRegistry, store: Store, tmp_path: Path, damage: object
) -> None:
    publish(registry, tmp_path, b"weights")
    overwrite(store, keys.routes(NAME), damage)  # type: ignore[arg-type]
    with pytest.raises(IntegrityError):
        registry.routes(NAME)
    with pytest.raises(IntegrityError):
        deploy(registry, 1)
    with pytest.raises(IntegrityError):
        publish(registry, tmp_path / "b", b"others")


def test_a_manifest_under_a_wrong_number_is_refused(
    registry: BucketRegistry, store: Store, tmp_path: Path
) -> None:
    publish(registry, tmp_path / "a", b"weights")
    second = publish(registry, tmp_path / "b", b"others")
    overwrite(store, keys.manifest(NAME, 1), lambda _: second.to_bytes())
    with pytest.raises(IntegrityError, match="magika:1"):
        registry.manifest(NAME, 1)


def test_an_edited_manifest_is_refused(
    registry: BucketRegistry, store: Store, tmp_path: Path
) -> None:
    publish(registry, tmp_path, b"weights")
    overwrite(store, keys.manifest(NAME, 1), lambda b: b.replace(b'"size": 7', b'"size": 8'))
    with pytest.raises(IntegrityError):
        registry.manifest(NAME, 1)


@pytest.mark.parametrize("record", [b"", b"[]", b'{"start": "1"}', b'{"version": 1}', b"{"])
def test_a_broken_publication_record_is_refused(
    registry: BucketRegistry, store: Store, tmp_path: Path, record: bytes
) -> None:
    manifest = publish(registry, tmp_path, b"weights")
    overwrite(store, keys.publication(NAME, manifest.digest), lambda _: record)
    with pytest.raises(IntegrityError, match="publication record"):
        publish(registry, tmp_path, b"weights")
    assert list(registry.versions(NAME)) == [1]


def test_a_publication_record_of_a_version_that_is_gone_is_refused(
    registry: BucketRegistry, store: Store, tmp_path: Path
) -> None:
    manifest = publish(registry, tmp_path, b"weights")
    record = json.dumps({"start": 0, "version": 5}).encode()
    overwrite(store, keys.publication(NAME, manifest.digest), lambda _: record)
    with pytest.raises(IntegrityError, match="a manifest of version 5"):
        publish(registry, tmp_path, b"weights")


def edited(body: bytes) -> bytes:
    return body.replace(b'"ada"', b'"eve"')


@pytest.mark.parametrize("revision", [1, 2, 3])
def test_an_edited_log_entry_is_found(
    registry: BucketRegistry, store: Store, tmp_path: Path, revision: int
) -> None:
    publish(registry, tmp_path, b"weights")
    deploy(registry, 1, 2)
    assert registry.verify_log(NAME) == 3
    overwrite(store, keys.log_entry(NAME, revision), edited)
    with pytest.raises(IntegrityError, match=f"log entry {revision} "):
        registry.verify_log(NAME)


def test_a_resealed_log_entry_is_found(
    registry: BucketRegistry, store: Store, tmp_path: Path
) -> None:
    publish(registry, tmp_path, b"weights")
    deploy(registry, 1, 2)
    for revision in (1, 2):
        change = list(registry.log(NAME))[-revision]
        forged = type(change)(**{**json.loads(change.to_bytes()), "who": "eve"}).sealed()
        before = overwrite(store, keys.log_entry(NAME, revision), lambda _, f=forged: f.to_bytes())  # type: ignore[misc]
        with pytest.raises(IntegrityError, match=f"log entry {revision + 1} "):
            registry.verify_log(NAME)
        overwrite(store, keys.log_entry(NAME, revision), lambda _, b=before: b.body)  # type: ignore[misc]
    assert registry.verify_log(NAME) == 3


def test_a_log_that_lost_its_beginning_is_found(
    registry: BucketRegistry, store: Store, tmp_path: Path
) -> None:
    publish(registry, tmp_path, b"weights")
    deploy(registry, 1)
    overwrite(store, keys.log_entry(NAME, 1), lambda _: b"{}")
    with pytest.raises(IntegrityError, match="log entry"):
        registry.verify_log(NAME)
    with pytest.raises(IntegrityError, match="log entry"):
        list(registry.log(NAME))


# --- crashes --------------------------------------------------------------------------------------


def assert_published_once(registry: BucketRegistry, *versions: int) -> None:
    assert sorted(registry.versions(NAME)) == sorted(versions)
    published = [c.detail["version"] for c in registry.log(NAME) if c.action == "publish"]
    assert sorted(published) == sorted(versions)
    registry.verify_log(NAME)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_publish_killed_at_any_write_is_finished_by_a_retry(
    registry: BucketRegistry, store: Store, tmp_path: Path, after: bool
) -> None:
    deaths = 0
    for n in range(1, 30):
        draft = make_draft(tmp_path / str(n), model=b"weights %d" % n, labels=b"a")
        mortal = MortalStore(store, at=n, after=after)
        try:
            BucketRegistry(mortal).publish(NAME, draft, who=ADA)
        except Killed:
            deaths += 1
        manifest = registry.publish(NAME, draft, who=ADA)
        assert manifest.version == n
        assert_published_once(registry, *range(1, n + 1))
        if mortal.survived:
            break
    assert deaths >= 7  # Two blobs, record, manifest, routes, record, log entry.


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_killed_publish_neither_blocks_nor_doubles_when_others_come_first(
    store: Store, tmp_path: Path, after: bool
) -> None:
    registry = BucketRegistry(store)
    total = 0
    for n in range(1, 8):
        draft = make_draft(tmp_path / str(n), model=b"weights %d" % n, labels=b"a")
        with pytest.raises(Killed):
            BucketRegistry(MortalStore(store, at=n, after=after)).publish(NAME, draft, who=ADA)
        others = publish(registry, tmp_path / "o", b"others %d" % n)
        manifest = registry.publish(NAME, draft, who=ADA)
        total += 2
        assert {others.version, manifest.version} == {total - 1, total}
        assert_published_once(registry, *range(1, total + 1))


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_killed_change_is_either_whole_or_not_there(
    registry: BucketRegistry, store: Store, tmp_path: Path, after: bool
) -> None:
    publish(registry, tmp_path, b"weights")
    for n in (1, 2):
        before = registry.routes(NAME).routes.revision  # type: ignore[union-attr]
        with pytest.raises(Killed):
            deploy(BucketRegistry(MortalStore(store, at=n, after=after)), n)
        length = registry.verify_log(NAME)
        assert length == before + (n == 2 or after)
        deploy(registry, 10 + n)
        assert registry.verify_log(NAME) == length + 1


def test_a_model_whose_first_publish_never_finished_is_not_listed(
    registry: BucketRegistry, store: Store, tmp_path: Path
) -> None:
    with pytest.raises(Killed):
        publish(BucketRegistry(MortalStore(store, at=3, after=True)), tmp_path, b"weights")
    assert list(registry.models()) == []
    publish(registry, tmp_path, b"weights")
    assert list(registry.models()) == [NAME]


@pytest.mark.parametrize(
    "name", ["routes.json", "0000000001.json", f"{keys.numbered(1)}", "log/0000000001.json"]
)
def test_an_answer_lost_on_the_way_does_not_publish_twice(
    registry: BucketRegistry, store: Store, tmp_path: Path, name: str
) -> None:
    manifest = publish(BucketRegistry(ForgetfulStore(store, name)), tmp_path, b"weights")
    assert manifest.version == 1
    assert_published_once(registry, 1)


def test_an_answer_lost_on_the_way_does_not_change_twice(
    registry: BucketRegistry, store: Store, tmp_path: Path
) -> None:
    publish(registry, tmp_path, b"weights")
    deploy(BucketRegistry(ForgetfulStore(store, "routes.json")), 1)
    assert registry.verify_log(NAME) == 2


def test_an_answer_lost_while_others_change_does_not_change_twice(
    registry: BucketRegistry, store: Store, tmp_path: Path
) -> None:
    publish(registry, tmp_path, b"weights")
    forgetful = ForgetfulStore(store, "routes.json", lambda: deploy(registry, 2))
    deploy(BucketRegistry(forgetful), 1)
    assert [c.detail["version"] for c in registry.log(NAME)] == [2, 1, 1]
    assert list(registry.routes(NAME).routes.deployments) == [1, 2]  # type: ignore[union-attr]
    assert registry.verify_log(NAME) == 3


# --- listings -------------------------------------------------------------------------------------


def test_models_are_listed_in_order_and_strangers_left_out(
    registry: BucketRegistry, store: Store, tmp_path: Path
) -> None:
    for name in ("b", "a-1", "a", "c"):
        publish(registry, tmp_path, b"weights", name)
    assert store.create("models/README.txt", b"what lies here")
    assert store.create("models/a/versions/notes.txt", b"x")
    assert list(registry.models()) == ["a-1", "a", "b", "c"]
    assert list(registry.versions("a")) == [1]


def test_many_versions_are_listed_newest_first_across_pages_and_gaps(
    registry: BucketRegistry, store: Store, tmp_path: Path
) -> None:
    publish(registry, tmp_path, b"weights")
    latest = 2500
    present = [1, 2, 499, 500, 501, 1499, 1500, 1501, 2499, 2500, 2501, 2502]
    for version in present[1:]:
        assert store.create(keys.manifest(NAME, version), b"{}")
    registry.change(NAME, lambda r: r.with_published(latest), action="import", detail={}, who=ADA)
    assert list(registry.versions(NAME)) == present[::-1]


# --- the store itself -----------------------------------------------------------------------------


def test_conditional_writes_write_on_their_condition_only(store: Store) -> None:
    assert store.create("a/b", b"1")
    assert not store.create("a/b", b"2")
    first = store.get("a/b")
    assert first is not None
    assert store.replace("a/b", b"3", first.etag)
    assert not store.replace("a/b", b"4", first.etag)
    assert not store.replace("a/c", b"5", first.etag)
    assert store.get("a/c") is None
    second = store.get("a/b", known=first.etag)
    assert second is not None
    assert second.body == b"3"
    assert store.get("a/b", known=second.etag) == type(second)(b"", second.etag)


def test_children_are_what_lies_directly_in_a_folder(store: Store) -> None:
    for key in ("f/1", "f/2", "f/3", "f/sub/1", "f/sub/2", "fg/1"):
        assert store.create(key, b"x")
    assert list(store.children("f/")) == ["1", "2", "3", "sub/"]
    assert list(store.children("f/", after="1")) == ["2", "3", "sub/"]
    assert list(store.children("f/", after="25")) == ["3", "sub/"]
    assert list(store.children("nothing/")) == []


def test_an_object_is_read_from_where_one_likes(store: Store) -> None:
    assert store.create("k", b"0123456789")
    assert [b"".join(store.read("k", n) or ()) for n in (0, 4, 9)] == [
        b"0123456789",
        b"456789",
        b"9",
    ]
    assert store.read("none") is None
