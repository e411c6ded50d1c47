"""Every benchmark runs and answers rightly, in its short form; how fast is not asked here."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

import pytest

from tests.bench.__main__ import ROWS
from tests.bench.plan import EVERY_ROW
from tests.conftest import ROOT


def test_every_row_has_its_module() -> None:
    assert sorted(row for rows in ROWS for row in rows) == sorted(EVERY_ROW)


@pytest.mark.parametrize("rows", ROWS, ids=ROWS.values())
def test_the_short_form_measures_its_rows(rows: Sequence[int]) -> None:
    asked = ["--short", "--peers", "none", "--rows", ",".join(map(str, rows))]
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench", *asked],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    told = {line.split()[1] for line in done.stdout.splitlines() if line.startswith("│")}
    assert {str(row) for row in rows} <= told
