"""The one mutable document of a model: which versions run, where, and what each alias means.

Pure: every operation returns a new `Routes`; the registry decides how one is written. The document
carries its own latest `Change`, hash-chained to the one before, so writing it is at once the change
and the proof of it. Splits use weighted rendezvous hashing (Thaler and Ravishankar 1998; weights
by −w/ln u, Schindelhauer and Schomaker 2005): for any number of versions, raising one version's
weight moves callers only towards it.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from modelport.errors import (
    AliasNotFoundError,
    IntegrityError,
    InvalidWeightsError,
    NotDeployedError,
    NothingToRollBackError,
    NoVersionDeployedError,
    VersionInUseError,
)
from modelport.manifest import canonical, digest_of, readable
from modelport.refs import check_alias, check_version

SCHEMA = 1
STABLE = "stable"
#: Earlier values kept per alias for rollback; the log keeps all of them.
HISTORY = 16
GENESIS = "sha256:" + "0" * 64


@dataclass(frozen=True, slots=True)
class Deployment:
    """A version running somewhere: target, function or endpoint, content digest, its settings."""

    version: int
    target: str
    resource: str
    digest: str
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Weighted:
    """One version of an alias and its weight relative to the others."""

    version: int
    weight: float = 100.0


Alias = tuple[Weighted, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """Who changed what, when; ``hash`` covers all of it and the hash of the change before."""

    revision: int
    action: str
    detail: dict[str, Any]
    who: str
    at: str
    message: str = ""
    previous_hash: str = GENESIS
    hash: str = ""

    def sealed(self) -> Change:
        """The same change with its hash filled in."""
        data = asdict(self)
        del data["hash"]
        return replace(self, hash=digest_of(canonical(data)))

    @property
    def intact(self) -> bool:
        """Whether the hash still covers the change."""
        return self.sealed().hash == self.hash

    def to_bytes(self) -> bytes:
        return readable(asdict(self))

    @classmethod
    def from_bytes(cls, body: bytes) -> Change:
        """Read one log entry; raises `IntegrityError` when it is not one."""
        try:
            return cls(**json.loads(body))
        except (ValueError, TypeError) as error:
            raise IntegrityError("log entry", "a change", f"{error}") from None


@dataclass(frozen=True, slots=True)
class Routes:
    """All that can change about a model; see the module's docstring.

    ``deployments`` is kept in ascending order of version, so the highest is found at once.
    """

    model: str
    revision: int = 0
    latest: int = 0
    deployments: dict[int, Deployment] = field(default_factory=dict)
    aliases: dict[str, Alias] = field(default_factory=dict)
    history: dict[str, tuple[Alias, ...]] = field(default_factory=dict)
    change: Change | None = None

    # --- operations: each returns a new document --------------------------------------------------

    def with_published(self, version: int) -> Routes:
        """Note that ``version`` exists; never moves backwards."""
        return replace(self, latest=max(self.latest, version))

    def with_deployment(self, deployment: Deployment) -> Routes:
        """Register a version that runs and was verified."""
        deployments = {**self.deployments, deployment.version: deployment}
        return replace(self, deployments=dict(sorted(deployments.items())))

    def without_deployment(self, version: int) -> Routes:
        """Forget a deployment; raises `VersionInUseError` while an alias names it."""
        users = self.aliases_of(version)
        if users:
            raise VersionInUseError(self.model, version, users)
        rest = {v: d for v, d in self.deployments.items() if v != version}
        return replace(self, deployments=rest)

    def with_alias(self, name: str, value: Sequence[Weighted]) -> Routes:
        """Point an alias at deployed versions; remembers its value so far for `rolled_back`."""
        check_alias(name)
        alias = _checked(value)
        for part in alias:
            if part.version not in self.deployments:
                raise NotDeployedError(self.model, part.version, self.deployments)
        before = self.aliases.get(name)
        history = self.history
        if before and before != alias:
            history = {**history, name: (*history.get(name, ()), before)[-HISTORY:]}
        return replace(self, aliases={**self.aliases, name: alias}, history=history)

    def without_alias(self, name: str) -> Routes:
        """Remove an alias and its history."""
        if name not in self.aliases:
            raise AliasNotFoundError(self.model, name, self.aliases)
        return replace(
            self,
            aliases={key: value for key, value in self.aliases.items() if key != name},
            history={key: value for key, value in self.history.items() if key != name},
        )

    def rolled_back(self, name: str) -> Routes:
        """Give an alias its previous value; raises when there is none or it no longer runs."""
        if name not in self.aliases:
            raise AliasNotFoundError(self.model, name, self.aliases)
        earlier = self.history.get(name, ())
        if not earlier:
            raise NothingToRollBackError(self.model, name)
        back = replace(self, history={**self.history, name: ()}).with_alias(name, earlier[-1])
        return replace(back, history={**self.history, name: earlier[:-1]})

    def changed(
        self,
        after: Routes,
        *,
        action: str,
        detail: dict[str, Any],
        who: str,
        at: str,
        message: str = "",
    ) -> Routes:
        """``after`` as the next revision of this document, with its sealed change."""
        previous = self.change.hash if self.change else GENESIS
        revision = self.revision + 1
        change = Change(revision, action, detail, who, at, message, previous).sealed()
        return replace(after, revision=revision, change=change)

    # --- reads ------------------------------------------------------------------------------------

    def aliases_of(self, version: int) -> tuple[str, ...]:
        """The aliases that name ``version``, with any weight."""
        return tuple(
            name
            for name, alias in sorted(self.aliases.items())
            if any(part.version == version for part in alias)
        )

    def resolve(self, version: int | None, alias: str | None, key: str) -> Deployment:
        """The deployment that answers: a version, an alias, or neither.

        Neither means alias ``stable`` if it is set, else the highest deployed version. ``key``
        decides within a weighted alias: the same key always gets the same version.
        """
        if version is None:
            version = self._pick(alias, key)
        deployment = self.deployments.get(version)
        if deployment is None:
            raise NotDeployedError(self.model, version, self.deployments)
        return deployment

    def _pick(self, alias: str | None, key: str) -> int:
        if alias is None and STABLE not in self.aliases:
            if not self.deployments:
                raise NoVersionDeployedError(self.model)
            return next(reversed(self.deployments))
        name = alias or STABLE
        if name not in self.aliases:
            raise AliasNotFoundError(self.model, name, self.aliases)
        parts = self.aliases[name]
        if len(parts) == 1:
            return parts[0].version
        return max(parts, key=lambda part: _score(self.model, part, key)).version

    # --- bytes ------------------------------------------------------------------------------------

    def to_bytes(self) -> bytes:
        """The document as it lies in the bucket: readable JSON."""
        return readable(
            {
                "schema": SCHEMA,
                "model": self.model,
                "revision": self.revision,
                "latest": self.latest,
                "deployments": {str(v): asdict(d) for v, d in self.deployments.items()},
                "aliases": {
                    name: [asdict(p) for p in alias] for name, alias in self.aliases.items()
                },
                "history": {
                    name: [[asdict(p) for p in alias] for alias in values]
                    for name, values in self.history.items()
                },
                "change": asdict(self.change) if self.change else None,
            }
        )

    @classmethod
    def from_bytes(cls, body: bytes) -> Routes:
        """Read and check; raises `IntegrityError` on a torn, foreign or hand-broken document."""
        try:
            data = json.loads(body)
            if data["schema"] != SCHEMA:
                raise ValueError(f"schema {data['schema']!r}")
            routes = cls(
                model=data["model"],
                revision=int(data["revision"]),
                latest=int(data["latest"]),
                deployments=dict(
                    sorted(
                        ((int(v), Deployment(**d)) for v, d in data["deployments"].items()),
                        key=lambda item: item[0],
                    )
                ),
                aliases={name: _alias(parts) for name, parts in data["aliases"].items()},
                history={
                    name: tuple(_alias(parts) for parts in values)
                    for name, values in data["history"].items()
                },
                change=Change(**data["change"]) if data["change"] else None,
            )
            routes._check()
        except (ValueError, KeyError, TypeError, AttributeError, InvalidWeightsError) as error:
            raise IntegrityError("routes", "a model's routes document", f"{error!r}") from None
        return routes

    def _check(self) -> None:
        for version, deployment in self.deployments.items():
            if deployment.version != version:
                raise ValueError(f"deployment {version} says version {deployment.version}")
        for name, alias in self.aliases.items():
            for part in alias:
                if part.version not in self.deployments:
                    raise ValueError(f"alias {name} names version {part.version}, not deployed")
        if self.change and (self.change.revision != self.revision or not self.change.intact):
            raise ValueError("the latest change does not match the document")


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
    return _checked(parts)


def _alias(parts: list[dict[str, Any]]) -> Alias:
    return _checked([Weighted(int(part["version"]), float(part["weight"])) for part in parts])


def _checked(parts: Sequence[Weighted]) -> Alias:
    text = ",".join(f"{part.version}:{part.weight:g}" for part in parts)
    if not parts:
        raise InvalidWeightsError(text, "no version named")
    if len({part.version for part in parts}) != len(parts):
        raise InvalidWeightsError(text, "a version is named twice")
    for part in parts:
        if not (math.isfinite(part.weight) and part.weight > 0):
            raise InvalidWeightsError(
                text, f"weight {part.weight:g} of version {part.version} is not more than 0"
            )
    return tuple(parts)


def _score(model: str, part: Weighted, key: str) -> float:
    digest = hashlib.blake2b(f"{model}\0{part.version}\0{key}".encode(), digest_size=8).digest()
    # 53 bits, shifted by a half step: strictly between 0 and 1, so the logarithm is finite.
    uniform = ((int.from_bytes(digest, "big") >> 11) + 0.5) / 2**53
    return -part.weight / math.log(uniform)
