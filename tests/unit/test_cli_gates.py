"""Gates at the terminal: promote refuses without evidence, unless forced, and the log says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from modelport.evaluation.outcomes import packed
from modelport.evaluation.report import Data, Figure, Report
from modelport.evaluation.reports import Reports

from tests.support import evaluation_world as world
from tests.support.cli_world import Terminal, register
from tests.support.rollout_world import Recorded

GATES = '[gates]\nrequire = ["f1>=0.92"]\nno_worse_than = "stable"\n'


@pytest.fixture
def mail(tmp_path: Path) -> Terminal:
    """Three deployed versions; the last two have gates of their own."""
    terminal = Terminal(tmp_path, observations=lambda environment: Recorded())
    for files in ({}, {"model_toml": GATES}, {"model_toml": GATES, "labels_txt": "a\nb\n"}):
        register(terminal.registry, world.published(terminal, "mail", world.GOOD, **files))
    return terminal


def evaluated(terminal: Terminal, version: int, right: int, second: int = 0) -> None:
    """Keep a report of a version that has so many of 100 rows right."""
    outcomes = np.arange(100) < right
    digest = terminal.registry.manifest("mail", version).digest
    report = Report(
        "mail",
        version,
        digest,
        "classification",
        Data("test.csv", "sha256:" + "a" * 64, 100),
        {"f1_macro": Figure(right / 100), "accuracy": Figure(right / 100)},
        f"2026-01-02T03:04:{second:02}.000000+00:00",
        outcomes=packed("classification", outcomes),
    )
    Reports(terminal.registry.store).put_report(report)


def test_a_version_without_gates_is_promoted_as_ever(mail: Terminal) -> None:
    mail.ok("promote", "mail:1")
    (change, *_) = mail.ok("log", "mail", "--json").json["changes"]
    assert set(change["detail"]) == {"alias", "to"}


def test_promote_refuses_without_a_report(mail: Terminal) -> None:
    found = mail("promote", "mail:2", "--json")
    assert found.code == 4
    error = found.json["error"]
    assert error["code"] == "gate-failed"
    assert "f1>=0.92: there is no report" in error["message"]
    assert "modelport evaluate mail:2 --data FILE" in error["hint"]
    assert "stable" not in mail.registry.routes("mail").routes.aliases  # type: ignore[union-attr]


def test_promote_names_the_gate_and_the_figure(mail: Terminal) -> None:
    evaluated(mail, 2, 90)
    found = mail("promote", "mail:2")
    assert found.code == 4
    assert "f1>=0.92: 0.9 on test.csv" in found.err
    evaluated(mail, 2, 95, second=1)  # the latest counts
    mail.ok("promote", "mail:2")
    (change, *_) = mail.ok("log", "mail", "--json").json["changes"]
    assert change["detail"]["gates"] == [
        "f1>=0.92: 0.95 on test.csv",
        "no worse than stable: there is no such alias yet",
    ]


def test_a_worse_version_is_refused_and_forced(mail: Terminal) -> None:
    mail.ok("promote", "mail:1")
    evaluated(mail, 3, 93)
    unknown = mail("promote", "mail:3")
    assert unknown.code == 4
    assert "no data set that both versions have a report on" in unknown.err
    assert "--compare" in unknown.err
    evaluated(mail, 1, 99)
    found = mail("promote", "mail:3", "--json")
    assert found.code == 4
    assert (
        "no worse than stable (version 1): 0 rows only this one" in found.json["error"]["message"]
    )
    mail.ok("promote", "mail:3", "--force", "-m", "hot fix")
    (change, *_) = mail.ok("log", "mail", "--json").json["changes"]
    assert change["detail"]["gates"] == ["f1>=0.92: 0.93 on test.csv"]
    (forced,) = change["detail"]["forced"]
    assert forced.startswith("no worse than stable (version 1): 0 rows only this one has right, 6")
    again = mail.ok("promote", "mail:3", "--json").json
    assert again["changed"] is False  # it is no worse than itself


def test_a_misspelt_baseline_lets_nobody_pass(mail: Terminal) -> None:
    mail.ok("promote", "mail:1")
    for command in (("promote", "mail:3"), ("rollout", "start", "mail:3")):
        found = mail(*command, "--require", "f1>0", "--no-worse-than", "stabel", "--json")
        assert (found.code, found.json["error"]["code"]) == (4, "gate-failed")
        assert "model mail has no alias 'stabel'; aliases: stable" in found.json["error"]["message"]
    mail.ok("promote", "mail:1", "--alias", "prod", "--no-worse-than", "prod")  # nobody had it


def test_gates_on_the_command_line_come_on_top(mail: Terminal) -> None:
    evaluated(mail, 2, 95)
    found = mail("promote", "mail:2", "--require", "accuracy>=0.97", "--no-worse-than", "1")
    assert found.code == 4
    assert "accuracy>=0.97: 0.95 on test.csv" in found.err
    assert "f1>=0.92" not in found.err
    assert "no worse than 1 (version 1)" in found.err


def test_of_a_split_the_version_with_most_traffic_is_the_baseline(mail: Terminal) -> None:
    mail.ok("route", "mail", "stable=1:90,2:10")
    for version in (1, 2, 3):
        evaluated(mail, version, 95)
    mail.ok("promote", "mail:3")
    (change, *_) = mail.ok("log", "mail", "--json").json["changes"]
    assert any("no worse than stable (version 1)" in told for told in change["detail"]["gates"])


def test_reports_of_another_content_are_no_evidence(mail: Terminal) -> None:
    digest = mail.registry.manifest("mail", 2).digest
    evaluated(mail, 2, 99)
    reports = Reports(mail.registry.store)
    (kept,) = reports.latest("mail", 2).values()
    assert kept.digest == digest
    (other,) = (replaced(kept, at="2026-01-03T00:00:00.000000+00:00"),)
    reports.put_report(other)
    assert mail("promote", "mail:2").code == 4


def replaced(report: Report, at: str) -> Report:
    """The report as if another content had been evaluated later."""
    return Report.from_bytes(
        report.to_bytes()
        .replace(report.digest.encode(), b"sha256:other")
        .replace(report.at.encode(), at.encode())
        .replace(report.id.encode(), b"20260103T000000000000-aaaaaaaaaaaa")
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--require", "f1"), "--require: write METRIC>=NUMBER"),
        (("--require", "f9>1"), "--require: no metric is called 'f9'"),
        (("--no-worse-than", "No One"), "--no-worse-than: alias 'No One' is not valid"),
        (("--no-worse-than", "9"), "Could not find version 9"),
    ],
)
def test_gates_that_cannot_be_read(mail: Terminal, options: tuple[str, str], said: str) -> None:
    found = mail("promote", "mail:1", *options, "--json")
    assert found.code in (2, 3)
    assert said in found.json["error"]["message"]


def test_a_version_that_does_not_run_is_refused_for_that(mail: Terminal) -> None:
    world.published(mail, "mail", world.POOR, model_toml=GATES)
    found = mail("promote", "mail:4", "--json")
    assert found.json["error"]["code"] == "not-deployed"


def test_a_proposal_passes_the_gates_too(mail: Terminal) -> None:
    assert mail("promote", "mail:2", "--propose").code == 4
    mail.ok("promote", "mail:2", "--propose", "--force")
    (change, *_) = mail.ok("log", "mail", "--json").json["changes"]
    assert change["action"] == "propose"
    assert change["detail"]["forced"] == ["f1>=0.92: there is no report"]


def test_show_tells_the_gates(mail: Terminal) -> None:
    assert "f1>=0.92, no worse than stable" in mail.ok("show", "mail:2").out
    assert "gates" not in mail.ok("show", "mail:1").out
    told = mail.ok("show", "mail:2", "--json").json["settings"]["gates"]
    assert told == {"require": ["f1>=0.92"], "no_worse_than": "stable"}


def test_a_rollout_starts_on_evidence_only(mail: Terminal) -> None:
    mail.ok("route", "mail", "stable=1")
    start = ("rollout", "start", "mail:2", "--steps", "10,100")
    found = mail(*start, "--json")
    assert (found.code, found.json["error"]["code"]) == (4, "gate-failed")
    assert "f1>=0.92: there is no report" in found.json["error"]["message"]
    assert mail(*start, "--require", "f9>1").code == 2
    mail.ok(*start, "--force")
    (change, *_) = mail.ok("log", "mail", "--json").json["changes"]
    assert change["action"] == "rollout-start"
    assert change["detail"]["forced"][0] == "f1>=0.92: there is no report"


def test_a_rollout_with_evidence_logs_it(mail: Terminal) -> None:
    mail.ok("route", "mail", "stable=1")
    for version in (1, 2):
        evaluated(mail, version, 95)
    mail.ok("rollout", "start", "mail:2", "--steps", "10,100")
    (change, *_) = mail.ok("log", "mail", "--json").json["changes"]
    assert change["detail"]["gates"][0] == "f1>=0.92: 0.95 on test.csv"
    assert "forced" not in change["detail"]
