"""``modelport evaluate`` over real models: reports kept and shown, pages and plots, refusals."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from modelport.cli.app import run
from modelport.cli.export import write_bundle
from modelport.client.conversation import Reply
from modelport.envelope import Request
from modelport.evaluation.answers import answered, asked_output
from modelport.evaluation.data_set import open_data_set
from modelport.evaluation.errors import UnusableAnswerError
from modelport.evaluation.evaluated import Evaluated, evaluated
from modelport.evaluation.page import page
from modelport.evaluation.plots import plots
from modelport.evaluation.report import Data, Report
from modelport.evaluation.reports import Reports
from modelport.evaluation.spoken import Script
from modelport.settings import RuntimeSettings
from modelport.signature import Signature, TensorSpec

from functions.runtime.loading import load
from tests.conftest import ROOT
from tests.support import evaluation_world as world
from tests.support.cli_world import Result, Terminal, register

LABELS = "ham\nspam\n"
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def mail(tmp_path: Path) -> Terminal:
    """Two versions of a model of mails, the second the better one, and mails to measure them on."""
    terminal = Terminal(tmp_path)
    for model in (world.POOR, world.GOOD):
        register(terminal.registry, world.published(terminal, "mail", model, labels_txt=LABELS))
    world.spam(tmp_path / "test.csv")
    return terminal


def evaluate(
    terminal: Terminal, target: str, *options: str, task: str = "classification"
) -> Result:
    return terminal(
        "evaluate", target, "--data", "test.csv", "--task", task, "--bootstrap", "100", *options
    )


def test_a_report_is_kept_shown_drawn_and_compared(mail: Terminal, tmp_path: Path) -> None:
    mail.ok("route", "mail", "stable=1")
    told = evaluate(mail, "mail:2", "--compare", "stable", "--report", "out", "--json").json
    assert (told["model"], told["version"], told["who"]) == ("mail", 2, "ada")
    assert told["data"]["rows"] == 200
    assert told["metrics"]["accuracy"]["value"] == 0.9
    assert told["metrics"]["f1_macro"]["low"] < 0.9 < told["metrics"]["f1_macro"]["high"]
    assert [each["name"] for each in told["details"]["classes"]] == ["ham", "spam"]
    assert told["comparison"]["verdict"] == "better"
    assert told["comparison"]["version"] == 1
    assert "outcomes" not in told
    reports = Reports(mail.registry.store)
    (ours,) = reports.latest("mail", 2).values()
    (theirs,) = reports.latest("mail", 1).values()
    assert ours.id == told["id"]
    assert ours.data.digest == theirs.data.digest
    assert ours.digest == mail.registry.manifest("mail", 2).digest
    assert theirs.comparison is None
    assert json.loads((tmp_path / "out" / "report.json").read_text())["id"] == told["id"]
    for name in ("confusion", "calibration", "roc"):
        assert (tmp_path / "out" / f"{name}.png").read_bytes().startswith(PNG)
    text = (tmp_path / "out" / "report.html").read_text()
    assert text.count("data:image/png;base64,") == 3
    assert "better (McNemar, exact" in text
    well_formed(text)


def test_people_read_tables(mail: Terminal) -> None:
    found = evaluate(mail, "mail:2")
    assert found.code == 0, found.err
    lines = [line.split() for line in found.out.splitlines()]
    (accuracy,) = [line for line in lines if line[:1] == ["accuracy"]]
    assert accuracy[1] == "0.9"
    assert float(accuracy[2]) < 0.9 < float(accuracy[4])
    assert ["LABEL", "\\", "ANSWER", "ham", "spam"] in lines
    assert ["ham", "86", "15"] in lines
    assert any(line[:1] == ["report"] for line in lines)


def test_values_are_measured(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    world.published(terminal, "price", world.PRICE)
    world.prices(tmp_path / "test.csv")
    options = ("--labels", "price", "--report", "out", "--json")
    told = evaluate(terminal, "price:1", *options, task="regression").json
    assert told["metrics"]["rmse"]["value"] == pytest.approx(0.48, abs=0.02)
    assert told["metrics"]["r2"]["low"] > 0.9
    assert (tmp_path / "out" / "residuals.png").read_bytes().startswith(PNG)
    well_formed((tmp_path / "out" / "report.html").read_text())


#: Longer than any file may be called.
KEY = "a/" + "t" * 300 + ".csv"


def asked(terminal: Terminal, handler: Callable[[httpx.Request], httpx.Response]) -> Any:
    """Evaluate version 2 through an API that ``handler`` answers for."""
    terminal.environ["MODELPORT_ENDPOINT"] = "http://api"
    (terminal.folder / "deployments.toml").write_text(
        '[environment]\nname = "dev"\nauth = "none"\n'
    )
    out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.StringIO()

    def download(bucket: str, key: str, to: Path) -> None:
        assert (bucket, key) == ("sets", KEY)
        to.write_bytes((terminal.folder / "test.csv").read_bytes())

    outside = replace(
        terminal.world(out, err),
        http=lambda: httpx.Client(transport=httpx.MockTransport(handler)),
        download=download,
    )
    line = ["evaluate", "mail:2", "--data", f"s3://sets/{KEY}", "--task", "classification"]
    code = run([*line, "--through", "endpoint", "--bootstrap", "100", "--json"], outside)
    out.seek(0)
    return code, json.loads(out.read())


def test_the_endpoint_is_asked_in_batches_and_the_data_come_from_s3(mail: Terminal) -> None:
    manifest = mail.registry.manifest("mail", 2)
    write_bundle(mail.registry, manifest, mail.folder / "laid-out")
    plane = load(RuntimeSettings("mail", 2, manifest.digest, str(mail.folder / "laid-out")))
    paths: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        paths.append(request.url.path)
        asked = Request("POST", request.url.path, dict(request.headers), request.content, "1")
        response = plane.handle(asked)
        return httpx.Response(response.status, headers=response.headers, content=response.body)

    code, told = asked(mail, answer)
    assert code == 0, told
    assert paths == ["/v2/models/mail/versions/2/infer"] * 4
    assert told["metrics"]["accuracy"]["value"] == 0.9
    assert (told["through"], told["data"]["name"]) == ("endpoint", f"s3://sets/{KEY}")


def test_an_endpoint_that_fails_leaves_no_report(mail: Terminal) -> None:
    code, told = asked(mail, lambda request: httpx.Response(500, json={"error": "broken"}))
    assert code == 5
    assert "broken" in told["error"]["message"]
    assert Reports(mail.registry.store).ids("mail", 2) == []


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        (["mail:2", "--compare", "2"], 2, "that is mail:2 itself"),
        (["mail:2", "--compare", "other:1"], 2, "it is no version of mail"),
        (["mail:2", "--compare", "²"], 2, "alias '²' is not valid"),
        (["mail:2", "--compare", "nobody"], 3, "no alias 'nobody'"),
        (["mail:9"], 3, "Could not find version 9"),
        (["mail"], 2, "names no version"),
        (["mail:2", "--classes", "a,,b"], 2, "names, all different"),
        (["mail:2", "--labels", "nope"], 2, "no column 'nope'; columns: length, width"),
        (
            ["mail:2", "--classes", "eggs,spam"],
            2,
            "row 1: 'ham' is none of the 2 classes of mail",
        ),
        (["mail:2", "--k-fold", "3", "--compare", "1"], 2, "no --compare"),
        (["mail", "--k-fold", "3"], 2, "there is no such folder"),
        (["mail:2", "--script", "json"], 2, "mail:2 has no inference.py to ask"),
    ],
)
def test_what_cannot_be_evaluated(mail: Terminal, line: list[str], code: int, said: str) -> None:
    if "eggs,spam" in line:  # asks the version first
        (mail.folder / "test.csv").write_text("a,b,c,label\n1,2,3,ham\n")
    found = evaluate(mail, *line, "--json")
    assert (found.code, said in found.json["error"]["message"]) == (code, True), found.out


def test_data_that_are_not_there(mail: Terminal) -> None:
    for data, said in (
        ("gone.csv", "there is no such file"),
        ("s3://bucket", "s3://BUCKET/KEY"),
        ("s3://bucket/a.csv", "nothing here reads S3"),
    ):
        line = ("evaluate", "mail:2", "--data", data, "--task", "classification", "--json")
        assert said in mail(*line).json["error"]["message"]


def test_a_version_without_an_output_for_the_task(mail: Terminal) -> None:
    found = evaluate(mail, "mail:2", "--json", task="regression")
    message = found.json["error"]["message"]
    assert "no output is an answer for regression (y FP32 [-1,2])" in message


# --- the page and the plots -----------------------------------------------------------------------


class Tags(HTMLParser):
    """Every start tag of a page, and what it refers to."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]


def well_formed(text: str) -> Tags:
    """Read a page as XML, which forgives nothing, and as HTML; it must ask nobody for anything."""
    head, _, rest = text.partition("\n")
    assert head == "<!DOCTYPE html>"
    ElementTree.fromstring(rest)
    tags = Tags()
    tags.feed(text)
    assert "script" not in tags.tags
    assert all(link.startswith("data:image/png;base64,") for link in tags.links)
    return tags


HOSTILE = "<script>alert('\"&$x_1$</script>\x07\x1b[31m \\ é 猫"


def measured(labels: list[Any], answers: Any, names: tuple[str, ...] = ()) -> Evaluated:
    return evaluated("classification", labels, answers, names, "m:1", resamples=0, seed=0)


def test_hostile_names_are_shown_and_do_nothing() -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, 60).tolist()
    found = measured(labels, generator.normal(size=(60, 3)), (HOSTILE, "]]>", "{{x}}"))
    data = Data(HOSTILE, "sha256:" + "0" * 64, 60)
    report = Report("m", 1, "sha256:1", "classification", data, found.metrics, "2026", HOSTILE)
    drawn = plots(found)
    assert set(drawn) == {"confusion.png", "calibration.png", "roc.png"}
    text = page(replace(report, details=found.details), drawn)
    well_formed(text)
    assert text.count("&lt;script&gt;alert(&#x27;&quot;&amp;$x_1$") == 3


def test_plots_of_odd_sizes() -> None:
    assert set(plots(measured([*range(120)], np.eye(120)))) == {"calibration.png", "roc.png"}
    assert "confusion.png" in plots(measured([*range(30)], np.eye(30)))
    assert set(plots(measured(["a", "b"], np.array(["a", "a"], object)))) == {"confusion.png"}
    values = np.arange(6000.0)
    dense = evaluated("regression", values.tolist(), values, (), "m:1", resamples=0, seed=0)
    assert plots(dense)["residuals.png"].startswith(PNG)


def test_labels_only_models_are_evaluated_from_data_to_report(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("x,label\n1,1\n2,3\n")
    column = TensorSpec("x", "INT64", (-1,))
    signature = Signature((column,), (TensorSpec("y", "INT64", (-1,)),))
    data = open_data_set(path, "classification", signature, None, tmp_path)
    assert asked_output("classification", signature, "m:1").name == "y"
    done: list[int] = []
    found = answered(data, lambda inputs: inputs["x"], "m:1", 1, done.append)
    assert (found.labels, found.answers.tolist()) == (["1", "3"], [1, 2])
    assert done[-1] == path.stat().st_size


SCRIPT = """
import json

def input_fn(data, content_type):
    if content_type == "text/csv":
        return [[float(cell) for cell in line.split(",")] for line in data.splitlines()]
    return json.loads(data)["instances"]

def predict_fn(rows, model):
    return ["spam" if row[0] > 0 else "ham" for row in rows]

def output_fn(prediction, accept):
    return json.dumps({"predictions": prediction}), "application/json"
"""


@pytest.mark.parametrize("form", ["json", "csv"])
def test_a_script_is_asked_in_its_own_words(tmp_path: Path, form: str) -> None:
    terminal = Terminal(tmp_path)
    world.published(terminal, "mail", world.POOR, inference_py=SCRIPT)
    world.spam(tmp_path / "test.csv")
    told = evaluate(terminal, "mail:1", "--script", form, "--json").json
    assert told["metrics"]["accuracy"]["value"] == 0.9
    assert told["through"] == "process, inference.py"
    assert "without scores" in told["left_out"]["roc_auc"]
    # Its model answers otherwise.
    own = evaluate(terminal, "mail:1", "--classes", "ham,spam", "--json").json
    assert own["metrics"]["accuracy"]["value"] < 0.6


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"no", "its script answers text/plain, not JSON"),
        (b'{"a": 1, "b": 2}', "no list of numbers or labels"),
        (b"[[1], [1, 2]]", "no list of numbers or labels"),
        (b"[null]", "no list of numbers or labels"),
        (b"3", "no list of numbers or labels"),
    ],
)
def test_answers_of_a_script_that_are_none(body: bytes, said: str) -> None:
    with pytest.raises(UnusableAnswerError, match=said):
        Script("json").answer(Reply(200, {"content-type": "text/plain"}, body), "m:1")


def test_rows_for_a_script() -> None:
    inputs = {"x": np.array([[1, 2.5]], np.float32), "t": np.array(["a,b"], object)}
    assert Script("json").request(inputs)[1] == b'{"instances": [{"x": [1.0, 2.5], "t": "a,b"}]}'
    assert Script("csv").request(inputs)[1] == b'1.0,2.5,"a,b"\n'
    for body in (b"[1, 0]", b'{"predictions": [1, 0], "n": 2}', b'{"y": [1, 0]}'):
        assert Script("csv").answer(Reply(200, {}, body), "m:1").tolist() == [1, 0]


def test_a_model_of_one_row_is_asked_row_by_row(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    world.published(terminal, "one", world.linear([[2], [0], [0]], rows=1))
    world.spam(tmp_path / "test.csv", rows=5)
    told = evaluate(terminal, "one:1", "--classes", "ham,spam", "--json").json
    assert told["data"]["rows"] == 5
    assert told["details"]["scores"] == "sigmoid"


def test_what_the_version_refuses_is_told(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    world.published(terminal, "two", world.linear([[2], [0], [0]], rows=2))
    world.spam(tmp_path / "test.csv", rows=5)
    error = evaluate(terminal, "two:1", "--classes", "ham,spam", "--json").json["error"]
    assert "input 'x': expected FP32 [2,3], got FP32 [1,3]" in error["message"]


def test_reports_are_shown_again(mail: Terminal) -> None:
    assert "mail:2 was never evaluated" in mail.ok("evaluations", "mail:2").out
    made = evaluate(mail, "mail:2", "--json").json
    (line,) = mail.ok("evaluations", "mail:2").out.splitlines()[1:]
    assert line.split()[:6] == ["test.csv", "200", "accuracy", "0.9", "f1_macro", "0.8998"]
    assert made["id"] in line
    assert mail.ok("evaluations", "mail:2", "--json").json["latest"] == [made]
    assert mail.ok("evaluations", "mail:2", made["id"], "--json").json == made
    assert "LABEL \\ ANSWER" in mail.ok("evaluations", "mail:2", made["id"]).out
    gone = mail("evaluations", "mail:2", "../x", "--json")
    assert (gone.code, gone.json["error"]["code"]) == (3, "report-not-found")
    assert mail("evaluations", "mail:9").code == 3


WITHOUT = """
import sys
from pathlib import Path
sys.modules |= dict.fromkeys(("sklearn", "scipy", "matplotlib"))
from tests.support.cli_world import Terminal
line = ("evaluate", "mail:2", "--data", "test.csv", "--task", "classification", "--json")
found = Terminal(Path("."))(*line)
print(found.code, found.out)
"""


def test_without_the_extra_the_command_says_what_to_install(tmp_path: Path) -> None:
    told = subprocess.run(
        [sys.executable, "-c", WITHOUT],
        env={"PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])},
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    code, _, document = told.partition(" ")
    error = json.loads(document)["error"]
    assert (code, error["code"]) == ("1", "evaluation-tools-missing")
    assert error["hint"] == "pip install 'modelport[evaluate]'"
