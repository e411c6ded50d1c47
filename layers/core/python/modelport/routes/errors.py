"""What can be wrong with a change to routes, beyond versions and weights."""

from __future__ import annotations

from modelport.errors import ConflictError, InvalidInputError


class InvalidPolicyError(InvalidInputError):
    """A rule, shadow, fallback or key of a split that cannot be used."""

    code = "invalid-policy"

    def __init__(self, what: str, allowed: str) -> None:
        super().__init__(f"{what} cannot be used; allowed: {allowed}")


class RolloutInProgressError(ConflictError):
    """An alias that a rollout holds does not move otherwise."""

    code = "rollout-in-progress"

    def __init__(self, model: str, alias: str, candidate: int) -> None:
        super().__init__(
            f"alias {alias} of model {model} is held by the rollout of version {candidate}",
            hint=f"wait for it, or end it: modelport rollout abort {model} --alias {alias}",
        )


class ApprovalNeededError(ConflictError):
    """A protected alias moves only when a second person agrees."""

    code = "approval-needed"

    def __init__(self, model: str, alias: str) -> None:
        super().__init__(
            f"alias {alias} of model {model} is protected: a change of it needs an approval",
            hint=f"propose it, and have somebody else run: modelport approve {model} {alias}",
        )
