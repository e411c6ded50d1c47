"""What can go wrong when a version is evaluated, and when a gate judges it."""

from __future__ import annotations

from collections.abc import Sequence

from modelport.errors import ConflictError, InvalidInputError, ModelportError, NotFoundError


class DataSetError(InvalidInputError):
    """A data set that cannot be read, or does not fit the model."""

    code = "invalid-data-set"

    def __init__(self, where: object, problem: str, hint: str = "") -> None:
        super().__init__(f"{where}: {problem}", hint=hint)


class UnusableAnswerError(InvalidInputError):
    """A version whose answers have no metrics: the wrong shape, or no numbers."""

    code = "unusable-answer"

    def __init__(self, ref: str, problem: str, hint: str = "") -> None:
        super().__init__(f"{ref}: {problem}", hint=hint)


class NotTrainableError(InvalidInputError):
    """A bundle without ``fit``: there is nothing to train in folds."""

    code = "not-trainable"

    def __init__(self, bundle: object, problem: str) -> None:
        super().__init__(
            f"{bundle} cannot be trained: {problem}",
            hint="give its inference.py a function fit(features, labels, model_dir)",
        )


class BundleCodeError(InvalidInputError):
    """The bundle's own code failed; the lines are its own."""

    code = "bundle-code-failed"

    def __init__(self, fold: int, problem: str, lines: Sequence[str] = ()) -> None:
        told = "".join(f"\n  {line}" for line in lines)
        super().__init__(f"fold {fold}: inference.py {problem}{told}")


class EvaluationToolsMissingError(ModelportError):
    """The packages that compute metrics are not installed."""

    code = "evaluation-tools-missing"

    def __init__(self, package: str) -> None:
        super().__init__(
            f"{package} is not installed, and evaluating needs it",
            hint="pip install 'modelport[evaluate]'",
        )


class ReportNotFoundError(NotFoundError):
    """No report of a version has this id."""

    code = "report-not-found"

    def __init__(self, name: str, version: int, report: str) -> None:
        super().__init__(
            f"{name}:{version} has no report {report!r:.80}",
            hint=f"modelport evaluations {name}:{version}",
        )


class GateFailedError(ConflictError):
    """A version whose evaluation does not show what its gates require."""

    code = "gate-failed"

    def __init__(self, ref: str, reasons: Sequence[str], hint: str) -> None:
        told = "".join(f"\n  {reason}" for reason in reasons)
        super().__init__(f"{ref} does not pass its gates:{told}", hint=hint)
