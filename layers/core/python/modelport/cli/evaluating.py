"""``modelport evaluate``: run a data set through a version, and keep what it found beside it."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from modelport.cli.evaluation_tables import show_report
from modelport.cli.failures import InvalidUsageError
from modelport.cli.gate_options import baseline_version
from modelport.cli.session import AsJson, Bucket, Debug, DeploymentsFile, Session, version_ref
from modelport.evaluation.errors import DataSetError, EvaluationToolsMissingError
from modelport.evaluation.report import Data, Report, Task
from modelport.evaluation.reports import Reports
from modelport.manifest import Manifest
from modelport.refs import parse_ref
from modelport.registry.changes import now

if TYPE_CHECKING:
    from modelport.evaluation.data_set import DataSet
    from modelport.evaluation.evaluated import Evaluated

FIGURES, FOLDS = "The figures", "Training in folds"
S3 = "s3://"
#: What the extra ``evaluate`` brings, as it is imported and as pip calls it.
_TOOLS = {"sklearn": "scikit-learn", "matplotlib": "matplotlib"}


def evaluate(
    context: typer.Context,
    target: Annotated[
        str,
        typer.Argument(
            metavar="NAME:V|BUNDLE", help="The version; with --k-fold a bundle that can be trained."
        ),
    ],
    data: Annotated[
        str,
        typer.Option("--data", "-d", metavar="FILE|s3://…", help="The rows: .csv, .jsonl or .npz."),
    ],
    task: Annotated[Task, typer.Option("--task", help="What the labels are.")],
    labels: Annotated[
        str | None,
        typer.Option(
            "--labels",
            metavar="COLUMN|FILE",
            help="Where the labels are. Without it: the column label, labels or target.",
            show_default=False,
        ),
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(
            "--classes",
            metavar="A,B,…",
            help="What the scores' columns are called, in their order. Without it: the bundle's"
            " labels.txt, else numbers from 0.",
            show_default=False,
        ),
    ] = None,
    through: Annotated[
        Literal["process", "endpoint"],
        typer.Option("--through", help="Open the version here, or call it where it runs."),
    ] = "process",
    batch: Annotated[int, typer.Option("--batch", min=1, help="Rows of one request.")] = 64,
    compare: Annotated[
        str | None,
        typer.Option(
            "--compare",
            metavar="[NAME:]V|ALIAS",
            help="Another version of the model, to be run on the same rows.",
            show_default=False,
        ),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            "--report",
            metavar="FOLDER",
            help="Also write report.html, report.json and the plots there.",
            show_default=False,
        ),
    ] = None,
    bootstrap: Annotated[
        int,
        typer.Option(
            "--bootstrap",
            min=100,
            max=100_000,
            help="Resamples behind the intervals.",
            rich_help_panel=FIGURES,
        ),
    ] = 1000,
    seed: Annotated[
        int,
        typer.Option("--seed", min=0, help="Of everything random.", rich_help_panel=FIGURES),
    ] = 0,
    k_fold: Annotated[
        int | None,
        typer.Option(
            "--k-fold",
            min=2,
            max=100,
            help="Train the bundle so many times, each time on all rows but a fold.",
            rich_help_panel=FOLDS,
            show_default=False,
        ),
    ] = None,
    fold_limit: Annotated[
        float,
        typer.Option(
            "--fold-limit",
            metavar="S",
            min=1,
            help="Seconds that one fold may take.",
            rich_help_panel=FOLDS,
        ),
    ] = 600.0,
    bucket: Bucket = None,
    deployments: DeploymentsFile = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Measure how good a version is on labelled data, and keep the report with it.

    Classification: accuracy, precision, recall and F1 (each class, macro, weighted), ROC-AUC, log
    loss, calibration, confusion. Regression: MAE, RMSE, R². Intervals are 95 % percentile bootstrap
    intervals (Efron and Tibshirani 1993).

    Which output is compared: for classification a floating [N,K] called scores or probabilities,
    else the first such; else labels of shape [N], which leave out what needs scores. For regression
    a floating [N] or [N,1]. Scores are probabilities where no row has a negative one and every row
    sums to 1; else they go through softmax, a single column through the sigmoid.

    Promotions can require what a report shows: see modelport promote --help, and [gates] in
    model.toml.

    --k-fold trains a bundle whose inference.py has fit(features, labels, model_dir): each fold in a
    fresh process on a copy of the bundle, then asked the rows it has not seen.
    """
    session = Session.of(context, as_json, bucket, deployments)
    _check_tools()
    plan = _Plan(session, task, labels, _named(classes), through, batch, bootstrap, seed)
    with _local(session, data) as path:
        if k_fold is not None:
            from modelport.cli.folding import evaluate_in_folds

            if compare or through != "process":
                raise InvalidUsageError("--k-fold trains here: no --compare and no --through")
            evaluate_in_folds(session, target, path, plan.terms(data), k_fold, fold_limit, report)
            return
        _evaluate_version(plan, target, path, data, compare, report)


@dataclass(frozen=True)
class Terms:
    """What is asked of a data set, whoever answers: its name, task, labels and figures."""

    name: str
    task: Task
    labels: str | None
    classes: tuple[str, ...]
    resamples: int
    seed: int


@dataclass(frozen=True)
class _Plan:
    """One run of the command."""

    session: Session
    task: Task
    labels: str | None
    classes: tuple[str, ...]
    through: Literal["process", "endpoint"]
    batch: int
    resamples: int
    seed: int

    def terms(self, data: str) -> Terms:
        name = data if data.startswith(S3) else Path(data).name
        return Terms(name, self.task, self.labels, self.classes, self.resamples, self.seed)

    def run(self, manifest: Manifest, path: Path, data: str) -> tuple[DataSet, Evaluated]:
        """Ask a version the whole data set; what its answers come to."""
        from modelport.cli.asking import in_process, through_endpoint
        from modelport.evaluation.answers import answered, asked_output
        from modelport.evaluation.data_set import open_data_set
        from modelport.evaluation.evaluated import evaluated

        terms, ref = self.terms(data), f"{manifest.model}:{manifest.version}"
        signature, folder = manifest.content.signature, self.session.world.folder
        rows = open_data_set(path, self.task, signature, self.labels, folder, terms.name)
        output = asked_output(self.task, signature, ref)
        names = self.classes or class_names(self.session, manifest)
        opened = in_process if self.through == "process" else through_endpoint
        with (
            opened(self.session, manifest, output.name) as ask,
            self.session.output.transfers() as progress,
        ):

            def advance(done: int) -> None:
                progress(f"asking {ref}", done, rows.size)

            found = answered(rows, ask, ref, self.batch, advance)
        with self.session.output.working(f"measuring {ref}"):
            figures = evaluated(
                self.task,
                found.labels,
                found.answers,
                names,
                ref,
                resamples=self.resamples,
                seed=self.seed,
            )
        return rows, figures

    def report(self, manifest: Manifest, rows: DataSet, found: Evaluated, name: str) -> Report:
        """What is kept of a version's figures."""
        from modelport.evaluation.outcomes import packed

        actor = self.session.actor()
        return Report(
            manifest.model,
            manifest.version,
            manifest.digest,
            self.task,
            Data(name, rows.digest, len(found.actual)),
            found.metrics,
            now(),
            actor.who,
            actor.commit,
            self.seed,
            self.resamples,
            self.through,
            found.left_out,
            found.details,
            packed(self.task, found.outcomes),
        )


def _evaluate_version(
    plan: _Plan, target: str, path: Path, data: str, compare: str | None, to: Path | None
) -> None:
    session, name = plan.session, plan.terms(data).name
    manifest = session.registry.manifest(*version_ref(target))
    other = _other(session, manifest, compare) if compare is not None else None
    rows, found = plan.run(manifest, path, data)
    report = plan.report(manifest, rows, found, name)
    kept = [report]
    if other is not None:
        from modelport.evaluation.comparison import compared

        theirs = plan.run(other, path, data)[1]
        kept.append(plan.report(other, rows, theirs, name))
        told = compared(found, theirs, resamples=plan.resamples, seed=plan.seed)
        against = {"version": other.version, "digest": other.digest, **told}
        report = kept[0] = replace(report, comparison=against)
    reports = Reports(session.registry.store)
    for each in kept:
        reports.put_report(each)
    if to is not None:
        write_report(session, to, report, found)
    session.output.result(public(report), lambda console: show_report(console, report))


def public(report: Report) -> dict[str, Any]:
    """A report as ``--json`` has it: without the packed outcomes of its rows."""
    document = report.to_json()
    del document["outcomes"]
    return document


def write_report(session: Session, to: Path, report: Report, found: Evaluated) -> None:
    """Write report.html, report.json and the plots into a folder."""
    from modelport.evaluation.page import page
    from modelport.evaluation.plots import plots

    folder = session.world.folder / to
    with session.output.working("drawing"):
        drawn = plots(found)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, image in drawn.items():
            (folder / name).write_bytes(image)
        (folder / "report.json").write_bytes(report.to_bytes())
        (folder / "report.html").write_text(page(report, drawn), encoding="utf-8")
    except OSError as error:
        problem = f"cannot write to {to}: {error.strerror or error}"
        raise InvalidUsageError(problem, hint="name another folder") from None
    session.output.note(f"written to {folder}: report.html, report.json, {', '.join(drawn)}")


def class_names(session: Session, manifest: Manifest) -> tuple[str, ...]:
    """What the version's classes are called, as the runtime reads its labels; () without names."""
    named = manifest.content.settings.labels
    for file in manifest.content.files:
        if file.path == named:
            body = b"".join(session.registry.read(file))
            return tuple(body.decode(errors="replace").splitlines())
    return ()


def _other(session: Session, manifest: Manifest, compare: str) -> Manifest:
    """The version to compare with: V, ALIAS, NAME:V or NAME@ALIAS of the same model."""
    model = manifest.model
    if ":" in compare or "@" in compare:
        ref = parse_ref(compare)
        if ref.name != model:
            raise InvalidUsageError(f"--compare {compare}: it is no version of {model}")
        compare = str(ref.version or ref.alias or "")
    found = session.registry.routes(model)
    assert found is not None  # without an ETag there is always an answer
    version = baseline_version(found.routes, compare)
    if version == manifest.version:
        raise InvalidUsageError(f"--compare {compare}: that is {model}:{version} itself")
    return session.registry.manifest(model, version)


def _named(classes: str | None) -> tuple[str, ...]:
    if classes is None:
        return ()
    names = tuple(name.strip() for name in classes.split(","))
    if not all(names) or len(set(names)) < len(names):
        raise InvalidUsageError(f"--classes {classes!r}: names, all different, between commas")
    return names


@contextmanager
def _local(session: Session, data: str) -> Iterator[Path]:
    """The data set as a file of this machine."""
    if not data.startswith(S3):
        yield session.world.folder / data
        return
    bucket, _, key = data.removeprefix(S3).partition("/")
    if not bucket or not key or key.endswith("/"):
        raise DataSetError(data, "an object is named s3://BUCKET/KEY")
    with tempfile.TemporaryDirectory(prefix="modelport-") as work:
        path = Path(work) / key.rpartition("/")[2]
        with session.output.working(f"fetching {data}"):
            session.world.download(bucket, key, path)
        yield path


def _check_tools() -> None:
    for module, package in _TOOLS.items():
        if importlib.util.find_spec(module) is None:
            raise EvaluationToolsMissingError(package)
