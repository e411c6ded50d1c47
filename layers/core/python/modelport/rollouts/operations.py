"""What can become of a rollout: pure operations on a model's routes.

Each moves the alias and notes the step in one new document, so whoever writes it writes both. The
steps leave no trace in the alias's history: a rollback after a rollout gives back what the alias
meant before it, not one of its splits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from modelport.errors import AliasNotFoundError
from modelport.rollouts.errors import NoRolloutError, RolloutRefusedError
from modelport.routes import HISTORY, Rollout, Routes, Weighted
from modelport.routes.errors import ApprovalNeededError
from modelport.routes.rollout import (
    ABORTED,
    AGREEMENT,
    PAUSED,
    ROLLED_BACK,
    RUNNING,
    SUCCEEDED,
)
from modelport.routes.weights import Alias

#: What a decision rested on, as it stands in the record and the log.
Findings = Sequence[dict[str, Any]]


def start(routes: Routes, rollout: Rollout) -> Routes:
    """Begin ``rollout``; raises what `started` does, `ApprovalNeededError` when it needs one."""
    if rollout.alias in routes.policy.protected:
        raise ApprovalNeededError(routes.model, rollout.alias)
    return started(routes, rollout)


def started(routes: Routes, rollout: Rollout) -> Routes:
    """Begin ``rollout``: the candidate gets its first step's part of the alias at once.

    For an approval too. Raises `RolloutInProgressError`, `NotDeployedError`, `AliasNotFoundError`,
    and `RolloutRefusedError` when the alias no longer means what the rollout was planned for.
    """
    check_possible(routes, rollout)
    return _moved(routes, rollout, rollout.percent).with_rollout(rollout)


def check_possible(routes: Routes, rollout: Rollout) -> None:
    """Raise what stands in the way of beginning ``rollout`` now; see `started`."""
    alias, model = rollout.alias, routes.model
    check_startable(routes, alias, rollout.candidate)
    if routes.aliases[alias] != rollout.before or rollout.before[0].version != rollout.stable:
        again = f"modelport rollout start {model}:{rollout.candidate} --alias {alias}"
        raise RolloutRefusedError(model, alias, "it has moved since this was planned", again)
    if any(guard.kind == AGREEMENT for guard in rollout.guards) and not _shadowed(routes, rollout):
        raise RolloutRefusedError(
            model,
            alias,
            f"version {rollout.candidate} gets no copies of its calls to agree on",
            f"have it answer in the shadow first: modelport traffic shadow"
            f" {model}:{rollout.candidate} --of {alias}",
        )


def check_startable(routes: Routes, alias: str, candidate: int) -> Weighted:
    """The whole of what ``alias`` means, if a rollout of ``candidate`` can be held against it."""
    model = routes.model
    routes.check_free(alias)
    if alias not in routes.aliases:
        raise AliasNotFoundError(model, alias, routes.aliases)
    before = routes.aliases[alias]
    if len(before) != 1:
        raise RolloutRefusedError(
            model,
            alias,
            "it is split, so there is no one version to hold the candidate against",
            f"give it to one version first: modelport promote {model}:VERSION --alias {alias}",
        )
    if before[0].version == candidate:
        raise RolloutRefusedError(
            model,
            alias,
            f"it means version {candidate} already",
            f"name another version: modelport list {model}",
        )
    routes.with_moved(alias, (Weighted(candidate),))  # deployed, or this says so
    return before[0]


def paused(routes: Routes, alias: str, reason: str) -> Routes:
    """Let the rollout take no further step; its guards go on watching."""
    rollout = held(routes, alias)
    if rollout.state == PAUSED:
        return routes
    return routes.with_rollout(rollout.with_(state=PAUSED, reason=reason))


def resumed(routes: Routes, alias: str, at: str, reason: str) -> Routes:
    """Let a paused rollout go on: its present step begins anew, so nothing happens at once."""
    rollout = held(routes, alias)
    if rollout.state == RUNNING:
        return routes
    return routes.with_rollout(rollout.with_(state=RUNNING, since=at, reason=reason))


def aborted(routes: Routes, alias: str, reason: str) -> Routes:
    """End a rollout and give the alias back what it meant."""
    return _given_back(routes, held(routes, alias), ABORTED, reason, ())


def rolled_back(routes: Routes, rollout: Rollout, reason: str, evidence: Findings) -> Routes:
    """End ``rollout`` because of what was found, and give the alias back what it meant."""
    return _given_back(routes, rollout, ROLLED_BACK, reason, evidence)


def advanced(routes: Routes, rollout: Rollout, at: str, reason: str, evidence: Findings) -> Routes:
    """Take the next step."""
    further = rollout.with_(
        step=rollout.step + 1,
        since=at,
        moved=(*rollout.moved, at),
        reason=reason,
        evidence=tuple(evidence),
    )
    return _moved(routes, further, further.percent).with_rollout(further)


def succeeded(routes: Routes, rollout: Rollout, reason: str, evidence: Findings) -> Routes:
    """End ``rollout`` with all of the traffic at the candidate."""
    alias = rollout.alias
    ended = rollout.with_(state=SUCCEEDED, reason=reason, evidence=tuple(evidence))
    earlier = (*routes.history.get(alias, ()), rollout.before)[-HISTORY:]
    moved = _moved(routes, rollout, 100.0).with_rollout(ended)
    return replace(moved, history={**moved.history, alias: earlier})


def held(routes: Routes, alias: str) -> Rollout:
    """The rollout that holds ``alias`` now; raises `NoRolloutError`."""
    rollout = routes.rollouts.get(alias)
    if rollout is None or not rollout.active:
        raise NoRolloutError(routes.model, alias, rollout.state if rollout else "")
    return rollout


def split(rollout: Rollout, percent: float) -> Alias:
    """The alias with so much of it given to the candidate."""
    if percent >= 100:
        return (Weighted(rollout.candidate),)
    return (Weighted(rollout.stable, 100 - percent), Weighted(rollout.candidate, percent))


def _moved(routes: Routes, rollout: Rollout, percent: float) -> Routes:
    moved = routes.with_moved(rollout.alias, split(rollout, percent))
    return replace(moved, history=routes.history)


def _given_back(
    routes: Routes, rollout: Rollout, state: str, reason: str, evidence: Findings
) -> Routes:
    ended = rollout.with_(state=state, reason=reason, evidence=tuple(evidence))
    back = routes.with_moved(rollout.alias, rollout.before).with_rollout(ended)
    return replace(back, history=routes.history)


def _shadowed(routes: Routes, rollout: Rollout) -> bool:
    return any(
        shadow.version == rollout.candidate and shadow.of in (None, rollout.alias)
        for shadow in routes.policy.shadows
    )
