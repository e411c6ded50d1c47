"""What the README says of speed, written from a record: `python -m tests.bench.publish`.

Copies the samples of the last runs beside the README's plots, draws those, and puts the table
between the README's markers. Nothing there is typed by hand.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.bench.plots import plots
from tests.bench.record import Record, Run
from tests.bench.report import markdown
from tests.conftest import ROOT

#: Where `python -m tests.bench` leaves what it measured.
SAMPLES = ROOT / ".local" / "bench" / "samples.json"
#: What the README's figures are made from.
PUBLISHED = ROOT / "docs" / "figures" / "bench.json"
README = ROOT / "README.md"
BEGIN, END = "<!-- speed: written by make figures -->", "<!-- end of speed -->"
_PLOTS = {
    "throughput.png": "Requests per second of each server, tiny model, 32 clients",
    "image.png": "Milliseconds per request of each server, image model",
    "targets.png": "Every target, and by how much it is reached or missed",
}


def section(record: Record) -> str:
    """The README's part on speed, without its markers."""
    shown = [
        f"![{_PLOTS[name]}](docs/figures/{name})" for name in _PLOTS if _is_drawn(name, record)
    ]
    figures = [figure for figure, _ in record.entries]
    notes = dict.fromkeys(figure.note for figure in figures if figure.note)
    said = [f"- {'; '.join(f.what for f in figures if f.note == note)}: {note}." for note in notes]
    return "\n".join(
        [*_runs(record), "", *shown[:-1], "", markdown(figures), "", *said, "", shown[-1]]
    )


def with_section(readme: str, text: str) -> str:
    """The README with ``text`` between its markers; raises ValueError where they are missing."""
    before, found, rest = readme.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not (found and ended):
        raise ValueError(f"the README has no {BEGIN} … {END}")
    return f"{before}{BEGIN}\n{text}\n{END}{after}"


def publish(record: Record) -> None:
    """Write samples, plots and the README's part."""
    PUBLISHED.parent.mkdir(parents=True, exist_ok=True)
    PUBLISHED.write_text(record.to_json() + "\n")
    for name, content in plots(record).items():
        (PUBLISHED.parent / name).write_bytes(content)
    README.write_text(with_section(README.read_text(), section(record)))


def _runs(record: Record) -> list[str]:
    return [_run(run, _rows(record, run)) for run in record.runs()]


def _rows(record: Record, run: Run) -> str:
    rows = sorted({figure.row for figure, its in record.entries if its == run})
    whole = len(rows) > 2 and rows == list(range(rows[0], rows[-1] + 1))
    return f"{rows[0]}–{rows[-1]}" if whole else ", ".join(map(str, rows))


def _run(run: Run, rows: str) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in run.versions.items())
    how = f"rounds: {run.rounds}, of {run.seconds:g} s for each load"
    row = "Row" if rows.isdigit() else "Rows"
    return f"{row} {rows}: {run.date} on {run.machine}; {how}; {versions}.\n"


def _is_drawn(name: str, record: Record) -> bool:
    needed = {"throughput.png": {1, 2}, "image.png": {3, 4}}.get(name)
    return needed is None or any(record.of(row) for row in needed)


def main() -> int:
    """Publish the samples of the last runs."""
    parser = argparse.ArgumentParser(prog="tests.bench.publish", description=__doc__)
    parser.add_argument("--samples", type=Path, default=SAMPLES, help="what was measured")
    record = Record.at(parser.parse_args().samples)
    if not record.entries:
        print("Nothing is measured yet: make bench", file=sys.stderr)
        return 1
    publish(record)
    return 0


if __name__ == "__main__":
    sys.exit(main())
