"""Publishing from the command line: what is recorded, what is refused, what is said."""

from __future__ import annotations

import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from modelport.bundle import load_bundle
from modelport.registry import Actor

from tests.support.cli_world import Terminal
from tests.support.runtime_bundles import DOUBLE, SUM
from tests.support.weighty_models import PAYS, adding, saved, weights


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    (tmp_path / "model.onnx").write_bytes(DOUBLE)
    return Terminal(tmp_path)


def test_a_file_becomes_version_one(terminal: Terminal) -> None:
    told = terminal.ok("publish", "model.onnx", "--name", "double", "--json").json
    assert (told["model"], told["version"], told["new"]) == ("double", 1, True)
    assert told["bytes"] == len(DOUBLE)
    manifest = terminal.registry.manifest("double", 1)
    assert manifest.digest == told["digest"]
    assert [spec.name for spec in manifest.content.signature.inputs] == ["x"]


def test_the_same_file_again_is_the_same_version(terminal: Terminal) -> None:
    terminal.ok("publish", "model.onnx", "--name", "double")
    again = terminal.ok("publish", "model.onnx", "--name", "double", "--json").json
    assert (again["version"], again["new"]) == (1, False)
    assert (
        "already published as double:1" in terminal.ok("publish", "model.onnx", "-n", "double").out
    )


def test_another_file_is_the_next_version(terminal: Terminal) -> None:
    terminal.ok("publish", "model.onnx", "--name", "m")
    (terminal.folder / "model.onnx").write_bytes(SUM)
    assert terminal.ok("publish", "model.onnx", "--name", "m", "--json").json["version"] == 2


def test_description_metrics_and_message_are_recorded(terminal: Terminal) -> None:
    terminal.ok(
        "publish", "model.onnx", "--name", "double", "--description", "doubles",
        "--metric", "accuracy=0.98", "--metric", "loss=1e-3", "--message", "first",
    )  # fmt: skip
    content = terminal.registry.manifest("double", 1).content
    assert content.description == "doubles"
    assert content.metrics == {"accuracy": 0.98, "loss": 0.001}
    change = next(iter(terminal.registry.log("double")))
    assert (change.who, change.message) == ("ada", "first")


@pytest.mark.parametrize("metric", ["accuracy", "accuracy=high", "=1", "accuracy=nan", "x=inf"])
def test_a_metric_that_is_no_number_is_refused(terminal: Terminal, metric: str) -> None:
    result = terminal("publish", "model.onnx", "--name", "double", "--metric", metric, "--json")
    assert result.code == 2
    assert metric in result.json["error"]["message"]
    assert list(terminal.registry.models()) == []


@pytest.mark.parametrize("name", ["Magika", "a_b", "", "-a", "x" * 41])
def test_a_name_against_the_grammar_is_refused(terminal: Terminal, name: str) -> None:
    result = terminal("publish", "model.onnx", "--name", name, "--json")
    assert (result.code, result.json["error"]["code"]) == (2, "invalid-name")


def test_a_file_that_is_no_model_is_refused(terminal: Terminal) -> None:
    (terminal.folder / "notes.onnx").write_text("not a model")
    result = terminal("publish", "notes.onnx", "--name", "double", "--json")
    assert (result.code, result.json["error"]["code"]) == (2, "invalid-onnx")
    assert list(terminal.registry.models()) == []


def test_a_missing_path_is_refused(terminal: Terminal) -> None:
    result = terminal("publish", "nowhere", "--name", "double", "--json")
    assert (result.code, result.json["error"]["code"]) == (2, "invalid-bundle")


def test_the_caller_is_the_aws_identity_unless_a_user_is_named(terminal: Terminal) -> None:
    del terminal.environ["MODELPORT_USER"]
    terminal.ok("publish", "model.onnx", "--name", "double")
    assert next(iter(terminal.registry.log("double"))).who == "arn:aws:iam::1:user/eve"


def git(folder: Path, *arguments: str) -> str:
    author = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    return subprocess.run(
        ["git", *author, "-C", str(folder), *arguments], check=True, capture_output=True, text=True
    ).stdout.strip()


def test_lineage_names_the_commit_and_whether_the_bundle_differs_from_it(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    (bundle / "model.onnx").write_bytes(DOUBLE)
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "a model")
    terminal = Terminal(tmp_path)
    clean = terminal.ok("publish", "bundle", "--name", "double", "--json").json["lineage"]
    (bundle / "model.onnx").write_bytes(SUM)
    dirty = terminal.ok("publish", "bundle", "--name", "double", "--json").json["lineage"]
    head = git(tmp_path, "rev-parse", "HEAD")
    assert clean["git"] == {"commit": head, "dirty": False}
    assert dirty["git"] == {"commit": head, "dirty": True}
    assert "onnxruntime" in clean["packages"]


def test_a_bundle_outside_git_has_no_commit(terminal: Terminal) -> None:
    told = terminal.ok("publish", "model.onnx", "--name", "double", "--json").json
    assert told["lineage"]["git"] is None


# --- laid out and measured ------------------------------------------------------------------------


@pytest.fixture
def weighty(tmp_path: Path) -> Terminal:
    saved(adding(weights("w", PAYS)), tmp_path)
    return Terminal(tmp_path)


def test_weights_and_figures_are_published_and_shown(weighty: Terminal) -> None:
    published = weighty.ok("publish", "model.onnx", "--name", "m")
    assert "measuring how it is opened fastest" in published.err
    manifest = weighty.registry.manifest("m", 1)
    assert [file.path for file in manifest.content.files] == ["model.onnx", "model.onnx.data"]
    assert manifest.tuning is not None
    shown = weighty.ok("show", "m:1")
    assert "ms with its first answer, then" in shown.out
    assert weighty.ok("show", "m:1", "--json").json["tuning"]["figures"]["ways"]


def test_publishing_again_measures_nothing_and_is_the_same_version(weighty: Terminal) -> None:
    weighty.ok("publish", "model.onnx", "--name", "m")
    again = weighty.ok("publish", "model.onnx", "--name", "m")
    assert "already published as m:1" in again.out
    assert "measuring" not in again.err
    other = weighty.ok("publish", "model.onnx", "--name", "m", "--no-tune", "--json").json
    assert (other["version"], other["new"]) == (1, False)


def test_what_lineage_says_of_a_graph_is_shown_in_words(weighty: Terminal) -> None:
    draft = load_bundle(weighty.folder / "model.onnx")
    made = {"onnxruntime": "1.31.1", "file": "model.optimized.onnx"}
    lineage = {"python": "3.12.1", "optimized_graph": made}
    weighty.registry.publish("m", replace(draft, lineage=lineage), who=Actor("ada"))
    shown = weighty.ok("show", "m:1").out
    assert "optimized_graph=(file model.optimized.onnx, onnxruntime 1.31.1)" in shown
    assert "python=3.12.1" in shown


def test_measuring_can_be_left_out(weighty: Terminal) -> None:
    told = weighty.ok("publish", "model.onnx", "--name", "m", "--no-tune", "--json").json
    assert told["tuning"] is None
    assert "opened" not in weighty.ok("show", "m:1").out


def test_nothing_laid_out_is_left_behind(weighty: Terminal) -> None:
    before = set(Path(tempfile.gettempdir()).glob("modelport-*"))
    weighty.ok("publish", "model.onnx", "--name", "m")
    refused = weighty("publish", "model.onnx", "--name", "m", "--metric", "x")
    assert refused.code == 2
    ours = set(Path(tempfile.gettempdir()).glob("modelport-*")) - before
    assert not [folder for folder in ours if (folder / "model.onnx.data").exists()]
