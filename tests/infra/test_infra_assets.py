"""Layers and functions: the same sources give the same bytes, and no more than what runs."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from modelport.errors import InvalidSettingError

from infra.assets import Assets, deps_layer, stage


def contents(folder: Path) -> dict[str, str]:
    """Every file below a folder with its digest."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_same_sources_give_the_same_layers_and_functions(root: Path, tmp_path: Path) -> None:
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    for name in ("one", "two"):
        stage(root, tmp_path / name, deps_layer=tmp_path, python=python)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_the_core_layer_leaves_out_what_only_people_at_a_terminal_need(assets: Assets) -> None:
    package = assets.core_layer / "python/modelport"
    assert (package / "registry/s3.py").exists()
    for name in ("cli", "images", "deployments.py", "bundle.py", "onnx_file.py", "model_toml.py"):
        assert not (package / name).exists()


@pytest.mark.parametrize("function", ["router", "registrar", "worker", "controller"])
def test_a_function_holds_its_own_code_only(assets: Assets, function: str) -> None:
    folder = getattr(assets, function) / "functions"
    assert {path.name for path in folder.iterdir()} - {"__pycache__"} == {"__init__.py", function}


@pytest.mark.parametrize(
    ("function", "more"),
    [
        ("router", "functions.router.jobs, functions.router.shadow_queue"),
        ("registrar", "functions.registrar.registrar"),
        ("worker", "functions.worker.shadows"),
        ("controller", "modelport.rollouts.controller"),
    ],
)
def test_a_function_runs_from_its_staged_code_and_layers(
    assets: Assets, function: str, more: str
) -> None:
    script = (
        f"import functions.{function}.handler, {more}, json;"
        "ours = [m for n, m in sys.modules.items() if n.startswith(('functions', 'modelport'))];"
        "print(json.dumps([m.__file__ for m in ours]))"
    )
    places = [str(getattr(assets, function)), str(assets.core_layer / "python")]
    # Isolated: neither this checkout nor an editable install may help.
    bare = f"import sys; sys.path[:0] = {places!r}; {script}"
    done = subprocess.run(
        [sys.executable, "-I", "-B", "-c", bare], capture_output=True, text=True, check=True
    )
    for file in json.loads(done.stdout):
        assert file.startswith(tuple(places))


def test_bytecode_is_shipped_where_the_functions_python_is_at_hand(
    root: Path, tmp_path: Path
) -> None:
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    same = stage(root, tmp_path / "same", deps_layer=tmp_path, python=python)
    other = stage(root, tmp_path / "other", deps_layer=tmp_path, python="3.99")
    assert list(same.core_layer.rglob("*.pyc"))
    assert list(same.router.rglob("*.pyc"))
    assert not list(other.core_layer.rglob("*.pyc"))


def test_the_dependency_layer_wants_its_lock_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettingError, match="lock file is missing"):
        deps_layer(tmp_path / "none.txt", tmp_path, python="3.12", architecture="arm64")


def test_the_dependency_layer_is_built_once_per_lock_and_platform(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.txt"
    lock.write_text("# nothing is needed\n")
    kept = tmp_path / "kept"
    arm = deps_layer(lock, kept, python="3.12", architecture="arm64")
    (arm / "mark").touch()
    assert deps_layer(lock, kept, python="3.12", architecture="arm64") == arm
    assert (arm / "mark").exists()
    assert deps_layer(lock, kept, python="3.12", architecture="x86_64") != arm
    lock.write_text("# another lock\n")
    assert deps_layer(lock, kept, python="3.12", architecture="arm64") != arm


def test_a_dependency_without_a_hash_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.txt"
    lock.write_text("fastapi==0.1\n")
    with pytest.raises(InvalidSettingError, match="hash"):
        deps_layer(lock, tmp_path / "kept", python="3.12", architecture="arm64")
    assert list((tmp_path / "kept").iterdir()) == []


def test_the_cdk_command_is_pinned_exactly_and_by_hash(root: Path) -> None:
    package = json.loads((root / "infra/package.json").read_text())
    lock = json.loads((root / "infra/package-lock.json").read_text())
    pinned = package["devDependencies"]["aws-cdk"]
    locked = lock["packages"]["node_modules/aws-cdk"]
    assert locked["version"] == pinned
    assert locked["integrity"].startswith("sha512-")


def test_the_lock_names_no_registry(root: Path) -> None:
    text = (root / "infra/package-lock.json").read_text()
    assert "http" not in text
    assert "resolved" not in text


def test_a_wrong_deployments_file_stops_the_app_with_what_is_wrong(
    root: Path, tmp_path: Path
) -> None:
    file = tmp_path / "deployments.toml"
    file.write_text('[environment]\nname = "Not A Name"\n')
    done = subprocess.run(
        [sys.executable, "-m", "infra.app"],
        cwd=root,
        env={
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": str(root / "layers/core/python"),
            "MODELPORT_DEPLOYMENTS": str(file),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "environment.name" in done.stderr
    assert "Traceback" not in done.stderr
