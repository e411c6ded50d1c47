"""Finding versions: filters, and pages of what they let through, newest first.

A page costs what lies between its first and its last row; nothing is read for a version that the
routes alone rule out. Manifests are read side by side, in windows, so memory stays bounded.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from math import isnan

from modelport.errors import VersionNotFoundError
from modelport.manifest import Manifest
from modelport.registry import Registry, notes
from modelport.registry.errors import InvalidFilterError
from modelport.registry.notes import Notes
from modelport.routes import Routes
from modelport.routes.errors import VersionRemovedError
from modelport.signature import DATATYPES
from modelport.upkeep.many import side_by_side

#: Publishers' clocks may differ by this much: numbers and times are not in quite the same order.
_SKEW = timedelta(days=1)
#: Asked for side by side; a page shorter than this is not read far ahead of.
_THREADS = 8
_COMPARE: Mapping[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
    "=": operator.eq,
}
_CONDITION = re.compile(r"\s*([^\s<>=!]+)\s*(>=|<=|==|!=|>|<|=)\s*(\S+)\s*")


@dataclass(frozen=True, slots=True)
class Condition:
    """What a metric must be: ``accuracy>=0.9``."""

    metric: str
    relation: str
    value: float

    @classmethod
    def parse(cls, text: str) -> Condition:
        """Read one; raises `InvalidFilterError`."""
        match = _CONDITION.fullmatch(text)
        try:
            if match is None or isnan(value := float(match[3])):
                raise ValueError(text)
            return cls(match[1], match[2], value)
        except ValueError:
            raise InvalidFilterError(
                f"metric {text!r}", "NAME>=NUMBER, also <=, >, <, =, !="
            ) from None

    def holds(self, metrics: Mapping[str, float]) -> bool:
        """Whether a version's metrics have it, and so."""
        found = metrics.get(self.metric)
        return found is not None and _COMPARE[self.relation](found, self.value)


@dataclass(frozen=True, slots=True)
class Filter:
    """What versions must have, all of it. ``tags``: key → value, or None for any value.

    ``text``: words that must stand in the name, the descriptions, tags or lineage, in any case.
    """

    tags: Mapping[str, str | None]
    metrics: tuple[Condition, ...] = ()
    since: datetime | None = None
    deployed: bool = False
    alias: str | None = None
    input_dtype: str | None = None
    text: str = ""

    def __post_init__(self) -> None:
        if self.input_dtype is not None and self.input_dtype not in DATATYPES:
            raise InvalidFilterError(f"datatype {self.input_dtype!r}", ", ".join(DATATYPES))

    def routed(self, routes: Routes, version: int) -> bool:
        """Whether the routes alone let a version through."""
        if self.deployed and version not in routes.deployments:
            return False
        return self.alias is None or self.alias in routes.aliases_of(version)

    def lets(self, manifest: Manifest, noted: Notes) -> bool:
        """Whether a version has all of it."""
        for key, value in self.tags.items():
            if key not in noted.tags or value not in (None, noted.tags[key]):
                return False
        if self.since and created(manifest) < self.since:
            return False
        content = manifest.content
        if self.input_dtype not in (None, *(each.datatype for each in content.signature.inputs)):
            return False
        if not all(each.holds(content.metrics) for each in self.metrics):
            return False
        said = _said(manifest, noted)
        return all(word in said for word in self.text.casefold().split())


@dataclass(frozen=True, slots=True)
class Row:
    """A version that was found."""

    manifest: Manifest
    notes: Notes

    @property
    def description(self) -> str:
        """What people say of it now."""
        noted = self.notes.description
        return self.manifest.content.description if noted is None else noted


def versions(
    registry: Registry, routes: Routes, wanted: Filter, *, below: int | None = None
) -> Iterator[Row]:
    """The versions of a model that a filter lets through, newest first, below a number."""
    numbers = registry.versions(routes.model, below=below)
    routed = (number for number in numbers if wanted.routed(routes, number))

    def asked(number: int) -> Row | None:
        try:
            manifest = registry.manifest(routes.model, number)
        except (VersionNotFoundError, VersionRemovedError):
            return None  # It went while we looked.
        return Row(manifest, notes.as_of(registry.store, routes, number))

    for row in side_by_side(asked, routed, _THREADS):
        if row is None:
            continue
        if wanted.since and created(row.manifest) < wanted.since - _SKEW:
            return
        if wanted.lets(row.manifest, row.notes):
            yield row


def page(rows: Iterator[Row], size: int) -> tuple[list[Row], int | None]:
    """The first ``size`` rows, and what to go on below; None when that was all."""
    found = list(islice(rows, size + 1))
    more = len(found) > size
    return found[:size], found[size - 1].manifest.version if more else None


def created(manifest: Manifest) -> datetime:
    """When a version was published, with its time zone."""
    at = datetime.fromisoformat(manifest.created)
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def parse_tags(texts: list[str]) -> dict[str, str | None]:
    """Read ``key=value``, or ``key`` for any value."""
    parted = (text.partition("=") for text in texts)
    return {key: value if equals else None for key, equals, value in parted}


def parse_since(text: str) -> datetime:
    """Read a date, a time, or ``7d`` for so long ago; raises `InvalidFilterError`."""
    ago = parse_age(text)
    if ago is not None:
        return datetime.now(UTC) - ago
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidFilterError(f"date {text!r}", "2026-01-31, 2026-01-31T12:00 or 7d") from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def parse_age(text: str) -> timedelta | None:
    """Read ``90d``, ``12h`` or ``8w``; None for anything else."""
    match = re.fullmatch(r"(\d{1,5})([hdw])", text.strip())
    if match is None:
        return None
    return int(match[1]) * timedelta(hours={"h": 1, "d": 24, "w": 168}[match[2]])


def _said(manifest: Manifest, noted: Notes) -> str:
    tags = " ".join(f"{key} {value}" for key, value in noted.tags.items())
    texts = (manifest.model, manifest.content.description, noted.description or "", tags)
    return " ".join((*texts, str(manifest.lineage))).casefold()
