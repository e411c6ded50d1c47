"""What is different between two versions, of one model or of two. Reads only; renders nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from modelport.evaluation.report import Report
from modelport.manifest import Manifest
from modelport.registry import Registry
from modelport.signature import Signature
from modelport.upkeep.archive import reports_of
from modelport.upkeep.search import Row

#: Metrics of an evaluation that are shown side by side, where both reports have them.
HEADLINES = ("accuracy", "f1", "f1_macro", "roc_auc", "log_loss", "mae", "rmse", "r2")


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two: its record with what is noted, and its latest report on each data set."""

    row: Row
    reports: Mapping[str, Report]


@dataclass(frozen=True, slots=True)
class Change:
    """One difference: in which part, of what, from what to what; None: not there."""

    part: str
    name: str
    before: Any
    after: Any

    @property
    def delta(self) -> float | None:
        """How much more, where both are numbers."""
        numbers = [v for v in (self.before, self.after) if isinstance(v, (int, float))]
        return numbers[1] - numbers[0] if len(numbers) == 2 else None


def side(registry: Registry, model: str, version: int) -> Side:
    """Read one of the two."""
    reports: dict[str, Report] = {}
    for _, report in reports_of(registry, model, version):
        reports[report.data.digest] = report  # Ids are in order of time.
    row = Row(registry.manifest(model, version), registry.notes(model, version))
    return Side(row, reports)


def changes(before: Side, after: Side) -> list[Change]:
    """All that is different, by part; of metrics also what both have, to see that it is equal."""
    old, new = before.row.manifest, after.row.manifest
    found = [
        *_signature(old.content.signature, new.content.signature),
        *_files(old, new),
        *_differing("settings", old.content.settings.to_json(), new.content.settings.to_json()),
        *_metrics(old.content.metrics, new.content.metrics),
        *_evaluations(before.reports, after.reports),
        *_goldens(old, new),
        *_lineage(old.lineage, new.lineage),
        *_differing("tags", dict(before.row.notes.tags), dict(after.row.notes.tags)),
    ]
    said = before.row.description, after.row.description
    if said[0] != said[1]:
        found.append(Change("notes", "description", *said))
    return found


def _signature(old: Signature, new: Signature) -> Iterator[Change]:
    for kind, ours, theirs in (
        ("input", old.inputs, new.inputs),
        ("output", old.outputs, new.outputs),
    ):
        for number, (a, b) in enumerate(zip_longest(ours, theirs)):
            if a != b:
                told = [f"{spec.name} {spec}" if spec else None for spec in (a, b)]
                yield Change("signature", f"{kind} {number}", *told)


def _files(old: Manifest, new: Manifest) -> Iterator[Change]:
    ours = {file.path: file for file in old.files}
    theirs = {file.path: file for file in new.files}
    for path in sorted(ours.keys() | theirs.keys()):
        a, b = ours.get(path), theirs.get(path)
        if a is None or b is None or a.digest != b.digest:
            yield Change("files", path, a.size if a else None, b.size if b else None)
    if old.content.size != new.content.size:
        yield Change("files", "in all", old.content.size, new.content.size)


def _metrics(old: Mapping[str, float], new: Mapping[str, float]) -> Iterator[Change]:
    for name in sorted(old.keys() | new.keys()):
        yield Change("metrics", name, old.get(name), new.get(name))


def _evaluations(old: Mapping[str, Report], new: Mapping[str, Report]) -> Iterator[Change]:
    """Of data sets that both were evaluated on: anything else compares nothing."""
    for digest in sorted(old.keys() & new.keys(), key=lambda d: new[d].data.name):
        a, b = old[digest].metrics, new[digest].metrics
        shared = [name for name in HEADLINES if name in a and name in b]
        for name in shared or sorted(a.keys() & b.keys())[: len(HEADLINES)]:
            label = f"{new[digest].data.name} {name}"
            yield Change("evaluation", label, a[name].value, b[name].value)


def _goldens(old: Manifest, new: Manifest) -> Iterator[Change]:
    ours = {golden.name: golden.to_json() for golden in old.content.goldens}
    theirs = {golden.name: golden.to_json() for golden in new.content.goldens}
    for name in sorted(ours.keys() | theirs.keys()):
        if ours.get(name) != theirs.get(name):
            both = name in ours and name in theirs
            told = (
                ("differs", "differs")
                if both
                else tuple("there" if name in each else None for each in (ours, theirs))
            )
            yield Change("goldens", name, *told)


def _lineage(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Change]:
    yield from _differing("packages", old.get("packages", {}), new.get("packages", {}))
    rest = [{_name(k, f): v for k, f, v in _flat(each) if k != "packages"} for each in (old, new)]
    yield from _differing("lineage", *rest)


def _flat(lineage: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    for key, value in lineage.items():
        if isinstance(value, dict):
            yield from ((key, str(field), each) for field, each in value.items())
        else:
            yield key, "", value


def _name(key: str, field: str) -> str:
    return f"{key} {field}".rstrip()


def _differing(part: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Change]:
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            yield Change(part, name, old.get(name), new.get(name))
