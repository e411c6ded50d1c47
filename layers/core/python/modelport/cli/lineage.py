"""Where a bundle came from: the git commit of its folder and the packages that shaped it.

Recorded beside a version, never part of its digest: the same bytes published from another commit
are the same version. A folder without git has no commit; that is no error.
"""

from __future__ import annotations

import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = (
    "modelport",
    "onnxruntime",
    "onnx",
    "numpy",
    "onnxconverter-common",
    "skl2onnx",
    "tf2onnx",
    "scikit-learn",
    "xgboost",
    "lightgbm",
    "torch",
    "tensorflow",
    "keras",
    "transformers",
)
GIT_TIMEOUT_S = 20


def lineage(bundle: Path) -> dict[str, Any]:
    """The lineage of a bundle that lies at ``bundle``, as plain JSON."""
    return {
        "git": _git(bundle),
        "packages": _packages(),
        "python": platform.python_version(),
    }


def commit_of(folder: Path) -> str:
    """The git commit of a folder, with ``-dirty`` when it was edited since; "" without git."""
    commit = _ask_git(folder, "rev-parse", "HEAD")
    if not commit:
        return ""
    return commit if _ask_git(folder, "status", "--porcelain") == "" else f"{commit}-dirty"


def _git(bundle: Path) -> dict[str, Any] | None:
    folder = bundle if bundle.is_dir() else bundle.parent
    commit = _ask_git(folder, "rev-parse", "HEAD")
    if not commit:
        return None
    changed = _ask_git(folder, "status", "--porcelain", "--", str(bundle.resolve()))
    return {"commit": commit, "dirty": changed != ""}


def _ask_git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=GIT_TIMEOUT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _packages() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
