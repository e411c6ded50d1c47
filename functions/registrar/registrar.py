"""Decides what a deployment's create, update and delete mean for the registry.

A version gets into the routes only after it answered all its goldens, and out of them only when no
alias names it. Every operation can be repeated. It never touches aliases, which are people's; but
callers of a model without the alias ``stable`` get its highest deployed version, so registering one
can move them. An endpoint's update is verified after it has changed, so its callers see it first; a
function's callers stay on the published version they had until the new one is verified.
Collaborators are passed in; CloudFormation's protocol is `cloudformation`'s.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from modelport.errors import (
    IntegrityError,
    InvalidInputError,
    InvalidSettingError,
    ModelNotFoundError,
    ModelportError,
)
from modelport.manifest import Manifest
from modelport.refs import check_name, check_version
from modelport.registry import Actor, Registry
from modelport.routes import Deployment

from functions.registrar.cloudformation import Event, Outcome
from functions.registrar.verified import Verified

logger = logging.getLogger(__name__)


class Verifier(Protocol):
    """What `prober.Prober` does for the registrar."""

    def verify(self, manifest: Manifest, resource: str, timeout_s: float) -> Verified: ...


@dataclass(frozen=True, slots=True)
class Wanted:
    """The properties of the custom resource: which version runs where."""

    model: str
    version: int
    digest: str
    target: str
    resource: str
    settings: dict[str, Any]

    @classmethod
    def parse(cls, properties: dict[str, Any]) -> Wanted:
        """Read CloudFormation's properties (all strings); raises `InvalidSettingError`."""
        target = _text(properties, "Target")
        if target not in _SETTINGS:
            raise InvalidSettingError("Target", target, f"it must be {' or '.join(_SETTINGS)}")
        return cls(
            model=check_name(_text(properties, "Model")),
            version=check_version(_number(properties, "Version")),
            digest=_text(properties, "Digest"),
            target=target,
            resource=_text(properties, "Resource"),
            settings={name: read(properties, wanted) for name, wanted, read in _SETTINGS[target]},
        )

    @property
    def physical_id(self) -> str:
        """Never changes for a version, so CloudFormation never replaces the resource."""
        return f"{self.model}:{self.version}"

    @property
    def deployment(self) -> Deployment:
        return Deployment(self.version, self.target, self.resource, self.digest, self.settings)


class Registrar:
    """Verifies, then registers; unregisters unless in use."""

    def __init__(self, registry: Registry, verifier: Callable[[str, float], Verifier]) -> None:
        """``verifier`` makes one for a target and a number of seconds."""
        self._registry = registry
        self._verifier = verifier

    def __call__(self, event: Event, budget_s: float) -> Outcome:
        """Carry out one event within its seconds; a fault of ours is a failed outcome."""
        physical_id = event.physical_id
        stack = f"cloudformation:{_stack_name(event.stack_id)}"
        try:
            if event.kind == "Delete":
                # Who wanted the version is not who wants it gone.
                self._unregister(event.properties, Actor(stack, "delete"))
                return Outcome(physical_id)
            who = _asked(event, stack)
            wanted = Wanted.parse(event.properties)
            physical_id = physical_id or wanted.physical_id
            verified = self._verify_and_register(wanted, who, budget_s)
            return Outcome(physical_id, data=verified.data())
        except ModelportError as error:
            logger.warning("%s of %s refused: %s", event.kind, physical_id, error)
            reason = f"{error} ({error.hint})" if error.hint else str(error)
            return Outcome(physical_id or event.logical_id, reason=f"[{error.code}] {reason}")

    def _verify_and_register(self, wanted: Wanted, who: Actor, budget_s: float) -> Verified:
        manifest = self._registry.manifest(wanted.model, wanted.version)
        if manifest.digest != wanted.digest:
            raise IntegrityError(wanted.physical_id, wanted.digest, manifest.digest)
        verifier = self._verifier(wanted.target, budget_s)
        verified = verifier.verify(manifest, wanted.resource, wanted.settings["timeout_s"])
        if self._registered(wanted) != wanted.deployment:
            self._registry.change(
                wanted.model,
                lambda routes: routes.with_deployment(wanted.deployment),
                action="deploy",
                detail={
                    "version": wanted.version,
                    "resource": wanted.resource,
                    "verified": verified.requests,
                },
                who=who,
            )
        return verified

    def _unregister(self, properties: dict[str, Any], who: Actor) -> None:
        """Also ends well when nothing is registered: the roll-back of a failed create."""
        try:
            wanted = Wanted.parse(properties)
        except InvalidInputError:
            return  # Never created either: the create was refused for the same properties.
        if self._registered(wanted) is None:
            return
        self._registry.change(
            wanted.model,
            lambda routes: routes.without_deployment(wanted.version),
            action="undeploy",
            detail={"version": wanted.version},
            who=who,
        )

    def _registered(self, wanted: Wanted) -> Deployment | None:
        try:
            snapshot = self._registry.routes(wanted.model)
        except ModelNotFoundError:
            return None
        return snapshot.routes.deployments.get(wanted.version) if snapshot else None


def _asked(event: Event, stack: str) -> Actor:
    """Who wanted this deployment, from which commit and why, as far as its entry says."""

    def said(name: str, otherwise: str) -> str:
        value = event.properties.get(name)
        return value if isinstance(value, str) and value else otherwise

    return Actor(said("By", stack), said("Why", event.kind.lower()), said("Commit", ""))


def _text(properties: dict[str, Any], name: str) -> str:
    value = properties.get(name)
    if not isinstance(value, str) or not value:
        raise InvalidSettingError(name, value, "the custom resource needs it as text")
    return value


def _number(properties: dict[str, Any], name: str) -> int:
    text = _text(properties, name)
    if not text.isdecimal():
        raise InvalidSettingError(name, text, "it must be a whole number")
    return int(text)


#: Target → what the routes keep of its settings, each with its property and how that is read.
_SETTINGS: dict[str, tuple[tuple[str, str, Callable[[dict[str, Any], str], Any]], ...]] = {
    "lambda": (("memory_mb", "MemoryMb", _number), ("timeout_s", "TimeoutS", _number)),
    "sagemaker": (
        ("instance_type", "InstanceType", _text),
        ("instances", "Instances", _number),
        ("timeout_s", "TimeoutS", _number),
    ),
}


def _stack_name(stack_id: str) -> str:
    """``arn:aws:cloudformation:REGION:ACCOUNT:stack/NAME/UUID`` → NAME."""
    parts = stack_id.split("/")
    return parts[1] if len(parts) > 1 else stack_id
