"""Names: what a model, a version and an alias may be called, and how people refer to them.

Pure text; knows nothing of what exists. The model grammar is narrow because the name becomes part
of Lambda function and SageMaker endpoint names (at most 63 and 64 characters with prefix and
version).
"""

from __future__ import annotations

import re

from modelport.errors import InvalidNameError, InvalidRefError
from modelport.records import record

MODEL_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")
ALIAS_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9_-]{0,39}")
MAX_VERSION = 2**31 - 1


@record(frozen=True)
class ModelRef:
    """A model and, at most one of, a version or an alias of it."""

    name: str
    version: int | None = None
    alias: str | None = None

    def __str__(self) -> str:
        if self.version is not None:
            return f"{self.name}:{self.version}"
        return f"{self.name}@{self.alias}" if self.alias else self.name


def check_name(name: str) -> str:
    """Return ``name`` if it is a model name, else raise `InvalidNameError`."""
    if not MODEL_NAME.fullmatch(name):
        raise InvalidNameError(
            "model name", name, "1 to 40 of a-z, 0-9 and '-', not starting or ending with '-'"
        )
    return name


def check_alias(alias: str) -> str:
    """Return ``alias`` if it is an alias, else raise `InvalidNameError`."""
    if not ALIAS_NAME.fullmatch(alias):
        raise InvalidNameError(
            "alias", alias, "1 to 40 of letters, digits, '_' and '-', starting with a letter"
        )
    return alias


def check_version(version: object) -> int:
    """Return ``version`` as a positive integer below 2³¹, else raise `InvalidNameError`."""
    text = str(version)
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and 0 < int(text) <= MAX_VERSION):
        raise InvalidNameError("version", text, f"a whole number from 1 to {MAX_VERSION}")
    return int(text)


def parse_ref(text: str) -> ModelRef:
    """Parse ``NAME``, ``NAME:VERSION`` or ``NAME@ALIAS``.

    >>> parse_ref("magika:3").version
    3
    """
    match = re.fullmatch(r"([^:@]+)(?::(\d+)|@([^:@]+))?", text)
    if match is None:
        raise InvalidRefError(text)
    name, version, alias = match.groups()
    return ModelRef(
        check_name(name),
        check_version(version) if version else None,
        check_alias(alias) if alias else None,
    )
