"""How a model's callers are told apart and what happens beside their answer: part of its routes.

Pure data with its checks. Who reads it: the router, for every request.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from modelport.refs import check_alias, check_version
from modelport.routes.errors import InvalidPolicyError, NotInPolicyError

#: The caller's own key; then who the gateway says it is.
DEFAULT_STICKY = ("header:x-modelport-key", "caller")
#: Who may name a version by ``x-modelport-version``: nobody, only versions that an alias, a rollout
#: or a shadow names, any deployed one.
VERSION_HEADER = ("off", "routed", "any")
#: Every request may look at each of these.
MOST_RULES, MOST_SOURCES, MOST_SHADOWS = 100, 8, 8
LONGEST_VALUE = 256
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")
#: Headers that say something else already.
_TAKEN = frozenset({"x-modelport-version", "x-modelport-request-id"})
#: Headers whose values are secrets: those of rules lie in the bucket and in the log, to be read.
_SECRET = frozenset(
    {"authorization", "cookie", "proxy-authorization", "x-amz-security-token", "x-api-key"}
)


@dataclass(frozen=True, slots=True)
class Rule:
    """Callers whose ``header`` has exactly ``value`` get ``to``: an alias, or a version's number.

    Rules apply to calls that select nothing by themselves; the first that fits decides.
    """

    header: str
    value: str
    to: str

    def __post_init__(self) -> None:
        if not _is_header(self.header) or self.header in _TAKEN:
            raise InvalidPolicyError(
                f"header {self.header!r}", f"a header's name in lower case, not {_either(_TAKEN)}"
            )
        value = self.value
        if not (value.isprintable() and value == value.strip() and 0 < len(value) <= LONGEST_VALUE):
            raise InvalidPolicyError(
                f"header value {value[:LONGEST_VALUE]!r}",
                f"1 to {LONGEST_VALUE} printable characters, no space around them",
            )
        if self.version is None:
            check_alias(self.to)
        else:
            check_version(self.to)

    @property
    def version(self) -> int | None:
        """The version named, if it is one."""
        return int(self.to) if self.to.isascii() and self.to.isdigit() else None

    def __str__(self) -> str:
        return f"{self.header}={self.value}"


@dataclass(frozen=True, slots=True)
class Shadow:
    """A version that gets copies of ``percent`` of what another answers; nobody waits for it.

    ``of`` is the alias whose calls are copied; None means every call that another version answers.
    """

    version: int
    percent: float = 100.0
    of: str | None = None

    def __post_init__(self) -> None:
        check_version(self.version)
        if not 0 < self.percent <= 100:
            raise InvalidPolicyError(f"{self.percent:g} % of calls", "more than 0, up to 100")
        if self.of is not None:
            check_alias(self.of)


@dataclass(frozen=True, slots=True)
class Policy:
    """What a model's routes say beyond versions and aliases.

    ``sticky`` names, in order, what keeps a caller on its side of a split: ``header:NAME``,
    ``cookie:NAME`` or ``caller`` (IAM user, token subject, API key, address); where none of them
    says anything, every call goes its own way. ``fallbacks`` is alias → version that answers when
    the chosen one's backend fails. ``protected`` are aliases that only move when a second person
    approves.
    """

    sticky: tuple[str, ...] = DEFAULT_STICKY
    version_header: str = "routed"
    rules: tuple[Rule, ...] = ()
    fallbacks: Mapping[str, int] = field(default_factory=dict)
    shadows: tuple[Shadow, ...] = ()
    protected: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for source in self.sticky:
            if not _is_source(source):
                raise InvalidPolicyError(
                    f"sticky by {source!r}",
                    "header:NAME (in lower case), cookie:NAME or caller",
                )
        if self.version_header not in VERSION_HEADER:
            raise InvalidPolicyError(
                f"version header {self.version_header!r}", ", ".join(VERSION_HEADER)
            )
        _check_once("sticky by", self.sticky, MOST_SOURCES)
        _check_once("rule", [str(rule) for rule in self.rules], MOST_RULES)
        _check_once("shadow", [str(shadow.version) for shadow in self.shadows], MOST_SHADOWS)
        for version in self.fallbacks.values():
            check_version(version)
        for alias in (*self.fallbacks, *self.protected):
            check_alias(alias)

    # --- operations: each returns a new policy ----------------------------------------------------

    def with_rule(self, rule: Rule) -> Policy:
        """Add a rule behind the others, or change where the one for its header and value leads.

        Raises `InvalidPolicyError` for a header whose values are secrets; one that is there already
        goes on, since routes with it must be read.
        """
        if rule.header in _SECRET:
            raise InvalidPolicyError(f"header {rule.header!r} in a rule", "one that is no secret")
        kept = tuple(rule if str(rule) == str(old) else old for old in self.rules)
        return replace(self, rules=kept if rule in kept else (*kept, rule))

    def without_rule(self, header: str, value: str) -> Policy:
        """Remove a rule; raises `NotInPolicyError`."""
        rest = tuple(rule for rule in self.rules if (rule.header, rule.value) != (header, value))
        if len(rest) == len(self.rules):
            raise NotInPolicyError(f"rule {header}={value}", map(str, self.rules))
        return replace(self, rules=rest)

    def with_fallback(self, alias: str, version: int) -> Policy:
        """Have ``version`` answer where the version that ``alias`` means fails."""
        return replace(self, fallbacks={**self.fallbacks, alias: version})

    def without_fallback(self, alias: str) -> Policy:
        """Let failures of an alias be failures; raises `NotInPolicyError`."""
        if alias not in self.fallbacks:
            raise NotInPolicyError(f"fallback of alias {alias}", self.fallbacks)
        rest = {name: version for name, version in self.fallbacks.items() if name != alias}
        return replace(self, fallbacks=rest)

    def with_shadow(self, shadow: Shadow) -> Policy:
        """Add a shadow, or change what its version is shown."""
        rest = [old for old in self.shadows if old.version != shadow.version]
        return replace(self, shadows=(*rest, shadow))

    def without_shadow(self, version: int) -> Policy:
        """End a shadow; raises `NotInPolicyError`."""
        rest = tuple(shadow for shadow in self.shadows if shadow.version != version)
        if len(rest) == len(self.shadows):
            known = (str(shadow.version) for shadow in self.shadows)
            raise NotInPolicyError(f"shadow version {version}", known)
        return replace(self, shadows=rest)

    # --- reads ------------------------------------------------------------------------------------

    def versions(self) -> set[int]:
        """Every version that the policy names: they must stay deployed."""
        ruled = {rule.version for rule in self.rules if rule.version is not None}
        return ruled | set(self.fallbacks.values()) | {shadow.version for shadow in self.shadows}

    def destinations(self) -> set[str]:
        """Every alias that a rule sends calls to."""
        return {rule.to for rule in self.rules if rule.version is None}

    def subjects(self) -> set[str]:
        """Every alias of whose calls the policy says something."""
        return set(self.fallbacks) | {s.of for s in self.shadows if s.of is not None}

    def holders_of(self, version: int) -> tuple[str, ...]:
        """What of the policy names ``version``, in words."""
        rules = [f"the rule {rule}" for rule in self.rules if rule.version == version]
        spares = [
            f"the fallback of {alias}"
            for alias, spare in self.fallbacks.items()
            if spare == version
        ]
        shadowed = any(shadow.version == version for shadow in self.shadows)
        return (*rules, *spares, *(["its shadow traffic"] if shadowed else []))

    def users_of_alias(self, alias: str) -> tuple[str, ...]:
        """What of the policy would have no meaning without ``alias``, in words."""
        rules = [f"the rule {rule}" for rule in self.rules if rule.to == alias]
        spare = [f"its fallback to {self.fallbacks[alias]}"] if alias in self.fallbacks else []
        shown = [f"the shadow version {s.version}" for s in self.shadows if s.of == alias]
        return (*rules, *spare, *shown)

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
            fallbacks=dict(data["fallbacks"]),
            shadows=tuple(Shadow(**shadow) for shadow in data["shadows"]),
            protected=tuple(data["protected"]),
        )


def _is_source(source: str) -> bool:
    kind, _, name = source.partition(":")
    if kind == "header":
        return _is_header(name)
    return bool(_TOKEN.fullmatch(name)) if kind == "cookie" else source == "caller"


def _is_header(name: str) -> bool:
    return _TOKEN.fullmatch(name) is not None and name == name.lower()


def _check_once(what: str, names: list[str] | tuple[str, ...], most: int) -> None:
    if len(names) > most:
        raise InvalidPolicyError(f"{len(names)} times {what}", f"at most {most}")
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InvalidPolicyError(f"{what} {twice} twice", "each once")


def _either(names: frozenset[str]) -> str:
    return " or ".join(sorted(names))
