"""The benchmark suite: `python -m tests.bench [--rows 1,2] [--peers default|all|none] …`.

Runs the rows that are asked for, prints what was reached of the targets and keeps every sample, of
rows measured anew in place of older ones. Timings are printed and never asserted: a wrong answer
ends the run, a slow one does not.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

from rich.console import Console

from tests.bench.figures import Figure
from tests.bench.plan import PEERS, BenchError, Plan
from tests.bench.publish import SAMPLES
from tests.bench.record import Record, Run
from tests.bench.report import table

#: Which module measures which rows, each by its `measure(plan)`.
ROWS = {
    (1, 2, 3, 4, 5): "servers",
    (6,): "model_function",
    (7,): "cold_start",
    (8, 9): "router",
    (10,): "whole_path",
    (11,): "growth",
    (12,): "large_version",
}


def modules(rows: frozenset[int]) -> list[str]:
    """The modules that have one of the rows."""
    return [module for has, module in ROWS.items() if rows.intersection(has)]


def peers(text: str) -> tuple[str, ...]:
    """The peers of a word of the command line; raises ValueError for one that is not known."""
    named = PEERS.get(text, tuple(text.split(",")))
    if unknown := set(named).difference(PEERS["all"]):
        raise ValueError(f"unknown: {', '.join(sorted(unknown))}")
    return named


def main() -> int:
    """Measure, print, keep."""
    every = sorted(row for rows in ROWS for row in rows)
    parser = argparse.ArgumentParser(prog="tests.bench", description=__doc__)
    parser.add_argument("--rows", default=",".join(map(str, every)), help="which rows, by number")
    parser.add_argument(
        "--peers", type=peers, default="default", help="none, default, all or names"
    )
    parser.add_argument("--rounds", type=int, default=Plan.rounds)
    parser.add_argument("--seconds", type=float, default=Plan.seconds, help="of load per figure")
    parser.add_argument("--short", action="store_true", help="correctness only, as quick as can be")
    parser.add_argument("--out", type=Path, default=SAMPLES, help="where the samples go, as JSON")
    asked = parser.parse_args()
    rows = frozenset(map(int, asked.rows.split(",")))
    plan = Plan(asked.rounds, asked.seconds, asked.peers, rows=rows)
    if asked.short:
        plan = Plan(1, 0.2, asked.peers, short=True, rows=rows)
    run, record = Run.now(plan), Record.at(asked.out)
    figures: list[Figure] = []
    for module in modules(plan.rows):
        figures += importlib.import_module(f"tests.bench.{module}").measure(plan)
        # Kept after every module: a run that is ended early has measured what it has measured.
        if not asked.short:
            asked.out.parent.mkdir(parents=True, exist_ok=True)
            record = record.with_run(figures, run)
            asked.out.write_text(record.to_json())
    # A pipe has no width that a table could mean.
    Console(width=None if sys.stdout.isatty() else 200).print(table(figures))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchError as error:
        sys.exit(f"{type(error).__name__}: {error}")
