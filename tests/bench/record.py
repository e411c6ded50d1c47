"""What benchmark runs found, as one document: every sample, and which run each figure is of.

A later run replaces the rows it measured and leaves the others with their own date and machine.
Measures nothing and draws nothing.
"""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.bench.figures import Figure
from tests.bench.plan import Plan

_PEERS = Path(__file__).with_name("peers")


@dataclass(frozen=True)
class Run:
    """When, on what and how figures were measured; ``versions`` of what was compared."""

    date: str
    machine: str
    rounds: int
    seconds: float
    versions: Mapping[str, str]

    @classmethod
    def now(cls, plan: Plan) -> Run:
        """A run of this plan, here and today."""
        names = ("onnxruntime", "numpy", "orjson", "uvloop")
        versions = {name: version(name) for name in names} | dict(map(_locked, plan.peers))
        return cls(f"{datetime.now(UTC):%Y-%m-%d}", machine(), plan.rounds, plan.seconds, versions)


@dataclass(frozen=True)
class Record:
    """Figures in the order of their rows, each with its run."""

    entries: Sequence[tuple[Figure, Run]] = ()

    def of(self, row: int) -> list[Figure]:
        """The figures of a row."""
        return [figure for figure, _ in self.entries if figure.row == row]

    def runs(self) -> list[Run]:
        """The runs, the oldest first, each once."""
        found: list[Run] = []
        for _, run in self.entries:
            if run not in found:
                found.append(run)
        return sorted(found, key=lambda run: run.date)

    def with_run(self, figures: Iterable[Figure], run: Run) -> Record:
        """This record with the rows of ``figures`` replaced by them."""
        new = [(figure, run) for figure in figures]
        rows = {figure.row for figure, _ in new}
        kept = [entry for entry in self.entries if entry[0].row not in rows]
        return Record(sorted([*kept, *new], key=lambda entry: entry[0].row))

    def to_json(self) -> str:
        """A document that `from_json` reads back to an equal record."""
        runs = self.runs()
        figures = [{**f.to_document(), "run": runs.index(run)} for f, run in self.entries]
        return json.dumps({"runs": [asdict(run) for run in runs], "figures": figures}, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Record:
        """Read what `to_json` wrote."""
        document: dict[str, Any] = json.loads(text)
        runs = [Run(**run) for run in document["runs"]]
        return cls([(Figure.from_document(f), runs[f["run"]]) for f in document["figures"]])

    @classmethod
    def at(cls, path: Path) -> Record:
        """The record of a file; an empty one where there is none."""
        return cls.from_json(path.read_text()) if path.exists() else cls()


def machine() -> str:
    """Processor, cores, memory, kernel and Python of this machine, in one line."""
    found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return ", ".join(
        [
            f"{found[1].strip() if found else platform.machine()}",
            f"{len(os.sched_getaffinity(0))} cores",
            f"{memory:.0f} GiB",
            f"Linux {platform.release().partition('-')[0]}",
            f"Python {platform.python_version()}",
        ]
    )


def _locked(peer: str) -> tuple[str, str]:
    """A peer and the version of it that its lock names."""
    found = re.search(rf"^{peer}==(\S+)", (_PEERS / f"{peer}.txt").read_text(), re.MULTILINE)
    assert found, f"{peer}.txt does not lock {peer}"
    return peer, found[1]
