"""A synthesised app as its tests read it, once per kind of environment and session.

Tests read plain CloudFormation, as AWS gets it, and find things by what they are, never by the
CDK's logical ids.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modelport.deployments import Deployments

from infra.app import add_stacks, new_app
from infra.assets import Assets

DIGEST = "sha256:" + "a" * 64
IMAGE = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/models@sha256:" + "b" * 64
TOPIC = "arn:aws:sns:eu-central-1:123456789012:pager"

VERSIONS = f"""
[[deployment]]
model = "magika"
version = 1
digest = "{DIGEST}"
image = "{IMAGE}"

[[deployment]]
model = "magika"
version = 2
digest = "{DIGEST}"
image = "{IMAGE}"
memory_mb = 3008
timeout_s = 60
reserved_concurrency = 5
"""

#: Version 3 as it is without settings, version 4 with every one there is.
ENDPOINTS = f"""
[[deployment]]
model = "magika"
version = 3
digest = "{DIGEST}"
image = "{IMAGE}"
target = "sagemaker"

[[deployment]]
model = "magika"
version = 4
digest = "{DIGEST}"
image = "{IMAGE}"
target = "sagemaker"
[deployment.sagemaker]
instance_type = "ml.m5.xlarge"
instances = 2
volume_gb = 50
startup_timeout_s = 900
download_timeout_s = 1200
alarm_utilization_percent = 90
[deployment.sagemaker.autoscaling]
max_instances = 8
invocations_per_instance = 600
[deployment.sagemaker.data_capture]
percent = 20
[deployment.sagemaker.shadow]
version = 2
percent = 25
[deployment.sagemaker.vpc]
subnets = ["subnet-0a1b2c3d", "subnet-0a1b2c3d4e5f60718"]
security_groups = ["sg-0123456789abcdef0"]
[deployment.sagemaker.rollout]
kind = "canary"
step_percent = 5
wait_s = 600
keep_old_s = 120
"""

ENVIRONMENTS = {
    "default": '[environment]\nname = "prod"\n',
    "rest": f'[environment]\nname = "prod"\napi = "rest"\nalarm_topic = "{TOPIC}"\n',
    "open": (
        '[environment]\nname = "test"\nauth = "none"\nretain = false\npython = "3.11"\n'
        'architecture = "x86_64"\nlog_retention_days = 7\n'
        '[environment.function_environment]\nPROXY = "http://proxy"\nMODELPORT_VERSION = "9"\n'
    ),
    "open-rest": (
        '[environment]\nname = "test"\nauth = "none"\napi = "rest"\n'
        'image_repository = "registry.example:5000/models"\n'
    ),
}


@dataclass
class Stack:
    """One synthesised template."""

    name: str
    template: dict[str, Any]
    path: Path

    @property
    def resources(self) -> dict[str, dict[str, Any]]:
        return dict(self.template["Resources"])

    def of(self, kind: str) -> list[dict[str, Any]]:
        """All resources of a type."""
        return [each for each in self.resources.values() if each["Type"] == kind]

    def one(self, kind: str) -> dict[str, Any]:
        """The only resource of a type."""
        (only,) = self.of(kind)
        return only

    def properties(self, kind: str, **wanted: Any) -> dict[str, Any]:
        """The properties of the one resource of a type that has these."""
        (found,) = [
            each["Properties"]
            for each in self.of(kind)
            if all(self.text(each["Properties"].get(k)) == v for k, v in wanted.items())
        ]
        return dict(found)

    def text(self, value: Any) -> Any:
        """A value with its intrinsics written out: joins joined, references as ``<Id.Arn>``."""
        if not isinstance(value, dict):
            return value
        ((function, argument),) = value.items()
        if function == "Fn::Join":
            return argument[0].join(str(self.text(part)) for part in argument[1])
        if function == "Fn::GetAtt":
            return f"<{self.resources[argument[0]]['Type']}.{argument[1]}>"
        if function == "Ref" and argument in self.resources:
            return f"<{self.resources[argument]['Type']}>"
        return f"<{argument}>"


@dataclass
class Synthesis:
    """One app."""

    stacks: dict[str, Stack] = field(default_factory=dict)

    @property
    def platform(self) -> Stack:
        return next(stack for name, stack in self.stacks.items() if name.endswith("-platform"))

    def version(self, number: int) -> Stack:
        return next(stack for name, stack in self.stacks.items() if name.endswith(f"-v{number}"))


class Synthesiser:
    """Synthesises once per environment and keeps the result."""

    def __init__(self, assets: Assets, folder: Path) -> None:
        self.assets = assets
        self._folder = folder
        self._done: dict[str, Synthesis] = {}

    def __call__(self, environment: str) -> Synthesis:
        if environment not in self._done:
            text = ENVIRONMENTS[environment] + VERSIONS + ENDPOINTS
            self._done[environment] = self.fresh(text, environment)
        return self._done[environment]

    def fresh(self, text: str, name: str) -> Synthesis:
        """Synthesise a deployments file now."""
        app = new_app(str(self._folder / name))
        add_stacks(app, Deployments.parse(text, Path("deployments.toml")), self.assets)
        result = Synthesis()
        for stack in app.synth().stacks:
            path = Path(stack.template_full_path)
            template = json.loads(path.read_bytes())
            result.stacks[stack.stack_name] = Stack(stack.stack_name, template, path)
        return result
