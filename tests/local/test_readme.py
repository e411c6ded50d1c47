"""The README and docs/ are run: their shell blocks in one shell on a local cloud, TOML parsed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from modelport.deployments import Deployments
from modelport.model_toml import ModelToml, read_model_toml

from tests.conftest import ROOT
from tests.local.conftest import free_port
from tests.support.local_cloud import SCRIPT

README = (ROOT / "README.md").read_text()
OPERATIONS = (ROOT / "docs/operations.md").read_text()
MODEL = "# model.toml"


def blocks(language: str, text: str = README + OPERATIONS) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def shell() -> str:
    """Every shell block: those of docs/ on the cloud that the README's last one takes down."""
    *before, last = blocks("sh", README)
    return "\n".join(["set -euo pipefail", *before, *blocks("sh", OPERATIONS), last])


def test_every_shell_block_runs_in_order() -> None:
    cloud = [sys.executable, str(SCRIPT)]
    if subprocess.run([*cloud, "status"], capture_output=True).returncode == 0:
        pytest.skip("a local cloud of yours is up; this test must not touch it: make down")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    environment |= {"PORT": str(free_port()), "PATH": _without_ours(os.environ["PATH"])}
    try:
        done = subprocess.run(
            ["bash", "-c", shell()],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=900,
        )
    finally:
        down = subprocess.run([*cloud, "down"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert down.returncode == 0, down.stdout
    assert "first prediction after" in done.stdout
    assert '"label": "makefile"' in done.stdout


def _without_ours(path: str) -> str:
    """PATH as a person has it: `make test` puts the checkout's own programs there."""
    return ":".join(each for each in path.split(":") if Path(each) != ROOT / ".venv/bin")


@pytest.mark.parametrize("text", [text for text in blocks("toml") if MODEL not in text])
def test_the_deployments_file_shown_is_one(text: str) -> None:
    loaded = Deployments.parse(text, Path("README.md"))
    assert loaded.deployments


@pytest.mark.parametrize("text", [text for text in blocks("toml") if MODEL in text])
def test_the_model_toml_shown_is_one(tmp_path: Path, text: str) -> None:
    (tmp_path / "model.toml").write_text(text)
    assert read_model_toml(tmp_path / "model.toml") != ModelToml()
