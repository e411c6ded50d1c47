"""``modelport evaluate BUNDLE --k-fold``: how good a bundle's training is, before any version."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from modelport.bundle import load_bundle
from modelport.cli.evaluation_tables import show_report
from modelport.cli.measuring import Terms, write_report
from modelport.cli.session import Session
from modelport.evaluation.data_set import DataSet, open_data_set
from modelport.evaluation.evaluated import Evaluated, evaluated
from modelport.evaluation.k_fold import Fold, Rows, Trainer, check_trainable, trained
from modelport.evaluation.report import Data, Figure, Report
from modelport.manifest import Draft
from modelport.registry.changes import now

#: Rows that are read at a time.
_BATCH = 4096


@dataclass(frozen=True)
class Folding:
    """Trains a bundle in folds on a data set, and measures each."""

    session: Session
    terms: Terms
    folds: int
    limit_s: float

    def bundle(self, target: str, to: Path | None) -> None:
        """Train and measure the bundle at ``target``, tell it, and write it ``to`` a folder."""
        session, terms = self.session, self.terms
        bundle = session.world.folder / target
        check_trainable(bundle)
        draft = load_bundle(bundle)
        signature, folder = draft.content.signature, session.world.folder
        data = open_data_set(terms.path, terms.task, signature, terms.labels, folder, terms.name)
        rows = _whole(data)
        found = self._trained(bundle, draft, rows)
        names = terms.classes or _labels(draft)
        each = [self._measured(rows, fold, names) for fold in found]
        together = Fold(
            np.concatenate([fold.held for fold in found]),
            np.concatenate([fold.answers for fold in found]),
        )
        pooled = self._measured(rows, together, names)
        report = self._report(bundle.resolve().name, draft, data, each, pooled)
        if to is not None:
            write_report(session, to, report, pooled)
        session.output.result(
            report.public(), lambda console: show_report(console, report, stored=False)
        )

    def _trained(self, bundle: Path, draft: Draft, rows: Rows) -> list[Fold]:
        environ = self.session.world.environ
        trainer = Trainer(bundle, draft.content.settings.entry, environ, self.limit_s)
        with self.session.output.working(f"training {self.folds} folds") as tell:

            def began(number: int) -> None:
                tell(f"fold {number} of {self.folds}")

            terms = self.terms
            return trained(trainer, terms.task, rows, self.folds, terms.seed, began)

    def _measured(self, rows: Rows, fold: Fold, names: tuple[str, ...]) -> Evaluated:
        """A fold's figures; how sure they are, the folds say."""
        labels = [rows.labels[row] for row in fold.held.tolist()]
        return evaluated(
            self.terms.task,
            labels,
            fold.answers,
            names,
            "the bundle",
            resamples=0,
            seed=self.terms.seed,
        )

    def _report(
        self, name: str, draft: Draft, data: DataSet, folds: list[Evaluated], pooled: Evaluated
    ) -> Report:
        """Means over folds; classes, confusion, calibration are of all held-out rows together."""
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
        actor = self.session.actor()
        return Report(
            name,
            0,
            draft.content.digest,
            self.terms.task,
            Data(self.terms.name, data.digest, len(pooled.actual)),
            {metric: Figure(float(np.mean(each))) for metric, each in values.items()},
            now(),
            actor.who,
            actor.commit,
            self.terms.seed,
            0,
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
