"""Publish asks the real runtime the goldens first: what it refuses, lists and leaves to deploy."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from modelport.bundle import load_bundle
from modelport.cli.golden_check import Checked, check_goldens
from modelport.errors import InvalidBundleError

from tests.conftest import ROOT
from tests.support import runtime_bundles as bundles
from tests.support.cli_world import Terminal

X = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [0.1, 2.0]}
Y = {"name": "y", "datatype": "FP32", "shape": [1, 2], "data": [0.2, 4.0]}


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle with one golden that holds."""
    (tmp_path / "bundle" / "golden").mkdir(parents=True)
    (tmp_path / "bundle" / "model.onnx").write_bytes(bundles.DOUBLE)
    write(tmp_path / "bundle", "pair", {"inputs": [X], "outputs": [Y]})
    return tmp_path / "bundle"


def write(bundle: Path, name: str, golden: dict[str, Any]) -> None:
    (bundle / "golden" / f"{name}.json").write_text(json.dumps(golden))


def publish(bundle: Path, *options: str) -> Any:
    terminal = Terminal(bundle.parent)
    return terminal("publish", bundle.name, "--name", "m", "--no-tune", *options)


def test_a_golden_that_holds_is_counted_by_form_and_the_rest_is_listed(bundle: Path) -> None:
    told = publish(bundle, "--json").json["verified"]
    assert told["not_checked"] is None
    assert told["requests"] == sum(told["forms"].values())
    assert told["forms"].keys() >= {"v1 columns", "v1 rows", "v2 json", "v2 binary"}
    write(
        bundle, "log", {"inputs": [X | {"data": ["NaN", 1]}], "outputs": [Y | {"data": ["NaN", 2]}]}
    )
    result = publish(bundle)
    assert "asking the goldens" in result.err
    assert "  pair\n" in result.err
    assert "requests agree: v1 columns 2" in result.out
    assert "NaN and infinities have no strict JSON form" in result.out


def test_a_wrong_golden_refuses_the_publish(bundle: Path) -> None:
    write(bundle, "wrong", {"inputs": [X], "outputs": [Y | {"data": [0.2, 5.0]}]})
    terminal = Terminal(bundle.parent)
    result = terminal("publish", "bundle", "--name", "m", "--no-tune", "--json")
    assert result.code == 2
    error = result.json["error"]
    assert error["code"] == "invalid-bundle"
    for part in ("golden/wrong.json", "as v1 columns (predict)", "expected 5.0", "got 4.0"):
        assert part in error["message"]
    assert "--no-verify" in error["hint"]
    assert list(terminal.registry.models()) == []
    assert terminal("publish", "bundle", "--name", "m", "--no-tune", "--no-verify").code == 0


def test_the_same_content_again_is_not_asked_again(bundle: Path) -> None:
    terminal = Terminal(bundle.parent)
    terminal.ok("publish", "bundle", "--name", "m", "--no-tune")
    again = terminal.ok("publish", "bundle", "--name", "m", "--no-tune", "--json").json
    assert (again["new"], again["verified"]) == (False, None)


def check(bundle: Path, tmp_path: Path, **changes: Any) -> Checked:
    work = tmp_path / "work"
    work.mkdir()
    options: dict[str, Any] = {"sources": ROOT, "environ": {}, "tell": lambda text: None} | changes
    return check_goldens(load_bundle(bundle), "m", work, **options)


SCRIPT = """
import os, sys, time
print("loading", flush=True)

def input_fn(data, content_type):
    return data

def predict_fn(data, model):
    print("predicting", flush=True)
    if data in ("exit", b"exit"):
        os._exit(3)
    if data in ("sleep", b"sleep"):
        time.sleep(60)
    return {"text": data}
"""
RAW = {"content_type": "text/plain", "body": "f.txt", "answer": {"text": "hello"}}


def scripted(bundle: Path, body: str = "hello", script: str = SCRIPT) -> Path:
    (bundle / "golden" / "f.txt").write_text(body)
    write(bundle, "raw", RAW)
    (bundle / "inference.py").write_text(script)
    return bundle


def test_a_script_may_print_and_answers_raw_goldens(bundle: Path, tmp_path: Path) -> None:
    checked = check(scripted(bundle), tmp_path)
    assert checked.left == ""
    assert checked.forms["raw"] == 1
    reasons = {one.reason for one in checked.uncarried if one.golden == "pair"}
    assert reasons == {"inference.py answers /invocations in its own words; a raw golden asks it"}


def test_a_version_that_ends_refuses_the_publish(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidBundleError, match=r"as raw .*ended with status 3 instead of answ"):
        check(scripted(bundle, "exit"), tmp_path)


def test_a_version_that_takes_too_long_is_left_to_deploy(bundle: Path, tmp_path: Path) -> None:
    checked = check(scripted(bundle, "sleep"), tmp_path, limit_s=8)
    assert "too long" in checked.left
    assert "raw" not in checked.forms


def test_what_a_script_lacks_here_is_left_to_deploy(bundle: Path, tmp_path: Path) -> None:
    script = "import no_such_package_here\n" + SCRIPT
    checked = check(scripted(bundle, script=script), tmp_path)
    assert checked.left == "inference.py needs no_such_package_here, which is not installed here"


def test_a_script_that_fails_at_load_refuses_the_publish(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidBundleError, match=r"fails at load with ZeroDivisionError"):
        check(scripted(bundle, script="1 / 0\n"), tmp_path)


def bare(tmp_path: Path, said: str) -> Path:
    """A checkout whose runtime says one thing."""
    package = tmp_path / "checkout" / "functions" / "runtime"
    package.mkdir(parents=True)
    for folder in (package, package.parent):
        (folder / "__init__.py").write_text("")
    (package / "pipe.py").write_text(said)
    return tmp_path / "checkout"


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("""print('{"missing": "onnxruntime"}')""", "onnxruntime is not installed here (pip"),
    ],
)
def test_a_runtime_without_its_packages_is_left_to_deploy(
    bundle: Path, tmp_path: Path, said: str, expected: str
) -> None:
    assert expected in check(bundle, tmp_path, sources=bare(tmp_path, said)).left


def test_a_runtime_that_dies_at_load_refuses_the_publish(bundle: Path, tmp_path: Path) -> None:
    sources = bare(tmp_path, "import os; os.kill(os.getpid(), 11)")
    with pytest.raises(InvalidBundleError, match="opening it ended the process with signal 11"):
        check(bundle, tmp_path, sources=sources)


def test_a_python_that_does_not_start_is_left_to_deploy(bundle: Path, tmp_path: Path) -> None:
    assert check(bundle, tmp_path, python="/nowhere/python").left


def test_nothing_is_left_running(bundle: Path, tmp_path: Path) -> None:
    script = SCRIPT.replace(
        "import os",
        f"import os; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\nimport os",
        1,
    )
    check(scripted(bundle, script=script), tmp_path)
    pid = int((tmp_path / "pid").read_text())
    assert not Path(f"/proc/{pid}").exists() or sys.platform != "linux"
