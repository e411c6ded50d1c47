"""Publishing, tagging, deploying and collecting at once, request by request, in any order.

Whatever dies, sleeps for days or is overtaken: a version that is published, and not removed, has
all of its blobs; what is deployed or tagged `keep` is never removed; no number is given twice; and
one content never is two versions.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from modelport.errors import ModelportError
from modelport.manifest import Draft, Manifest
from modelport.registry import keys, notes
from modelport.registry.bucket import BucketRegistry
from modelport.registry.memory import MemoryStore
from modelport.registry.notes import KEEP, NoteEdit
from modelport.registry.store import Store
from modelport.registry.tombstone import Tombstone, read
from modelport.routes import Deployment
from modelport.routes.errors import VersionRemovedError
from modelport.upkeep.collect import GRACE_S, sweep
from modelport.upkeep.retention import Retention, candidates, remove

from tests.support.interleaving import Program
from tests.support.registry_world import ADA, Killed, make_draft

MODELS = ("magika", "other")
HOUR_S = 3600.0
CONTENTS = 3


def registry_on(store: Store) -> BucketRegistry:
    return BucketRegistry(store, sleep=lambda _: None)


def collected(store: Store, keep: int) -> None:
    """What `modelport gc --yes` does."""
    registry = registry_on(store)
    for model in list(registry.models()):
        found = candidates(registry, model, Retention(keep), threads=1)
        remove(registry, model, [each.version for each in found], who=ADA, threads=1)
    sweep(store, who=ADA, threads=1)


class Together(RuleBasedStateMachine):
    """Two models, contents that share a file, up to four programs at once, and a clock."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.store = MemoryStore(clock=lambda: self.now)
        self.programs: list[Program] = []
        self.folder = tempfile.TemporaryDirectory()
        place = Path(self.folder.name)
        self.drafts = [
            make_draft(place / str(n), model=b"weights %d" % (n % 2), labels=b"labels %d" % n)
            for n in range(CONTENTS)
        ]
        self.numbers: dict[tuple[str, int], str] = {}

    def teardown(self) -> None:
        for program in self.programs:
            program.kill()
        self.folder.cleanup()

    def _start(self, body: Callable[[Store], object]) -> None:
        self.programs.append(Program(self.store, body))

    @precondition(lambda self: len(self.programs) < 4)
    @rule(model=st.sampled_from(MODELS), content=st.integers(0, CONTENTS - 1))
    def publish(self, model: str, content: int) -> None:
        draft = self.drafts[content]
        self._start(lambda store: registry_on(store).publish(model, draft, who=ADA))

    @precondition(lambda self: len(self.programs) < 4)
    @rule(keep=st.integers(1, 2))
    def collect(self, keep: int) -> None:
        self._start(lambda store: collected(store, keep))

    @precondition(lambda self: len(self.programs) < 4)
    @rule(model=st.sampled_from(MODELS), version=st.integers(1, 4))
    def tag(self, model: str, version: int) -> None:
        edit = NoteEdit({KEEP: ""})
        self._start(lambda store: registry_on(store).annotate(model, version, edit, who=ADA))

    @precondition(lambda self: len(self.programs) < 4)
    @rule(model=st.sampled_from(MODELS), version=st.integers(1, 4))
    def deploy(self, model: str, version: int) -> None:
        def body(store: Store) -> object:
            registry = registry_on(store)
            manifest = registry.manifest(model, version)
            deployment = Deployment(version, "lambda", "f", manifest.digest)
            return registry.change(
                model,
                lambda routes: routes.with_deployment(deployment),
                action="deploy",
                detail={"version": version},
                who=ADA,
            )

        self._start(body)

    @precondition(lambda self: self.programs)
    @rule(data=st.data(), steps=st.sampled_from([1, 1, 2, 3, 5, 8, 1000]))
    def go_on(self, data: st.DataObject, steps: int) -> None:
        program = data.draw(st.sampled_from(self.programs))
        for _ in range(steps):
            program.step()
        self._take_away(program)

    @precondition(lambda self: self.programs)
    @rule(data=st.data())
    def kill(self, data: st.DataObject) -> None:
        program = data.draw(st.sampled_from(self.programs))
        program.kill()
        self._take_away(program)

    @rule(hours=st.sampled_from([1, 11, 13, 25, 200]))
    def sleep(self, hours: int) -> None:
        self.now += hours * HOUR_S

    def _take_away(self, program: Program) -> None:
        if not program.finished:
            return
        self.programs.remove(program)
        if program.error and not isinstance(program.error, (Killed, ModelportError)):
            raise program.error
        if isinstance(program.error, ModelportError):
            # Only what is not there, or not any more, may be refused.
            assert "not-found" in program.error.code or program.error.code.endswith(
                ("-found", "-removed")
            ), program.error

    @invariant()
    def what_is_published_is_whole(self) -> None:
        for model in registry_on(self.store).models():
            check_whole(self.store, model, self.numbers)


def check_whole(store: Store, model: str, numbers: dict[tuple[str, int], str]) -> None:
    """See the module's docstring; ``numbers`` remembers which content had which number."""
    routes = registry_on(store).routes(model).routes  # type: ignore[union-attr]
    published: dict[str, int] = {}
    for version in range(1, routes.latest + 1):
        found = read(store, model, version)
        assert found is not None, f"number {version} is free again"
        digest = numbers.setdefault((model, version), found[0].digest)
        assert digest == found[0].digest, f"number {version} was given twice"
        if version in routes.removed or not _is_published(store, routes, found[0]):
            continue
        assert isinstance(found[0], Manifest), f"{version} is buried and not removed"
        for file in found[0].files:
            assert store.stat(keys.blob(file.digest)), f"{model}:{version} {file.path}"
        assert digest not in published, f"{published.get(digest)} and {version} are the same"
        published[digest] = version
    for version in routes.removed:
        assert version not in routes.deployments
        tags = notes.as_of(store, routes, version).tags
        assert KEEP not in tags, f"{version} is tagged and removed"


def _is_published(store: Store, routes: Any, found: Manifest | Tombstone) -> bool:
    """Whether a publication was committed: by the change on top, or noted in its record."""
    detail = {"version": found.version, "digest": found.digest}
    change = routes.change
    if change.action == "publish" and change.detail == detail:
        return True
    document = store.get(keys.publication(routes.model, found.digest))
    assert document is not None
    return f'"version": {found.version}\n' in document.body.decode()


Together.TestCase.settings = settings(
    max_examples=40,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestTogether = Together.TestCase


# --- the orders that matter, one by one -----------------------------------------------------------


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def an_old_unused_blob(folder: Path, clock: Clock) -> tuple[MemoryStore, Draft]:
    """A store in which one content's blobs are old and its only version was removed."""
    store = MemoryStore(clock)
    registry = registry_on(store)
    draft = make_draft(folder / "a", model=b"weights")
    registry.publish("magika", draft, who=ADA)
    registry.publish("magika", make_draft(folder / "b", model=b"others"), who=ADA)
    assert remove(registry, "magika", [1], who=ADA) == [1]
    clock.now += 2 * GRACE_S
    return store, draft


@pytest.mark.parametrize("slept", [0.4, 1.5])
def test_a_blob_taken_for_waste_and_published_meanwhile_stays(tmp_path: Path, slept: float) -> None:
    """Either sleeps for hours, or for days, between any two of its requests."""
    clock = Clock()
    for first in (0, 1, 2, 4, 6, 7):
        for second in range(1, 30):
            store, draft = an_old_unused_blob(tmp_path, clock)
            publishing = published_by(store, draft)
            collecting = Program(store, lambda s: sweep(s, who=ADA, threads=1))
            for _ in range(first):
                collecting.step()
            for _ in range(second):
                publishing.step()
            clock.now += GRACE_S * slept
            collecting.run()
            publishing.run()
            assert collecting.error is None
            manifest = publishing.result
            assert isinstance(manifest, Manifest)
            assert manifest.version == 3
            assert b"".join(registry_on(store).read(manifest.files[0])) == b"weights"


def published_by(store: Store, draft: Draft) -> Program:
    """A program that publishes."""
    return Program(store, lambda inner: registry_on(inner).publish("magika", draft, who=ADA))


@pytest.mark.parametrize("again", [0, 9, 11, 13, 15, 17, 19, 100])
def test_a_publisher_that_slept_through_the_removal_of_its_version(
    tmp_path: Path, again: int
) -> None:
    """And wakes while another, after so many requests, publishes the same content again."""
    drafts = [make_draft(tmp_path / str(n), model=b"weights %d" % n) for n in range(4)]
    for step in range(1, 14):
        store, numbers = MemoryStore(), dict[tuple[str, int], str]()
        registry = registry_on(store)
        registry.publish("magika", drafts[1], who=ADA)
        asleep = published_by(store, drafts[0])
        for _ in range(step):
            asleep.step()
        version = registry.publish("magika", drafts[0], who=ADA).version
        check_whole(store, "magika", numbers)
        registry.publish("magika", drafts[2], who=ADA)
        assert remove(registry, "magika", [version], who=ADA, threads=1) == [version]
        another = published_by(store, drafts[0])
        for _ in range(again):
            another.step()
        registry.publish("magika", drafts[3], who=ADA)
        asleep.run()
        check_whole(store, "magika", numbers)
        another.run()
        assert registry.publish("magika", drafts[0], who=ADA) == another.result
        check_whole(store, "magika", numbers)
        published = [c.detail["version"] for c in registry.log("magika") if c.action == "publish"]
        assert sorted(published) == [1, 2, 3, 4, 5]
        registry.verify_log("magika")


def test_a_publication_that_nobody_finished_is_not_removed_and_can_be_finished(
    tmp_path: Path,
) -> None:
    drafts = [make_draft(tmp_path / str(n), model=b"weights %d" % n) for n in range(3)]
    for step in range(1, 20):
        clock = Clock()
        store, numbers = MemoryStore(clock), dict[tuple[str, int], str]()
        registry = registry_on(store)
        dead = published_by(store, drafts[0])
        for _ in range(step):
            dead.step()
        dead.kill()
        for draft in drafts[1:]:
            registry.publish("magika", draft, who=ADA)
        clock.now += 2 * GRACE_S
        collected(store, 1)
        registry.publish("magika", drafts[0], who=ADA)
        check_whole(store, "magika", numbers)
        for file in drafts[0].files:
            assert store.stat(keys.blob(file.digest))


def test_a_collection_that_slept_removes_no_newer_state(tmp_path: Path) -> None:
    clock = Clock()
    store, draft = an_old_unused_blob(tmp_path, clock)
    collecting = Program(store, lambda s: sweep(s, who=ADA, threads=1))
    while not collecting.finished and store.stat(keys.blob(draft.files[0].digest)):
        before = len(list(store.objects(keys.BLOBS)))
        collecting.step()
    assert before == 2
    assert store.stat(keys.blob(draft.files[0].digest)) is None


def test_a_removed_version_cannot_be_deployed_or_tagged(tmp_path: Path) -> None:
    store, _ = an_old_unused_blob(tmp_path, Clock())
    registry = registry_on(store)
    with pytest.raises(VersionRemovedError):
        registry.manifest("magika", 1)
    with pytest.raises(VersionRemovedError):
        registry.annotate("magika", 1, NoteEdit({"a": "b"}), who=ADA)
    deployment = Deployment(1, "lambda", "f", "sha256:" + "0" * 64)
    with pytest.raises(VersionRemovedError):
        registry.change(
            "magika", lambda r: r.with_deployment(deployment), action="d", detail={}, who=ADA
        )
    assert list(registry.versions("magika")) == [2]


def test_what_was_removed_can_be_published_again_and_gets_a_new_number(tmp_path: Path) -> None:
    clock = Clock()
    store, draft = an_old_unused_blob(tmp_path, clock)
    sweep(store, who=ADA)
    registry = registry_on(store)
    assert store.stat(keys.blob(draft.files[0].digest)) is None
    again = registry.publish("magika", replace(draft), who=ADA)
    assert again.version == 3
    assert registry.publish("magika", draft, who=ADA) == again
    assert [c.action for c in registry.log("magika")] == ["publish", "remove", "publish", "publish"]
    assert registry.verify_log("magika") == 4
