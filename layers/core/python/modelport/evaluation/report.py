"""What an evaluation found, as it is stored with the version. Pure data; computes nothing.

    models/M/evaluations/VVVVVVVVVV/<time>-<first digits of the data's digest>.json

The id names data set and time, so a listing alone says which report on a data set is the latest.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from modelport.errors import IntegrityError
from modelport.manifest import readable

SCHEMA = 1
Task = Literal["classification", "regression"]
TASKS: tuple[Task, ...] = ("classification", "regression")
#: Digits of a data set's digest that stand in an id.
_DIGITS = 12


@dataclass(frozen=True, slots=True)
class Figure:
    """A metric's value, and its confidence interval where one was computed."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Data:
    """A data set: what it was called, ``sha256:<hex>`` of what decides the metrics, its rows."""

    name: str
    digest: str
    rows: int


@dataclass(frozen=True)
class Report:
    """One evaluation of one version on one data set.

    ``details`` is for people and plots (classes, confusion, calibration, folds), ``outcomes`` what
    became of each row, packed (`modelport.evaluation.outcomes`), ``left_out`` metrics that could
    not be computed, with the reason, ``comparison`` how another version did on the same rows.
    """

    model: str
    version: int
    digest: str
    task: Task
    data: Data
    metrics: Mapping[str, Figure]
    at: str
    who: str = ""
    commit: str = ""
    seed: int = 0
    resamples: int = 0
    through: str = "process"
    left_out: Mapping[str, str] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    outcomes: str = ""
    comparison: Mapping[str, Any] | None = None

    @property
    def id(self) -> str:
        """What it is stored as: the time, to the microsecond, and the data set."""
        return f"{stamp(self.at)}-{shortened(self.data.digest)}"

    def to_json(self) -> dict[str, Any]:
        return {"schema": SCHEMA, "id": self.id, **asdict(self)}

    def public(self) -> dict[str, Any]:
        """The same without the packed outcomes of its rows, for people's programs."""
        document = self.to_json()
        del document["outcomes"]
        return document

    def to_bytes(self) -> bytes:
        """Readable canonical JSON."""
        return readable(self.to_json())

    @classmethod
    def from_bytes(cls, body: bytes) -> Report:
        """Read one; raises `IntegrityError` for anything else."""
        try:
            data = json.loads(body)
            if data["schema"] != SCHEMA or data["task"] not in TASKS:
                raise ValueError(f"schema {data['schema']}, task {data['task']!r}")
            figures = {name: _figure(**figure) for name, figure in data["metrics"].items()}
            _check_details(data["details"])
            told = {each.name: data[each.name] for each in fields(cls)}
            report = cls(**{**told, "data": Data(**data["data"]), "metrics": figures})
            if report.id != data["id"]:
                raise ValueError("another id")
            if type(report.data.rows) is not int or report.data.rows < 1:
                raise ValueError(f"{report.data.rows!r} rows")
            return report
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise IntegrityError("evaluation report", "a report", f"{error!r}") from None


def _figure(value: Any, low: Any = None, high: Any = None) -> Figure:
    """A figure whose numbers are numbers: what is not one holds against no limit."""
    return Figure(_number(value), *(end if end is None else _number(end) for end in (low, high)))


def _check_details(details: Any) -> None:
    """Raise ValueError or kin unless each class has its name and figures: gates go by them."""
    for each in details.get("classes", ()):
        if not isinstance(each["name"], str):
            raise ValueError(f"class {each['name']!r}")
        for metric in ("precision", "recall", "f1"):
            _number(each[metric])


def _number(value: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise ValueError(f"{value!r} is no figure")
    found: float = value
    return found


def stamp(at: str) -> str:
    """A time in ISO 8601 with microseconds as it stands in an id: ids sort by time.

    >>> stamp("2026-01-02T03:04:05.678901+00:00")
    '20260102T030405678901'
    """
    return "".join(letter for letter in at[:26] if letter.isdigit() or letter == "T")


def shortened(digest: str) -> str:
    """The part of a data set's digest that stands in an id."""
    return digest.removeprefix("sha256:")[:_DIGITS]
