"""What can become of a rollout: pure operations on a model's routes.

Each moves the alias and notes the step in one new document, so whoever writes it writes both.
"""

from __future__ import annotations

from modelport.routes import Rollout, Routes, Weighted
from modelport.routes.weights import Alias


def started(routes: Routes, rollout: Rollout) -> Routes:
    """Begin ``rollout``: the candidate gets its first step's part of the alias at once.

    Raises `RolloutInProgressError` and `NotDeployedError`.
    """
    routes.check_free(rollout.alias)
    moved = routes.with_moved(rollout.alias, split(rollout, rollout.percent))
    return moved.with_rollout(rollout)


def split(rollout: Rollout, percent: float) -> Alias:
    """The alias with so much of it given to the candidate."""
    if percent >= 100:
        return (Weighted(rollout.candidate),)
    return (Weighted(rollout.stable, 100 - percent), Weighted(rollout.candidate, percent))
