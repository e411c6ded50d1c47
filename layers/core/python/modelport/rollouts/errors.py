"""What can go wrong with a rollout beyond the tree of `modelport.errors`."""

from __future__ import annotations

from modelport.errors import BackendError


class ObservationsUnavailableError(BackendError):
    """What versions did cannot be known now: nothing may be concluded from it."""

    code = "observations-unavailable"

    def __init__(self, problem: str) -> None:
        super().__init__(
            f"the metrics cannot be read: {problem}",
            hint="rollouts hold until they can be; this needs cloudwatch:GetMetricData"
            " and cloudwatch:ListMetrics",
        )
