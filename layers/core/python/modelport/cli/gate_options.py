"""The options of a promotion's gates, written once, and what they come to.

For every command that gives a version more traffic. `judged` raises where a gate refuses; what it
returns goes into the change's detail, so that the log says on what evidence a version was promoted,
or what somebody overrode with ``--force``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from modelport.cli.failures import InvalidUsageError
from modelport.cli.session import Session
from modelport.errors import AliasNotFoundError
from modelport.evaluation.conditions import checked_baseline, checked_condition
from modelport.evaluation.errors import GateFailedError
from modelport.evaluation.gates import Baseline, Finding, no_worse, required
from modelport.evaluation.report import Report
from modelport.evaluation.reports import Reports
from modelport.manifest import Gates
from modelport.refs import check_alias
from modelport.routes import STABLE, Routes

PANEL = "Gates"

Require = Annotated[
    list[str] | None,
    typer.Option(
        "--require",
        metavar="METRIC>=X",
        help="Refuse unless the version's latest evaluation on each data set shows it; may be"
        " repeated. Besides what its model.toml requires.",
        rich_help_panel=PANEL,
        show_default=False,
    ),
]
NoWorseThan = Annotated[
    str | None,
    typer.Option(
        "--no-worse-than",
        metavar="ALIAS|V",
        help="Refuse when it is worse, beyond chance, on a data set both were evaluated on.",
        rich_help_panel=PANEL,
        show_default=False,
    ),
]
Force = Annotated[
    bool,
    typer.Option(
        "--force",
        help="Do it although a gate refuses; the log keeps which.",
        rich_help_panel=PANEL,
    ),
]


def judged(
    session: Session,
    name: str,
    version: int,
    alias: str,
    require: Sequence[str] | None,
    no_worse_than: str | None,
    force: bool,
) -> dict[str, Any]:
    """What the gates of a version say before it gets ``alias``, for the detail of a change.

    {} where it has none.

    Its gates are those of its model.toml and those given here. Raises `GateFailedError` for those
    that fail, unless ``force``: then ``forced`` has the reasons. A version that is not deployed is
    left to who moves the traffic.
    """
    given = _given(require, no_worse_than)
    found = session.registry.routes(name)
    assert found is not None  # without an ETag there is always an answer
    if version not in found.routes.deployments:
        return {}
    manifest = session.registry.manifest(name, version)
    said = manifest.content.settings.gates or Gates()
    conditions = (*dict.fromkeys((*said.require, *given.require)),)
    baselines = dict.fromkeys(one for one in (said.no_worse_than, given.no_worse_than) if one)
    if not conditions and not baselines:
        return {}
    reports = Reports(session.registry.store)
    ours = _of_content(reports.latest(name, version), manifest.digest)
    findings = list(required(conditions, ours))
    for named in baselines:
        findings += _against(session, reports, found.routes, named, alias, version, ours)
    return _outcome(f"{name}:{version}", findings, force)


def _given(require: Sequence[str] | None, no_worse_than: str | None) -> Gates:
    try:
        conditions = tuple(checked_condition(text) for text in require or ())
    except ValueError as error:
        raise InvalidUsageError(f"--require: {error}") from None
    try:
        return Gates(conditions, no_worse_than and checked_baseline(no_worse_than))
    except ValueError as error:
        raise InvalidUsageError(f"--no-worse-than: {error}") from None


def _against(
    session: Session,
    reports: Reports,
    routes: Routes,
    named: str,
    alias: str,
    version: int,
    ours: dict[str, Report],
) -> list[Finding]:
    gate = f"no worse than {named}"
    try:
        other = baseline_version(routes, named)
    except AliasNotFoundError as error:
        if named in (alias, STABLE):  # whoever is the first to get it is worse than nobody
            return [Finding(gate, True, "there is no such alias yet")]
        return [Finding(gate, False, error.message)]
    if other == version:
        return [Finding(gate, True, "it is that version")]
    digest = session.registry.manifest(routes.model, other).digest
    theirs = _of_content(reports.latest(routes.model, other), digest)
    return list(no_worse(Baseline(named, other, theirs), ours))


def baseline_version(routes: Routes, named: str) -> int:
    """The version that an alias or a number means; of a split, the one with the most traffic."""
    if named.isascii() and named.isdigit():
        return int(named)
    alias = routes.aliases.get(check_alias(named))
    if not alias:
        raise AliasNotFoundError(routes.model, named, routes.aliases)
    return max(alias, key=lambda part: part.weight).version


def _of_content(found: dict[str, Report], digest: str) -> dict[str, Report]:
    return {data: report for data, report in found.items() if report.digest == digest}


def _outcome(ref: str, findings: Sequence[Finding], force: bool) -> dict[str, Any]:
    failed = [str(finding) for finding in findings if not finding.passed]
    passed = [str(finding) for finding in findings if finding.passed]
    if failed and not force:
        hint = f"modelport evaluate {ref} --data FILE --task …; --force does it all the same"
        if any("no worse than" in reason for reason in failed):
            hint = f"modelport evaluate {ref} --data FILE --task … --compare ALIAS; --force does it"
        raise GateFailedError(ref, failed, hint)
    told = {"gates": passed} if passed else {}
    return told | ({"forced": failed} if failed else {})
