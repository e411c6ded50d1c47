"""Which versions of a model are gone for good, as few numbers, and what keeps one from going.

Pure. The set lies in the routes, so that removing a version and deploying it cannot both win: each
is one conditional write of the same document. It is kept as ranges: as long as what was kept in
between, not as what was removed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from modelport.routes.errors import VersionHeldError

if TYPE_CHECKING:
    from modelport.routes.document import Routes


@dataclass(frozen=True, slots=True)
class Numbers:
    """A set of positive integers in ascending, disjoint ranges; written as ``1-11,13``."""

    ranges: tuple[tuple[int, int], ...] = ()

    @classmethod
    def of(cls, numbers: Iterable[int]) -> Numbers:
        """The set of ``numbers``, in any order."""
        ranges: list[tuple[int, int]] = []
        for number in sorted(set(numbers)):
            if ranges and ranges[-1][1] == number - 1:
                ranges[-1] = (ranges[-1][0], number)
            else:
                ranges.append((number, number))
        return cls(tuple(ranges))

    @classmethod
    def parse(cls, text: str) -> Numbers:
        """Read what `str` writes; raises ValueError for anything else."""
        ranges: list[tuple[int, int]] = []
        for part in text.split(",") if text else ():
            first, dash, last = part.partition("-")
            ranges.append((int(first), int(last if dash else first)))
        found = cls(tuple(ranges))
        apart = all(a[1] + 1 < b[0] for a, b in pairwise(ranges))
        lawful = apart and all(0 < first <= last for first, last in ranges)
        if not lawful or str(found) != text:
            raise ValueError(f"numbers {text!r}")
        return found

    def with_all(self, numbers: Iterable[int]) -> Numbers:
        """This set and ``numbers``."""
        ranges: list[tuple[int, int]] = []
        for first, last in sorted([*self.ranges, *Numbers.of(numbers).ranges]):
            if ranges and first <= ranges[-1][1] + 1:
                ranges[-1] = (ranges[-1][0], max(last, ranges[-1][1]))
            else:
                ranges.append((first, last))
        return Numbers(tuple(ranges))

    def __contains__(self, number: int) -> bool:
        return any(first <= number <= last for first, last in self.ranges)

    def __iter__(self) -> Iterator[int]:
        return (n for first, last in self.ranges for n in range(first, last + 1))

    def __len__(self) -> int:
        return sum(last - first + 1 for first, last in self.ranges)

    def __bool__(self) -> bool:
        return bool(self.ranges)

    def __str__(self) -> str:
        return ",".join(f"{a}" if a == b else f"{a}-{b}" for a, b in self.ranges)


def without_versions(routes: Routes, versions: Iterable[int]) -> Routes:
    """Give versions up for good; raises `VersionHeldError` while something needs one of them."""
    gone = Numbers.of(versions)
    for version in gone:
        if held := held_by(routes, version):
            raise VersionHeldError(routes.model, version, held)
    return replace(routes, removed=routes.removed.with_all(gone))


def held_by(routes: Routes, version: int) -> tuple[str, ...]:
    """What needs ``version`` to exist: it runs, is named, or a rollback could go there."""
    held = [f"alias {name}" for name in routes.aliases_of(version)]
    if version in routes.deployments:
        held.append("its deployment")
    if version in routes.policy.versions():
        held.append("the model's policy")
    for rollout in routes.rollouts.values():
        named = {rollout.candidate, rollout.stable, *(part.version for part in rollout.before)}
        if version in named:
            held.append(f"the rollout of {rollout.alias}")
    for proposal in routes.proposals.values():
        later = proposal.rollout
        named = {part.version for part in proposal.to}
        if version in named | ({later.candidate, later.stable} if later else set()):
            held.append(f"the proposal for {proposal.alias}")
    for name, earlier in routes.history.items():
        if any(part.version == version for alias in earlier for part in alias):
            held.append(f"the history of {name}")
    return tuple(held)
