"""Looking after a registry, on every store there is: notes, removal, checks, archives, copies.

And a store that is away at every single request in turn: nothing is lost, and a retry finishes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boto3
import pytest
from modelport.errors import (
    IntegrityError,
    ModelNotFoundError,
    RegistryUnavailableError,
    VersionNotFoundError,
)
from modelport.evaluation.report import Data, Figure, Report
from modelport.manifest import File, Manifest, digest_of
from modelport.registry import Actor, keys
from modelport.registry.blobs import LocalSource, StoredSource
from modelport.registry.bucket import BucketRegistry
from modelport.registry.errors import InvalidNoteError, NotErasableError
from modelport.registry.memory import MemoryStore
from modelport.registry.notes import MOST_TAGS, NoteEdit
from modelport.registry.s3 import S3Store
from modelport.registry.store import Store
from modelport.registry.tombstone import Tombstone, parse
from modelport.routes import Deployment, Weighted
from modelport.routes.errors import VersionRemovedError
from modelport.upkeep import archive, transfer
from modelport.upkeep.collect import sweep
from modelport.upkeep.integrity import Checked, Inspection
from modelport.upkeep.retention import Retention, candidates, remove
from moto import mock_aws

from tests.support.registry_world import (
    ADA,
    BUCKET,
    FailingStore,
    Killed,
    MortalStore,
    make_draft,
    overwrite,
)

NAME = "magika"
#: So that what a test has just written is old enough to go.
AT_ONCE = -3600.0


@pytest.fixture(params=["memory", "s3"])
def stores(request: pytest.FixtureRequest) -> Iterator[Callable[[str], Store]]:
    """Makes stores of each kind, empty, by name; a name again is that store."""
    if request.param == "memory":
        made: dict[str, MemoryStore] = {}
        yield lambda name: made.setdefault(name, MemoryStore())
        return
    with mock_aws():
        client = boto3.client("s3")
        client.create_bucket(Bucket=BUCKET)
        status = {"Status": "Enabled"}
        client.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration=status)  # type: ignore[arg-type]
        yield lambda name: S3Store(
            client, BUCKET, prefix=name, part_size=5 << 20, single_put_limit=6 << 20
        )


@pytest.fixture
def store(stores: Callable[[str], Store]) -> Store:
    return stores("here")


@pytest.fixture
def registry(store: Store) -> BucketRegistry:
    return registry_on(store)


def registry_on(store: Store) -> BucketRegistry:
    return BucketRegistry(store, sleep=lambda _: None)


def publish(
    registry: BucketRegistry, folder: Path, *bodies: bytes, name: str = NAME
) -> list[Manifest]:
    """Versions that share a file of labels."""
    return [
        registry.publish(
            name, make_draft(folder / digest_of(body)[7:20], model=body, labels=b"ab"), who=ADA
        )
        for body in bodies
    ]


def deploy(registry: BucketRegistry, version: int) -> None:
    deployment = Deployment(
        version, "lambda", f"f-{version}", registry.manifest(NAME, version).digest
    )
    registry.change(
        NAME,
        lambda routes: routes.with_deployment(deployment),
        action="deploy",
        detail={"version": version},
        who=ADA,
    )


def checked(store: Store, *, hashing: bool = True) -> Checked:
    return Inspection(registry_on(store), hashing=hashing, threads=2).everything()


def problems(store: Store) -> list[str]:
    return [f"{each.where}: {each.problem}" for each in checked(store).findings]


# --- the store itself -----------------------------------------------------------------------------


def test_states_of_objects_are_looked_at_listed_and_removed_one_by_one(
    store: Store, tmp_path: Path
) -> None:
    assert store.stat("f/1") is None
    assert store.create("f/1", b"one")
    assert store.create("f/sub/2", b"three")
    assert store.create("g/3", b"")
    first = store.stat("f/1")
    assert first is not None
    assert (first.key, first.size, first.current) == ("f/1", 3, True)
    assert 0 <= first.age_s < 60
    assert [each.key for each in store.objects("f/")] == ["f/1", "f/sub/2"]
    assert [each.size for each in store.objects("")] == [3, 5, 0]
    document = store.get("f/1")
    assert document is not None
    assert store.replace("f/1", b"one", document.etag)
    second = store.stat("f/1")
    assert second is not None
    assert second.generation != first.generation
    current, *replaced = [each for each in store.objects("f/") if each.key == "f/1"]
    assert current.generation == second.generation
    assert [(e.generation, e.current) for e in replaced] in ([], [(first.generation, False)])
    store.delete("f/1", first.generation)
    assert store.stat("f/1") is not None
    store.delete("f/1", second.generation)
    store.delete("f/1", second.generation)
    assert store.stat("f/1") is None
    assert store.get("f/1") is None
    store.check_erasable()


def test_an_old_blob_is_written_again_when_it_is_asked_to_be_young(
    store: Store, tmp_path: Path
) -> None:
    draft = make_draft(tmp_path, model=b"weights")
    file = draft.files[0]
    key, source = keys.blob(file.digest), LocalSource(draft.sources[file.path])
    store.upload(key, source, file, lambda _: None)
    before = store.stat(key)
    store.upload(key, source, file, lambda _: None, renew_after_s=3600)
    assert before is not None
    assert store.stat(key).generation == before.generation  # type: ignore[union-attr]
    store.upload(key, source, file, lambda _: None, renew_after_s=AT_ONCE)
    assert store.stat(key).generation != before.generation  # type: ignore[union-attr]
    assert b"".join(store.read(key) or ()) == b"weights"


@pytest.mark.parametrize("size", [0, 7, (11 << 20) + 1])
def test_a_blob_goes_from_one_store_to_another_either_way(
    stores: Callable[[str], Store], tmp_path: Path, size: int
) -> None:
    draft = make_draft(tmp_path, model=bytes(range(256)) * (size // 256) + b"x" * (size % 256))
    file = draft.files[0]
    key = keys.blob(file.digest)
    first, second, third = stores("one"), stores("two"), stores("three")
    assert not second.adopt(key, first, file)
    first.upload(key, LocalSource(draft.sources[file.path]), file, lambda _: None)
    assert second.adopt(key, first, file)
    third.upload(key, StoredSource(first, file), file, lambda _: None)
    for each in (second, third):
        registry_on(each).fetch(file, tmp_path / "back")
        assert (tmp_path / "back").read_bytes() == draft.sources[file.path].read_bytes()


def taken(store: Store, other: Store, file: File) -> None:
    """Take a file over, one way or the other."""
    key = keys.blob(file.digest)
    if not store.adopt(key, other, file):
        store.upload(key, StoredSource(other, file), file, lambda _: None)


def test_a_damaged_blob_is_not_taken_over(stores: Callable[[str], Store], tmp_path: Path) -> None:
    draft = make_draft(tmp_path, model=b"weights")
    file = draft.files[0]
    key, first, second = keys.blob(file.digest), stores("one"), stores("two")
    assert first.create(key, b"WEIGHTS")
    with pytest.raises(IntegrityError):
        taken(second, first, file)
    assert second.stat(key) is None


def test_nothing_is_removed_from_a_bucket_without_versions() -> None:
    with mock_aws():
        client = boto3.client("s3")
        client.create_bucket(Bucket=BUCKET)
        store = S3Store(client, BUCKET)
        assert store.create("key", b"body")
        with pytest.raises(NotErasableError, match="not versioned"):
            store.check_erasable()
        with pytest.raises(NotErasableError):
            store.delete("key", store.stat("key").generation)  # type: ignore[union-attr]
        assert store.get("key") is not None


# --- notes ----------------------------------------------------------------------------------------


def test_notes_say_what_was_said_last_and_the_log_says_all(
    registry: BucketRegistry, tmp_path: Path
) -> None:
    publish(registry, tmp_path, b"1", b"2")
    assert registry.notes(NAME, 1).tags == {}
    registry.annotate(NAME, 1, NoteEdit({"team": "vision", "keep": ""}), who=ADA)
    noted = registry.annotate(
        NAME,
        1,
        NoteEdit({"team": "text"}, ("keep",), "trained on May · 🚀"),
        who=Actor("eve", "why"),
    )
    assert registry.notes(NAME, 1) == noted
    assert (dict(noted.tags), noted.description) == ({"team": "text"}, "trained on May · 🚀")
    assert (noted.who, noted.revision) == ("eve", 4)
    assert registry.notes(NAME, 2).tags == {}
    newest = next(registry.log(NAME))
    assert (newest.action, newest.message) == ("note", "why")
    assert newest.detail["untag"] == ["keep"]
    assert registry.annotate(NAME, 1, NoteEdit({"team": "text"}), who=ADA) == noted
    assert registry.verify_log(NAME) == 4


def test_writers_of_notes_lose_nothing_to_each_other(tmp_path: Path) -> None:
    store = MemoryStore()
    publish(registry_on(store), tmp_path, b"1", b"2")

    def write(number: int) -> None:
        registry = registry_on(store)
        version = 1 + number % 2
        registry.annotate(NAME, version, NoteEdit({f"writer-{number}": ""}), who=ADA)
        registry.annotate(NAME, version, NoteEdit(description=f"by {number}"), who=ADA)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(write, range(16)))
    registry = registry_on(store)
    for version in (1, 2):
        noted = registry.notes(NAME, version)
        assert sorted(noted.tags) == sorted(f"writer-{n}" for n in range(version - 1, 16, 2))
        assert noted.description in [f"by {n}" for n in range(version - 1, 16, 2)]
    assert registry.verify_log(NAME) == 2 + 32
    assert checked(store).findings == []


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_note_whose_writer_dies_is_whole_or_not_there_and_never_twice(
    tmp_path: Path, after: bool
) -> None:
    store = MemoryStore()
    publish(registry_on(store), tmp_path, b"1")
    for at in (1, 2, 3):
        mortal = MortalStore(store, at=at, after=after)
        edit = NoteEdit({f"tag-{at}": ""}, (f"tag-{at - 1}",))
        with pytest.raises(Killed):
            registry_on(mortal).annotate(NAME, 1, edit, who=ADA)
        committed = at > 1 or after
        expected = {f"tag-{at}": ""} if committed else {}
        assert registry_on(store).notes(NAME, 1).tags == expected
        registry_on(store).annotate(NAME, 1, edit, who=ADA)
        assert registry_on(store).notes(NAME, 1).tags == {f"tag-{at}": ""}
    notes = [change for change in registry_on(store).log(NAME) if change.action == "note"]
    assert len(notes) == 3
    assert registry_on(store).verify_log(NAME) == 4


def test_notes_of_what_does_not_exist_are_refused(registry: BucketRegistry, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError):
        registry.annotate(NAME, 1, NoteEdit({"a": "b"}), who=ADA)
    publish(registry, tmp_path, b"1")
    with pytest.raises(VersionNotFoundError):
        registry.annotate(NAME, 2, NoteEdit({"a": "b"}), who=ADA)


def test_notes_are_bounded(registry: BucketRegistry, tmp_path: Path) -> None:
    publish(registry, tmp_path, b"1")
    full = NoteEdit({f"tag-{n}": "" for n in range(MOST_TAGS)})
    registry.annotate(NAME, 1, full, who=ADA)
    with pytest.raises(InvalidNoteError, match=f"{MOST_TAGS + 1} tags"):
        registry.annotate(NAME, 1, NoteEdit({"another": ""}), who=ADA)
    assert registry.routes(NAME).routes.revision == 2  # type: ignore[union-attr]


@pytest.mark.parametrize("damage", [b"", b"{}", b"[]", b'{"schema": 1, "version": "1"}'])
def test_broken_notes_are_refused_and_found(
    registry: BucketRegistry, store: Store, tmp_path: Path, damage: bytes
) -> None:
    publish(registry, tmp_path, b"1")
    registry.annotate(NAME, 1, NoteEdit({"a": "b"}), who=ADA)
    overwrite(store, keys.notes(NAME, 1), lambda _: damage)
    with pytest.raises(IntegrityError, match="notes"):
        registry.notes(NAME, 1)
    assert "magika:1 notes" in problems(store)[0]


# --- removal --------------------------------------------------------------------------------------


def test_what_is_needed_stays_and_the_rest_goes(
    registry: BucketRegistry, store: Store, tmp_path: Path
) -> None:
    manifests = publish(registry, tmp_path, *(b"%d" % n for n in range(8)))
    for version in (1, 2, 3):
        deploy(registry, version)
    for version in (2, 3):
        registry.change(
            NAME,
            lambda r, v=version: r.with_alias("stable", [Weighted(v)]),  # type: ignore[misc]
            action="route",
            detail={},
            who=ADA,
        )
    for version in (1, 2):
        registry.change(
            NAME,
            # The history of stable still names 2: a rollback could go there.
            lambda r, v=version: r.without_deployment(v),  # type: ignore[misc]
            action="undeploy",
            detail={},
            who=ADA,
        )
    registry.annotate(NAME, 5, NoteEdit({"keep": ""}), who=ADA)
    found = [each.version for each in candidates(registry, NAME, Retention(keep=2))]
    assert found == [6, 4, 1]
    assert remove(registry, NAME, [1, 2, 3, 4, 5, 6], who=Actor("ada", "too many")) == [1, 4, 6]
    assert list(registry.versions(NAME)) == [8, 7, 5, 3, 2]
    with pytest.raises(VersionRemovedError):
        registry.manifest(NAME, 4)
    stone = parse(store.get(keys.manifest(NAME, 4)).body)  # type: ignore[union-attr]
    assert isinstance(stone, Tombstone)
    assert (stone.digest, stone.who, stone.message) == (manifests[3].digest, "ada", "too many")
    newest = next(registry.log(NAME))
    assert (newest.action, newest.detail) == ("remove", {"versions": "1,4,6"})
    swept = sweep(store, who=ADA, grace_s=AT_ONCE)
    assert (swept.states, swept.bytes) == (3, 3)
    assert checked(store).findings == []
    assert checked(store).removed == 3
    assert b"".join(registry.read(manifests[1].files[0])) == b"1"


def test_a_tag_that_its_writer_died_on_keeps_a_version(
    registry: BucketRegistry, store: Store, tmp_path: Path
) -> None:
    publish(registry, tmp_path, b"1", b"2")
    with pytest.raises(Killed):
        registry_on(MortalStore(store, at=1, after=True)).annotate(
            NAME, 1, NoteEdit({"keep": ""}), who=ADA
        )
    assert list(candidates(registry, NAME, Retention(keep=1))) == []
    assert remove(registry, NAME, [1], who=ADA) == []


def test_what_is_needed_and_was_hidden_can_still_be_restored(tmp_path: Path) -> None:
    """Somebody deletes a file in a versioned bucket: it is gone, and an earlier state is not."""
    with mock_aws():
        client = boto3.client("s3")
        client.create_bucket(Bucket=BUCKET)
        client.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
        store = S3Store(client, BUCKET)
        registry = registry_on(store)
        manifest = publish(registry, tmp_path, b"1", b"2")[0]
        remove(registry, NAME, [2], who=ADA)
        hidden = keys.blob(manifest.files[0].digest)
        marker = client.delete_object(Bucket=BUCKET, Key=hidden)["VersionId"]
        assert problems(store) == ["magika:1 model.bin: its blob is missing"]
        assert sweep(store, who=ADA, grace_s=AT_ONCE).states == 1
        client.delete_object(Bucket=BUCKET, Key=hidden, VersionId=marker)
        assert problems(store) == []


def test_states_that_were_replaced_go_even_of_what_is_needed(tmp_path: Path) -> None:
    with mock_aws():
        client = boto3.client("s3")
        client.create_bucket(Bucket=BUCKET)
        client.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
        store = S3Store(client, BUCKET)
        draft = make_draft(tmp_path, model=b"weights")
        registry_on(store).publish(NAME, draft, who=ADA)
        file = draft.files[0]
        source = LocalSource(draft.sources[file.path])
        store.upload(keys.blob(file.digest), source, file, lambda _: None, renew_after_s=AT_ONCE)
        assert len(list(store.objects(keys.BLOBS))) == 2
        assert sweep(store, who=ADA, grace_s=AT_ONCE).states == 1
        (left,) = store.objects(keys.BLOBS)
        assert left.current
        assert problems(store) == []


def test_files_of_other_models_stay(registry: BucketRegistry, store: Store, tmp_path: Path) -> None:
    publish(registry, tmp_path, b"1", b"2")
    publish(registry, tmp_path, b"1", name="other")
    remove(registry, NAME, [1], who=ADA)
    assert sweep(store, who=ADA, grace_s=AT_ONCE).states == 0
    remove(registry, "other", [], who=ADA)
    assert checked(store).findings == []


def test_nothing_young_is_removed(registry: BucketRegistry, store: Store, tmp_path: Path) -> None:
    publish(registry, tmp_path, b"1", b"2")
    remove(registry, NAME, [1], who=ADA)
    swept = sweep(store, who=ADA)
    assert (swept.states, swept.young_bytes) == (0, 1)


def test_what_was_removed_is_published_again_under_a_new_number(
    registry: BucketRegistry, store: Store, tmp_path: Path
) -> None:
    publish(registry, tmp_path, b"1", b"2")
    remove(registry, NAME, [1], who=ADA)
    sweep(store, who=ADA, grace_s=AT_ONCE)
    again = publish(registry, tmp_path, b"1")[0]
    assert again.version == 3
    assert publish(registry, tmp_path, b"1", b"2")[0] == again
    assert list(registry.versions(NAME)) == [3, 2]
    assert checked(store).findings == []


def test_a_manifest_that_cannot_be_read_stops_a_collection(
    registry: BucketRegistry, store: Store, tmp_path: Path
) -> None:
    publish(registry, tmp_path, b"1", b"2")
    remove(registry, NAME, [1], who=ADA)
    overwrite(store, keys.manifest(NAME, 2), lambda body: body[:-10])
    with pytest.raises(IntegrityError, match="manifest"):
        sweep(store, who=ADA, grace_s=AT_ONCE)
    assert len(list(store.objects(keys.BLOBS))) == 3


# --- checks ---------------------------------------------------------------------------------------


def test_a_whole_registry_is_said_to_be(
    registry: BucketRegistry, store: Store, tmp_path: Path
) -> None:
    publish(registry, tmp_path, b"1", b"2")
    publish(registry, tmp_path, b"1", name="other")
    deploy(registry, 2)
    found = checked(store)
    assert not found.wrong
    assert (found.models, found.versions, found.changes, found.findings) == (2, 3, 4, [])
    assert (found.blobs, found.bytes) == (3, 4)


@pytest.mark.parametrize(
    ("key", "damage", "problem"),
    [
        (keys.routes(NAME), b"{}", "magika routes.json"),
        (keys.manifest(NAME, 1), b"{}", "magika:1 manifest"),
        (keys.log_entry(NAME, 2), b"{}", "magika log"),
        (keys.blob("sha256:" + "0" * 64), b"", ""),
    ],
)
def test_damage_is_found_and_said(
    registry: BucketRegistry, store: Store, tmp_path: Path, key: str, damage: bytes, problem: str
) -> None:
    publish(registry, tmp_path, b"1", b"2", b"3")
    if store.get(key) is None:  # A blob that nobody needs is nobody's damage.
        assert store.create(key, damage)
        assert problems(store) == []
        return
    overwrite(store, key, lambda _: damage)
    found = checked(store)
    assert found.wrong
    assert found.findings[0].where == problem
    assert found.findings[0].next


def test_files_that_are_gone_cut_off_or_other_are_found(
    registry: BucketRegistry, store: Store, tmp_path: Path
) -> None:
    manifests = publish(registry, tmp_path, b"111", b"222", b"333")
    blobs = [keys.blob(each.files[0].digest) for each in manifests]
    gone = store.stat(blobs[0])
    assert gone is not None
    store.delete(blobs[0], gone.generation)
    overwrite(store, blobs[1], lambda body: body[:-1])
    overwrite(store, blobs[2], lambda _: b"444")
    told = {each.where: each.problem for each in checked(store).findings}
    assert told["magika:1 model.bin"] == "its blob is missing"
    assert told["magika:2 model.bin"] == "its blob has 2 bytes, not 3"
    assert "expected sha256" in told["magika:3 model.bin"]
    assert len(checked(store, hashing=False).findings) == 2
    inspected = Inspection(registry, hashing=True)
    assert [f.where for f in inspected.version(NAME, 2).findings] == ["magika:2 model.bin"]
    assert len(Inspection(registry).model(NAME).findings) == 2
    with pytest.raises(ModelNotFoundError):
        Inspection(registry).model("other")
    with pytest.raises(VersionNotFoundError):
        Inspection(registry).version(NAME, 9)


def test_broken_evaluation_reports_are_found(
    registry: BucketRegistry, store: Store, tmp_path: Path
) -> None:
    furnished(registry, tmp_path)
    assert problems(store) == []
    assert store.create(keys.evaluation(NAME, 1, "20260101T000000000000-555555555555"), b"{}")
    assert "magika:1 evaluations" in problems(store)[0]
    for version, found in ((1, ["magika:1 evaluations"]), (2, [])):
        checked = Inspection(registry).version(NAME, version)
        assert [finding.where for finding in checked.findings] == found


def test_holes_and_strange_records_are_found(
    registry: BucketRegistry, store: Store, tmp_path: Path
) -> None:
    manifests = publish(registry, tmp_path, b"1", b"2", b"3")
    hole = store.stat(keys.manifest(NAME, 1))
    assert hole is not None
    store.delete(hole.key, hole.generation)
    record = keys.publication(NAME, manifests[1].digest)
    overwrite(store, record, lambda _: json.dumps({"start": 0, "version": 3}).encode())
    stone = Tombstone(NAME, 3, manifests[2].digest, 1, "eve", "2026-01-01")
    overwrite(store, keys.manifest(NAME, 3), lambda _: stone.to_bytes())
    assert problems(store) == [
        "magika:1: has neither a manifest nor a tombstone",
        "magika:2 publication: its record names version 3",
        "magika:3: has a tombstone, and the routes say nothing of it",
    ]


# --- archives and copies --------------------------------------------------------------------------


def report(manifest: Manifest) -> Report:
    return Report(
        manifest.model,
        manifest.version,
        manifest.digest,
        "classification",
        Data("test.csv", "sha256:" + "5" * 64, 10),
        {"accuracy": Figure(0.9)},
        "2026-01-02T03:04:05.678901+00:00",
    )


def furnished(registry: BucketRegistry, folder: Path) -> Manifest:
    """A version with all that can belong to one, which is not its registry's first."""
    publish(registry, folder, b"first")
    manifest = publish(registry, folder, b"weights" * 1000)[0]
    registry.annotate(NAME, 2, NoteEdit({"team": "vision"}, (), "good"), who=ADA)
    found = report(manifest)
    assert registry.store.create(keys.evaluation(NAME, 2, found.id), found.to_bytes())
    return manifest


def assert_arrived(registry: BucketRegistry, made: Manifest, source: Manifest) -> None:
    assert made.content == source.content
    assert made.lineage["origin"] == {"model": NAME, "version": 2, "created": source.created}
    assert made.lineage["from"] == source.lineage["from"]
    assert registry.manifest(made.model, made.version) == made
    noted = registry.notes(made.model, made.version)
    assert (dict(noted.tags), noted.description) == ({"team": "vision"}, "good")
    ((_, arrived),) = archive.reports_of(registry, made.model, made.version)
    assert (arrived.model, arrived.version) == (made.model, made.version)
    assert arrived.metrics == {"accuracy": Figure(0.9)}
    assert checked(registry.store).findings == []


def test_a_version_leaves_as_one_file_and_arrives_exactly_once(
    stores: Callable[[str], Store], tmp_path: Path
) -> None:
    here, there = registry_on(stores("here")), registry_on(stores("there"))
    source = furnished(here, tmp_path)
    path = tmp_path / "out" / "m.modelport"
    assert archive.write(here, NAME, 2, path) == source
    again = tmp_path / "again.modelport"
    archive.write(here, NAME, 2, again)
    assert path.read_bytes() == again.read_bytes()
    assert [each.name for each in path.parent.iterdir()] == ["m.modelport"]
    read = archive.read(path)
    made = transfer.take_in(there, read, who=ADA)
    assert made.version == 1
    assert_arrived(there, made, source)
    assert transfer.take_in(there, read, who=ADA) == made
    assert list(there.versions(NAME)) == [1]
    assert transfer.take_in(here, read, who=ADA) == source
    other = transfer.take_in(there, read, name="other", who=ADA)
    assert_arrived(there, other, source)


def test_a_version_is_copied_and_copied_on(stores: Callable[[str], Store], tmp_path: Path) -> None:
    here, there, on = (registry_on(stores(name)) for name in ("here", "there", "on"))
    source = furnished(here, tmp_path)
    made = transfer.copy(here, NAME, 2, there, who=ADA)
    assert_arrived(there, made, source)
    assert transfer.copy(here, NAME, 2, there, who=ADA) == made
    further = transfer.copy(there, NAME, 1, on, name="other", who=ADA)
    assert further.lineage["origin"]["origin"] == made.lineage["origin"]
    with pytest.raises(VersionNotFoundError):
        transfer.copy(here, NAME, 9, there, who=ADA)


def test_a_copy_between_strangers_is_streamed(store: Store, tmp_path: Path) -> None:
    """Of a bucket and a dictionary neither can reach into the other."""
    here, there = registry_on(store), registry_on(FailingStore(MemoryStore(), at=0, after=False))
    if isinstance(store, MemoryStore):
        here, there = there, here
    source = furnished(here, tmp_path)
    assert_arrived(there, transfer.copy(here, NAME, 2, there, who=ADA), source)


# --- a store that is away at every request in turn ------------------------------------------------


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(
    "job", ["publish", "change", "note", "remove", "sweep", "copy", "import", "export"]
)
def test_a_store_that_is_away_at_any_request_loses_nothing_and_a_retry_finishes(
    tmp_path: Path, job: str, after: bool
) -> None:
    made: dict[str, MemoryStore] = {}

    def stores(name: str) -> Store:
        return made.setdefault(name, MemoryStore())

    away = 0
    for at in range(1, 80):
        inner = stores(f"there-{at}")
        faulty, healthy = FailingStore(inner, at=at, after=after), registry_on(inner)
        publish(healthy, tmp_path, b"1", b"2", b"3")
        if job == "sweep":
            remove(healthy, NAME, [1], who=ADA)
        do = jobs(stores, tmp_path, job)
        try:
            do(registry_on(faulty))
        except RegistryUnavailableError:
            away += 1
        # Nothing is wrong at any point; what is unfinished is finished by a retry.
        assert not checked(inner).wrong
        do(healthy)
        assert [f for f in checked(inner).findings if f.wrong] == []
        assert healthy.verify_log(NAME) >= 3
        if faulty.survived:
            break
    assert faulty.survived
    assert away >= 3


def jobs(
    stores: Callable[[str], Store], tmp_path: Path, job: str
) -> Callable[[BucketRegistry], object]:
    """The job, and what must be true once it was done."""

    def publishing(registry: BucketRegistry) -> None:
        (made,) = publish(registry, tmp_path, b"4")
        assert made.version == 4
        assert publish(registry, tmp_path, b"4") == [made]

    def changing(registry: BucketRegistry) -> None:
        deploy(registry, 1)
        assert list(registry.routes(NAME).routes.deployments) == [1]  # type: ignore[union-attr]

    def exporting(registry: BucketRegistry) -> None:
        path = tmp_path / "exported"
        path.unlink(missing_ok=True)
        archive.write(registry, NAME, 1, path)
        assert archive.read(path).manifest.version == 1
        assert not list(tmp_path.glob(".exported*"))

    def note(registry: BucketRegistry) -> None:
        registry.annotate(NAME, 1, NoteEdit({"a": "b"}), who=ADA)
        assert registry.notes(NAME, 1).tags == {"a": "b"}

    def removing(registry: BucketRegistry) -> None:
        remove(registry, NAME, [1], who=ADA, threads=1)
        sweep(registry.store, who=ADA, grace_s=AT_ONCE, threads=1)
        assert list(registry.versions(NAME)) == [3, 2]

    def sweeping(registry: BucketRegistry) -> None:
        sweep(registry.store, who=ADA, grace_s=AT_ONCE, threads=1)
        assert len(list(registry.store.objects(keys.BLOBS))) == 3

    def copying(registry: BucketRegistry) -> None:
        source = registry_on(stores("source"))
        if not list(source.models()):
            furnished(source, tmp_path)
        made = transfer.copy(source, NAME, 2, registry, who=ADA)
        assert made.version == 4
        assert registry.notes(NAME, 4).description == "good"

    def importing(registry: BucketRegistry) -> None:
        path = tmp_path / "m.modelport"
        if not path.exists():
            source = registry_on(stores("source"))
            furnished(source, tmp_path)
            archive.write(source, NAME, 2, path)
        made = transfer.take_in(registry, archive.read(path), who=ADA)
        assert made.version == 4
        assert registry.notes(NAME, 4).description == "good"

    return {
        "publish": publishing,
        "change": changing,
        "export": exporting,
        "note": note,
        "remove": removing,
        "sweep": sweeping,
        "copy": copying,
        "import": importing,
    }[job]
