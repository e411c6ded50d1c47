"""Measuring versions for ``modelport evaluate``: asked, compared, kept, and written out.

`Terms` is what is asked of a data set, whoever answers; a version answers here or where it runs.
The tools of the extra ``evaluate`` must be there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from modelport.cli.asking import in_process, through_endpoint
from modelport.cli.evaluation_tables import show_report
from modelport.cli.failures import InvalidUsageError
from modelport.cli.gate_options import baseline_version
from modelport.cli.session import Session, version_ref
from modelport.evaluation.answers import answered, asked_output, rows_at_once
from modelport.evaluation.comparison import compared
from modelport.evaluation.data_set import DataSet, open_data_set
from modelport.evaluation.evaluated import Evaluated, evaluated
from modelport.evaluation.outcomes import packed
from modelport.evaluation.page import page
from modelport.evaluation.plots import plots
from modelport.evaluation.report import Data, Report, Task
from modelport.evaluation.reports import Reports
from modelport.evaluation.spoken import Form, Model, Script, Spoken
from modelport.manifest import Manifest
from modelport.refs import parse_ref
from modelport.registry.changes import now


@dataclass(frozen=True)
class Terms:
    """What is asked of a data set: its name and place, the task, its labels, and how sure."""

    name: str
    path: Path
    task: Task
    labels: str | None
    classes: tuple[str, ...]
    resamples: int
    seed: int


@dataclass(frozen=True)
class Measuring:
    """Puts a data set to versions of a model."""

    session: Session
    terms: Terms
    through: Literal["process", "endpoint"]
    batch: int
    #: How a bundle's inference.py is asked; None asks the model.
    script: Form | None = None

    def version(self, target: str, compare: str | None, to: Path | None) -> None:
        """Measure a version, compare it, keep and show the report, write it ``to`` a folder."""
        session, terms = self.session, self.terms
        manifest = session.registry.manifest(*version_ref(target))
        other = _other(session, manifest, compare) if compare is not None else None
        rows, found = self._measured(manifest)
        report = self._report(manifest, rows, found)
        kept = [report]
        if other is not None:
            rows, theirs = self._measured(other)
            kept.append(self._report(other, rows, theirs))
            told = compared(found, theirs, resamples=terms.resamples, seed=terms.seed)
            against = {"version": other.version, "digest": other.digest, **told}
            report = kept[0] = replace(report, comparison=against)
        for each in kept:
            Reports(session.registry.store).put_report(each)
        if to is not None:
            write_report(session, to, report, found)
        session.output.result(report.public(), lambda console: show_report(console, report))

    def _measured(self, manifest: Manifest) -> tuple[DataSet, Evaluated]:
        """Ask a version the whole data set; what its answers come to."""
        terms, ref = self.terms, f"{manifest.model}:{manifest.version}"
        signature, folder = manifest.content.signature, self.session.world.folder
        rows = open_data_set(terms.path, terms.task, signature, terms.labels, folder, terms.name)
        spoken = self._spoken(manifest, ref)
        opened = in_process if self.through == "process" else through_endpoint
        with (
            opened(self.session, manifest, spoken) as ask,
            self.session.output.transfers() as progress,
        ):

            def advance(done: int) -> None:
                progress(f"asking {ref}", done, rows.size)

            size = rows_at_once(self.batch, signature)
            found = answered(rows, ask, ref, size, advance)
        names = terms.classes or _class_names(self.session, manifest)
        with self.session.output.working(f"measuring {ref}"):
            figures = evaluated(
                terms.task,
                found.labels,
                found.answers,
                names,
                ref,
                resamples=terms.resamples,
                seed=terms.seed,
            )
        return rows, figures

    def _spoken(self, manifest: Manifest, ref: str) -> Spoken:
        if self.script is None:
            return Model(asked_output(self.terms.task, manifest.content.signature, ref).name)
        if manifest.content.settings.script is None:
            raise InvalidUsageError(
                f"{ref} has no inference.py to ask", hint="leave --script out: its model answers"
            )
        return Script(self.script)

    def _report(self, manifest: Manifest, rows: DataSet, found: Evaluated) -> Report:
        """What is kept of a version's figures."""
        actor = self.session.actor()
        return Report(
            manifest.model,
            manifest.version,
            manifest.digest,
            self.terms.task,
            Data(self.terms.name, rows.digest, len(found.actual)),
            found.metrics,
            now(),
            actor.who,
            actor.commit,
            self.terms.seed,
            self.terms.resamples,
            self.through if self.script is None else f"{self.through}, inference.py",
            found.left_out,
            found.details,
            packed(self.terms.task, found.outcomes),
        )


def write_report(session: Session, to: Path, report: Report, found: Evaluated) -> None:
    """Write report.html, report.json and the plots into a folder."""
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


def _class_names(session: Session, manifest: Manifest) -> tuple[str, ...]:
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
