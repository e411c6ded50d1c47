"""The registry against a real S3 process over real sockets, with many writers at once.

In-process emulation has no locks in its conditional writes, so only here does "exactly once" mean
something.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import TypeVar

import pytest
from modelport.manifest import Draft, Manifest
from modelport.registry import Actor
from modelport.registry.s3 import S3Registry
from modelport.routes import Deployment, Routes, Weighted

from tests.conftest import ROOT
from tests.support.registry_world import ADA, BUCKET, make_draft, s3_client, s3_process

WRITERS = 32
NAME = "magika"
Result = TypeVar("Result")


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with s3_process(tmp_path_factory.mktemp("s3")) as address:
        s3_client(address).create_bucket(Bucket=BUCKET)
        yield address


@pytest.fixture
def registry(endpoint: str, request: pytest.FixtureRequest) -> S3Registry:
    """A registry of this test's own, shared by all its threads."""
    return S3Registry(s3_client(endpoint), BUCKET, prefix=request.node.name)


def at_once(task: Callable[[int], Result]) -> list[Result]:
    """Run ``task`` in as many threads as there are writers, all starting together."""
    start = Barrier(WRITERS)

    def run(number: int) -> Result:
        start.wait()
        return task(number)

    with ThreadPoolExecutor(WRITERS) as pool:
        return list(pool.map(run, range(WRITERS)))


def assert_consistent(registry: S3Registry, versions: list[int]) -> None:
    assert sorted(registry.versions(NAME)) == versions
    published = [c.detail["version"] for c in registry.log(NAME) if c.action == "publish"]
    assert sorted(published) == versions
    snapshot = registry.routes(NAME)
    assert snapshot is not None
    assert snapshot.routes.latest == versions[-1]
    assert registry.verify_log(NAME) == snapshot.routes.revision


def test_32_publishers_get_32_consecutive_numbers(registry: S3Registry, tmp_path: Path) -> None:
    drafts = [make_draft(tmp_path / str(n), model=b"weights %d" % n) for n in range(WRITERS)]
    manifests = at_once(lambda n: registry.publish(NAME, drafts[n], who=Actor(f"user-{n}")))
    assert sorted(m.version for m in manifests) == list(range(1, WRITERS + 1))
    for draft, manifest in zip(drafts, manifests, strict=True):
        assert registry.manifest(NAME, manifest.version).digest == draft.content.digest
    assert_consistent(registry, list(range(1, WRITERS + 1)))


def test_32_publishers_of_the_same_content_get_one_version(
    registry: S3Registry, tmp_path: Path
) -> None:
    draft = make_draft(tmp_path, model=b"weights")
    manifests = at_once(lambda n: registry.publish(NAME, draft, who=Actor(f"user-{n}")))
    assert len(set(map(Manifest.to_bytes, manifests))) == 1
    assert_consistent(registry, [1])


def test_publishers_of_the_same_and_of_other_contents_do_not_disturb_each_other(
    registry: S3Registry, tmp_path: Path
) -> None:
    drafts = [make_draft(tmp_path / str(n), model=b"weights %d" % n) for n in range(8)]
    manifests = at_once(lambda n: registry.publish(NAME, drafts[n % 8], who=ADA))
    by_content: dict[str, set[int]] = {}
    for manifest in manifests:
        by_content.setdefault(manifest.digest, set()).add(manifest.version)
    assert sorted(map(len, by_content.values())) == [1] * 8
    assert_consistent(registry, list(range(1, 9)))


def test_32_changes_at_once_are_all_kept(registry: S3Registry, tmp_path: Path) -> None:
    registry.publish(NAME, make_draft(tmp_path, model=b"weights"), who=ADA)

    def change(number: int) -> Routes:
        deployment = Deployment(number + 1, "lambda", f"f-{number}", "sha256:" + "0" * 64)
        alias = f"a{number}"
        return registry.change(
            NAME,
            lambda r: r.with_deployment(deployment).with_alias(alias, [Weighted(number + 1)]),
            action="route",
            detail={"alias": alias},
            who=Actor(f"user-{number}"),
        )

    results = at_once(change)
    assert sorted(r.revision for r in results) == list(range(2, WRITERS + 2))
    snapshot = registry.routes(NAME)
    assert snapshot is not None
    assert list(snapshot.routes.deployments) == list(range(1, WRITERS + 1))
    assert {n: a[0].version for n, a in snapshot.routes.aliases.items()} == {
        f"a{n}": n + 1 for n in range(WRITERS)
    }
    assert registry.verify_log(NAME) == WRITERS + 1
    assert {c.who for c in registry.log(NAME)} == {"ada", *(f"user-{n}" for n in range(WRITERS))}


def test_many_publishers_of_one_large_file_store_it_once_and_whole(
    endpoint: str, tmp_path: Path
) -> None:
    draft = make_draft(tmp_path / "in", model=os.urandom(12 << 20))
    registry = S3Registry(
        s3_client(endpoint), BUCKET, prefix="large", part_size=5 << 20, single_put_limit=1 << 20
    )
    with ThreadPoolExecutor(6) as pool:
        done = [pool.submit(registry.publish, NAME, draft, who=ADA) for _ in range(6)]
    assert {future.result().version for future in done} == {1}
    registry.fetch(draft.content.files[0], tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == draft.sources["model.bin"].read_bytes()


PUBLISHER = textwrap.dedent(
    """
    import os, signal, sys
    from pathlib import Path
    from modelport.registry.bucket import BucketRegistry
    from modelport.registry.s3 import S3Store
    from tests.support.registry_world import ADA, BUCKET, MortalStore, make_draft, s3_client

    endpoint, prefix, folder, at, after = sys.argv[1:]
    store = S3Store(s3_client(endpoint), BUCKET, prefix=prefix)
    mortal = MortalStore(
        store, at=int(at), after=after == "after", end=lambda: os.kill(os.getpid(), signal.SIGKILL)
    )
    draft = make_draft(Path(folder), model=b"weights " + at.encode() + after.encode())
    BucketRegistry(mortal).publish("magika", draft, who=ADA)
    """
)


def test_a_publish_whose_process_is_killed_is_finished_by_a_retry(
    endpoint: str, registry: S3Registry, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'layers/core/python'}:{ROOT}"}
    moments = [(at, after) for at in range(1, 6) for after in ("before", "after")]

    def killed(moment: tuple[int, str]) -> tuple[int, Draft]:
        at, after = moment
        folder = tmp_path / f"{at}{after}"
        arguments = [endpoint, request.node.name, str(folder), str(at), after]
        process = subprocess.run(
            [sys.executable, "-c", PUBLISHER, *arguments], env=environment, timeout=60
        )
        return process.returncode, make_draft(folder, model=f"weights {at}{after}".encode())

    with ThreadPoolExecutor(2) as pool:
        deaths = list(pool.map(killed, moments))
    assert {code for code, _ in deaths} == {-signal.SIGKILL}
    versions = [registry.publish(NAME, draft, who=ADA).version for _, draft in deaths]
    assert sorted(versions) == list(range(1, len(moments) + 1))
    assert_consistent(registry, sorted(versions))
