"""What is known of one request, collected on the way: the log line and the identity headers.

Data only: `dispatch` and `versions` write it, `exchange` and `lines` read it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from modelport.errors import ModelportError
from modelport.grammar import Call
from modelport.routes import Deployment, Routes

#: Says that another version answered than the one that the routes chose, and why.
FALLBACK_HEADER = "x-modelport-fallback"


@dataclass(slots=True)
class Trace:
    """What is known of a request so far.

    ``deployment`` is what the routes chose, ``answered_by`` what gave the answer: the same, the
    fallback, or None as long as no version answered. ``fallback_reason`` is the code of the failure
    for which ``fallback`` was asked, whether it could help or not; ``failure`` is that failure
    where it was raised, ``fallback_failure`` the fallback's own. ``backend_s`` is the chosen
    version's time, ``fallback_s`` the fallback's. ``said`` are the headers that the answering
    version sent, all of them.
    """

    call: Call | None = None
    routes: Routes | None = None
    deployment: Deployment | None = None
    answered_by: Deployment | None = None
    fallback_reason: str | None = None
    failure: ModelportError | None = None
    fallback: Deployment | None = None
    fallback_failure: ModelportError | None = None
    backend_s: float | None = None
    fallback_s: float | None = None
    said: Mapping[str, str] = field(default_factory=dict)

    @property
    def fell_back(self) -> bool:
        """Whether the fallback gave the answer."""
        return self.answered_by is not None and self.answered_by is not self.deployment

    def headers(self) -> dict[str, str]:
        """Which model, version, content and routes this answer is about, as far as known."""
        headers = self.identity(self.answered_by or self.deployment)
        if self.deployment is not None and self.fell_back:
            reason = f"from={self.deployment.version};reason={self.fallback_reason}"
            headers[FALLBACK_HEADER] = reason
        return headers

    def identity(self, deployment: Deployment | None) -> dict[str, str]:
        """The same with ``deployment`` as what answers: what it is told of itself."""
        if self.call is None or self.call.model is None:
            return {}
        headers = {"x-modelport-model": self.call.model}
        if self.routes is not None:
            asked = self.call.alias or self.call.version or "default"
            headers["x-modelport-route"] = f"{asked};rev={self.routes.revision}"
        if deployment is not None:
            headers["x-modelport-version"] = str(deployment.version)
            headers["x-modelport-digest"] = deployment.digest
        return headers
