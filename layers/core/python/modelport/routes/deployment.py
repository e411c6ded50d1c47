"""A version that runs somewhere. Pure data; `modelport.backends` knows what to do with it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Deployment:
    """A version running somewhere: target, function or endpoint, content digest, its settings."""

    version: int
    target: str
    resource: str
    digest: str
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        words = (self.target, self.resource, self.digest)
        if type(self.version) is not int or not all(isinstance(word, str) for word in words):
            raise TypeError(f"deployment {self.version!r:.40} has a field of another kind")
        if not isinstance(self.settings, dict):
            raise TypeError(f"deployment {self.version} has settings that are no object")
