"""The README is run: its shell blocks in one shell on a local cloud, its TOML by the parser."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from modelport.deployments import Deployments

from tests.conftest import ROOT
from tests.local.conftest import free_port
from tests.support.local_cloud import SCRIPT

README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def test_every_shell_block_runs_in_order() -> None:
    cloud = [sys.executable, str(SCRIPT)]
    if subprocess.run([*cloud, "status"], capture_output=True).returncode == 0:
        pytest.skip("a local cloud of yours is up; this test must not touch it: make down")
    script = "\n".join(["set -euo pipefail", *blocks("sh")])
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    environment |= {"PORT": str(free_port()), "PATH": f"{ROOT / '.venv/bin'}:{os.environ['PATH']}"}
    try:
        done = subprocess.run(
            ["bash", "-c", script],
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


@pytest.mark.parametrize("text", blocks("toml"))
def test_the_deployments_file_shown_is_one(text: str) -> None:
    loaded = Deployments.parse(text, Path("README.md"))
    assert loaded.deployments
