"""tag, describe, diff, export version, import, copy, verify and gc at a terminal."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TextIO

import pytest
from modelport.cli.session import World
from modelport.deployments import DeploymentEntry, with_entry
from modelport.evaluation.report import Data, Figure, Report
from modelport.manifest import Manifest, ModelSettings
from modelport.registry import Registry, keys
from modelport.registry.bucket import BucketRegistry
from modelport.registry.errors import NotErasableError
from modelport.registry.memory import MemoryRegistry, MemoryStore
from modelport.signature import Signature, TensorSpec

from tests.support.cli_world import ADA, Terminal
from tests.support.registry_world import SIGNATURE, make_draft, overwrite


@dataclass
class Operator(Terminal):
    """A terminal that reaches a second registry."""

    other: MemoryRegistry = field(default_factory=MemoryRegistry)
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)

    def world(self, out: TextIO | None = None, err: TextIO | None = None) -> World:
        def elsewhere(bucket: str, prefix: str, profile: str | None) -> Registry:
            self.asked.append((bucket, prefix, profile))
            return self.other

        return replace(super().world(out, err), elsewhere=elsewhere)


@pytest.fixture
def terminal(tmp_path: Path) -> Operator:
    terminal = Operator(tmp_path)
    terminal.running(versions=2)
    return terminal


# --- tag and describe -----------------------------------------------------------------------------


def test_tags_are_set_removed_and_shown(terminal: Operator) -> None:
    told = terminal.ok("tag", "magika:1", "team=vision", "keep", "-m", "for May", "--json").json
    assert (told["tags"], told["changed"], told["who"]) == (
        {"keep": "", "team": "vision"},
        True,
        "ada",
    )
    again = terminal.ok("tag", "magika:1", "keep", "--json").json
    assert (again["changed"], again["revision"]) == (False, told["revision"])
    told = terminal.ok("tag", "magika:1", "formula=a=b", "--remove", "keep", "--json").json
    assert told["tags"] == {"formula": "a=b", "team": "vision"}
    assert "formula=a=b team=vision" in terminal.ok("tag", "magika:1").out
    assert "none" in terminal.ok("tag", "magika:2").out
    entry = terminal.ok("log", "magika", "--verify", "--json").json["changes"][1]
    assert (entry["action"], entry["message"], entry["detail"]["version"]) == ("note", "for May", 1)


def test_a_description_is_kept_beside_the_one_it_was_published_with(terminal: Operator) -> None:
    told = terminal.ok("describe", "magika:1", "trained on May · 🚀", "--json").json
    assert told["description"] == "trained on May · 🚀"
    assert "trained on May" in terminal.ok("describe", "magika:1", "trained on May").out
    assert terminal.ok("show", "magika:1", "--json").json["description"] == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ("tag", "magika", "a"),
        ("tag", "magika:1", "=b"),
        ("tag", "magika:1", "a b"),
        ("tag", "magika:1", "a", "--remove", "a"),
        ("tag", "magika:1", "a=" + "x" * 257),
        ("tag", "magika:1", "a=two\nlines"),
        ("describe", "magika:1", " "),
        ("describe", "magika:1", "x" * 4097),
        ("describe", "magika:1", "\x1b[31m"),
        ("gc", "--older-than", "soon"),
        ("gc", "--keep", "0"),
        ("verify", "magika@stable"),
        ("copy", "magika:1", "--to", "registry"),
        ("copy", "magika:1", "--to", "https://registry"),
        ("import", "none.modelport"),
    ],
)
def test_what_cannot_be_used_is_refused(terminal: Operator, arguments: tuple[str, ...]) -> None:
    revision = terminal.registry.routes("magika").routes.revision  # type: ignore[union-attr]
    assert terminal(*arguments).code == 2
    assert terminal.registry.routes("magika").routes.revision == revision  # type: ignore[union-attr]


def test_what_does_not_exist_is_said(terminal: Operator) -> None:
    for arguments in (
        ("tag", "magika:9"),
        ("tag", "magika:9", "a"),
        ("describe", "none:1", "x"),
        ("diff", "magika:1", "magika:9"),
        ("export", "version", "magika:9", "x.modelport"),
        ("copy", "magika:9", "--to", "s3://other"),
        ("verify", "none"),
        ("verify", "magika:9"),
    ):
        assert terminal(*arguments).code == 3, arguments
    assert not (terminal.folder / "x.modelport").exists()


# --- diff -----------------------------------------------------------------------------------------


def two(terminal: Operator, folder: Path) -> tuple[Manifest, Manifest]:
    """Versions 3 and 4, which differ in everything."""
    made = []
    for number, signature in ((3, SIGNATURE), (4, wider())):
        draft = make_draft(folder / str(number), model=b"w" * number, **{f"only{number}": b"x"})
        settings = ModelSettings(threads=number) if number == 4 else ModelSettings()
        content = replace(
            draft.content,
            signature=signature,
            settings=settings,
            metrics={"accuracy": number / 10, "same": 1.0},
            description=f"run {number}",
        )
        packages = {"numpy": f"2.{number}", "onnx": "1.0"}
        lineage = {"git": {"commit": f"{number:040x}", "dirty": False}, "packages": packages}
        draft = replace(draft, content=content, lineage=lineage)
        manifest = terminal.registry.publish("magika", draft, who=ADA)
        report = Report(
            "magika",
            number,
            manifest.digest,
            "classification",
            Data("test.csv", "sha256:" + "5" * 64, 10),
            {"accuracy": Figure(number / 10), "obscure": Figure(1.0)},
            f"2026-01-0{number}T03:04:05.678901+00:00",
        )
        store = terminal.registry.store
        assert store.create(keys.evaluation("magika", number, report.id), report.to_bytes())
        made.append(manifest)
    terminal.ok("tag", "magika:4", "gold")
    return made[0], made[1]


def wider() -> Signature:
    return Signature((*SIGNATURE.inputs, TensorSpec("z", "INT64", (-1,))), SIGNATURE.outputs)


def test_diff_says_all_that_is_different(terminal: Operator, tmp_path: Path) -> None:
    two(terminal, tmp_path)
    told = terminal.ok("diff", "magika:3", "magika:4", "--json").json
    assert (told["from"]["version"], told["to"]["version"]) == (3, 4)
    changes = {(c["part"], c["name"]): c for c in told["changes"]}
    values = {key: (c["before"], c["after"]) for key, c in changes.items()}
    assert values["signature", "input 1"] == (None, "z INT64 [-1]")
    assert values["files", "model.bin"] == (3, 4)
    assert values["files", "only3.bin"] == (1, None)
    assert values["files", "only4.bin"] == (None, 1)
    assert values["files", "in all"] == (4, 5)
    assert values["settings", "threads"] == (None, 4)
    assert changes["metrics", "accuracy"]["delta"] == pytest.approx(0.1)
    assert values["metrics", "same"] == (1.0, 1.0)
    assert values["evaluation", "test.csv accuracy"] == (0.3, 0.4)
    assert ("evaluation", "test.csv obscure") not in values
    assert values["packages", "numpy"] == ("2.3", "2.4")
    assert ("packages", "onnx") not in values
    assert values["lineage", "git commit"] == (f"{3:040x}", f"{4:040x}")
    assert values["tags", "gold"] == (None, "")
    assert values["notes", "description"] == ("run 3", "run 4")
    out = terminal.ok("diff", "magika:3", "magika:4").out
    for part in ("MAGIKA:3", "z INT64 [-1]", "removed", "added", "+0.1", "+1 B", "="):
        assert part in out


def test_diff_shows_what_strangers_noted_and_does_not_obey_it(
    terminal: Operator, tmp_path: Path
) -> None:
    for number, steering in enumerate((b"1", b"2"), 3):
        draft = make_draft(tmp_path / str(number), model=steering)
        lineage = {"packages": {"numpy\x1b[2J": f"\x1b]0;{number}\x07"}}
        terminal.registry.publish("magika", replace(draft, lineage=lineage), who=ADA)
    out = terminal.ok("diff", "magika:3", "magika:4").out
    assert "numpy␛[2J" in out
    assert "␛]0;4␇" in out
    assert "\x1b" not in out


def test_diff_takes_aliases_other_models_and_equals(terminal: Operator) -> None:
    terminal.ok("promote", "magika:1")
    told = terminal.ok("diff", "magika@stable", "magika:2", "--json").json
    assert (told["from"]["version"], told["to"]["version"]) == (1, 2)
    terminal.published("other")
    told = terminal.ok("diff", "magika:1", "other", "--json").json
    assert told["to"]["model"] == "other"
    assert told["changes"] == []
    out = terminal.ok("diff", "magika:1", "other:1").out
    assert "the same content" in out
    assert "do not differ" in out


# --- export version, import, copy -----------------------------------------------------------------


def test_a_version_goes_out_and_in_again(terminal: Operator, tmp_path: Path) -> None:
    terminal.ok("tag", "magika:2", "gold")
    told = terminal.ok("export", "version", "magika:2", "m.modelport", "--json").json
    assert Path(told["file"]) == tmp_path / "m.modelport"
    assert told["bytes"] == (tmp_path / "m.modelport").stat().st_size
    assert terminal("export", "version", "magika:2", "m.modelport").code == 2
    same = terminal.ok("import", "m.modelport", "--json").json
    assert (same["model"], same["version"]) == ("magika", 2)
    told = terminal.ok("import", "m.modelport", "--name", "moved", "-m", "a copy", "--json").json
    assert (told["model"], told["version"], told["from"]["version"]) == ("moved", 1, 2)
    assert terminal.registry.notes("moved", 1).tags == {"gold": ""}
    assert (
        "magika:2 imported as moved:1"
        in terminal.ok("import", "m.modelport", "--name", "moved").out
    )
    assert "m2.modelport" in terminal.ok("export", "version", "magika:2", "m2.modelport").out
    (tmp_path / "m.modelport").write_bytes(b"x" * 5000)
    assert terminal("import", "m.modelport").code == 6


def test_a_version_is_copied_into_another_registry(terminal: Operator) -> None:
    told = terminal.ok(
        *("copy", "magika:2", "--to", "s3://theirs/team/a", "--profile", "prod", "--json")
    ).json
    assert terminal.asked == [("theirs", "team/a", "prod")]
    assert (told["version"], told["registry"]) == (1, "s3://theirs/team/a")
    origin = terminal.other.manifest("magika", 1).lineage["origin"]
    assert (origin["model"], origin["version"]) == ("magika", 2)
    again = terminal.ok("copy", "magika:2", "--to", "s3://theirs", "--name", "new").out
    assert "magika:2 copied as new:1" in again
    assert terminal.asked[1] == ("theirs", "", None)


def test_without_aws_there_is_no_other_registry(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    terminal.published()
    assert terminal("copy", "magika:1", "--to", "s3://theirs").code == 5


# --- verify and gc --------------------------------------------------------------------------------


def test_verify_says_what_is_wrong_and_what_to_do(terminal: Operator) -> None:
    assert "nothing is wrong" in terminal.ok("verify").out
    told = terminal.ok("verify", "magika", "--blobs", "--json").json
    assert (told["wrong"], told["versions"], told["findings"]) == (False, 2, [])
    assert terminal.ok("verify", "magika:1", "--json").json["versions"] == 1
    overwrite(terminal.registry.store, keys.log_entry("magika", 1), lambda _: b"{}")
    broken = terminal("verify")
    assert broken.code == 6
    assert "magika log" in broken.out
    assert "1 wrong" in broken.out
    told = terminal("verify", "--json").json
    assert told["wrong"]
    assert told["findings"][0]["next"]


class Clock:
    """A store's clock that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def aged(tmp_path: Path) -> tuple[Operator, Clock]:
    clock = Clock()
    terminal = Operator(tmp_path, registry=BucketRegistry(MemoryStore(clock)))
    terminal.published(versions=5)
    clock.now += 3 * 86400
    return terminal, clock


def test_gc_shows_first_and_removes_when_told(aged: tuple[Operator, Clock]) -> None:
    terminal, _ = aged
    terminal.ok("tag", "magika:1", "keep")
    told = terminal.ok("gc", "--keep", "2", "--json").json
    assert told["dry_run"]
    rows = [(v["model"], v["version"], v["frees_bytes"]) for v in told["versions"]]
    assert rows == [("magika", 3, 1), ("magika", 2, 1)]
    assert (told["frees_bytes"], told["stored_bytes"], told["removed"]) == (2, 5, None)
    out = terminal.ok("gc", "--keep", "2").out
    for part in ("magika:3", "1 B", "2 can go", "2 B of 5 B", "--yes"):
        assert part in out
    assert list(terminal.registry.versions("magika")) == [5, 4, 3, 2, 1]
    told = terminal.ok("gc", "--keep", "2", "--yes", "-m", "too many", "--json").json
    assert (told["removed"]["states"], told["removed"]["bytes"]) == (2, 2)
    assert list(terminal.registry.versions("magika")) == [5, 4, 1]
    entry = terminal.ok("log", "magika", "--json").json["changes"][0]
    assert (entry["action"], entry["message"], entry["who"]) == ("remove", "too many", "ada")
    assert "0 can go" in terminal.ok("gc", "--keep", "2").out
    assert terminal.ok("verify").code == 0
    assert terminal.published(versions=2)[1].version == 6


def test_gc_keeps_what_is_young_and_says_what_it_waits_for(terminal: Operator) -> None:
    assert terminal.ok("gc", "--keep", "1", "--older-than", "90d", "--json").json["versions"] == []
    terminal.published("other", versions=2)
    told = terminal.ok("gc", "--keep", "1", "--model", "other", "--yes", "--json").json
    assert [(v["model"], v["version"]) for v in told["versions"]] == [("other", 1)]
    assert told["removed"]["states"] == 0
    assert "freed" in terminal.ok("gc", "--yes").out


def test_gc_keeps_what_shall_run(aged: tuple[Operator, Clock]) -> None:
    terminal, _ = aged
    manifest = terminal.registry.manifest("magika", 2)
    entry = DeploymentEntry(model="magika", version=2, digest=manifest.digest)
    with_entry(terminal.folder / "deployments.toml", entry)
    told = terminal.ok("gc", "--keep", "2", "--json").json
    assert [row["version"] for row in told["versions"]] == [3, 1]


def test_bytes_that_versions_share_are_counted_once(aged: tuple[Operator, Clock]) -> None:
    terminal, clock = aged
    for number in range(3):
        draft = make_draft(
            terminal.folder / f"shared{number}", model=b"m%d" % number, labels=b"labels"
        )
        terminal.registry.publish("shared", draft, who=ADA)
    clock.now += 3 * 86400
    told = terminal.ok("gc", "--keep", "1", "--model", "shared", "--json").json
    assert [v["frees_bytes"] for v in told["versions"]] == [2, 2]


def test_a_bucket_that_keeps_no_versions_is_refused_before_anything_goes(tmp_path: Path) -> None:
    class Unversioned(MemoryStore):
        def check_erasable(self) -> None:
            raise NotErasableError("registry")

    terminal = Operator(tmp_path, registry=BucketRegistry(Unversioned()))
    terminal.published(versions=3)
    assert terminal.ok("gc", "--keep", "1", "--json").json["dry_run"]
    refused = terminal("gc", "--keep", "1", "--yes")
    assert refused.code == 4
    assert "put-bucket-versioning" in refused.err
    assert list(terminal.registry.versions("magika")) == [3, 2, 1]
