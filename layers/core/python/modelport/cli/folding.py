"""``modelport evaluate BUNDLE --k-fold``: how good a bundle's training is, before any version."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from modelport.bundle import load_bundle
from modelport.cli.evaluation_tables import show_report
from modelport.cli.session import Session
from modelport.evaluation.data_set import DataSet, open_data_set
from modelport.evaluation.evaluated import Evaluated, evaluated
from modelport.evaluation.k_fold import Fold, Rows, Trainer, check_trainable, trained
from modelport.evaluation.report import Data, Figure, Report
from modelport.manifest import Draft
from modelport.registry.changes import now

if TYPE_CHECKING:
    from modelport.cli.evaluating import Terms

#: Rows that are read at a time.
_BATCH = 4096


def evaluate_in_folds(
    session: Session,
    target: str,
    path: Path,
    terms: Terms,
    folds: int,
    limit_s: float,
    to: Path | None,
) -> None:
    """Train and measure the bundle at ``target`` on the data at ``path``, and tell it."""
    from modelport.cli.evaluating import public, write_report

    bundle = session.world.folder / target
    check_trainable(bundle)
    draft = load_bundle(bundle)
    signature, folder = draft.content.signature, session.world.folder
    data = open_data_set(path, terms.task, signature, terms.labels, folder, terms.name)
    rows = _whole(data)
    trainer = Trainer(bundle, draft.content.settings.entry, session.world.environ, limit_s)
    with session.output.working(f"training {folds} folds") as tell:
        found = trained(
            trainer,
            terms.task,
            rows,
            folds,
            terms.seed,
            lambda number: tell(f"fold {number} of {folds}"),
        )
    names = terms.classes or _labels(draft)
    each = [_measured(terms, rows, fold, names, bundle.name, 0) for fold in found]
    together = Fold(
        np.concatenate([fold.held for fold in found]),
        np.concatenate([fold.answers for fold in found]),
    )
    pooled = _measured(terms, rows, together, names, bundle.name, terms.resamples)
    report = _report(session, bundle.resolve().name, draft, data, terms, each, pooled)
    if to is not None:
        write_report(session, to, report, pooled)
    session.output.result(
        public(report), lambda console: show_report(console, report, stored=False)
    )


def _measured(
    terms: Terms, rows: Rows, fold: Fold, names: tuple[str, ...], ref: str, resamples: int
) -> Evaluated:
    labels = [rows.labels[row] for row in fold.held.tolist()]
    return evaluated(
        terms.task, labels, fold.answers, names, ref, resamples=resamples, seed=terms.seed
    )


def _report(
    session: Session,
    name: str,
    draft: Draft,
    data: DataSet,
    terms: Terms,
    folds: list[Evaluated],
    pooled: Evaluated,
) -> Report:
    """Means over folds; classes, confusion and calibration are of all held-out rows together."""
    values = {
        metric: [fold.metrics[metric].value for fold in folds]
        for metric in pooled.metrics
        if all(metric in fold.metrics for fold in folds)
    }
    details: dict[str, Any] = {
        **pooled.details,
        "folds": [
            {
                "rows": len(fold.actual),
                "metrics": {metric: figure.value for metric, figure in fold.metrics.items()},
            }
            for fold in folds
        ],
        "spread": {metric: float(np.std(each, ddof=1)) for metric, each in values.items()},
    }
    actor = session.actor()
    return Report(
        name,
        0,
        draft.content.digest,
        terms.task,
        Data(terms.name, data.digest, len(pooled.actual)),
        {metric: Figure(float(np.mean(each))) for metric, each in values.items()},
        now(),
        actor.who,
        actor.commit,
        terms.seed,
        terms.resamples,
        "training in folds",
        pooled.left_out,
        details,
    )


def _whole(data: DataSet) -> Rows:
    """All rows at once: training needs them."""
    batches = list(data.batches(_BATCH))
    names = batches[0].inputs
    inputs = {name: np.concatenate([batch.inputs[name] for batch in batches]) for name in names}
    return Rows(inputs, [label for batch in batches for label in batch.labels])


def _labels(draft: Draft) -> tuple[str, ...]:
    named = draft.content.settings.labels
    if named is None:
        return ()
    return tuple(draft.sources[named].read_text(encoding="utf-8").splitlines())
