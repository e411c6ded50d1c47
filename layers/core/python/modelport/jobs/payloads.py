"""The port for bodies of any size: written, read, and handed out as URLs that work for a while.

Implementations: `modelport.jobs.s3.S3Payloads`, and `MemoryPayloads` here, whose URLs nobody else
can open. Knows nothing of jobs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from modelport.errors import PayloadTooLargeError

#: The headers that lie beside a body.
TOLD = ("content-type", "content-encoding")


class Payloads(Protocol):
    """Where bodies lie; methods raise `RegistryUnavailableError` when that is away."""

    def put(self, key: str, body: bytes, headers: Mapping[str, str]) -> None:
        """Write a body; whoever fetches it is told its type and coding, as ``headers`` say."""
        ...

    def get(self, key: str, most: int | None = None) -> bytes | None:
        """Read a body; None if there is none.

        Raises `PayloadTooLargeError` instead of reading more than ``most`` bytes: a URL that has
        been handed out may have been used since anybody looked.
        """
        ...

    def size(self, key: str) -> int | None:
        """How many bytes a body has; None if there is none."""
        ...

    def put_url(self, key: str, seconds: int, length: int | None = None) -> str:
        """A URL that takes one PUT, of exactly ``length`` bytes where that is given."""
        ...

    def get_url(self, key: str, seconds: int) -> str:
        """A URL that answers GET with the body."""
        ...


def check_size(size: int, most: int | None) -> None:
    """Raise `PayloadTooLargeError` for a body of more than ``most`` bytes."""
    if most is not None and size > most:
        raise PayloadTooLargeError(size, most, "the body that lies there", "send it again")


class MemoryPayloads:
    """Bodies in a dictionary."""

    def __init__(self, base: str = "memory://payloads/") -> None:
        self.base = base
        self.bodies: dict[str, bytes] = {}
        self.headers: dict[str, dict[str, str]] = {}

    def put(self, key: str, body: bytes, headers: Mapping[str, str]) -> None:
        """Write a body."""
        self.bodies[key] = body
        self.headers[key] = {name: text for name, text in headers.items() if name in TOLD}

    def get(self, key: str, most: int | None = None) -> bytes | None:
        """Read a body of at most ``most`` bytes; None if there is none."""
        body = self.bodies.get(key)
        if body is not None:
            check_size(len(body), most)
        return body

    def size(self, key: str) -> int | None:
        """How many bytes a body has; None if there is none."""
        body = self.bodies.get(key)
        return None if body is None else len(body)

    def put_url(self, key: str, seconds: int, length: int | None = None) -> str:
        """A URL for this process only."""
        return f"{self.base}{key}?put"

    def get_url(self, key: str, seconds: int) -> str:
        """A URL for this process only."""
        return f"{self.base}{key}?get"
