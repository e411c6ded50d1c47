"""The benchmark suite: `python -m tests.bench [--rows 1,2] [--peers default|all|none] …`.

Runs the rows that are asked for, prints what was reached of the targets and writes every sample as
JSON. Timings are printed and never asserted: a wrong answer ends the run, a slow one does not.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.bench.figures import Figure
from tests.bench.plan import PEERS, Plan
from tests.conftest import ROOT

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
SAMPLES = ROOT / ".local" / "bench" / "samples.json"


def measured(plan: Plan) -> Iterator[Figure]:
    """The figures of every module that has one of the rows."""
    for rows, module in ROWS.items():
        if plan.rows.intersection(rows):
            yield from importlib.import_module(f"tests.bench.{module}").measure(plan)


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
    figures = []
    for figure in measured(plan):
        print(json.dumps(figure.to_document()), flush=True)
        figures.append(figure)
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(json.dumps([figure.to_document() for figure in figures], indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
