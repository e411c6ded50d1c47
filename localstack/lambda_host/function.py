"""What the host knows about a function: its configuration, and the variables Lambda adds to it.

Pure data and pure rules. Where a configuration comes from and how a function is run are other
modules' business.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

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
    image: str = ""
    """Where the image of an image function lies."""
    command: tuple[str, ...] = ()
    """What the configuration runs in place of the image's own command, if anything."""
    active: bool = field(default=True, compare=False)
    """Whether it may be invoked; like the next, nothing that an environment is made of."""
    reserved: int | None = field(default=None, compare=False)
    """How many events may run at once, of all its versions together; None: any number."""


def lambda_variables(function: Function, task_root: str) -> dict[str, str]:
    """The variables Lambda itself sets, and the role's credentials, which here open nothing."""
    return {
        "TZ": ":UTC",
        "LAMBDA_TASK_ROOT": task_root,
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
    }
