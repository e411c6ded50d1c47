"""Weighted versions, and which of them a caller gets.

Splits use weighted rendezvous hashing (Thaler and Ravishankar 1998; weights by −w/ln u,
Schindelhauer and Schomaker 2005) over BLAKE2b of model, version and the caller's key: for any
number of versions, raising one version's weight moves callers only towards it. Pure.

The hash, so that others can tell who gets what: of the 8 bytes of BLAKE2b over UTF-8
``MODEL NUL VERSION NUL KEY`` (the version in decimal), big-endian, the upper 52 bits are n, and
u = (n + ½) / 2⁵². The version with the greatest −weight / ln u answers. A change of it would move
every caller of every split: it stays as it is.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from modelport.errors import InvalidWeightsError
from modelport.refs import check_version

#: Beyond this, scores of a split could no longer be told apart.
HEAVIEST = 1e9


@dataclass(frozen=True, slots=True)
class Weighted:
    """One version of an alias and its weight relative to the others."""

    version: int
    weight: float = 100.0


Alias = tuple[Weighted, ...]


def parse_weights(text: str) -> Alias:
    """Parse ``3`` or ``3:90,4:10``; weights are positive numbers and need not add up to 100.

    >>> [(part.version, part.weight) for part in parse_weights("3:90,4:10")]
    [(3, 90.0), (4, 10.0)]
    """
    parts = []
    for item in text.split(","):
        version, colon, weight = item.strip().partition(":")
        if not version.isdigit():
            raise InvalidWeightsError(text, f"{version!r} is not a version number")
        try:
            parts.append(Weighted(check_version(version), float(weight) if colon else 100.0))
        except ValueError:
            raise InvalidWeightsError(text, f"{weight!r} is not a number") from None
    if len(parts) > 1 and ":" not in text:
        raise InvalidWeightsError(text, "several versions need a weight each")
    return checked(parts)


def alias_from(parts: list[dict[str, Any]]) -> Alias:
    """Read a stored alias; raises `InvalidInputError`, or KeyError and kin for another shape."""
    return checked(
        [Weighted(check_version(part["version"]), float(part["weight"])) for part in parts]
    )


def checked(parts: Sequence[Weighted]) -> Alias:
    text = ",".join(f"{part.version}:{part.weight:g}" for part in parts)
    if not parts:
        raise InvalidWeightsError(text, "no version named")
    if len({part.version for part in parts}) != len(parts):
        raise InvalidWeightsError(text, "a version is named twice")
    for part in parts:
        if not 0 < part.weight <= HEAVIEST:
            raise InvalidWeightsError(
                text,
                f"weight {part.weight:g} of version {part.version} is not more than 0"
                f" and at most {HEAVIEST:g}",
            )
    return tuple(parts)


def score(model: str, part: Weighted, key: str) -> float:
    """What ``part`` bids for a caller: the highest bid gets it; see the module's docstring."""
    digest = hashlib.blake2b(f"{model}\0{part.version}\0{key}".encode(), digest_size=8).digest()
    return -part.weight / math.log(uniform(digest))


def uniform(digest: bytes) -> float:
    """8 bytes as a number strictly between 0 and 1, so that its logarithm is finite and not 0.

    52 bits and a half step: one bit more, and the greatest would be rounded to 1.
    """
    return ((int.from_bytes(digest, "big") >> 12) + 0.5) / 2**52


def pick(model: str, alias: Alias, key: str) -> int:
    """The version of ``alias`` that a caller with ``key`` gets: always the same one."""
    if len(alias) == 1:
        return alias[0].version
    return max(alias, key=lambda part: score(model, part, key)).version
