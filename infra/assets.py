"""Lays out what the zip functions are made of: two layers and one folder per function.

The same sources give the same bytes, so an unchanged function is not deployed again. The core
layer is the installable package without the parts only people at a terminal need. The dependency
layer is installed from the hash-locked requirements for the function's own platform, once, and
kept; that is the only step that may use the network. Nothing here knows the CDK.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from modelport.errors import InvalidSettingError

#: Parts of the package that never run in a function.
NOT_SHIPPED = (
    "bundle.py",
    "cli",
    "deployments.py",
    "images",
    "model_toml.py",
    "onnx_external.py",
    "onnx_file.py",
    "onnx_tensors.py",
    "onnx_wire.py",
    "sagemaker_settings.py",
    "tuning.py",
    "weights_layout.py",
)
#: Wheels that the platform's oldest Lambda base image can load.
_PLATFORMS = {
    ("3.11", "arm64"): ("manylinux2014_aarch64",),
    ("3.11", "x86_64"): ("manylinux2014_x86_64",),
    ("*", "arm64"): ("manylinux_2_28_aarch64", "manylinux2014_aarch64"),
    ("*", "x86_64"): ("manylinux_2_28_x86_64", "manylinux2014_x86_64"),
}


@dataclass(frozen=True, slots=True)
class Assets:
    """Folders that become two layers and two functions."""

    core_layer: Path
    deps_layer: Path
    router: Path
    registrar: Path


def stage(repository: Path, into: Path, *, deps_layer: Path, python: str) -> Assets:
    """Copy the sources below ``into`` in the layout Lambda expects."""
    core = into / "core"
    _copy(
        repository / "layers/core/python/modelport",
        core / "python/modelport",
        shutil.ignore_patterns("__pycache__", *NOT_SHIPPED),
    )
    _compile(core / "python", "/opt/python", python)
    functions = {}
    for name in ("router", "registrar"):
        functions[name] = into / name
        _copy(
            repository / "functions" / name,
            into / name / "functions" / name,
            shutil.ignore_patterns("__pycache__"),
        )
        shutil.copy(repository / "functions/__init__.py", into / name / "functions/__init__.py")
        _compile(into / name, "/var/task", python)
    return Assets(core, deps_layer, functions["router"], functions["registrar"])


def deps_layer(requirements: Path, kept: Path, *, python: str, architecture: str) -> Path:
    """The dependency layer for one platform, installed below ``kept`` unless it already is."""
    if not requirements.exists():
        raise InvalidSettingError("layers/deps", str(requirements), "the lock file is missing")
    mark = hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]
    layer = kept / f"{python}-{architecture}-{mark}"
    if layer.exists():
        return layer
    kept.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept) as scratch:
        fresh = Path(scratch) / "layer"
        (fresh / "python").mkdir(parents=True)
        _install(requirements, fresh / "python", python, architecture)
        _compile(fresh / "python", "/opt/python", python)
        if not layer.exists():
            os.replace(fresh, layer)
    return layer


def _install(requirements: Path, target: Path, python: str, architecture: str) -> None:
    platforms = _PLATFORMS.get((python, architecture)) or _PLATFORMS["*", architecture]
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-input", "--no-deps"]
    command += ["--disable-pip-version-check", "--no-compile", "--only-binary=:all:"]
    command += ["--require-hashes", "--implementation", "cp", "--python-version", python]
    command += [part for platform in platforms for part in ("--platform", platform)]
    command += ["--target", str(target), "--requirement", str(requirements)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        problem = f"pip cannot install them for Python {python} on {architecture}:\n{done.stdout}"
        raise InvalidSettingError("layers/deps", str(requirements), problem)
    shutil.rmtree(target / "bin", ignore_errors=True)


def _compile(folder: Path, runs_at: str, python: str) -> None:
    """Bytecode saves most of a cold start, but only the Python that runs it can write it.

    Where that Python is not at hand, sources alone are shipped: right, and slower to start.
    """
    interpreter = _interpreter(python)
    if interpreter is None:
        return
    command = [interpreter, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash"]
    command += ["-s", str(folder), "-p", runs_at, str(folder)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _interpreter(python: str) -> str | None:
    """This Python if it is the wanted one, else one on PATH that really starts."""
    if python == f"{sys.version_info.major}.{sys.version_info.minor}":
        return sys.executable
    found = shutil.which(f"python{python}")
    if found is None:
        return None
    # Version managers put stand-ins on PATH for Pythons that are not active.
    tried = subprocess.run([found, "-c", ""], capture_output=True, check=False)
    return None if tried.returncode else found


def _copy(source: Path, target: Path, ignore: object) -> None:
    shutil.copytree(source, target, ignore=ignore)  # type: ignore[arg-type]
