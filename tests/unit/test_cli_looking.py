"""Looking around: list, show, log and status, for people and for machines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from modelport.deployments import DeploymentEntry, with_entry
from modelport.errors import RegistryUnavailableError
from modelport.registry import Registry
from modelport.registry.bucket import BucketRegistry
from modelport.registry.memory import MemoryRegistry
from modelport.registry.store import Document
from modelport.routes import Change

from tests.support.cli_world import ADA, Terminal, register
from tests.support.registry_world import make_draft


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    terminal = Terminal(tmp_path)
    terminal.running(versions=2)
    return terminal


def test_list_names_the_models(terminal: Terminal) -> None:
    terminal.published("other")
    told = terminal.ok("list", "--json").json["models"]
    assert [model["model"] for model in told] == ["magika", "other"]
    assert (told[0]["latest"], told[0]["deployed"]) == (2, [2, 1])
    assert "magika" in terminal.ok("list").out


def test_list_of_an_empty_registry_says_what_to_do(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    assert "modelport publish" in terminal.ok("list").out
    assert terminal.ok("list", "--json").json == {"models": [], "next": None}


def test_list_of_a_model_has_its_versions_newest_first(terminal: Terminal) -> None:
    terminal.ok("promote", "magika:1")
    told = terminal.ok("list", "magika", "--json").json
    assert [version["version"] for version in told["versions"]] == [2, 1]
    assert [version["aliases"] for version in told["versions"]] == [[], ["stable"]]
    assert len(terminal.ok("list", "magika", "--page-size", "1", "--json").json["versions"]) == 1
    lines = terminal.ok("list", "magika").out.splitlines()
    assert lines[0].split()[:3] == ["VERSION", "CREATED", "SIZE"]
    assert [line.split()[0] for line in lines[1:]] == ["2", "1"]


def test_show_has_the_whole_record(terminal: Terminal) -> None:
    terminal.ok("promote", "magika:2")
    told = terminal.ok("show", "magika:2", "--json").json
    assert told["signature"]["inputs"][0]["name"] == "x"
    assert told["files"][0]["path"] == "model.bin"
    assert told["deployment"]["resource"] == "modelport-dev-magika-v2"
    assert list(told["aliases"]) == ["stable"]
    text = terminal.ok("show", "magika:2").out
    for part in ("magika:2", told["digest"], "FP32", "[-1, 4]", "model.bin", "stable=2", "lineage"):
        assert part in text


@pytest.mark.parametrize(
    ("ref", "version"),
    [("magika", 1), ("magika@canary", 2), ("magika@stable", 1), ("magika:2", 2)],
)
def test_show_takes_the_selectors_of_a_call(terminal: Terminal, ref: str, version: int) -> None:
    terminal.ok("promote", "magika:1")
    terminal.ok("route", "magika", "canary=1:10,2:90")
    assert terminal.ok("show", ref, "--json").json["version"] == version


def test_show_without_a_selector_falls_back_to_what_runs_then_to_the_newest(
    terminal: Terminal,
) -> None:
    draft = make_draft(terminal.folder / "third", model=b"third")
    terminal.registry.publish("magika", draft, who=ADA)
    assert terminal.ok("show", "magika", "--json").json["version"] == 2
    terminal.published("other", versions=2)
    assert terminal.ok("show", "other", "--json").json["version"] == 2


@pytest.mark.parametrize(
    ("ref", "name"),
    [
        ("nope", "model-not-found"),
        ("magika:9", "version-not-found"),
        ("magika@nope", "alias-not-found"),
    ],
)
def test_what_is_not_there_is_not_found(terminal: Terminal, ref: str, name: str) -> None:
    result = terminal("show", ref, "--json")
    assert (result.code, result.json["error"]["code"]) == (3, name)


def test_the_log_is_newest_first_and_can_be_verified(terminal: Terminal) -> None:
    terminal.ok("promote", "magika:2", "-m", "better")
    told = terminal.ok("log", "magika", "--verify", "--json").json
    assert told["verified"] == 5
    assert told["changes"][0]["action"] == "promote"
    assert told["changes"][0]["detail"]["to"] == [{"version": 2, "weight": 100.0}]
    assert [change["revision"] for change in told["changes"]] == [5, 4, 3, 2, 1]
    shown = terminal.ok("log", "magika", "--verify").out
    assert "verified: 5 changes" in shown
    assert "better" in shown
    assert len(terminal.ok("log", "magika", "--limit", "2", "--json").json["changes"]) == 2


def test_the_log_leaves_evidence_to_machines(terminal: Terminal) -> None:
    terminal.registry.change(
        "magika",
        lambda routes: routes.with_published(9),
        action="rollout-advance",
        detail={"alias": "stable", "evidence": [{"guard": "errors"}]},
        who=ADA,
    )
    shown = terminal.ok("log", "magika").out
    assert "alias=stable" in shown
    assert "guard" not in shown
    (newest,) = terminal.ok("log", "magika", "--limit", "1", "--json").json["changes"]
    assert newest["detail"]["evidence"] == [{"guard": "errors"}]


class TamperedLog(MemoryRegistry):
    """A registry in which somebody rewrote who made a change."""

    def log(self, model: str) -> Iterator[Change]:
        for change in super().log(model):
            yield replace(change, who="nobody") if change.revision == 2 else change


def test_a_tampered_log_exits_with_integrity(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path, registry=TamperedLog())
    terminal.running(versions=2)
    assert terminal.ok("log", "magika").code == 0
    result = terminal("log", "magika", "--verify", "--json")
    assert (result.code, result.json["error"]["code"]) == (6, "integrity")
    assert "log entry 2" in result.json["error"]["message"]


def test_status_shows_weights_as_shares(terminal: Terminal) -> None:
    terminal.ok("route", "magika", "stable=1:3,2:1")
    told = terminal.ok("status", "--json").json
    (model,) = told["models"]
    assert [d["aliases"] for d in model["deployments"]] == [{"stable": 75.0}, {"stable": 25.0}]
    assert model["aliases"]["stable"][0] == {"version": 1, "weight": 3.0}
    assert model["revision"] == 5
    assert "stable 75%" in terminal.ok("status").out


def test_status_flags_where_file_and_reality_differ(terminal: Terminal) -> None:
    path = terminal.folder / "deployments.toml"
    digest = terminal.registry.manifest("magika", 1).digest
    with_entry(path, DeploymentEntry(model="magika", version=1, digest=digest))
    with_entry(path, DeploymentEntry(model="ghost", version=7, digest="sha256:" + "0" * 64))
    told = terminal.ok("status", "--json").json
    assert told["drift"] == [
        {"model": "ghost", "version": 7, "problem": "not-deployed"},
        {"model": "magika", "version": 2, "problem": "not-in-file"},
    ]
    shown = terminal.ok("status").out
    assert "! ghost:7 stands in the file but does not run" in shown
    assert "! magika:2 runs but does not stand in the file" in shown


def test_status_flags_another_content(terminal: Terminal) -> None:
    path = terminal.folder / "elsewhere.toml"
    for version in (1, 2):
        entry = DeploymentEntry(model="magika", version=version, digest="sha256:" + "0" * 64)
        with_entry(path, entry)
    told = terminal.ok("status", "--deployments", "elsewhere.toml", "--json").json
    assert {item["problem"] for item in told["drift"]} == {"other-digest"}


def test_status_of_a_file_that_cannot_be_read_is_invalid_input(terminal: Terminal) -> None:
    (terminal.folder / "deployments.toml").write_text("[environment]\nname = 7\n")
    result = terminal("status", "--json")
    assert (result.code, result.json["error"]["code"]) == (2, "invalid-setting")


class DeadStore:
    """A bucket that does not answer."""

    def get(self, key: str, *, known: str | None = None) -> Document | None:
        raise RegistryUnavailableError("no route to the bucket")


@pytest.mark.parametrize("arguments", [("show", "magika"), ("log", "magika"), ("list", "magika")])
def test_a_registry_that_is_down_exits_unavailable(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    down: Registry = BucketRegistry(DeadStore())  # type: ignore[arg-type]
    result = Terminal(tmp_path, registry=down)(*arguments, "--json")
    assert (result.code, result.json["error"]["code"]) == (5, "registry-unavailable")


def test_the_bucket_is_the_option_then_the_variable_then_the_platforms(terminal: Terminal) -> None:
    terminal.ok("list", "--bucket", "given")
    terminal.ok("list")
    del terminal.environ["MODELPORT_BUCKET"]
    terminal.stacks["modelport-dev-platform"] = {"BucketName": "from-stack"}
    terminal.ok("list")
    assert terminal.buckets == ["given", "registry", "from-stack"]
    terminal.stacks.clear()
    result = terminal("list", "--json")
    assert (result.code, result.json["error"]["code"]) == (2, "invalid-setting")
    assert "MODELPORT_BUCKET" in result.json["error"]["message"]


def test_no_colours_and_no_wrapping_where_nobody_looks(terminal: Terminal) -> None:
    terminal.published("a" * 40)
    shown = terminal.ok("list").out
    assert "\x1b" not in shown
    assert "a" * 40 in shown


def test_a_registered_version_is_listed_as_deployed(terminal: Terminal) -> None:
    (manifest,) = terminal.published("other")
    before = terminal.ok("list", "other", "--json").json["versions"][0]["deployed"]
    register(terminal.registry, manifest)
    after = terminal.ok("list", "other", "--json").json["versions"][0]["deployed"]
    assert (before, after) == (False, True)


def test_status_of_nothing_says_so(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    assert "nothing is deployed" in terminal.ok("status").out
    terminal.published()
    assert "magika" in terminal.ok("status").out
    assert terminal.ok("status", "--json").json["models"][0]["deployments"] == []
