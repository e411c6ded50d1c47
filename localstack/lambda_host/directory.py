"""Function configurations, asked from the emulator's own Lambda API.

A configuration is asked for again when it may have changed: when the emulator says so, by a file
that grows with every change of any function, or else when it is older than `fresh_s`. So an update
takes effect like on Lambda: soon, not in the middle of an invocation. Nothing is started here.
"""

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lambda_host.function import IMAGE_HANDLER, Function

FRESH_S = 0.25


class UnknownFunctionError(Exception):
    """The emulator knows no such function."""


class Directory:
    """Looks functions up and remembers them for a moment."""

    def __init__(self, client: Any, fresh_s: float = FRESH_S, changes: Path | None = None) -> None:
        """`changes` is the file that the emulator lets grow, if it does."""
        self._client = client
        self._fresh_s = fresh_s
        self._changes = changes
        self._known: dict[tuple[str, str], tuple[float, Function]] = {}

    async def find(self, name: str, qualifier: str) -> Function:
        """The configuration of a version, or of the one an alias names, as it is now."""
        now = self._now()  # before it is asked for: a change meanwhile is seen the next time
        known, function = self._known.get((name, qualifier), (-1.0, None))
        oldest = now if self._changes else now - self._fresh_s
        if function is None or known < oldest or not function.active:
            function = await asyncio.to_thread(self._ask, name, qualifier)
            self._known[name, qualifier] = (now, function)
        return function

    def _now(self) -> float:
        """How many changes there were, or the time."""
        return self._changes.stat().st_size if self._changes else time.monotonic()

    def _ask(self, name: str, qualifier: str) -> Function:
        try:
            found = self._client.get_function(FunctionName=name, Qualifier=qualifier)
        except self._client.exceptions.ResourceNotFoundException as missing:
            raise UnknownFunctionError(name) from missing
        return from_answer(found)

    def code_url(self, function: Function) -> str:
        """Where the zip of a function lies."""
        found = self._client.get_function(FunctionName=function.name, Qualifier=function.version)
        return str(found["Code"]["Location"])

    def layer_url(self, arn: str) -> str:
        """Where the zip of a layer version lies."""
        found = self._client.get_layer_version_by_arn(Arn=arn)
        return str(found["Content"]["Location"])


def from_answer(answer: Mapping[str, Any]) -> Function:
    """An answer of the Lambda API's GetFunction as our function."""
    found = answer["Configuration"]
    arn = found["FunctionArn"]
    package = found.get("PackageType", "Zip")
    image = found.get("ImageConfigResponse", {}).get("ImageConfig", {})
    command = tuple(image.get("Command") or ())
    handler = (command or (IMAGE_HANDLER,))[0] if package == "Image" else found["Handler"]
    return Function(
        name=found["FunctionName"],
        arn=arn,
        version=found.get("Version", "$LATEST"),
        memory_mb=found.get("MemorySize", 128),
        timeout_s=found.get("Timeout", 3),
        handler=handler,
        package=package,
        environment=found.get("Environment", {}).get("Variables", {}),
        code_digest=found.get("CodeSha256", ""),
        layers=tuple(layer["Arn"] for layer in found.get("Layers", [])),
        region=arn.split(":")[3],
        # As it was deployed, by digest; what emulators resolve it to is a guess of theirs.
        image=answer.get("Code", {}).get("ImageUri", ""),
        command=command,
        active=found.get("State", "Active") == "Active",
        reserved=answer.get("Concurrency", {}).get("ReservedConcurrentExecutions"),
    )
