"""``modelport evaluate`` and ``evaluations``: how good versions are, measured and shown again."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

import typer

from modelport.cli.evaluation_tables import show_report, show_reports
from modelport.cli.failures import InvalidUsageError
from modelport.cli.session import AsJson, Bucket, Debug, DeploymentsFile, Session, version_ref
from modelport.evaluation.errors import (
    DataSetError,
    EvaluationToolsMissingError,
    ReportNotFoundError,
)
from modelport.evaluation.report import Task
from modelport.evaluation.reports import Reports

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
    script: Annotated[
        Literal["json", "csv"] | None,
        typer.Option(
            "--script",
            help="Ask the bundle's inference.py, which answers /invocations, and not its model:"
            " rows as JSON instances or as CSV, a JSON answer.",
            show_default=False,
        ),
    ] = None,
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

    The model's own answers are measured, or with --script those of the bundle's inference.py.

    --k-fold trains a bundle whose inference.py has fit(features, labels, model_dir): each fold in a
    fresh process on a copy of the bundle, then asked the rows it has not seen.
    """
    session = Session.of(context, as_json, bucket, deployments)
    _check_tools()
    # Imported here: numpy and scikit-learn take longer to load than other commands to run.
    from modelport.cli.folding import Folding
    from modelport.cli.measuring import Measuring, Terms

    if k_fold is not None and (compare or script or through != "process"):
        raise InvalidUsageError("--k-fold trains here: no --compare, --script and --through")
    named = data if data.startswith(S3) else Path(data).name
    with _local(session, data) as path:
        terms = Terms(named, path, task, labels, _named(classes), bootstrap, seed)
        if k_fold is not None:
            Folding(session, terms, k_fold, fold_limit).bundle(target, report)
        else:
            Measuring(session, terms, through, batch, script).version(target, compare, report)


def evaluations(
    context: typer.Context,
    ref: Annotated[str, typer.Argument(metavar="NAME:V", help="The model and its version.")],
    report: Annotated[
        str | None,
        typer.Argument(
            metavar="REPORT", help="The report to show. Without it: a line for each data set."
        ),
    ] = None,
    bucket: Bucket = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Show what a version's evaluations found.

    Without a report's id: the latest on each data set, which is what gates go by.
    """
    session = Session.of(context, as_json, bucket)
    name, version = version_ref(ref)
    session.registry.manifest(name, version)
    reports = Reports(session.registry.store)
    if report is not None:
        if report not in reports.ids(name, version):
            raise ReportNotFoundError(name, version, report)
        found = reports.report(name, version, report)
        session.output.result(found.public(), lambda console: show_report(console, found))
        return
    latest = sorted(reports.latest(name, version).values(), key=lambda each: each.id)
    document = {"model": name, "version": version, "latest": [each.public() for each in latest]}
    session.output.result(document, lambda console: show_reports(console, ref, latest))


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
        # Keys may be called what no file can be; only how they end says anything.
        path = Path(work) / f"data{PurePosixPath(key).suffix[:16]}"
        with session.output.working(f"fetching {data}"):
            session.world.download(bucket, key, path)
        yield path


def _check_tools() -> None:
    for module, package in _TOOLS.items():
        if importlib.util.find_spec(module) is None:
            raise EvaluationToolsMissingError(package)
