"""Acting on rollouts: look at each one that is under way, decide, write the decision.

Keeps nothing between two looks, so it may die anywhere and run twice at once: what it writes is one
conditional write, which does nothing if the rollout is no longer the one that was looked at.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from modelport.errors import ModelNotFoundError, ModelportError
from modelport.registry import Actor, Registry
from modelport.registry.active import ActiveRollouts
from modelport.rollouts import operations
from modelport.rollouts.decision import ADVANCE, HOLD, ROLL_BACK, SUCCEED, Decision, decide
from modelport.rollouts.errors import ObservationsUnavailableError
from modelport.rollouts.observations import Observations
from modelport.routes import Rollout, Routes

#: Who decisions are logged as.
CONTROLLER = "modelport-controller"

_UNDECIDED = Decision(HOLD, "")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was decided on one rollout, and whether that changed anything.

    ``error`` is the code of what kept a model from being looked at; then the rest says nothing.
    """

    model: str
    alias: str = ""
    candidate: int = 0
    decision: Decision = _UNDECIDED
    acted: bool = False
    error: str = ""

    def to_json(self) -> dict[str, Any]:
        """The line that is logged of it."""
        return {
            "model": self.model,
            "alias": self.alias,
            "candidate": self.candidate,
            "action": self.decision.action,
            "acted": self.acted,
            "reason": self.decision.reason,
            "evidence": list(self.decision.evidence),
            "error": self.error or None,
        }


class Controller:
    """Rollouts of one registry, by what one environment observes."""

    def __init__(
        self,
        registry: Registry,
        observations: Observations,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._registry, self._observations, self._now = registry, observations, now
        self._active = ActiveRollouts(registry.store)

    def tick(self, models: Iterable[str] | None = None) -> tuple[Outcome, ...]:
        """Look at every rollout under way, or at those of ``models``, and do what is due.

        One model's trouble is told in its outcome and keeps no other from its turn. Costs one
        request, and then some for each model that has a rollout, however many others there are.
        """
        noted = self._active.noted()
        wanted = self._in_turn(sorted(noted)) if models is None else models
        return tuple(each for model in wanted for each in self._model(model, noted.get(model)))

    def _in_turn(self, models: list[str]) -> list[str]:
        """Another model is first each minute: a look that is cut short starves nobody."""
        first = int(self._now().timestamp() // 60) % max(1, len(models))
        return models[first:] + models[:first]

    def look(self, routes: Routes, rollout: Rollout) -> Decision:
        """What would be decided now; writes nothing."""
        try:
            return decide(self._observations, routes.model, rollout, self._now())
        except ObservationsUnavailableError as error:
            return Decision(HOLD, error.message)

    def _model(self, model: str, noted: int | None) -> list[Outcome]:
        try:
            return self._looked_at(model, noted)
        except ModelportError as error:
            logger.warning("rollouts of model %s: %s", model, error)
            return [Outcome(model, error=error.code)]
        except Exception:
            # Of a fault of ours too only this model shall suffer.
            logger.exception("rollouts of model %s", model)
            return [Outcome(model, error="unexpected")]

    def _looked_at(self, model: str, noted: int | None) -> list[Outcome]:
        try:
            snapshot = self._registry.routes(model)
        except ModelNotFoundError:
            if noted is None:
                raise
            self._active.forget(model, noted)
            return []
        assert snapshot is not None  # without an ETag to compare with there is always an answer
        routes = snapshot.routes
        outcomes = []
        for rollout in routes.active_rollouts:
            decision = self.look(routes, rollout)
            acted = decision.action != HOLD and self._act(model, rollout, decision)
            outcomes.append(Outcome(model, rollout.alias, rollout.candidate, decision, acted))
        if noted is not None and not outcomes and routes.revision > noted:
            self._active.forget(model, noted)
        return outcomes

    def _act(self, model: str, rollout: Rollout, decision: Decision) -> bool:
        at = self._now().isoformat(timespec="microseconds")
        applied = False

        def edit(routes: Routes) -> Routes:
            nonlocal applied
            # What was decided was decided on this very state; on any other the next look decides.
            applied = routes.rollouts.get(rollout.alias) == rollout
            return _applied(routes, rollout, decision, at) if applied else routes

        detail = {
            "alias": rollout.alias,
            "candidate": rollout.candidate,
            "from": rollout.percent,
            "evidence": list(decision.evidence),
        }
        self._registry.change(
            model,
            edit,
            action=f"rollout-{decision.action}",
            detail=detail,
            who=Actor(CONTROLLER, decision.reason),
        )
        return applied


def _applied(routes: Routes, rollout: Rollout, decision: Decision, at: str) -> Routes:
    if decision.action == ADVANCE:
        return operations.advanced(routes, rollout, at, decision.reason, decision.evidence)
    if decision.action == SUCCEED:
        return operations.succeeded(routes, rollout, decision.reason, decision.evidence)
    assert decision.action == ROLL_BACK
    return operations.rolled_back(routes, rollout, decision.reason, decision.evidence)
