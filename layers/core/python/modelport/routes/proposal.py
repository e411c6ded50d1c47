"""A move of a protected alias that waits for a second person: part of a model's routes.

Pure data; who may approve one, and what happens then, is `modelport.approvals`' business.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from modelport.routes.rollout import Rollout
from modelport.routes.weights import Alias, Weighted


@dataclass(frozen=True, slots=True)
class Proposal:
    """What ``alias`` shall mean, instead of ``before``, and who said so when (ISO 8601, UTC).

    ``to`` is the new value, or with a ``rollout`` what it ends in; () means that the alias shall no
    longer be protected.
    """

    alias: str
    before: Alias
    to: Alias
    who: str
    at: str
    message: str = ""
    rollout: Rollout | None = None

    def to_json(self) -> dict[str, Any]:
        """As it stands in the document."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Proposal:
        """Read one; raises TypeError and kin for another shape."""
        return cls(
            **{
                **data,
                "before": tuple(Weighted(**part) for part in data["before"]),
                "to": tuple(Weighted(**part) for part in data["to"]),
                "rollout": Rollout.from_json(data["rollout"]) if data["rollout"] else None,
            }
        )
