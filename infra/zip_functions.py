"""The zip functions of an environment: one Python, two shared layers, a role and a log group each.

What a function may do is passed in, statement by statement; nothing here adds to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from aws_cdk import Duration, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from modelport.deployments import Environment

from infra import permissions, review
from infra.assets import Assets
from infra.function_logs import function_logs

_RUNTIMES = {
    "3.11": lambda_.Runtime.PYTHON_3_11,
    "3.12": lambda_.Runtime.PYTHON_3_12,
    "3.13": lambda_.Runtime.PYTHON_3_13,
    "3.14": lambda_.Runtime.PYTHON_3_14,
}
_ARCHITECTURES = {"arm64": lambda_.Architecture.ARM_64, "x86_64": lambda_.Architecture.X86_64}


class ZipFunctions:
    """Makes them; the layers are made once."""

    def __init__(self, stack: Stack, environment: Environment, assets: Assets, key: kms.Key):
        self._stack = stack
        self._environment = environment
        self._key = key
        self._runtime = _RUNTIMES[environment.python]
        self._architecture = _ARCHITECTURES[environment.architecture]
        self._layers = [
            lambda_.LayerVersion(
                stack,
                id,
                code=lambda_.Code.from_asset(str(folder)),
                compatible_architectures=[self._architecture],
                compatible_runtimes=[self._runtime],
                description=description,
            )
            for id, folder, description in (
                ("CoreLayer", assets.core_layer, "modelport"),
                ("DepsLayer", assets.deps_layer, "locked third-party packages"),
            )
        ]

    def make(
        self,
        id: str,
        name: str,
        handler: str,
        code: Path,
        statements: Sequence[iam.PolicyStatement],
        *,
        settings: Mapping[str, str],
        memory_mb: int,
        timeout: Duration,
        snapstart: bool = False,
    ) -> lambda_.Function:
        """A function, its log group, and a role that may write there and do ``statements``."""
        group = function_logs(self._stack, f"{id}Logs", name, self._environment, self._key)
        role = permissions.function_role(self._stack, f"{id}Role", group, *statements)
        review.accept_scoped_wildcards(role, statements)
        function = lambda_.Function(
            self._stack,
            id,
            function_name=name,
            runtime=self._runtime,
            architecture=self._architecture,
            handler=handler,
            code=lambda_.Code.from_asset(str(code)),
            layers=self._layers,
            role=role,
            log_group=group,
            environment=dict(settings),
            memory_size=memory_mb,
            timeout=timeout,
            snap_start=lambda_.SnapStartConf.ON_PUBLISHED_VERSIONS if snapstart else None,
        )
        review.accept_python(function)
        return function
