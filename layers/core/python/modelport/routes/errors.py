"""What can be wrong with a change to routes, beyond versions and weights."""

from __future__ import annotations

from collections.abc import Iterable

from modelport.errors import ConflictError, InvalidInputError, NotFoundError


class InvalidPolicyError(InvalidInputError):
    """A rule, shadow, fallback or key of a split that cannot be used."""

    code = "invalid-policy"

    def __init__(self, what: str, allowed: str) -> None:
        super().__init__(f"{what} cannot be used; allowed: {allowed}")


class NotInPolicyError(NotFoundError):
    """Something shall be removed from a model's policy that is not there."""

    code = "not-in-policy"

    def __init__(self, what: str, known: Iterable[str]) -> None:
        listed = ", ".join(known) or "none"
        super().__init__(
            f"there is no {what}; there are: {listed}", hint="see: modelport traffic show NAME"
        )


class AliasInUseError(ConflictError):
    """An alias that the model's policy names cannot go."""

    code = "alias-in-use"

    def __init__(self, model: str, alias: str, users: Iterable[str]) -> None:
        super().__init__(
            f"alias {alias} of model {model} is needed for {', '.join(users)}",
            hint=f"remove that first: modelport traffic show {model}",
        )


class InvalidRolloutError(InvalidInputError):
    """Steps, guards or numbers of a rollout that cannot be used."""

    code = "invalid-rollout"

    def __init__(self, what: str, allowed: str) -> None:
        super().__init__(f"{what} cannot be used in a rollout; allowed: {allowed}")


class VersionNotOfferedError(InvalidInputError):
    """A caller names, by header, a version that the model's policy does not let callers choose."""

    code = "version-not-offered"

    def __init__(self, model: str, named: str, offered: Iterable[str]) -> None:
        allowed = ", ".join(offered)
        super().__init__(
            f"the header x-modelport-version of a call to model {model} cannot be {named[:64]!r};"
            + (f" allowed: {allowed}" if allowed else " this model's callers choose none by header")
        )


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
            hint=f"add --propose, and have somebody else run: modelport approve {model} {alias}",
        )


class NothingProposedError(NotFoundError):
    """No change of the alias waits for an approval."""

    code = "nothing-proposed"

    def __init__(self, model: str, alias: str) -> None:
        super().__init__(
            f"no change of alias {alias} of model {model} waits for an approval",
            hint=f"see what does: modelport proposals {model}",
        )


class OwnProposalError(ConflictError):
    """Whoever proposes a change cannot approve it."""

    code = "own-proposal"

    def __init__(self, who: str) -> None:
        super().__init__(
            f"{who} has proposed this change, so somebody else must approve it",
            hint="ask a colleague, or withdraw it: modelport reject NAME ALIAS",
        )


class ApproverUnknownError(ConflictError):
    """AWS knows who proposed a change, and does not say who wants to approve it."""

    code = "approver-unknown"

    def __init__(self, proposer: str) -> None:
        super().__init__(
            f"AWS does not say who you are, so you may be {proposer}, who has proposed this change",
            hint="sign in to AWS, or set MODELPORT_USER",
        )


class StaleProposalError(ConflictError):
    """The alias has moved since the change was proposed."""

    code = "stale-proposal"

    def __init__(self, model: str, alias: str) -> None:
        super().__init__(
            f"alias {alias} of model {model} has moved since this change was proposed",
            hint=f"look again, and propose it anew: modelport reject {model} {alias}",
        )


class VersionRemovedError(NotFoundError):
    """The version existed and was removed for good."""

    code = "version-removed"

    def __init__(self, model: str, version: int) -> None:
        super().__init__(
            f"version {version} of model {model} was removed",
            hint=f"see by whom: modelport log {model}; the same bundle can be published again",
        )


class VersionHeldError(ConflictError):
    """A version that something needs cannot be removed."""

    code = "version-held"

    def __init__(self, model: str, version: int, by: Iterable[str]) -> None:
        super().__init__(f"version {version} of model {model} is needed by {', '.join(by)}")
