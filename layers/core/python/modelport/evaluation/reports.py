"""Where evaluation reports lie: beside the version, in any `Store`; written once, never changed.

One listing says which data sets a version was evaluated on; only reports that are asked for are
read. Knows nothing of metrics.
"""

from __future__ import annotations

import re

from modelport.errors import ConflictError, IntegrityError
from modelport.evaluation.report import Report
from modelport.registry import keys
from modelport.registry.store import Store

_ID = re.compile(r"\d{8}T\d{12}-(?P<data>[0-9a-f]{12})")


class Reports:
    """The reports in a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def put_report(self, report: Report) -> None:
        """Keep a report; raises `ConflictError` when its id is taken by another."""
        key = keys.evaluation(report.model, report.version, report.id)
        if self._store.create(key, report.to_bytes()):
            return
        # What a client library makes of an answer lost on the way: it sends the write again.
        there = self._store.get(key)
        if there is None or there.body != report.to_bytes():
            raise ConflictError(
                f"report {report.id} of {report.model}:{report.version} is there already",
                hint="evaluate again",
            )

    def ids(self, model: str, version: int) -> list[str]:
        """The ids of all reports of a version, oldest first."""
        names = self._store.children(keys.evaluations(model, version))
        found = (name.removesuffix(".json") for name in names if name.endswith(".json"))
        return [name for name in found if _ID.fullmatch(name)]

    def report(self, model: str, version: int, report: str) -> Report:
        """Read one; raises `IntegrityError` when it is gone or is no report of this version."""
        document = self._store.get(keys.evaluation(model, version, report))
        if document is None:
            raise IntegrityError(f"evaluation {report} of {model}:{version}", "a report", "nothing")
        read = Report.from_bytes(document.body)
        if read.id != report:
            raise IntegrityError("evaluation report", report, read.id)
        return read

    def latest(self, model: str, version: int) -> dict[str, Report]:
        """The latest report on each data set, by the data's digest."""
        newest = {name.rpartition("-")[2]: name for name in self.ids(model, version)}
        reports = (self.report(model, version, name) for name in newest.values())
        return {report.data.digest: report for report in reports}
