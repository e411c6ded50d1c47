"""The headers that say which version answered: on every answer, also before it is loaded."""

from __future__ import annotations


def identity_headers(model: str, version: int, digest: str) -> dict[str, str]:
    """The headers of this version."""
    return {
        "x-modelport-model": model,
        "x-modelport-version": str(version),
        "x-modelport-digest": digest,
    }
