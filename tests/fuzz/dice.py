"""Fuzzer's bytes as decisions: the first bytes choose, the rest is the body.

Kept this plain so that a valid request can be written down as the bytes that mean it, and so that a
mutation of one decision leaves the others as they were.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class FindingError(AssertionError):
    """Something that no input should be able to do."""


class Dice:
    """Decisions taken one after the other from the front of the fuzzer's bytes."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def number(self) -> int:
        """The next byte; 0 when there are no more."""
        at, self._at = self._at, self._at + 1
        return self._data[at] if at < len(self._data) else 0

    def one_of(self, choices: Sequence[T]) -> T:
        """The choice that the next byte means."""
        return choices[self.number() % len(choices)]

    def text(self) -> str:
        """Text with its length in front, as header values and paths come: any byte is a letter."""
        size = self.number()
        start, self._at = self._at, self._at + size
        return self._data[start : start + size].decode("latin-1")

    def rest(self) -> bytes:
        """What is left."""
        return self._data[self._at :]


def chosen(*choices: int, body: bytes = b"") -> bytes:
    """The bytes that take these decisions and leave ``body``."""
    return bytes(choices) + body


def told(text: str) -> bytes:
    """The bytes that `Dice.text` reads as ``text``."""
    return bytes([len(text)]) + text.encode("latin-1")
