"""Reports as they are kept, and what gates make of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from modelport.bundle import load_bundle
from modelport.errors import ConflictError, IntegrityError, InvalidBundleError
from modelport.evaluation.conditions import Condition
from modelport.evaluation.gates import Baseline, Finding, no_worse, required
from modelport.evaluation.outcomes import MOST, outcomes_of, packed
from modelport.evaluation.report import Data, Figure, Report
from modelport.evaluation.reports import Reports
from modelport.manifest import Content, Gates, Manifest, ModelSettings
from modelport.registry import keys
from modelport.registry.memory import MemoryStore

from tests.support import runtime_bundles as bundles
from tests.support.registry_world import overwrite

DATA = Data("test.csv", "sha256:" + "a" * 64, 20)
OTHER = Data("other.csv", "sha256:" + "b" * 64, 20)
RIGHT = np.array([True] * 18 + [False] * 2)


def report(outcomes: Any = RIGHT, data: Data = DATA, **changes: Any) -> Report:
    task = changes.pop("task", "classification")
    metrics = changes.pop("metrics", {"f1_macro": Figure(0.9, 0.8, 0.95), "accuracy": Figure(0.9)})
    details = {"classes": [{"name": "spam", "precision": 1.0, "recall": 0.7, "f1": 0.8}]}
    kept = packed(task, np.asarray(outcomes)) if outcomes is not None else ""
    at = "2026-01-02T03:04:05.678901+00:00"
    made = Report("mail", 3, "sha256:0", task, data, metrics, at, details=details, outcomes=kept)
    return replace(made, **changes)


def by_data(*reports: Report) -> dict[str, Report]:
    return {each.data.digest: each for each in reports}


def judge(*conditions: str, of: tuple[Report, ...] = (report(),)) -> list[Finding]:
    return list(required(conditions, by_data(*of)))


def test_a_report_comes_back_as_it_went() -> None:
    made = report(left_out={"roc_auc": "why"}, comparison={"version": 2}, who="ada")
    assert Report.from_bytes(made.to_bytes()) == made
    assert made.id == "20260102T030405678901-aaaaaaaaaaaa"


@pytest.mark.parametrize(
    "edit",
    [
        {"schema": 2},
        {"task": "ranking"},
        {"id": "x"},
        {"metrics": {"f1": 1}},
        *({"metrics": {"f1": {"value": value}}} for value in (float("nan"), "1", True, None)),
        {"metrics": {"f1": {"value": 1, "low": float("-inf"), "high": 2}}},
        {"details": []},
        {"details": {"classes": [{"name": "spam"}]}},
        {"details": {"classes": [{"name": 3, "precision": 1, "recall": 1, "f1": 1}]}},
        {"data": {"name": "a", "digest": DATA.digest, "rows": 0}},
        {"data": {"name": "a"}},
        {"at": None},
    ],
)
def test_what_is_no_report_is_refused(edit: dict[str, Any]) -> None:
    body = json.dumps(json.loads(report().to_bytes()) | edit).encode()
    with pytest.raises(IntegrityError):
        Report.from_bytes(body)
    for torn in (b"", b"[]", b"{}", report().to_bytes()[:-20], b"[" * 100_000):
        with pytest.raises(IntegrityError):
            Report.from_bytes(torn)


def test_reports_are_kept_once_and_the_latest_on_each_data_set_counts() -> None:
    store = MemoryStore()
    reports = Reports(store)
    assert reports.latest("mail", 3) == {}
    first, second = report(), report(at="2026-01-03T00:00:00.000000+00:00", seed=1)
    other = report(data=OTHER)
    for each in (second, other, first, first):
        reports.put_report(each)
    assert reports.latest("mail", 3) == by_data(second, other)
    assert reports.ids("mail", 3) == sorted([first.id, other.id, second.id])
    with pytest.raises(ConflictError, match="is there already"):
        reports.put_report(replace(first, seed=9))
    key = keys.evaluation("mail", 3, second.id)
    assert key == "models/mail/evaluations/0000000003/20260103T000000000000-aaaaaaaaaaaa.json"
    store.create(keys.evaluations("mail", 3) + "stray.txt", b"")
    overwrite(store, key, lambda body: first.to_bytes())
    with pytest.raises(IntegrityError):
        reports.latest("mail", 3)


def test_outcomes_are_packed_and_checked() -> None:
    assert outcomes_of(report()) is not None
    assert np.array_equal(np.asarray(outcomes_of(report())), RIGHT)
    errors = np.linspace(0, 1, 20)
    found = outcomes_of(report(errors, task="regression"))
    assert found == pytest.approx(errors, abs=1e-7)
    assert packed("regression", np.zeros(MOST["regression"] + 1)) == ""
    assert outcomes_of(report(None)) is None
    for torn in ("AAAA!", "AA==", "AAAA"):
        with pytest.raises(IntegrityError):
            outcomes_of(replace(report(None), outcomes=torn, task="regression"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("f1>=0.92", ("f1_macro", None, ">=", 0.92)),
        (" rmse < 3 ", ("rmse", None, "<", 3)),
        ("recall[a b]>0.8", ("recall", "a b", ">", 0.8)),
        ("log_loss<=1e-1", ("log_loss", None, "<=", 0.1)),
    ],
)
def test_conditions(text: str, expected: tuple[Any, ...]) -> None:
    found = Condition.parse(text)
    assert (found.metric, found.of, found.than, found.limit) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("f1", "write METRIC>=NUMBER"),
        ("f1=0.9", "write METRIC>=NUMBER"),
        ("f2>=0.9", "no metric is called 'f2'; there are accuracy"),
        ("accuracy[a]>=0.9", "no metric of a class is called 'accuracy'"),
        ("f1>=high", "'high' is not a number"),
        ("f1>=nan", "'nan' is not a number"),
    ],
)
def test_conditions_that_are_none(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Condition.parse(text)


def test_conditions_hold_for_the_figure() -> None:
    for text, holds in (("f1>=0.9", True), ("f1>0.9", False), ("f1<=0.9", True), ("f1<0.9", False)):
        assert judge(text)[0].passed is holds
    assert judge("recall[spam]>=0.7")[0].passed
    assert str(judge("f1>=0.95")[0]) == "f1>=0.95: 0.9 on test.csv"


def test_every_data_set_that_has_the_metric_must_show_it() -> None:
    low = report(data=OTHER, metrics={"f1_macro": Figure(0.5)})
    assert not judge("f1>=0.8", of=(report(), low))[0].passed
    assert str(judge("f1>=0.8", of=(report(), low))[0]) == "f1>=0.8: 0.5 on other.csv"
    values = report(data=OTHER, task="regression", metrics={"rmse": Figure(1)})
    assert [found.passed for found in judge("f1>=0.8", "rmse<2", of=(report(), values))] == [
        True
    ] * 2


def test_what_was_not_measured_does_not_pass() -> None:
    assert str(judge("f1>=0.1", of=())[0]) == "f1>=0.1: there is no report"
    assert "no report has this metric" in str(judge("r2>=0.1")[0])
    assert "no report has this metric" in str(judge("recall[eggs]>=0.1")[0])
    left = report(left_out={"roc_auc": "no scores"})
    assert str(judge("roc_auc>=0.1", of=(left,))[0]) == "roc_auc>=0.1: not measured: no scores"


def against(mine: Report, other: Report) -> Finding:
    (found,) = no_worse(Baseline("stable", 2, by_data(other)), by_data(mine))
    return found


def test_no_worse_is_a_paired_test_where_rows_were_kept() -> None:
    better = np.ones(20, bool)
    assert against(report(better), report()).passed
    # Two rows fewer are chance; of seven rows that one alone has right, none is not.
    assert against(report(), report(better)).passed
    worse = report(np.array([True] * 13 + [False] * 7))
    found = against(worse, report(better))
    assert not found.passed
    assert found.gate == "no worse than stable (version 2)"
    assert (
        found.figures == "0 rows only this one has right, 7 only the other, p = 0.016 on test.csv"
    )


def test_no_worse_for_values() -> None:
    errors = np.linspace(0.5, 1.5, 20)
    mine, other = report(errors + 0.1, task="regression"), report(errors, task="regression")
    assert not against(mine, other).passed
    assert against(other, mine).passed
    mixed = report(errors[::-1], task="regression")
    assert against(mixed, other).passed


def test_without_rows_intervals_decide() -> None:
    high = report(None, metrics={"f1_macro": Figure(0.97, 0.92, 0.99)})
    assert not against(report(None), high).passed
    near = report(None, metrics={"f1_macro": Figure(0.93, 0.88, 0.95)})
    assert against(report(None), near).passed
    assert "f1_macro 0.9 against 0.93 [0.88, 0.95]" in against(report(None), near).figures
    small = {"rmse": Figure(1.0, 0.9, 1.1)}
    mine = report(None, task="regression", metrics={"rmse": Figure(1.2)})
    assert not against(mine, report(None, task="regression", metrics=small)).passed


def test_nothing_in_common_does_not_pass() -> None:
    (found,) = no_worse(Baseline("stable", 2, by_data(report(data=OTHER))), by_data(report()))
    assert (found.passed, "no data set that both" in found.figures) == (False, True)
    assert not against(report(), report(None, task="regression")).passed
    assert not against(report(None, metrics={}), report(None)).passed


# --- gates in model.toml --------------------------------------------------------------------------


def gated(folder: Path, text: str) -> Content:
    folder.mkdir(exist_ok=True)
    (folder / "model.onnx").write_bytes(bundles.DOUBLE)
    (folder / "model.toml").write_text(text)
    return load_bundle(folder).content


def test_gates_travel_with_the_version(tmp_path: Path) -> None:
    text = '[gates]\nrequire = ["f1>=0.92", "recall[spam] > 0.5"]\nno_worse_than = "stable"\n'
    content = gated(tmp_path / "a", text)
    assert content.settings.gates == Gates(("f1>=0.92", "recall[spam] > 0.5"), "stable")
    manifest = Manifest("mail", 1, content, "2026-01-01T00:00:00Z")
    assert Manifest.from_bytes(manifest.to_bytes()) == manifest


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[gates]\nrequire = ["f2>1"]', "no metric is called 'f2'"),
        ('[gates]\nno_worse_than = "No Alias"', "alias 'No Alias' is not valid"),
        ('[gates]\nno_worse_than = "0"', "gates.no_worse_than"),
        ('[gates]\nrequires = ["f1>1"]', "allowed here: require, no_worse_than"),
    ],
)
def test_gates_that_cannot_be_are_refused_at_publish(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InvalidBundleError) as caught:
        gated(tmp_path / "a", text)
    assert said in caught.value.message + caught.value.hint


def test_a_bundle_without_gates_keeps_the_digest_it_always_had(tmp_path: Path) -> None:
    content = gated(tmp_path / "a", "[runtime]\nthreads = 2\n")
    # What settings were before there were gates.
    assert content.settings.to_json() == {"entry": "model.onnx", "threads": 2}
    assert gated(tmp_path / "a", "[gates]\n[runtime]\nthreads = 2\n").settings == content.settings
    plain = Content((), content.signature, ModelSettings(threads=2))
    assert plain.digest == (
        "sha256:a4c772b19cd0fdf3f0b350771b4d95bb4d3d4a29f4616b4cd9303c7c9d272750"
    )


def test_a_manifest_from_before_gates_is_read(tmp_path: Path) -> None:
    manifest = Manifest("mail", 1, gated(tmp_path / "a", ""), "2026-01-01T00:00:00Z")
    assert b"gates" not in manifest.to_bytes()
    assert Manifest.from_bytes(manifest.to_bytes()).content.settings.gates is None
