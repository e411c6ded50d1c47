"""What a benchmark measured, what was wanted, and whether it was reached.

Data only: `tests.bench.plan` says how rounds are run, the rows' modules measure, `report` shows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

#: The name of what is measured for its own sake; all others are what it is compared with.
OURS = "modelport"
#: Units of which more is better; of all others less is.
MORE_IS_BETTER = frozenset({"req/s", "MB/s"})


@dataclass(frozen=True, slots=True)
class Target:
    """A bound on ours over ``against``, the best of them counting; on ours itself without any.

    ``at_most`` and ``at_least`` are ratios where ``against`` names something, else in the figure's
    own unit.
    """

    against: tuple[str, ...] = ()
    at_least: float | None = None
    at_most: float | None = None


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of several contenders, measured in one run: name → one sample per round.

    ``row`` is the row of the table of targets it belongs to; ``note`` says what the reader has to
    know to read it right.
    """

    row: int
    what: str
    unit: str
    samples: Mapping[str, Sequence[float]]
    targets: Sequence[Target] = ()
    note: str = ""

    def of(self, contender: str) -> float:
        """The median of a contender's rounds."""
        return median(self.samples[contender])

    def best(self, contenders: Sequence[str]) -> str:
        """Which of ``contenders`` did best; those that were not measured do not count."""
        there = [name for name in contenders if self.samples.get(name)]
        chosen = max if self.unit in MORE_IS_BETTER else min
        return chosen(there, key=self.of)

    def reached(self, target: Target) -> float | None:
        """What is held against the target's bound; None where nothing was measured to hold it."""
        if not target.against:
            return self.of(OURS)
        if not any(self.samples.get(name) for name in target.against):
            return None
        return self.of(OURS) / self.of(self.best(target.against))

    def meets(self, target: Target) -> bool | None:
        """Whether the target is reached; None where that was not measured."""
        value = self.reached(target)
        if value is None:
            return None
        least, most = target.at_least, target.at_most
        return (least is None or value >= least) and (most is None or value <= most)

    def to_document(self) -> dict[str, Any]:
        """A JSON-able form that `from_document` reads back to an equal figure."""
        return {
            "row": self.row,
            "what": self.what,
            "unit": self.unit,
            "samples": {name: list(values) for name, values in self.samples.items()},
            "targets": [
                {"against": list(t.against), "at_least": t.at_least, "at_most": t.at_most}
                for t in self.targets
            ],
            "note": self.note,
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Figure:
        """Read what `to_document` wrote."""
        targets = [
            Target(tuple(t["against"]), t["at_least"], t["at_most"]) for t in document["targets"]
        ]
        return cls(
            document["row"],
            document["what"],
            document["unit"],
            document["samples"],
            targets,
            document["note"],
        )
