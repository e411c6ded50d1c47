"""What both kinds of version stacks start from, and what they leave to be registered.

Plain data: no AWS resource is created here.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from constructs import IDependable
from modelport.deployments import DeploymentEntry, Environment, function_name
from modelport.errors import InvalidSettingError
from modelport.settings import RuntimeSettings

#: Stands for the address of the payloads bucket, which only CloudFormation knows.
_BUCKETS_OWN = "https://payloads/"
_BY_DIGEST = re.compile(r"[^@\s]+@sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class DeployedVersion:
    """One entry of the deployments file in its environment."""

    environment: Environment
    entry: DeploymentEntry

    @property
    def name(self) -> str:
        """Of its function or endpoint."""
        return function_name(self.environment.name, self.entry.model, self.entry.version)

    @property
    def image(self) -> str:
        """Its image by digest; raises `InvalidSettingError`."""
        entry, environment = self.entry, self.environment
        what = f"{entry.model}:{entry.version} image"
        if entry.image is not None:
            if not _BY_DIGEST.fullmatch(entry.image):
                raise InvalidSettingError(what, entry.image, "name it by digest: …@sha256:<64 hex>")
            return entry.image
        if environment.image is None:
            problem = (
                "give this deployment the URI of an image in ECR by digest: image = …@sha256:…"
            )
            raise InvalidSettingError(what, None, problem)
        return environment.image

    def variables(self, payloads_url: str | None = None) -> dict[str, str]:
        """What its runtime is told; where the bundle lies is the image's own affair."""
        entry = self.entry
        settings = RuntimeSettings(
            entry.model, entry.version, entry.digest, payloads_url=payloads_url
        )
        told = settings.to_env()
        del told["MODELPORT_BUNDLE_DIR"]
        return {**self.environment.function_environment, **told}

    @property
    def known_variables(self) -> dict[str, str]:
        """What a runtime is told that may fetch bodies, as far as a synthesis knows it."""
        return self.variables(self.environment.payloads_url or _BUCKETS_OWN)


@dataclass(frozen=True, slots=True)
class Running:
    """What the registrar is told of a version, and what must stand before it is asked."""

    resource: str
    settings: Mapping[str, Any]
    needs: tuple[IDependable, ...]
    #: Of whatever changes its answers: a change verifies the version again.
    fingerprint: str


def fingerprint(*facts: object) -> str:
    """A short digest of plain facts, the same on every machine and in every synthesis."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
