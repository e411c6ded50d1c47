"""What the host knows about a function: its configuration, and the program that runs it.

Pure data and pure rules. Where a configuration comes from and how a program is started are
other modules' business.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

IMAGE_HANDLER = "functions.runtime.handler.handler"
"""What a model image runs when its configuration names no other command."""


@dataclass(frozen=True)
class Function:
    """One function configuration as the Lambda API tells it."""

    name: str
    arn: str
    version: str = "$LATEST"
    memory_mb: int = 128
    timeout_s: float = 3
    handler: str = IMAGE_HANDLER
    package: str = "Image"
    environment: Mapping[str, str] = field(default_factory=dict)
    code_digest: str = ""
    layers: tuple[str, ...] = ()
    region: str = "us-east-1"


@dataclass(frozen=True)
class Program:
    """What to execute for one environment: command line, folder and variables."""

    argv: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str]


def image_program(
    function: Function, root: Path, bundle: Path | None, ambient: Mapping[str, str]
) -> Program:
    """The program of a model image: our tree where the image has /opt/python and /var/task."""
    settings = {"PYTHONPATH": _path(root, root / "layers/core/python"), **_IMAGE_ENV}
    own = {"MODELPORT_BUNDLE_DIR": str(bundle)} if bundle else {}
    return _program(function, root, {**ambient, **settings, **function.environment, **own})


def zip_program(
    function: Function, code: Path, layers: tuple[Path, ...], ambient: Mapping[str, str]
) -> Program:
    """The program of a zip function: its code first, then its layers in order."""
    folders = [code, *(layer / "python" for layer in layers)]
    settings = {"PYTHONPATH": _path(*folders)}
    return _program(function, code, {**ambient, **settings, **function.environment})


_IMAGE_ENV = {"ORT_DISABLE_TELEMETRY": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def _path(*folders: Path) -> str:
    return ":".join(str(folder) for folder in folders)


def _program(function: Function, cwd: Path, env: Mapping[str, str]) -> Program:
    argv = (sys.executable, "-m", "awslambdaric", function.handler)
    return Program(argv, cwd, {**env, **_lambda_env(function, cwd)})


def _lambda_env(function: Function, cwd: Path) -> dict[str, str]:
    """The variables Lambda itself sets, and the role's credentials, which here open nothing."""
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LANG": "en_US.UTF-8",
        "TZ": ":UTC",
        "LAMBDA_TASK_ROOT": str(cwd),
        "_HANDLER": function.handler,
        "AWS_REGION": function.region,
        "AWS_DEFAULT_REGION": function.region,
        "AWS_EXECUTION_ENV": "AWS_Lambda_python",
        "AWS_LAMBDA_FUNCTION_NAME": function.name,
        "AWS_LAMBDA_FUNCTION_VERSION": function.version,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory_mb),
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{function.name}",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_SESSION_TOKEN": "test",
    }
