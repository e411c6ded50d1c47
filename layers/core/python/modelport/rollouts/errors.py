"""What can go wrong with a rollout beyond the tree of `modelport.errors`."""

from __future__ import annotations

from modelport.errors import BackendError, ConflictError, InvalidInputError, NotFoundError


class ObservationsUnavailableError(BackendError):
    """What versions did cannot be known now: nothing may be concluded from it."""

    code = "observations-unavailable"

    def __init__(self, problem: str) -> None:
        super().__init__(
            f"the metrics cannot be read: {problem}",
            hint="rollouts hold until they can be; this needs cloudwatch:GetMetricData"
            " and cloudwatch:ListMetrics",
        )


class InvalidGuardError(InvalidInputError):
    """A guard that cannot be read."""

    code = "invalid-guard"

    def __init__(self, text: str, allowed: str) -> None:
        super().__init__(f"guard {text!r} cannot be read; allowed: {allowed}")


class NoRolloutError(NotFoundError):
    """No rollout holds the alias."""

    code = "no-rollout"

    def __init__(self, model: str, alias: str, ended: str = "") -> None:
        last = f"; the last one is {ended}" if ended else ""
        super().__init__(
            f"no rollout holds alias {alias} of model {model}{last}",
            hint=f"modelport rollout start {model}:VERSION --alias {alias}",
        )


class RolloutRefusedError(ConflictError):
    """A rollout that cannot begin as things stand."""

    code = "rollout-refused"

    def __init__(self, model: str, alias: str, problem: str, hint: str) -> None:
        super().__init__(f"alias {alias} of model {model}: {problem}", hint=hint)
