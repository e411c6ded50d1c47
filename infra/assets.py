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
import tempfile
from dataclasses import dataclass
from pathlib import Path

from modelport.errors import InvalidSettingError
from modelport.images import bytecode, wheels
from modelport.images.errors import RequirementError
from modelport.images.sources import NOT_SHIPPED
from modelport.images.wheels import Architecture, Platform

#: The C library of the Lambda runtime of a Python, or an older one that it can stand in for.
_GLIBC = {"3.11": (2, 17)}
_GLIBC_SINCE = (2, 28)
_ARCHITECTURES: dict[str, Architecture] = {"arm64": "arm64", "x86_64": "amd64"}


_FUNCTIONS = ("router", "registrar", "worker", "controller")


@dataclass(frozen=True, slots=True)
class Assets:
    """Folders that become two layers and the functions."""

    core_layer: Path
    deps_layer: Path
    router: Path
    registrar: Path
    worker: Path
    controller: Path


def stage(repository: Path, into: Path, *, deps_layer: Path, python: str) -> Assets:
    """Copy the sources below ``into`` in the layout Lambda expects."""
    interpreter = bytecode.interpreter(python)
    core = into / "core"
    _copy(
        repository / "layers/core/python/modelport",
        core / "python/modelport",
        shutil.ignore_patterns("__pycache__", *NOT_SHIPPED),
    )
    _compile(core / "python", "/opt/python", interpreter)
    functions = {}
    for name in _FUNCTIONS:
        functions[name] = into / name
        _copy(
            repository / "functions" / name,
            into / name / "functions" / name,
            shutil.ignore_patterns("__pycache__"),
        )
        shutil.copy(repository / "functions/__init__.py", into / name / "functions/__init__.py")
        _compile(into / name, "/var/task", interpreter)
    return Assets(core, deps_layer, **functions)


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
        _compile(fresh / "python", "/opt/python", bytecode.interpreter(python))
        if not layer.exists():
            os.replace(fresh, layer)
    return layer


def _install(requirements: Path, target: Path, python: str, architecture: str) -> None:
    platform = Platform(python, _ARCHITECTURES[architecture], _GLIBC.get(python, _GLIBC_SINCE))
    try:
        wheels.install(requirements, target, platform, trimmed=False)
    except RequirementError as error:
        raise InvalidSettingError("layers/deps", str(requirements), error.message) from error


def _compile(folder: Path, runs_at: str, interpreter: str | None) -> None:
    """Where the functions' Python is not at hand, sources alone are shipped: right, but slower."""
    if interpreter is not None:
        bytecode.write(folder, runs_at, interpreter)


def _copy(source: Path, target: Path, ignore: object) -> None:
    shutil.copytree(source, target, ignore=ignore)  # type: ignore[arg-type]
