"""How a model's callers are told apart and what happens beside their answer: part of its routes.

Pure data with its checks. Who reads it: the router, for every request.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from modelport.refs import check_alias, check_version
from modelport.routes.errors import InvalidPolicyError

#: The caller's own key; then who the gateway says it is.
DEFAULT_STICKY = ("header:x-modelport-key", "caller")
#: Who may name a version by ``x-modelport-version``: nobody, only versions that an alias, a rollout
#: or a shadow names, any deployed one.
VERSION_HEADER = ("off", "routed", "any")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")


@dataclass(frozen=True, slots=True)
class Rule:
    """Callers whose ``header`` has exactly ``value`` get ``to``: an alias, or a version's number.

    Rules apply to calls that name no version; the first that fits decides.
    """

    header: str
    value: str
    to: str

    @property
    def version(self) -> int | None:
        """The version named, if it is one."""
        return int(self.to) if self.to.isascii() and self.to.isdigit() else None


@dataclass(frozen=True, slots=True)
class Shadow:
    """A version that gets copies of ``percent`` of what another answers; nobody waits for it.

    ``of`` is the alias whose calls are copied; None means every call that another version answers.
    """

    version: int
    percent: float = 100.0
    of: str | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """What a model's routes say beyond versions and aliases.

    ``sticky`` names, in order, what keeps a caller on its side of a split: ``header:NAME``,
    ``cookie:NAME`` or ``caller`` (IAM user, token subject, API key, address). ``fallbacks`` is
    alias → version that answers when the chosen one's backend fails. ``protected`` are aliases that
    only move when a second person approves.
    """

    sticky: tuple[str, ...] = DEFAULT_STICKY
    version_header: str = "routed"
    rules: tuple[Rule, ...] = ()
    fallbacks: Mapping[str, int] = field(default_factory=dict)
    shadows: tuple[Shadow, ...] = ()
    protected: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for source in self.sticky:
            kind, colon, name = source.partition(":")
            lawful = source == "caller" or (kind in ("header", "cookie") and bool(colon))
            if not lawful or (colon and not _TOKEN.fullmatch(name)):
                raise InvalidPolicyError(
                    f"sticky by {source!r}", "header:NAME, cookie:NAME or caller"
                )
        if self.version_header not in VERSION_HEADER:
            allowed = ", ".join(VERSION_HEADER)
            raise InvalidPolicyError(f"version header {self.version_header!r}", allowed)
        for rule in self.rules:
            if not _TOKEN.fullmatch(rule.header) or rule.header != rule.header.lower():
                raise InvalidPolicyError(f"header {rule.header!r}", "a lower-case header's name")
            if rule.version is None:
                check_alias(rule.to)
        for shadow in self.shadows:
            check_version(shadow.version)
            if not 0 < shadow.percent <= 100:
                raise InvalidPolicyError(f"{shadow.percent:g} % of calls", "more than 0, up to 100")
        for alias in (*self.fallbacks, *self.protected):
            check_alias(alias)

    def versions(self) -> set[int]:
        """Every version that the policy names: they must stay deployed."""
        ruled = {rule.version for rule in self.rules if rule.version is not None}
        return ruled | set(self.fallbacks.values()) | {shadow.version for shadow in self.shadows}

    def to_json(self) -> dict[str, Any]:
        """As it stands in the document."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Policy:
        """Read one; raises `InvalidPolicyError`, or TypeError and kin for another shape."""
        return cls(
            sticky=tuple(data["sticky"]),
            version_header=data["version_header"],
            rules=tuple(Rule(**rule) for rule in data["rules"]),
            fallbacks={alias: int(version) for alias, version in data["fallbacks"].items()},
            shadows=tuple(Shadow(**shadow) for shadow in data["shadows"]),
            protected=tuple(data["protected"]),
        )
