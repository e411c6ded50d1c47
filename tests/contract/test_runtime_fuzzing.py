"""What reads strangers' bytes, under a coverage-guided fuzzer for a bounded while.

The runs are the same every time: as many inputs, from the same seed. ``make fuzz`` goes on for
longer and from another seed each time.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.fuzz.__main__ import SURFACES, packages

#: Inputs for each surface: two or three seconds each.
RUNS = {"runtime": 30_000, "grpc": 30_000, "router": 10_000, "client": 20_000, "envelopes": 30_000}


def fuzz(folder: Path, *arguments: str, path: tuple[Path, ...] = ()) -> tuple[int, str]:
    """Status and words of the fuzzer's program; ``path`` goes before everything."""
    own = [*map(str, path), str(ROOT), str(packages())]
    program = [sys.executable, "-m", "tests.fuzz", *arguments, f"-artifact_prefix={folder}/"]
    done = subprocess.run(
        # Linux counts what whoever starts a program holds as the program's own peak, and tests may
        # hold more than the fuzzer allows; a shell holds little.
        ["/bin/sh", "-c", '"$@"; exit $?', "sh", *program],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(own)},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("surface", SURFACES)
def test_nothing_that_is_sent_breaks_what_reads_it(tmp_path: Path, surface: str) -> None:
    runs = RUNS[surface]
    status, words = fuzz(tmp_path, surface, f"-runs={runs}", "-seed=1")
    assert (status, list(tmp_path.iterdir())) == (0, []), words[-6000:]
    assert f"Done {runs} runs" in words


def test_the_fuzzer_finds_what_there_is_to_find(tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "sitecustomize.py").write_text(
        "import modelport.client.conversation as conversation\n"
        "def broken(text):\n"
        "    return 1 / 0 if '~' in text else None\n"
        "conversation.retry_after = broken\n"
    )
    status, words = fuzz(tmp_path, "client", "-runs=6000", "-seed=1", path=(tmp_path / "broken",))
    assert status != 0
    assert "division by zero" in words
