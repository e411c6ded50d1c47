"""The one mutable document of a model: which versions run, where, and what each alias means.

Pure: every operation returns a new `Routes`; the registry decides how one is written. The document
carries its own latest `Change`, hash-chained to the one before, so writing it is at once the change
and the proof of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from modelport.errors import (
    AliasNotFoundError,
    NotDeployedError,
    NothingToRollBackError,
    NoVersionDeployedError,
    VersionInUseError,
)
from modelport.refs import check_alias
from modelport.routes import stored
from modelport.routes.change import GENESIS, Change
from modelport.routes.deployment import Deployment
from modelport.routes.errors import (
    AliasInUseError,
    ApprovalNeededError,
    RolloutInProgressError,
    VersionRemovedError,
)
from modelport.routes.policy import Policy
from modelport.routes.proposal import Proposal
from modelport.routes.removed import Numbers
from modelport.routes.rollout import Rollout
from modelport.routes.weights import Alias, Weighted, checked, pick

STABLE = "stable"
#: Earlier values kept per alias for rollback; the log keeps all of them.
HISTORY = 16


@dataclass(frozen=True, slots=True)
class Routes:
    """All that can change about a model; see the module's docstring.

    ``deployments`` is kept in ascending order of version, so the highest is found at once.
    """

    model: str
    revision: int = 0
    latest: int = 0
    deployments: dict[int, Deployment] = field(default_factory=dict)
    aliases: dict[str, Alias] = field(default_factory=dict)
    history: dict[str, tuple[Alias, ...]] = field(default_factory=dict)
    policy: Policy = field(default_factory=Policy)
    #: By alias: the rollout that holds it, or the last one that did.
    rollouts: dict[str, Rollout] = field(default_factory=dict)
    #: By protected alias: the move that waits for a second person.
    proposals: dict[str, Proposal] = field(default_factory=dict)
    #: Versions that are gone for good; their numbers are never given again.
    removed: Numbers = field(default_factory=Numbers)
    change: Change | None = None

    # --- operations: each returns a new document --------------------------------------------------

    def with_published(self, version: int) -> Routes:
        """Note that ``version`` exists; never moves backwards."""
        return replace(self, latest=max(self.latest, version))

    def with_deployment(self, deployment: Deployment) -> Routes:
        """Register a version that runs and was verified; raises `VersionRemovedError`."""
        if deployment.version in self.removed:
            raise VersionRemovedError(self.model, deployment.version)
        deployments = {**self.deployments, deployment.version: deployment}
        return replace(self, deployments=dict(sorted(deployments.items())))

    def without_deployment(self, version: int) -> Routes:
        """Forget a deployment; raises `VersionInUseError` while anything names it."""
        users = self.users_of(version)
        if users:
            raise VersionInUseError(self.model, version, users)
        rest = {v: d for v, d in self.deployments.items() if v != version}
        return replace(self, deployments=rest)

    def with_alias(self, name: str, value: Sequence[Weighted]) -> Routes:
        """Point an alias at deployed versions; remembers its value so far for `rolled_back`.

        Raises `RolloutInProgressError` while a rollout holds the alias, `ApprovalNeededError` when
        it is protected.
        """
        self.check_free(name)
        if name in self.policy.protected and self.aliases.get(name) != tuple(value):
            raise ApprovalNeededError(self.model, name)
        return self.with_moved(name, value)

    def with_moved(self, name: str, value: Sequence[Weighted]) -> Routes:
        """The same for who holds the alias: a rollout, or an approval."""
        check_alias(name)
        alias = checked(value)
        for part in alias:
            if part.version not in self.deployments:
                raise NotDeployedError(self.model, part.version, self.deployments)
        before = self.aliases.get(name)
        history = self.history
        if before and before != alias:
            history = {**history, name: (*history.get(name, ()), before)[-HISTORY:]}
        return replace(self, aliases={**self.aliases, name: alias}, history=history)

    def without_alias(self, name: str) -> Routes:
        """Remove an alias and its history; raises `AliasInUseError` while the policy names it."""
        if name not in self.aliases:
            raise AliasNotFoundError(self.model, name, self.aliases)
        self.check_free(name)
        if users := self.policy.users_of_alias(name):
            raise AliasInUseError(self.model, name, users)
        if name in self.policy.protected:
            raise ApprovalNeededError(self.model, name)
        return replace(
            self,
            aliases={key: value for key, value in self.aliases.items() if key != name},
            history={key: value for key, value in self.history.items() if key != name},
        )

    def rolled_back(self, name: str) -> Routes:
        """Give an alias its previous value; raises when there is none or it no longer runs.

        A protected alias goes back without an approval: what it meant before was approved then,
        and whoever rolls back is in a hurry.
        """
        if name not in self.aliases:
            raise AliasNotFoundError(self.model, name, self.aliases)
        self.check_free(name)
        earlier = self.history.get(name, ())
        if not earlier:
            raise NothingToRollBackError(self.model, name)
        back = replace(self, history={**self.history, name: ()}).with_moved(name, earlier[-1])
        return replace(back, history={**self.history, name: earlier[:-1]})

    def with_policy(self, policy: Policy) -> Routes:
        """Replace the policy.

        Raises `NotDeployedError` for a version that does not run, `AliasNotFoundError` for an alias
        that is not there, `ApprovalNeededError` when it would no longer protect an alias.
        """
        for alias in self.policy.protected:
            if alias not in policy.protected:
                raise ApprovalNeededError(self.model, alias)
        for version in sorted(policy.versions()):
            if version not in self.deployments:
                raise NotDeployedError(self.model, version, self.deployments)
        # Calls that name nothing count as stable's, also before there is a stable.
        for alias in sorted(policy.destinations() | policy.subjects() - {STABLE}):
            if alias not in self.aliases:
                raise AliasNotFoundError(self.model, alias, self.aliases)
        return replace(self, policy=policy)

    def with_rollout(self, rollout: Rollout) -> Routes:
        """Note how far a rollout is; `modelport.rollouts` decides that, and moves the alias."""
        return replace(self, rollouts={**self.rollouts, rollout.alias: rollout})

    def with_proposal(self, alias: str, proposal: Proposal | None) -> Routes:
        """Note a move that waits for approval, or with None that none does."""
        rest = {name: each for name, each in self.proposals.items() if name != alias}
        return replace(self, proposals=rest if proposal is None else {**rest, alias: proposal})

    def unprotected(self, alias: str) -> Routes:
        """Let an alias move freely again; for an approval."""
        rest = tuple(name for name in self.policy.protected if name != alias)
        return replace(self, policy=replace(self.policy, protected=rest))

    def check_free(self, alias: str) -> None:
        """Raise `RolloutInProgressError` while a rollout holds the alias."""
        rollout = self.rollouts.get(alias)
        if rollout is not None and rollout.active:
            raise RolloutInProgressError(self.model, alias, rollout.candidate)

    def changed(
        self,
        after: Routes,
        *,
        action: str,
        detail: dict[str, Any],
        who: str,
        at: str,
        message: str = "",
        commit: str = "",
    ) -> Routes:
        """``after`` as the next revision of this document, with its sealed change.

        The present step of a rollout one of whose versions was deployed anew begins anew: what has
        been seen of the old deployment is not what the next step rests on.
        """
        previous = self.change.hash if self.change else GENESIS
        rollouts = {
            alias: each.with_(since=at) if self._redeployed(after, each) else each
            for alias, each in after.rollouts.items()
        }
        after = replace(after, revision=self.revision + 1, rollouts=rollouts)
        after = stored.as_read(after)
        written = stored.content_digest(after)
        change = Change(
            after.revision,
            action,
            detail,
            who,
            at,
            message,
            previous,
            commit=commit,
            document=written,
        )
        return replace(after, change=change.sealed())

    def _redeployed(self, after: Routes, rollout: Rollout) -> bool:
        """Whether ``after`` runs the same versions of an active rollout in another way."""
        compared = (rollout.candidate, rollout.stable)
        return rollout.active and any(
            self.deployments.get(each) not in (None, after.deployments.get(each))
            for each in compared
        )

    # --- reads ------------------------------------------------------------------------------------

    def aliases_of(self, version: int) -> tuple[str, ...]:
        """The aliases that name ``version``, with any weight."""
        return tuple(
            name
            for name, alias in sorted(self.aliases.items())
            if any(part.version == version for part in alias)
        )

    def users_of(self, version: int) -> tuple[str, ...]:
        """What would miss ``version``, in words: aliases, the policy, rollouts."""
        return (
            *(f"alias {name}" for name in self.aliases_of(version)),
            *self.policy.holders_of(version),
            *(f"the rollout of {r.alias}" for r in self.active_rollouts if version in _named(r)),
        )

    @property
    def active_rollouts(self) -> tuple[Rollout, ...]:
        """The rollouts that hold an alias now."""
        return tuple(each for each in self.rollouts.values() if each.active)

    def resolve(self, version: int | None, alias: str | None, key: str) -> Deployment:
        """The deployment that answers: a version, an alias, or neither.

        ``key`` decides within a weighted alias: the same key always gets the same version.
        """
        return self.deployment(pick(self.model, self.meaning(version, alias), key))

    def meaning(self, version: int | None, alias: str | None) -> Alias:
        """The weighted versions that a call may get which names a version, an alias, or neither.

        Neither means alias ``stable`` if it is set, else the highest deployed version.
        """
        if version is not None:
            return (Weighted(version),)
        if alias is None and STABLE not in self.aliases:
            if not self.deployments:
                raise NoVersionDeployedError(self.model)
            return (Weighted(next(reversed(self.deployments))),)
        found = self.aliases.get(alias or STABLE)
        if found is None:
            raise AliasNotFoundError(self.model, alias or STABLE, self.aliases)
        return found

    def deployment(self, version: int) -> Deployment:
        """Where a version runs; raises `NotDeployedError`."""
        deployment = self.deployments.get(version)
        if deployment is None:
            raise NotDeployedError(self.model, version, self.deployments)
        return deployment

    # --- bytes ------------------------------------------------------------------------------------

    def to_bytes(self) -> bytes:
        """The document as it lies in the bucket: readable JSON."""
        return stored.to_bytes(self)

    @classmethod
    def from_bytes(cls, body: bytes) -> Routes:
        """Read and check; raises `IntegrityError` on a torn, foreign or hand-edited document."""
        return stored.from_bytes(body, cls)


def _named(rollout: Rollout) -> set[int]:
    return {rollout.candidate, rollout.stable, *(part.version for part in rollout.before)}
